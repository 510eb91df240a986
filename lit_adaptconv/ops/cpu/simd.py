"""Vectors of the host's native width for Numba, so that a kernel states its vectorisation instead of hoping for it.

A vector is an LLVM vector value: `load` and `store` move it, the arithmetic operators work lane by lane. Written
this way a loop keeps its accumulators in registers on every target, whatever LLVM can prove about aliasing.
"""

# The arguments are Numba's and LLVM's objects, of which mypy knows nothing.
# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

import operator

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import PrimitiveModel
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, register_model


def _native_bytes() -> int:
    """Return the width of the host's widest vector registers."""
    features = llvmlite.binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 64
    return 32 if features.get("avx") else 16


BYTES = _native_bytes()


class Vector(types.Type):
    """Numba's type for a vector of `lanes` elements of a float type."""

    def __init__(self, dtype):
        self.dtype = dtype
        self.lanes = BYTES * 8 // dtype.bitwidth
        super().__init__(name=f"vector({dtype} x {self.lanes})")


@register_model(Vector)
class _VectorModel(PrimitiveModel):
    def __init__(self, manager, vector):
        super().__init__(manager, vector, _llvm_type(vector))


def _llvm_type(vector):
    element = ir.FloatType() if vector.dtype == types.float32 else ir.DoubleType()
    return ir.VectorType(element, vector.lanes)


def _splat(builder, vector, scalar):
    undefined = ir.Constant(_llvm_type(vector), ir.Undefined)
    one = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), vector.lanes), None)
    return builder.shuffle_vector(one, undefined, mask)


def _element(context, builder, array_type, array, index):
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [index])


def _address(context, builder, array_type, array, index):
    vector = ir.PointerType(_llvm_type(Vector(array_type.dtype)))
    return builder.bitcast(_element(context, builder, array_type, array, index), vector)


@intrinsic
def get(typing_context, array, index):
    """Return `array[index]`. Nothing checks the bounds or for a negative index, so LLVM can vectorise the loop."""

    def generate(context, builder, sig, args):
        return builder.load(_element(context, builder, sig.args[0], args[0], args[1]))

    return array.dtype(array, types.intp), generate


@intrinsic
def put(typing_context, array, index, value):
    """Set `array[index]`, as `get` gets it."""

    def generate(context, builder, sig, args):
        builder.store(args[2], _element(context, builder, sig.args[0], args[0], args[1]))
        return context.get_dummy_value()

    return types.void(array, types.intp, array.dtype), generate


@intrinsic
def load(typing_context, array, index):
    """Return the vector at `array[index:index + lanes]`; nothing checks the bounds."""
    vector = Vector(array.dtype)

    def generate(context, builder, sig, args):
        address = _address(context, builder, sig.args[0], args[0], args[1])
        return builder.load(address, align=array.dtype.bitwidth // 8)

    return vector(array, types.intp), generate


@intrinsic
def store(typing_context, array, index, value):
    """Write a vector to `array[index:index + lanes]`; nothing checks the bounds."""

    def generate(context, builder, sig, args):
        address = _address(context, builder, sig.args[0], args[0], args[1])
        builder.store(args[2], address, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), generate


@intrinsic
def splat(typing_context, scalar):
    """Return a vector with `scalar` in every lane."""
    vector = Vector(scalar)

    def generate(context, builder, sig, args):
        return _splat(builder, vector, args[0])

    return vector(scalar), generate


@intrinsic
def broadcast(typing_context, array, index):
    """Return a vector with `array[index]` in every lane; nothing checks the bounds."""
    vector = Vector(array.dtype)

    def generate(context, builder, sig, args):
        return _splat(builder, vector, builder.load(_element(context, builder, sig.args[0], args[0], args[1])))

    return vector(array, types.intp), generate


@intrinsic
def fma(typing_context, a, b, c):
    """Return `a * b + c`, fused where the host can."""

    def generate(context, builder, sig, args):
        kind = args[0].type
        name = f"llvm.fmuladd.v{kind.count}f{a.dtype.bitwidth}"
        return builder.call(
            cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), name), args
        )

    return a(a, a, a), generate


@intrinsic
def smaller(typing_context, a, b):
    """Return the smaller of each lane; NaN where `a` is NaN."""

    def generate(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered("<", args[1], args[0]), args[1], args[0])

    return a(a, a), generate


@intrinsic
def larger(typing_context, a, b):
    """Return the larger of each lane; NaN where `a` is NaN."""

    def generate(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered(">", args[1], args[0]), args[1], args[0])

    return a(a, a), generate


def _define(operation, arity, emit):
    """Make a Python operator work on vectors."""

    @infer_global(operation)
    class _Typing(AbstractTemplate):
        def generic(self, args, kws):
            fits = len(args) == arity and isinstance(args[0], Vector) and all(a == args[0] for a in args)
            return signature(args[0], *args) if fits else None

    @lower_builtin(operation, *[Vector] * arity)
    def _lowering(context, builder, sig, args):
        return getattr(builder, emit)(*args)


_define(operator.add, 2, "fadd")
_define(operator.sub, 2, "fsub")
_define(operator.mul, 2, "fmul")
_define(operator.truediv, 2, "fdiv")
_define(operator.neg, 1, "fneg")
