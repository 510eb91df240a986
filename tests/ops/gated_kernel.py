"""The kernels of `gated_sum` against plain PyTorch, on a GPU or, with TRITON_INTERPRET=1, under Triton's interpreter.

Triton reads that variable once, when it is imported, so `test_gated_sum.py` runs this file in a process of its own.
"""

from __future__ import annotations

import math
import os
from dataclasses import replace
from typing import Any

import pytest
import torch
from gated_cases import GatedCase, arguments
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lit_adaptconv.ops import gated_sum as op

triton = pytest.importorskip("triton")

from lit_adaptconv.ops.gpu import gated_sum as gpu  # noqa: E402

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
# NumPy, which the interpreter computes with, tells of every overflow.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton")
FORMATS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}
cases = st.builds(
    GatedCase,
    st.integers(1, 3),
    st.sampled_from([2, 6, 10]),
    st.sampled_from([1, 2]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["tanh", "sigmoid", "identity"]),
)


def prepared(case: GatedCase, **options: Any) -> list[Any]:
    return [t.detach().to(DEVICE) if isinstance(t, Tensor) else t for t in arguments(case, **options)]


def results(args: list[Any], cotangent: Tensor) -> list[Tensor]:
    """Output and all gradients, by the kernels."""
    filtered, values, gate_bias, bias, groups, activation = args
    apart = filtered.new_empty(0) if values is None else values
    out = gpu.forward(filtered, apart, gate_bias, bias, groups, activation)
    grads = gpu.backward(cotangent, filtered, apart, gate_bias, groups, activation, True)
    return [out, *(grad for grad, t in zip(grads, args[:4], strict=True) if t is not None)]


def expected(args: list[Any], cotangent: Tensor) -> list[Tensor]:
    """The same in float64 by plain PyTorch."""
    exact = [t.double().requires_grad_() if isinstance(t, Tensor) else t for t in args]
    out = op.plain(*exact)
    inputs = [t for t in exact if isinstance(t, Tensor)]
    return [out.detach(), *torch.autograd.grad(out, inputs, cotangent.double())]


def cotangent_of(args: list[Any], case: GatedCase) -> Tensor:
    filtered = args[0]
    shape = (len(filtered), case.channels, *filtered.shape[2:])
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return drawn.to(DEVICE, filtered.dtype)


def agree(got: list[Tensor], exact: list[Tensor], bound: float) -> None:
    for fused, wanted in zip(got, exact, strict=True):
        assert fused.shape == wanted.shape
        torch.testing.assert_close(
            fused.double(), wanted, rtol=0, atol=bound * max(1.0, wanted.abs().max().item() if wanted.numel() else 0)
        )


@settings(max_examples=60 if INTERPRETED else 300)
@given(cases, st.tuples(st.integers(0, 3), st.integers(1, 6), st.integers(1, 6)), st.sampled_from(list(FORMATS)))
def test_output_and_all_gradients_agree_in_either_format(
    case: GatedCase, shape: tuple[int, int, int], memory: str
) -> None:
    args = prepared(case, images=shape[0], size=shape[1:], dtype=torch.float32, memory=FORMATS[memory])
    cotangent = cotangent_of(args, case).to(memory_format=FORMATS[memory])
    got = results(args, cotangent)
    agree(got, expected(args, cotangent), 1e-5)
    assert got[1].stride() == args[0].stride()
    values = args[0] if args[1] is None else args[1]
    assert got[0].is_contiguous(memory_format=op.memory_format(values))


@pytest.mark.parametrize("memory", FORMATS)
@pytest.mark.parametrize(
    "case",
    [
        GatedCase(channels=20),
        GatedCase(channels=20, stacked=False),
        GatedCase(channels=20, shared=True),
        GatedCase(channels=200, groups=1, rank=1),
    ],
)
def test_several_tiles_agree(case: GatedCase, memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a program computes more than one."""
    monkeypatch.setattr(gpu, "PROGRAMS", 6)
    gpu._plan_backward.cache_clear()
    args = prepared(case, images=3, size=(13, 11), dtype=torch.float32, memory=FORMATS[memory])
    cotangent = cotangent_of(args, case)
    agree(results(args, cotangent), expected(args, cotangent), 1e-5)
    gpu._plan_backward.cache_clear()


@pytest.mark.parametrize("case", [GatedCase(), GatedCase(stacked=False, shared=True)])
@pytest.mark.parametrize("order", ["expanded", "channels last", "transposed", "every second pixel"])
def test_a_cotangent_may_have_any_order_of_memory(case: GatedCase, order: str) -> None:
    args = prepared(case, dtype=torch.float32)
    cotangent = cotangent_of(args, case)
    if order == "expanded":
        cotangent = cotangent[:1, :1, :1, :1].expand(cotangent.shape)
    elif order == "channels last":
        cotangent = cotangent.to(memory_format=torch.channels_last)
    elif order == "transposed":
        cotangent = cotangent.mT.contiguous().mT
    else:
        cotangent = cotangent.repeat_interleave(2, -1).repeat_interleave(2, -2)[..., ::2, ::2]
    got, wanted = results(args, cotangent), results(args, cotangent.contiguous())
    agree(got, [t.double() for t in wanted], 1e-6)  # a GPU adds pixels in another order
    assert torch.equal(got[0], wanted[0])


@pytest.mark.parametrize("stacked", [True, False])
def test_images_whose_memory_has_holes_give_the_same(stacked: bool) -> None:
    case = GatedCase(stacked=stacked)
    args = prepared(case, dtype=torch.float32)
    cotangent = cotangent_of(args, case)
    holes = [t.repeat_interleave(2, 1)[:, ::2] if isinstance(t, Tensor) and t.dim() == 4 else t for t in args]
    for got, same in zip(results(holes, cotangent), results(args, cotangent), strict=True):
        assert torch.equal(got, same)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "identity"])
def test_half_precision_is_rounded_once(dtype: torch.dtype, activation: str) -> None:
    case = GatedCase(activation=activation)
    args = prepared(case, dtype=dtype)
    cotangent = cotangent_of(args, case)
    got = results(args, cotangent)
    assert {t.dtype for t in got} == {dtype}
    for fused, exact in zip(got, expected(args, cotangent), strict=True):
        # A GPU's own tanh has a relative error below 2⁻¹⁰, which can cancel in the gate's slope.
        tolerance = torch.finfo(dtype).eps
        torch.testing.assert_close(fused.double(), exact, rtol=tolerance, atol=(1e-5 if INTERPRETED else 1e-2))


def test_biases_may_have_a_wider_type_as_under_autocast() -> None:
    case = GatedCase()
    args = prepared(case, dtype=torch.bfloat16)
    args[2:4] = [0.1 + t.float() for t in args[2:4]]
    cotangent = cotangent_of(args, case)
    got = results(args, cotangent)
    assert [t.dtype for t in got] == [torch.bfloat16] * 2 + [torch.float32] * 2
    agree(got, expected(args, cotangent), 2e-2)


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_float64_is_exact(activation: str) -> None:
    case = GatedCase(activation=activation)
    args = prepared(case)
    cotangent = cotangent_of(args, case)
    agree(results(args, cotangent), expected(args, cotangent), 1e-14)


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "identity"])
@pytest.mark.parametrize("target", [0, 2, 3])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_special_numbers_spread_as_in_plain_pytorch(value: float, target: int, activation: str) -> None:
    case = GatedCase(activation=activation)
    args = prepared(case, dtype=torch.float32)
    args[target].view(-1)[0] = value
    cotangent = cotangent_of(args, case)
    for fused, exact in zip(results(args, cotangent), expected(args, cotangent), strict=True):
        torch.testing.assert_close(fused.double(), exact, rtol=1e-4, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("scale", [1e-30, 1e4, -1e4])
@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_very_large_and_small_gates_are_exact(scale: float, activation: str) -> None:
    case = GatedCase(activation=activation, stacked=False)
    args = prepared(case, dtype=torch.float32)
    args[0] = args[0] * scale
    cotangent = cotangent_of(args, case)
    agree(results(args, cotangent), expected(args, cotangent), 1e-5)


def test_offsets_of_64_bits_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    case = GatedCase()
    args = prepared(case, dtype=torch.float32)
    cotangent = cotangent_of(args, case)
    wanted = results(args, cotangent)
    monkeypatch.setattr(gpu, "FARTHEST", 0)
    for plan in (gpu._plan_forward, gpu._plan_backward):
        plan.cache_clear()
    assert all(torch.equal(a, b) for a, b in zip(results(args, cotangent), wanted, strict=True))
    for plan in (gpu._plan_forward, gpu._plan_backward):
        plan.cache_clear()


def test_other_tiles_give_the_same_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    case = GatedCase(channels=10)
    args = prepared(case, size=(9, 9), dtype=torch.float32)
    cotangent = cotangent_of(args, case)
    wanted = results(args, cotangent)
    monkeypatch.setattr(gpu, "TILE", 64)
    for plan in (gpu._plan_forward, gpu._plan_backward):
        plan.cache_clear()
    got = results(args, cotangent)
    assert all(torch.equal(a, b) for a, b in zip(got[:2], wanted[:2], strict=True))
    agree(got, [t.double() for t in wanted], 1e-5)
    for plan in (gpu._plan_forward, gpu._plan_backward):
        plan.cache_clear()


def test_frozen_biases_have_no_sums() -> None:
    args = prepared(replace(GatedCase(), biased=False), dtype=torch.float32)
    filtered, _, gate_bias, _, groups, activation = args
    cotangent = cotangent_of(args, GatedCase())
    empty = filtered.new_empty(0)
    d_filtered, _, *sums = gpu.backward(cotangent, filtered, empty, gate_bias, groups, activation, False)
    assert [t.numel() for t in sums] == [0, 0]
    assert torch.equal(d_filtered, results(args, cotangent)[1])


def test_the_function_reaches_the_kernels_and_differentiates_them_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interpreted, tensors of the CPU are taken for a GPU's."""
    if INTERPRETED:
        monkeypatch.setattr(op, "fuses_on_gpu", lambda device, dtype: True)
    case = GatedCase(rank=1, channels=2)
    args = [t.requires_grad_() if isinstance(t, Tensor) else t for t in prepared(case, images=1, size=(1, 2))]
    inputs = [t for t in args if isinstance(t, Tensor)]

    def of(filtered: Tensor, gate_bias: Tensor, bias: Tensor) -> Tensor:
        return op.gated_sum(filtered, None, gate_bias, bias, case.groups, case.activation)

    assert torch.autograd.gradcheck(of, inputs)
    assert torch.autograd.gradgradcheck(of, inputs)


# opcheck itself reads the gradient of a tensor that is no leaf.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("memory", FORMATS)
@pytest.mark.parametrize("stacked", [True, False])
def test_both_operators_pass_opcheck(stacked: bool, memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if INTERPRETED:
        monkeypatch.setattr(op, "fuses_on_gpu", lambda device, dtype: True)
    case = GatedCase(stacked=stacked)
    args = prepared(case, dtype=torch.float32, memory=FORMATS[memory])
    args[1] = args[0].new_empty(0) if stacked else args[1]
    cotangent = cotangent_of(args, case).to(memory_format=FORMATS[memory])
    args = [t.requires_grad_() if isinstance(t, Tensor) else t for t in args]
    utilities = ["test_schema", "test_autograd_registration", "test_faketensor"]
    torch.library.opcheck(op.FORWARD, tuple(args), test_utils=utilities)
    for needs in (True, False):
        torch.library.opcheck(op.BACKWARD, (cotangent, *args[:3], *args[4:], needs), test_utils=utilities)
