"""The fused GPU kernel against the reference, on a GPU or, with TRITON_INTERPRET=1, under Triton's interpreter.

Triton reads that variable once, when it is imported, so `test_gpu.py` runs this file in processes of their own. The
interpreter takes a second or more for each call, so there the shapes are few and small.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache, partial
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from agreement import LAYOUTS, float32_convolutions, relative_errors, results, tensors
from cases import Case, cases
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lit_adaptconv.functional import adaptive_conv2d
from lit_adaptconv.layers import AdaptiveConv2d
from lit_adaptconv.ops import schema
from lit_adaptconv.ops.geometry import Call, sides

triton = pytest.importorskip("triton")
import triton.language as tl  # noqa: E402

from lit_adaptconv.ops import gpu  # noqa: E402
from lit_adaptconv.ops.gpu import passes, sizes, tiles  # noqa: E402
from lit_adaptconv.ops.gpu.tanh import how, tanh  # noqa: E402

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE, FUSED = ("cpu", "cpu") if INTERPRETED else ("cuda", "gpu")
if INTERPRETED:  # CPU tensors are computed by what is tested here
    schema._passes = lambda tensor: gpu
# NumPy, which the interpreter computes with, tells of every overflow.
# The profiler warns of what nobody asked for.
pytestmark = [
    pytest.mark.filterwarnings("ignore::RuntimeWarning:triton"),
    pytest.mark.filterwarnings("ignore:.*Profiler clears events"),
]
# Relative errors of float32, and of the ten bits of TF32, which the interpreter has not.
BOUND = {"exact": 1e-5, "matrices": 1e-5 if INTERPRETED else 5e-3}

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

LINEAR = ("strides and dilations in groups", "depthwise", "even sizes, padded to the same size")
"""Shapes for a kernel without an activation, which is a matter of each number, where a call takes long."""

COARSE = passes.coarse


def forget_plans() -> None:
    passes._plan_forward.cache_clear()
    passes._plan_backward.cache_clear()


@contextmanager
def computing(way: str) -> Iterator[None]:
    """In float32 throughout, or on matrix units wherever they can, however few outputs there are."""
    forget_plans()
    with (
        mock.patch.object(passes, "coarse", lambda dtype: way == "matrices" and dtype != torch.float64),
        mock.patch.object(tiles, "MATRIX_OUTPUTS", 1),
    ):
        yield
    forget_plans()


@pytest.fixture(autouse=True)
def in_float32() -> Iterator[None]:
    with computing("exact"):
        yield


def options(case: Case, activation: str = "tanh") -> dict[str, Any]:
    return {"kernel_size": case.kernel_size, "kernel_activation": activation, **case.windows}


def on_device(case: Case, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [t.to(DEVICE) for t in tensors(case, dtype)]


def errors(case: Case, activation: str, layout: str = "contiguous", way: str = "exact") -> list[float]:
    arguments = on_device(case)
    with computing(way):
        got = results(arguments, FUSED, LAYOUTS[layout], **options(case, activation))
    return relative_errors(got, results([t.double() for t in arguments], "reference", **options(case, activation)))


@pytest.mark.parametrize(
    ("name", "activation", "way"),
    [
        *itertools.product(SHAPES, ["tanh"], BOUND),
        *itertools.product(LINEAR if INTERPRETED else SHAPES, ["identity"], ["exact"]),
    ],
)
def test_shapes_output_and_all_gradients_agree_with_the_reference(name: str, activation: str, way: str) -> None:
    assert max(errors(SHAPES[name], activation, way=way)) < BOUND[way]


@pytest.mark.parametrize("way", BOUND)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_shapes_any_order_of_memory_gives_the_same(layout: str, way: str) -> None:
    assert max(errors(replace(SMALL, batch=2, group_in=2), "tanh", layout, way)) < BOUND[way]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_shapes_a_depthwise_layer_takes_any_order_of_memory(layout: str) -> None:
    assert max(errors(replace(SMALL, batch=2, groups=2), "tanh", layout)) < 1e-5


@pytest.mark.parametrize("rows", [(9, 1, 1), (23, 1, 2), (23, 3, 1), (17, 2, 2)])
@pytest.mark.parametrize("generator", [1, 3])
def test_shapes_strips_of_a_depthwise_layer_fit_together(rows: tuple[int, int, int], generator: int) -> None:
    """However high the image, the stride and the dilation are, and where its last strip ends."""
    height, stride, dilation = rows
    case = replace(
        SMALL, image=(height, 3), kernel_size=(3, 2), generator_size=(generator, 2), padding=(2, 1),
        stride=(stride, 1), dilation=(dilation, 1), groups=2,
    )  # fmt: skip
    with mock.patch.object(tiles, "STRIP", 3):
        assert max(errors(case, "tanh")) < 1e-5


def test_shapes_what_is_not_needed_is_not_computed() -> None:
    """A first layer needs no gradient of its images, a frozen one none of its parameters."""
    for way, case in (("exact", PLAIN), ("exact", replace(SMALL, groups=2)), ("matrices", PLAIN)):
        around = sides((1, 1), case.kernel_size, case.stride, case.dilation)
        x, weight, bias, _ = on_device(case)
        call = Call(case.kernel_size, case.stride, around, case.dilation, case.groups, "tanh")
        with computing(way):
            grad = torch.randn_like(gpu.forward(x, weight, bias, None, call))
            both = gpu.backward(grad, x, weight, bias, call, True, True)
            images = gpu.backward(grad, x, weight, bias, call, True, False)
            parameters = gpu.backward(grad, x, weight, bias, call, False, True)
        torch.testing.assert_close(images[0], both[0])
        torch.testing.assert_close(images[3], both[3])
        torch.testing.assert_close(parameters[1:], both[1:])
        assert [t.numel() for t in images[1:3]] == [0, 0]
        assert parameters[0].numel() == 0


def test_shapes_the_output_lies_in_memory_as_the_input_does() -> None:
    x, weight, bias, _ = on_device(replace(SMALL, batch=2, group_in=2))
    for memory_format in (torch.contiguous_format, torch.channels_last):
        call = Call((2, 2), (1, 1), (0, 0, 1, 1), (1, 1), 1, "tanh")
        out = gpu.forward(x.contiguous(memory_format=memory_format), weight, bias, None, call)
        assert passes.memory_format(x.shape, x.contiguous(memory_format=memory_format).stride()) == memory_format
        assert out.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("activation", ["tanh", "identity"])
def test_shapes_an_empty_batch_gives_empty_output_and_zero_gradients(activation: str) -> None:
    assert max(errors(replace(PLAIN, batch=0), activation)) == 0


@pytest.mark.skipif(INTERPRETED, reason="they take half an hour in the interpreter")
@pytest.mark.parametrize("part", range(20))  # 300 shapes in all, which several processes can share
@settings(max_examples=15)
@given(cases(), st.sampled_from(["tanh", "identity"]), st.sampled_from(list(LAYOUTS)), st.sampled_from(list(BOUND)))
def test_random_shapes_agree_with_the_reference(part: int, case: Case, activation: str, layout: str, way: str) -> None:
    assert max(errors(case, activation, layout, way)) < BOUND[way]


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
def tanh_of(x, out, count, how: tl.constexpr, block: tl.constexpr):  # type: ignore[no-untyped-def]
    p = tl.program_id(0) * block + tl.arange(0, block)
    tl.store(out + p, tanh(tl.load(x + p, mask=p < count), how), mask=p < count)


@pytest.mark.parametrize(
    ("dtype", "coarse", "bound"), [(np.float32, False, 1e-6), (np.float64, False, 1e-15), (np.float32, True, 2**-10)]
)
def test_numbers_tanh_is_within_the_stated_relative_error(dtype: type[np.floating], coarse: bool, bound: float) -> None:
    x = np.geomspace(1e-30, 1e3, 20_000).astype(dtype)
    x = np.concatenate([x, -x, np.array([0, 1e30, -1e30, math.inf, -math.inf, math.nan], dtype)])
    given, out = torch.from_numpy(x).to(DEVICE), torch.empty(len(x), dtype=torch.from_numpy(x).dtype, device=DEVICE)
    tanh_of[(triton.cdiv(len(x), 8192),)](given, out, len(x), how=how(coarse), block=8192)
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


@cache
def uncut(case: Case, way: str = "exact") -> list[Tensor]:
    """What the kernels give where nothing is changed."""
    with computing(way):
        return bits(case)


@pytest.mark.parametrize(("block", "outputs", "taps"), [(32, 1, 1), (64, 4, 3)])
def test_cutting_into_other_tiles_gives_the_same_bits(block: int, outputs: int, taps: int) -> None:
    expected = uncut(CUT)
    other = {
        "forward": {"block": block, "outputs": outputs},
        "spread": {"block": block},
        "weights": {"taps_at_once": taps},
    }
    forget_plans()
    with ExitStack() as stack:
        for name, options in other.items():
            tile = getattr(tiles, name)
            changed = partial(lambda tile, options, *args: {**tile(*args), **options}, tile, options)
            stack.enter_context(mock.patch.object(tiles, name, changed))
        assert same(bits(CUT), expected)


def test_cutting_loops_that_are_not_written_out_gives_the_same_bits() -> None:
    expected = uncut(CUT)
    forget_plans()
    with mock.patch.object(tiles, "UNROLLED", 0):
        got = bits(CUT)
    # Maps of their own for the kernel's taps are added in another order.
    assert same([*got[:1], *got[2:]], [*expected[:1], *expected[2:]])
    assert relative_errors(got, expected)[1] < 1e-6


@pytest.mark.parametrize("way", BOUND)
@pytest.mark.parametrize(("planes", "pieces"), [(1, 6), (3, 3), (5, 2)])
def test_cutting_the_scratch_memory_into_images_and_channels_gives_the_same(planes: int, pieces: int, way: str) -> None:
    expected = uncut(CUT, way)
    with computing(way):
        forget_plans()
        pixels = (CUT.image[0] + 1) * (CUT.image[1] + 1)
        cut, made = passes._pieces, []
        with (
            mock.patch.object(passes, "scratch", return_value=planes * 4 * pixels * 4),
            mock.patch.object(passes, "_pieces", lambda *args: made.append(cut(*args)) or made[-1]),
        ):
            got = bits(CUT)
    assert [len(m) for m in made] == [pieces]
    assert all(piece.numbers <= planes * 4 * pixels for piece in made[0])
    if way == "exact":
        assert same(got, expected)
    assert max(relative_errors(got, expected)) < BOUND[way]


@pytest.mark.parametrize("tiles_each", [1, 2])
def test_cutting_the_weights_sums_into_parts_agrees_with_the_reference(tiles_each: int) -> None:
    with mock.patch.object(tiles, "TILES_EACH", tiles_each):
        assert max(errors(replace(SMALL, batch=3, image=(9, 17), group_out=2), "tanh")) < 1e-5


@pytest.mark.parametrize(("taps", "way"), [(1, "matrices"), (2, "matrices"), (4, "matrices"), (1, "exact")])
def test_cutting_matrices_into_blocks_of_outputs_and_taps_agrees_with_the_reference(taps: int, way: str) -> None:
    """More outputs than a tile has, and taps that do not fill their last block."""
    case = replace(SMALL, group_out=70, group_in=2, kernel_size=(3, 1), generator_size=(1, 2))
    with mock.patch.object(tiles, "MATRIX_SUMS", taps * 16 * 64):
        assert max(errors(case, "tanh", way=way)) < BOUND[way]


@pytest.mark.parametrize("case", [CUT, SHAPES["depthwise"]], ids=["dense", "depthwise"])
def test_cutting_offsets_to_64_bits_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch, case: Case) -> None:
    expected = uncut(case)
    monkeypatch.setattr(sizes, "FARTHEST", 0)
    forget_plans()
    assert same(bits(case), expected)


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


@pytest.mark.skipif(INTERPRETED, reason="needs a GPU")
@pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores")  # advice of torch.compile
def test_operator_is_captured_in_a_cuda_graph() -> None:
    layer = torch.compile(AdaptiveConv2d(3, 3, 3, padding=1, groups=3, device=DEVICE), mode="reduce-overhead")
    plain = [t.detach().clone() for t in layer.parameters()]
    for _ in range(4):
        x = torch.randn(2, 3, 8, 8, device=DEVICE)
        layer.zero_grad()
        torch.compiler.cudagraph_mark_step_begin()
        out = layer(x)
        out.square().sum().backward()
        assert all(torch.equal(a, b) for a, b in zip(plain, layer.parameters(), strict=True))
        arguments = [t.detach().requires_grad_() for t in plain]
        expected = adaptive_conv2d(x, *arguments, kernel_size=3, padding=1, groups=3)
        torch.testing.assert_close(out, expected)
        expected.square().sum().backward()
        for got, argument in zip(layer.parameters(), arguments, strict=True):
            torch.testing.assert_close(got.grad, argument.grad)


@pytest.mark.parametrize("precision", ["ieee", "tf32"])
def test_operator_uses_matrix_units_in_float32_only_where_a_convolution_may(precision: str) -> None:
    with float32_convolutions(precision):
        assert COARSE(torch.float32) == (precision == "tf32")
        assert COARSE(torch.bfloat16)
        assert not COARSE(torch.float64)
