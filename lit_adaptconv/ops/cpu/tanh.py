"""tanh of a vector: a rational approximation in float32, the C library's in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

from lit_adaptconv.ops import rational
from lit_adaptconv.ops.cpu.simd import Vector, fma, larger, smaller, splat

LIMIT = np.float32(rational.LIMIT)
P0, P1, P2, P3 = (np.float32(c) for c in rational.P)
Q0, Q1, Q2, Q3, Q4 = (np.float32(c) for c in rational.Q)
ONE = np.float32(1)


@njit(inline="never", forceinline=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _rational(x: Any) -> Any:
    z = smaller(x * x, splat(LIMIT))
    p = fma(fma(fma(splat(P3), z, splat(P2)), z, splat(P1)), z, splat(P0))
    q = fma(fma(fma(fma(splat(Q4), z, splat(Q3)), z, splat(Q2)), z, splat(Q1)), z, splat(Q0))
    return larger(smaller(x * p / q, splat(ONE)), splat(-ONE))


@intrinsic
def _lane_by_lane(typing_context: Any, x: Vector) -> tuple[Any, Callable[..., ir.Value]]:
    scalar = types.float64(types.float64)

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        function = typing_context.resolve_value_type(math.tanh)
        function.get_call_type(typing_context, scalar.args, {})
        tanh = context.get_function(function, scalar)
        out = args[0]
        for lane in range(x.lanes):
            at = ir.Constant(ir.IntType(32), lane)
            out = builder.insert_element(out, tanh(builder, [builder.extract_element(args[0], at)]), at)
        return out

    return x(x), generate


def tanh(x: Any) -> Any:
    """Return tanh of each lane of a vector; NaN where `x` is NaN, exactly ±1 at ±infinity.

    In float32 the relative error is below 5e-7, whatever the input; in float64 it is the C library's.
    """
    raise NotImplementedError("compiled by Numba only")


@overload(tanh, strict=False)
def _tanh(x: Any) -> Any:
    if x.dtype == types.float32:
        return lambda x: _rational(x)
    return lambda x: _lane_by_lane(x)
