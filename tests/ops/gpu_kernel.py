"""The fused GPU kernel against the reference, on a GPU or, with TRITON_INTERPRET=1, under Triton's interpreter.

Triton reads that variable once, when it is imported, so `test_gpu.py` runs this file in processes of their own. The
interpreter takes a second or more for each call, so there the shapes are few and small.
"""

from __future__ import annotations

import math
import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from agreement import LAYOUTS, relative_errors, results, tensors
from cases import Case, cases
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lit_adaptconv.functional import adaptive_conv2d
from lit_adaptconv.ops import schema
from lit_adaptconv.ops.geometry import sides

triton = pytest.importorskip("triton")
import triton.language as tl  # noqa: E402

from lit_adaptconv.ops import gpu  # noqa: E402
from lit_adaptconv.ops.gpu import forward_kernel, input_kernels, passes, sizes, weight_kernel  # noqa: E402
from lit_adaptconv.ops.gpu.tanh import tanh  # noqa: E402

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE, FUSED = ("cpu", "cpu") if INTERPRETED else ("cuda", "gpu")
if INTERPRETED:  # CPU tensors are computed by what is tested here
    schema._passes = lambda tensor: gpu
# NumPy, which the interpreter computes with, tells of every overflow.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton")

PLAIN = Case(2, (5, 6), 1, 3, 1, (3, 3), (3, 3), (1, 1), (1, 1), (1, 1), True, 0)
SMALL = replace(PLAIN, batch=1, image=(4, 4), group_out=1, kernel_size=(2, 2), generator_size=(2, 2))
SHAPES = {
    "a kernel and a generator of one size": PLAIN,
    "strides": replace(PLAIN, image=(7, 8), stride=(2, 3)),
    "dilations": replace(PLAIN, image=(6, 8), dilation=(2, 3), padding=(2, 0)),
    "strides and dilations in groups": replace(
        PLAIN, image=(6, 7), group_in=2, group_out=1, groups=2, kernel_size=(2, 2), stride=(3, 2), dilation=(1, 2)
    ),
    "depthwise": replace(PLAIN, group_out=1, groups=3, kernel_size=(3, 1)),
    "even sizes": replace(PLAIN, kernel_size=(2, 4), generator_size=(4, 2), group_out=1),
    "even sizes, padded to the same size": replace(PLAIN, kernel_size=(4, 2), generator_size=(2, 3), padding="same"),
    "a generator that is larger": replace(PLAIN, kernel_size=(1, 2), generator_size=(5, 4), padding=(0, 0)),
    "a generator that is smaller, without padding": replace(
        PLAIN, kernel_size=(3, 5), generator_size=(1, 2), padding="valid", group_out=1
    ),
    "one pixel": replace(PLAIN, image=(1, 1)),
    "one pixel, seen by a larger generator": replace(
        PLAIN, image=(1, 1), kernel_size=(1, 1), generator_size=(4, 4), padding=(0, 0)
    ),
    "one row": replace(PLAIN, image=(1, 9), kernel_size=(1, 3)),
    "an image without a batch": replace(SMALL, batch=None),
    "several tiles": replace(SMALL, batch=3, image=(9, 17), stride=(1, 1)),
    "more stride than kernel": replace(SMALL, image=(7, 7), stride=(3, 3), padding=(0, 1)),
}


def options(case: Case, activation: str = "tanh") -> dict[str, Any]:
    return {"kernel_size": case.kernel_size, "kernel_activation": activation, **case.windows}


def on_device(case: Case, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [t.to(DEVICE) for t in tensors(case, dtype)]


def errors(case: Case, activation: str, layout: str = "contiguous") -> list[float]:
    arguments = on_device(case)
    got = results(arguments, FUSED, LAYOUTS[layout], **options(case, activation))
    return relative_errors(got, results([t.double() for t in arguments], "reference", **options(case, activation)))


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("activation", ["tanh", "identity"])
def test_shapes_output_and_all_gradients_agree_with_the_reference(name: str, activation: str) -> None:
    assert max(errors(SHAPES[name], activation)) < 1e-5


@pytest.mark.parametrize("layout", LAYOUTS)
def test_shapes_any_order_of_memory_gives_the_same(layout: str) -> None:
    assert max(errors(replace(SMALL, batch=2, group_in=2), "tanh", layout)) < 1e-5


@pytest.mark.parametrize("activation", ["tanh", "identity"])
def test_shapes_an_empty_batch_gives_empty_output_and_zero_gradients(activation: str) -> None:
    assert max(errors(replace(PLAIN, batch=0), activation)) == 0


@pytest.mark.skipif(INTERPRETED, reason="300 shapes take half an hour in the interpreter")
@settings(max_examples=300)
@given(cases(), st.sampled_from(["tanh", "identity"]), st.sampled_from(list(LAYOUTS)))
def test_shapes_300_at_random_agree_with_the_reference(case: Case, activation: str, layout: str) -> None:
    assert max(errors(case, activation, layout)) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_numbers_in_half_precision_are_the_float32_result_rounded_once(dtype: torch.dtype) -> None:
    half = on_device(SMALL, dtype)
    for got, exact in zip(
        results(half, FUSED, **options(SMALL)),
        results([t.float() for t in half], FUSED, **options(SMALL)),
        strict=True,
    ):
        assert got.dtype == dtype
        # The cotangent is rounded to half precision too, so gradients differ by more than a rounding.
        assert relative_errors([got], [exact])[0] < 4 * torch.finfo(dtype).eps


def test_numbers_in_float64_are_exact() -> None:
    arguments = on_device(PLAIN, torch.float64)
    got = results(arguments, FUSED, **options(PLAIN))
    assert max(relative_errors(got, results(arguments, "reference", **options(PLAIN)))) < 1e-14


@pytest.mark.parametrize("activation", ["tanh", "identity"])
@pytest.mark.parametrize("target", [0, 1, 2, 3])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_special_spread_as_in_the_reference(value: float, target: int, activation: str) -> None:
    arguments = on_device(SMALL)
    arguments[target].view(-1)[0] = value
    got = results(arguments, FUSED, **options(SMALL, activation))
    for fused, expected in zip(got, results(arguments, "reference", **options(SMALL, activation)), strict=True):
        assert torch.equal(fused.isnan(), expected.isnan())
        assert torch.equal(fused.isposinf(), expected.isposinf())
        assert torch.equal(fused.isneginf(), expected.isneginf())
        finite = expected.isfinite()
        torch.testing.assert_close(fused[finite], expected[finite], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e4, -1e4])
def test_numbers_that_are_very_large_and_small_are_as_exact_as_in_the_reference(scale: float) -> None:
    x, *parameters = on_device(SMALL)
    arguments = [scale * x, *parameters]
    exact = results([t.double() for t in arguments], "reference", **options(SMALL))
    fused = relative_errors(results(arguments, FUSED, **options(SMALL)), exact)
    own = relative_errors(results(arguments, "reference", **options(SMALL)), exact)
    assert all(a < 1e-5 + 3 * b for a, b in zip(fused, own, strict=True)), (fused, own)


def test_numbers_that_saturate_tanh_leave_nothing_in_the_gradients() -> None:
    x, weight, bias, _ = on_device(replace(SMALL, padding=(0, 0)))
    x, weight = torch.full_like(x, 1e4), weight.abs() + 0.1
    _, _, d_weight, d_bias = results([x, weight, bias], FUSED, kernel_size=2)
    assert d_weight.count_nonzero() == 0
    assert d_bias.count_nonzero() == 0


@triton.jit
def tanh_of(x, out, count, block: tl.constexpr):  # type: ignore[no-untyped-def]
    p = tl.program_id(0) * block + tl.arange(0, block)
    tl.store(out + p, tanh(tl.load(x + p, mask=p < count)), mask=p < count)


@pytest.mark.parametrize(("dtype", "bound"), [(np.float32, 1e-6), (np.float64, 1e-15)])
def test_numbers_tanh_is_within_the_stated_relative_error(dtype: type[np.floating], bound: float) -> None:
    x = np.geomspace(1e-30, 1e3, 20_000).astype(dtype)
    x = np.concatenate([x, -x, np.array([0, 1e30, -1e30, math.inf, -math.inf, math.nan], dtype)])
    given, out = torch.from_numpy(x).to(DEVICE), torch.empty(len(x), dtype=torch.from_numpy(x).dtype, device=DEVICE)
    tanh_of[(triton.cdiv(len(x), 8192),)](given, out, len(x), block=8192)
    got, exact = out.cpu().numpy(), np.tanh(x.astype(np.longdouble))
    np.testing.assert_allclose(got[:-1], exact[:-1].astype(np.float64), rtol=bound, atol=0)
    assert np.isnan(got[-1])
    assert got[-3] == 1
    assert got[-2] == -1


def bits(case: Case) -> list[Tensor]:
    return results(on_device(case), FUSED, **options(case))


def same(got: list[Tensor], expected: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


CUT = replace(SMALL, batch=3, image=(6, 11), group_out=3, groups=2)


def test_cutting_into_other_tiles_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = bits(CUT)
    for block, outputs, taps in ((32, 1, 1), (64, 4, 3)):
        forward = triton.Config({"block": block, "outputs": outputs}, num_warps=1)
        monkeypatch.setattr(forward_kernel.forward_kernel, "configs", [forward])
        spread = triton.Config({"block": block}, num_warps=1)
        monkeypatch.setattr(input_kernels.spread_kernel, "configs", [spread])
        weights = triton.Config({"taps_at_once": taps}, num_warps=4)
        monkeypatch.setattr(weight_kernel.weight_kernel, "configs", [weights])
        assert same(bits(CUT), expected)


@pytest.mark.parametrize("planes", [1, 3, 5])
def test_cutting_the_scratch_memory_into_images_and_channels_gives_the_same_bits(
    planes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, made = bits(CUT), []
    pixels = (CUT.image[0] + 1) * (CUT.image[1] + 1)
    monkeypatch.setattr(passes, "SCRATCH", planes * (4 + 4) * pixels * 4)
    fill = passes._fill
    monkeypatch.setattr(passes, "_fill", lambda *args: (made.append(args[-1].numel()), fill(*args)))
    assert same(bits(CUT), expected)
    assert len(made) == {1: 6, 3: 3, 5: 2}[planes]
    assert max(made) <= passes.SCRATCH // 4


@pytest.mark.parametrize("tiles_each", [1, 2])
def test_cutting_the_weights_sums_into_parts_agrees_with_the_reference(
    tiles_each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "TILES_EACH", tiles_each)
    assert max(errors(replace(SMALL, batch=3, image=(9, 17)), "tanh")) < 1e-5


def test_cutting_offsets_to_64_bits_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = bits(CUT)
    monkeypatch.setattr(sizes, "FARTHEST", 0)
    assert same(bits(CUT), expected)


# opcheck itself reads the gradient of a tensor that is no leaf.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_operator_passes_opcheck() -> None:
    around = sides((1, 1), SMALL.kernel_size, SMALL.stride, SMALL.dilation)
    call = ([*SMALL.kernel_size], [*SMALL.stride], [*around], [*SMALL.dilation], SMALL.groups, "tanh")
    arguments = [t.requires_grad_() for t in on_device(SMALL)]
    torch.library.opcheck(schema.FORWARD, (*arguments, *call))
    out = torch.zeros(1, 1, 5, 5, device=DEVICE)
    torch.library.opcheck(schema.BACKWARD, (out, *(t.detach() for t in arguments[:3]), *call, True, False))


def test_operator_has_the_derivatives_of_finite_differences() -> None:
    small = replace(SMALL, image=(2, 3), padding=(0, 0), kernel_size=(1, 2), generator_size=(2, 1))
    arguments = [t.requires_grad_() for t in on_device(small, torch.float64)]
    assert torch.autograd.gradcheck(lambda *a: adaptive_conv2d(*a, **options(small)), arguments)


def test_operator_is_called_by_the_function() -> None:
    with torch.profiler.profile() as profile:
        out = adaptive_conv2d(*on_device(SMALL), **options(SMALL))
    assert "lit_adaptconv::adaptive_conv2d" in {event.key for event in profile.key_averages()}
    assert torch.equal(out, bits(SMALL)[0])
