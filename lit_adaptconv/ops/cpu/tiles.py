"""The arithmetic of an adaptive convolution on a run of pixels.

A plane is a padded image channel, flattened, so that each neighbour of any pixel lies at one constant offset. A run is
some number of consecutive pixels of it, a multiple of `layout.STEP`. Every loop keeps a block of three taps (or window
pixels) × three vectors of sums in registers, which needs one load for about two multiply-adds; what is left of the
taps after the last full block goes one by one. Weights come in the order
in which the loops read them: blocks of three rows column by column, then what is left.
"""

# The arguments are Numba arrays and vectors, which Python's types cannot tell apart; their roles stand in `Run`.
# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

from numba import njit

from lit_adaptconv.ops.cpu.layout import BLOCK
from lit_adaptconv.ops.cpu.simd import BYTES, broadcast, fma, load, store
from lit_adaptconv.ops.cpu.tanh import tanh

inlined = njit(forceinline=True, error_model="numpy")


@inlined
def _load3(x, at, lanes):
    return load(x, at), load(x, at + lanes), load(x, at + 2 * lanes)


@inlined
def _store3(x, at, lanes, v0, v1, v2):
    store(x, at, v0)
    store(x, at + lanes, v1)
    store(x, at + 2 * lanes, v2)


@inlined
def _sum3(x, stride, ats, first, weight, row, terms, lanes, a, b, c):
    """Add to three rows of three vectors `terms` terms each: weights at `row`, vectors at `first` + offset."""
    a0, a1, a2 = a
    b0, b1, b2 = b
    c0, c1, c2 = c
    for i in range(terms):
        at = first + (ats[i] if stride == 0 else i * stride)
        x0, x1, x2 = _load3(x, at, lanes)
        w = broadcast(weight, row)
        a0, a1, a2 = fma(w, x0, a0), fma(w, x1, a1), fma(w, x2, a2)
        w = broadcast(weight, row + 1)
        b0, b1, b2 = fma(w, x0, b0), fma(w, x1, b1), fma(w, x2, b2)
        w = broadcast(weight, row + 2)
        c0, c1, c2 = fma(w, x0, c0), fma(w, x1, c1), fma(w, x2, c2)
        row += BLOCK
    return (a0, a1, a2), (b0, b1, b2), (c0, c1, c2)


@inlined
def _sum1(x, stride, ats, first, weight, row, terms, lanes, a):
    """The same for a single row."""
    a0, a1, a2 = a
    for i in range(terms):
        at = first + (ats[i] if stride == 0 else i * stride)
        x0, x1, x2 = _load3(x, at, lanes)
        w = broadcast(weight, row + i)
        a0, a1, a2 = fma(w, x0, a0), fma(w, x1, a1), fma(w, x2, a2)
    return a0, a1, a2


@inlined
def _same3(v):
    return v, v, v


@inlined
def _tanh3(v):
    return tanh(v[0]), tanh(v[1]), tanh(v[2])


@inlined
def _generate3(x, p, window_at, weight, bias, tap, applies_tanh, lanes):
    """Kernels of three taps at three vectors of pixels."""
    window = len(window_at)
    a, b = _same3(broadcast(bias, tap)), _same3(broadcast(bias, tap + 1))
    c = _same3(broadcast(bias, tap + 2))
    a, b, c = _sum3(x, 0, window_at, p, weight, tap * window, window, lanes, a, b, c)
    if applies_tanh:
        a, b, c = _tanh3(a), _tanh3(b), _tanh3(c)
    return a, b, c


@inlined
def _generate1(x, p, window_at, weight, bias, tap, applies_tanh, lanes):
    window = len(window_at)
    a = _sum1(x, 0, window_at, p, weight, tap * window, window, lanes, _same3(broadcast(bias, tap)))
    if applies_tanh:
        a = _tanh3(a)
    return a


@inlined
def _apply(x, at, lanes, kernel, y):
    x0, x1, x2 = _load3(x, at, lanes)
    return fma(kernel[0], x0, y[0]), fma(kernel[1], x1, y[1]), fma(kernel[2], x2, y[2])


@inlined
def forward(x, y, length, kernel_at, window_at, weight, bias, applies_tanh):
    """Add to the pixels `y[:length]` their generated kernels times what lies under them in the plane `x`."""
    lanes = BYTES // x.itemsize
    taps = len(kernel_at)
    blocked = taps - taps % BLOCK
    for p in range(0, length, BLOCK * lanes):
        out = _load3(y, p, lanes)
        for t in range(0, blocked, BLOCK):
            a, b, c = _generate3(x, p, window_at, weight, bias, t, applies_tanh, lanes)
            out = _apply(x, p + kernel_at[t], lanes, a, out)
            out = _apply(x, p + kernel_at[t + 1], lanes, b, out)
            out = _apply(x, p + kernel_at[t + 2], lanes, c, out)
        for t in range(blocked, taps):
            a = _generate1(x, p, window_at, weight, bias, t, applies_tanh, lanes)
            out = _apply(x, p + kernel_at[t], lanes, a, out)
        _store3(y, p, lanes, out[0], out[1], out[2])


@inlined
def _differentiate(x, at, lanes, kernel, dy, applied, generated, out, applies_tanh):
    """Store the gradients of one tap at three vectors: of the pixels it multiplies, and of what generated it."""
    k0, k1, k2 = kernel
    _store3(applied, out, lanes, k0 * dy[0], k1 * dy[1], k2 * dy[2])
    x0, x1, x2 = _load3(x, at, lanes)
    d0, d1, d2 = x0 * dy[0], x1 * dy[1], x2 * dy[2]
    if applies_tanh:
        d0, d1, d2 = fma(-(d0 * k0), k0, d0), fma(-(d1 * k1), k1, d1), fma(-(d2 * k2), k2, d2)
    _store3(generated, out, lanes, d0, d1, d2)


@inlined
def kernel_gradients(x, dy, start, length, kernel_at, window_at, weight, bias, applies_tanh, applied, generated, tile):
    """Generate the kernels of a run again and store, a row of `tile` pixels for each tap, two gradients.

    `applied`: of the pixel under the tap, through the application. `generated`: of the tap's pre-activation.
    """
    lanes = BYTES // x.itemsize
    taps = len(kernel_at)
    blocked = taps - taps % BLOCK
    for p in range(start, start + length, BLOCK * lanes):
        d = _load3(dy, p, lanes)
        out = p - start
        for t in range(0, blocked, BLOCK):
            a, b, c = _generate3(x, p, window_at, weight, bias, t, applies_tanh, lanes)
            _differentiate(x, p + kernel_at[t], lanes, a, d, applied, generated, out, applies_tanh)
            _differentiate(x, p + kernel_at[t + 1], lanes, b, d, applied, generated, out + tile, applies_tanh)
            _differentiate(x, p + kernel_at[t + 2], lanes, c, d, applied, generated, out + 2 * tile, applies_tanh)
            out += BLOCK * tile
        for t in range(blocked, taps):
            a = _generate1(x, p, window_at, weight, bias, t, applies_tanh, lanes)
            _differentiate(x, p + kernel_at[t], lanes, a, d, applied, generated, out, applies_tanh)
            out += tile


@inlined
def weight_gradients(x, start, length, window_at, generated, tile, taps, sums):
    """Add a run's share to the gradients of the generator's weights and bias, lane by lane.

    `sums` holds, for each block of three taps, three vectors for the bias and nine for each block of three window
    pixels. Surplus taps and window pixels of the last blocks get sums of no meaning.
    """
    lanes = BYTES // x.itemsize
    at = 0
    for t in range(0, taps, BLOCK):
        d0, d1, d2 = t * tile, (t + 1) * tile, (t + 2) * tile
        a0, a1, a2 = _load3(sums, at, lanes)
        for p in range(0, length, lanes):
            a0, a1, a2 = a0 + load(generated, d0 + p), a1 + load(generated, d1 + p), a2 + load(generated, d2 + p)
        _store3(sums, at, lanes, a0, a1, a2)
        at += BLOCK * lanes
        for s in range(0, len(window_at), BLOCK):
            s0 = start + window_at[s]
            s1 = start + window_at[min(s + 1, len(window_at) - 1)]
            s2 = start + window_at[min(s + 2, len(window_at) - 1)]
            a0, a1, a2 = _load3(sums, at, lanes)
            b0, b1, b2 = _load3(sums, at + 3 * lanes, lanes)
            c0, c1, c2 = _load3(sums, at + 6 * lanes, lanes)
            for p in range(0, length, lanes):
                x0, x1, x2 = load(x, s0 + p), load(x, s1 + p), load(x, s2 + p)
                d = load(generated, d0 + p)
                a0, a1, a2 = fma(d, x0, a0), fma(d, x1, a1), fma(d, x2, a2)
                d = load(generated, d1 + p)
                b0, b1, b2 = fma(d, x0, b0), fma(d, x1, b1), fma(d, x2, b2)
                d = load(generated, d2 + p)
                c0, c1, c2 = fma(d, x0, c0), fma(d, x1, c1), fma(d, x2, c2)
            _store3(sums, at, lanes, a0, a1, a2)
            _store3(sums, at + 3 * lanes, lanes, b0, b1, b2)
            _store3(sums, at + 6 * lanes, lanes, c0, c1, c2)
            at += BLOCK * BLOCK * lanes


@inlined
def _add(dx, at, lanes, v):
    x0, x1, x2 = _load3(dx, at, lanes)
    _store3(dx, at, lanes, x0 + v[0], x1 + v[1], x2 + v[2])


@inlined
def input_gradients(dx, start, length, kernel_at, window_at, weight, applied, generated, tile, shared):
    """Add a run's gradients to the plane `dx`; `shared`: kernel and window see the same pixels in the same order."""
    lanes = BYTES // dx.itemsize
    taps, window = len(kernel_at), len(window_at)
    blocked = window - window % BLOCK
    zero = _same3(load(dx, 0) - load(dx, 0))
    for s in range(0, blocked, BLOCK):
        for p in range(0, length, BLOCK * lanes):
            a, b, c = zero, zero, zero
            if shared:
                a = _load3(applied, s * tile + p, lanes)
                b = _load3(applied, (s + 1) * tile + p, lanes)
                c = _load3(applied, (s + 2) * tile + p, lanes)
            a, b, c = _sum3(generated, tile, window_at, p, weight, s * taps, taps, lanes, a, b, c)
            _add(dx, start + p + window_at[s], lanes, a)
            _add(dx, start + p + window_at[s + 1], lanes, b)
            _add(dx, start + p + window_at[s + 2], lanes, c)
    for s in range(blocked, window):
        for p in range(0, length, BLOCK * lanes):
            a = _load3(applied, s * tile + p, lanes) if shared else zero
            a = _sum1(generated, tile, window_at, p, weight, s * taps, taps, lanes, a)
            _add(dx, start + p + window_at[s], lanes, a)
    if not shared:
        for t in range(taps):
            for p in range(0, length, BLOCK * lanes):
                _add(dx, start + p + kernel_at[t], lanes, _load3(applied, t * tile + p, lanes))


@inlined
def sum_run(run, length, total):
    """Write to `total` a vector whose lanes add up to the sum of a run."""
    lanes = BYTES // run.itemsize
    a0, a1, a2 = _load3(run, 0, lanes)
    for p in range(BLOCK * lanes, length, BLOCK * lanes):
        x0, x1, x2 = _load3(run, p, lanes)
        a0, a1, a2 = a0 + x0, a1 + x1, a2 + x2
    store(total, 0, a0 + a1 + a2)
