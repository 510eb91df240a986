"""tanh of a tile, in operations that Triton's compiler and its interpreter both have."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

import triton
import triton.language as tl

from lit_adaptconv.ops import rational

LIMIT = tl.constexpr(rational.LIMIT)
P0, P1, P2, P3 = (tl.constexpr(c) for c in rational.P)
Q0, Q1, Q2, Q3, Q4 = (tl.constexpr(c) for c in rational.Q)


@triton.jit
def tanh(x):
    """Return tanh of each element; NaN where `x` is NaN, exactly ±1 at ±infinity.

    In float32 it is the fused CPU kernel's rational function, with a relative error below 1e-6; in float64 that is
    below 1e-15.
    """
    if x.dtype == tl.float64:
        # tanh(x) = -e / (e + 2), where e = exp(-2x) - 1 is (u - 1) / log(u) · (-2x) with u = exp(-2x): the rounding
        # of u cancels. Where u is 1 the quotient is 1; far out, where u loses its digits and vanishes, e is -1.
        y = -2 * tl.abs(x)
        u = tl.exp(y)
        far = y < -80
        e = tl.where(u == 1, y, (u - 1) * y / tl.log(tl.where(far | (u == 1), 2.0, u)))
        e = tl.where(far, -1.0, e)
        size = -e / (e + 2)
        out = tl.where(x < 0, -size, size)
    else:
        z = x * x
        z = tl.where(z > LIMIT, LIMIT, z)
        p = ((P3 * z + P2) * z + P1) * z + P0
        q = (((Q4 * z + Q3) * z + Q2) * z + Q1) * z + Q0
        out = x * p / q
        out = tl.where(out > 1, 1.0, out)  # no minimum: it would lose NaN
        out = tl.where(out < -1, -1.0, out)
    return out
