"""tanh of a tile, in operations that Triton's compiler and its interpreter both have."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

from typing import Literal

import triton
import triton.language as tl
from triton.runtime import driver

from lit_adaptconv.ops import rational
from lit_adaptconv.ops.gpu.interpreter import INTERPRETED

How = Literal["portable", "reciprocal", "hardware"]
LIMIT = tl.constexpr(rational.LIMIT)
P0, P1, P2, P3 = (tl.constexpr(c) for c in rational.P)
Q0, Q1, Q2, Q3, Q4 = (tl.constexpr(c) for c in rational.Q)
KEEP_NAN = tl.constexpr(tl.PropagateNan.ALL)


def how(coarse: bool) -> How:
    """Choose how this machine computes tanh of float32: NVIDIA's own instruction where `coarse` numbers will do."""
    if INTERPRETED or driver.active.get_current_target().backend != "cuda":
        return "portable"
    return "hardware" if coarse and driver.active.get_current_target().arch >= 75 else "reciprocal"


@triton.jit
def tanh(x, how: tl.constexpr):
    """Return tanh of each element; NaN where `x` is NaN, exactly ±1 at ±infinity.

    In float32 it is the fused CPU kernel's rational function, with a relative error below 1e-6, or with `how` =
    "hardware" an instruction with one below 2⁻¹⁰; in float64 the error is below 1e-15.
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
    elif how == "hardware":
        out = tl.inline_asm_elementwise("tanh.approx.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1)
    else:
        z = tl.minimum(x * x, LIMIT, propagate_nan=KEEP_NAN)
        p = tl.fma(tl.fma(tl.fma(P3, z, P2), z, P1), z, P0)
        q = tl.fma(tl.fma(tl.fma(tl.fma(Q4, z, Q3), z, Q2), z, Q1), z, Q0)
        if how == "reciprocal":  # within one unit of the last digit, and q is between 1 and 100
            q = tl.inline_asm_elementwise(
                "rcp.approx.ftz.f32 $0, $1;", "=f,f", [q], dtype=tl.float32, is_pure=True, pack=1
            )
            out = x * p * q
        else:
            out = x * p / q
        out = tl.maximum(tl.minimum(out, 1.0, propagate_nan=KEEP_NAN), -1.0, propagate_nan=KEEP_NAN)
    return out
