"""Forward and backward of the adaptive convolution on GPU tensors.

What a call launches depends on its shapes alone. It is worked out once and remembered, since that takes the host longer
than a small kernel takes the GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import torch
import triton.language as tl
from torch import Tensor
from triton import cdiv

from lit_adaptconv.ops import schema
from lit_adaptconv.ops.geometry import Call
from lit_adaptconv.ops.gpu import tiles
from lit_adaptconv.ops.gpu.depthwise_kernel import depthwise_kernel
from lit_adaptconv.ops.gpu.forward_kernel import forward_kernel
from lit_adaptconv.ops.gpu.input_kernels import collect_kernel, spread_kernel
from lit_adaptconv.ops.gpu.launch import Launch, device_of
from lit_adaptconv.ops.gpu.matrix_kernels import (
    backward_matrix_kernel,
    forward_matrix_kernel,
    pack_kernel,
    precision_of_products,
)
from lit_adaptconv.ops.gpu.sizes import FARTHEST, Extent, Sizes, Strides, measure, wide
from lit_adaptconv.ops.gpu.tanh import how
from lit_adaptconv.ops.gpu.weight_kernel import add_parts_kernel, weight_kernel

SHARE = 16  # the maps of the input's gradient take one part in so many of the GPU's memory at most
SCRATCH = 2**24  # bytes for them under the interpreter

Forward = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
Backward = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor, Tensor]]


def forward(
    input: Tensor,
    generator_weight: Tensor,
    generator_bias: Tensor,
    bias: Tensor | None,
    call: Call,
    expected: tuple[bool, bool] | None = None,
) -> Tensor:
    """Generate and apply the kernels; bfloat16 and float16 are computed in float32 and rounded once.

    `expected` are the `needs_input` and `needs_weights` of the backward pass to come, if there may be one: its kernels
    are compiled meanwhile.
    """
    with device_of(input):
        plan = _plan_forward(
            input.shape, input.stride(), generator_weight.shape, bias is not None, call, input.dtype,
            coarse(input.dtype), input.device, expected,
        )  # fmt: skip
        return plan(
            input,
            generator_weight.contiguous(),
            generator_bias.contiguous(),
            None if bias is None else bias.contiguous(),
        )


def backward(
    grad_output: Tensor,
    input: Tensor,
    generator_weight: Tensor,
    generator_bias: Tensor,
    call: Call,
    needs_input: bool,
    needs_weights: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of `forward`: of input, generator weight, generator bias and bias.

    The kernels are generated again from the input. What is not needed is empty.
    """
    plan = _plan_backward(
        input.shape, input.stride(), generator_weight.shape, grad_output.stride(), call, input.dtype,
        coarse(input.dtype), input.device, needs_input, needs_weights,
    )  # fmt: skip
    with device_of(input):
        return plan(grad_output, input, generator_weight.contiguous(), generator_bias.contiguous())


def expect_backward(
    shape: Sequence[int],
    strides: Sequence[int],
    weight_shape: Sequence[int],
    call: Call,
    dtype: torch.dtype,
    coarse: bool,
    device: torch.device,
    needs_input: bool,
    needs_weights: bool,
) -> None:
    """Begin to compile what `backward` will launch for a gradient laid out like the output.

    It is launched for tensors without memory, which compiles it.
    """
    extent, _ = measure(shape, weight_shape, call)
    empty = partial(torch.empty, dtype=dtype, device="meta")
    grad = empty(_out_shape(shape[0], extent), memory_format=memory_format(shape, strides))
    plan = _plan_backward(
        shape, strides, weight_shape, grad.stride(), call, dtype, coarse, device, needs_input, needs_weights
    )
    bias = empty(extent.groups * extent.group_out, extent.group_in, weight_shape[1])
    plan(grad, torch.empty_strided(shape, strides, dtype=dtype, device="meta"), empty(weight_shape), bias)


def coarse(dtype: torch.dtype) -> bool:
    """Whether numbers may be computed with some ten bits, as a convolution of this type may compute them."""
    if dtype == torch.float32:
        precision: str = torch.backends.cudnn.conv.fp32_precision  # type: ignore[attr-defined]
        return precision == "tf32"
    return dtype in (torch.float16, torch.bfloat16)


class _Types:
    """What a call is computed in."""

    def __init__(self, dtype: torch.dtype, coarse: bool, far: bool) -> None:
        double = dtype == torch.float64
        self.dtype = dtype  # of the tensors
        self.real = torch.float64 if double else torch.float32
        self.words = 2 if double else 1  # registers that a number takes
        self.precision = precision_of_products()
        self.coarse = coarse and (dtype != torch.float32 or self.precision == "tf32")
        self.options = {"real": tl.float64 if double else tl.float32, "index": tl.int64 if far else tl.int32}
        self.how = how(self.coarse)

    def uses_matrices(self, extent: Extent) -> bool:
        """Whether kernels are generated by matrix units."""
        return self.coarse and extent.group_out >= tiles.MATRIX_OUTPUTS


@lru_cache(maxsize=1024)
def _plan_forward(
    shape: Sequence[int],
    strides: Sequence[int],
    weight_shape: Sequence[int],
    biased: bool,
    call: Call,
    dtype: torch.dtype,
    coarse: bool,
    device: torch.device,
    expected: tuple[bool, bool] | None,
) -> Forward:
    """Plan a forward pass."""
    if expected is not None:
        expect_backward(shape, strides, weight_shape, call, dtype, coarse, device, *expected)
    extent, sizes = measure(shape, weight_shape, call)
    pixels = shape[0] * extent.out_height * extent.out_width
    out_shape = _out_shape(shape[0], extent)
    memory = memory_format(shape, strides)
    out_strides = Strides(*torch.empty(out_shape, device="meta", memory_format=memory).stride())
    types = _Types(dtype, coarse, wide(shape[0], extent, strides, out_strides))

    def new_output() -> Tensor:
        return torch.empty(out_shape, dtype=dtype, device=device, memory_format=memory)

    if pixels == 0:
        return lambda *tensors: new_output()
    options: dict[str, Any] = {"how": types.how, "biased": biased, "index": types.options["index"]}
    matrix = types.uses_matrices(extent)
    tile = tiles.matrix_forward(extent, sizes) if matrix else tiles.forward(extent, sizes, pixels, types.words)
    grid = cdiv(pixels, tile["block"]) * extent.groups * cdiv(extent.group_out, tile["outputs"])
    after = (pixels, Strides(*strides), out_strides)
    if matrix:
        pack, form = _packing(extent, sizes)
        options["precision"] = types.precision
        launch = Launch(
            forward_matrix_kernel, grid, after, {"extent": extent, "sizes": sizes, **options, **form, **tile}
        )
    else:
        constants = {"extent": extent, "sizes": sizes, **options, "real": types.options["real"], **tile}
        launch = Launch(forward_kernel, grid, after, constants)

    def run(input: Tensor, weight: Tensor, kernel_bias: Tensor, bias: Tensor | None) -> Tensor:
        out = new_output()
        generators = (pack(weight, kernel_bias),) if matrix else (weight, kernel_bias)
        launch(input, *generators, weight if bias is None else bias, out)
        return out

    return run


@lru_cache(maxsize=1024)
def _plan_backward(
    shape: Sequence[int],
    strides: Sequence[int],
    weight_shape: Sequence[int],
    grad_strides: Sequence[int],
    call: Call,
    dtype: torch.dtype,
    coarse: bool,
    device: torch.device,
    needs_input: bool,
    needs_weights: bool,
) -> Backward:
    """Plan a backward pass: the sums for the parameters come in parts, which one last kernel adds up."""
    extent, sizes = measure(shape, weight_shape, call)
    types = _Types(dtype, coarse, wide(shape[0], extent, strides, grad_strides))
    if shape[0] == 0:

        def nothing(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            made = (torch.zeros_like(t) if needs_weights else t.new_empty(0) for t in (weight, bias))
            return torch.empty_like(x) if needs_input else x.new_empty(0), *made, x.new_zeros(len(bias))  # type: ignore[return-value]

        return nothing
    # An input whose pixels share memory has no gradient laid out like it.
    like = torch.empty_like(torch.empty_strided(tuple(shape), tuple(strides), device="meta"))
    task = _Task(
        extent, sizes, types, shape[0], Strides(*grad_strides), Strides(*strides), Strides(*like.stride()), device,
        needs_input, needs_weights,
    )  # fmt: skip
    if tiles.is_depthwise(extent, sizes, types.words):
        lanes, rows, work = _depthwise(task)
    elif types.uses_matrices(extent):
        lanes, rows, work = _matrix(task)
    else:
        lanes, rows, work = _general(task)
    biases, outputs = weight_shape[0] * sizes.taps, extent.groups * extent.group_out
    numbers = biases * (sizes.seen + 1) + outputs
    add = Launch(
        add_parts_kernel,
        cdiv(numbers, tiles.ADD_BLOCK),
        (rows, biases * sizes.seen, biases, numbers),
        {"lanes": lanes, "rows": tiles.ADD_ROWS, "block": tiles.ADD_BLOCK},
    )

    def run(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        dx = torch.empty_like(x) if needs_input else x.new_empty(0)
        parts = x.new_empty((rows, numbers, lanes), dtype=types.real)
        work(grad, x, weight, bias, dx, parts)
        if not needs_weights:
            empty = x.new_empty(0)
            return dx, empty, x.new_empty(0), grad.sum((0, 2, 3), dtype=types.real).to(dtype)
        made = (torch.empty_like(weight), torch.empty_like(bias), bias.new_empty(outputs))
        add(parts, *made)
        return dx, *made

    return run


Work = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], None]
"""Fills the input's gradient and the parts: (gradient, input, weight, generator's bias, input's gradient, parts)."""


class _Task(NamedTuple):
    """What is known of a backward pass before its numbers."""

    extent: Extent
    sizes: Sizes
    types: _Types
    images: int
    grad_strides: Strides
    strides: Strides
    dx_strides: Strides
    device: torch.device
    needs_input: bool
    needs_weights: bool

    @property
    def area(self) -> int:
        """Pixels of an image's output."""
        return self.extent.out_height * self.extent.out_width

    @property
    def channels(self) -> int:
        """Channels of the input."""
        return self.extent.groups * self.extent.group_in


def _depthwise(task: _Task) -> tuple[int, int, Work]:
    """Plan the one pass of a depthwise layer: numbers beside each other in a part, parts, and what fills them."""
    extent, sizes, types = task.extent, task.sizes, task.types
    strip = tiles.strips(extent, sizes)
    items = task.images * strip["strips"]
    each = cdiv(items, max(1, min(tiles.PROGRAMS // extent.groups, items)))
    rows = cdiv(items, each)
    programs, block = rows * extent.groups, tiles.SUM_BLOCK
    launch = Launch(
        depthwise_kernel,
        programs,
        (items, each, task.grad_strides, task.strides, task.dx_strides),
        {
            "extent": extent,
            "sizes": sizes,
            **strip,
            "how": types.how,
            **types.options,
            "needs_input": task.needs_input,
            **tiles.threads(block, block // tiles.WARP),
        },
    )
    numbers = programs * sizes.maps * strip["area"] if task.needs_input else 0

    def work(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, dx: Tensor, parts: Tensor) -> None:
        launch(grad, x, weight, bias, parts.new_empty(numbers), dx, parts)

    return block, rows, work


def _matrix(task: _Task) -> tuple[int, int, Work]:
    """Plan the matrix kernels, for some images at a time."""
    extent, sizes, types = task.extent, task.sizes, task.types
    tile = tiles.matrix_backward(extent, sizes)
    pack, form = _packing(extent, sizes)
    pieces = _pieces(task, sizes.maps if task.needs_input else 0)
    most = cdiv(pieces[0].pixels, tile["block"])
    each = cdiv(most, max(1, min(2 * tiles.PROGRAMS // pieces[0].channels, most)))
    count = cdiv(most, each)
    launches = []
    for piece in pieces:
        step = piece.channels * piece.pixels
        after = (step, piece.channel, piece.channels, each, piece.pixels, task.grad_strides, task.strides)
        options = {
            "extent": extent,
            "sizes": sizes,
            "how": types.how,
            "precision": types.precision,
            "index": types.options["index"],
            **form,
            **tile,
            "needs_input": task.needs_input,
            "needs_weights": task.needs_weights,
        }
        spread = Launch(backward_matrix_kernel, count * piece.channels, after, options)
        launches.append((piece, spread, _collecting(piece, task, merged=sizes.same)))
    groups_of_images = len({piece.image for piece in pieces})

    def work(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, dx: Tensor, parts: Tensor) -> None:
        packed, maps = pack(weight, bias), parts.new_empty(pieces[0].numbers)
        for number, (piece, spread, collect) in enumerate(launches):
            row = number * groups_of_images // len(launches) * count
            spread(piece.of(grad), piece.of(x), packed, maps, parts[row:])
            if task.needs_input:
                collect(maps, piece.of(dx, task.channels))

    return 1, groups_of_images * count, work


def _general(task: _Task) -> tuple[int, int, Work]:
    """Plan the input's gradient, for some images or channels at a time, and the parameters'."""
    extent, sizes, types = task.extent, task.sizes, task.types
    tile = tiles.spread(extent, sizes, types.words)
    merged, pixels = tile["merged"], task.images * task.area
    pieces = _pieces(task, sizes.seen if merged else sizes.taps + sizes.seen)
    launches = []
    for piece in pieces if task.needs_input else []:
        after = (
            piece.channels * piece.pixels,
            piece.channel,
            piece.channels,
            piece.pixels,
            task.grad_strides,
            task.strides,
        )
        grid = cdiv(piece.pixels, tile["block"]) * piece.channels
        options = {"extent": extent, "sizes": sizes, "how": types.how, **types.options, **tile}
        spread = Launch(spread_kernel, grid, after, options)
        launches.append((piece, spread, _collecting(piece, task, merged)))
    tile = tiles.weights(extent, sizes, types.words)
    filters, count = task.channels * extent.group_out, cdiv(pixels, tile["block"])
    each = cdiv(count, max(1, min(4 * tiles.PROGRAMS // filters, count // tiles.TILES_EACH)))
    rows = cdiv(count, each)
    sums = Launch(
        weight_kernel,
        rows * filters * cdiv(sizes.taps, tile["taps_at_once"]),
        (each, pixels, task.grad_strides, task.strides),
        {"extent": extent, "sizes": sizes, "how": types.how, **types.options, **tile},
    )

    def work(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, dx: Tensor, parts: Tensor) -> None:
        if launches:
            maps = parts.new_empty(pieces[0].numbers)
        for piece, spread, collect in launches:
            spread(piece.of(grad), piece.of(x), weight, bias, maps)
            collect(maps, piece.of(dx, task.channels))
        if task.needs_weights:
            sums(grad, x, weight, bias, parts)

    return 1, rows, work


class _Piece:
    """Some images and channels whose maps are made at once."""

    def __init__(self, image: int, images: int, channel: int, channels: int, area: int, maps: int) -> None:
        self.image, self.images = image, images
        self.channel, self.channels = channel, channels
        self.pixels = images * area
        self.numbers = maps * channels * self.pixels

    def of(self, tensor: Tensor, channels: int = 0) -> Tensor:
        """The images of a tensor; of one that has `channels` of them, the channels too."""
        if self.images < len(tensor):
            tensor = tensor[self.image : self.image + self.images]
        if self.channels < channels:
            tensor = tensor[:, self.channel : self.channel + self.channels]
        return tensor


def _pieces(task: _Task, maps: int) -> list[_Piece]:
    """Cut a call so that the maps of a piece fit in the scratch memory: by images or, within one, by channels."""
    images, channels, area = task.images, task.channels, task.area
    planes = max(1, scratch(task.device) // max(1, maps * area * 4 * task.types.words))
    together, some = max(1, min(images, planes // channels)), min(channels, planes)
    return [
        _Piece(image, min(together, images - image), channel, min(some, channels - channel), area, maps)
        for image in range(0, images, together)
        for channel in range(0, channels, some)
    ]


def _collecting(piece: _Piece, task: _Task, merged: bool) -> Launch:
    extent, sizes = task.extent, task.sizes
    pixels = piece.images * extent.height * extent.width
    return Launch(
        collect_kernel,
        cdiv(pixels, tiles.COLLECT_BLOCK) * piece.channels,
        (piece.channels * piece.pixels, piece.channels, piece.pixels, pixels, task.dx_strides),
        {"extent": extent, "sizes": sizes, **task.types.options, "block": tiles.COLLECT_BLOCK, "merged": merged},
    )


def _packing(extent: Extent, sizes: Sizes) -> tuple[Callable[[Tensor, Tensor], Tensor], dict[str, Any]]:
    """What lays the generators out as matrices, and the form of these."""
    form = tiles.matrices(extent, sizes)
    programs = extent.groups * extent.group_in * form["taps"]
    launch = Launch(pack_kernel, programs, (), {"extent": extent, "sizes": sizes, **form})

    def pack(weight: Tensor, bias: Tensor) -> Tensor:
        packed = weight.new_empty(programs * form["inner"] * form["outer"])
        launch(weight, bias, packed)
        return packed

    return pack, form


def _out_shape(images: int, extent: Extent) -> tuple[int, int, int, int]:
    return images, extent.groups * extent.group_out, extent.out_height, extent.out_width


def scratch(device: torch.device) -> int:
    """Bytes for the maps of the input's gradient: a share of the GPU's memory, with numbers that 32 bits can count."""
    if device.type == "cpu":
        return SCRATCH
    return min(torch.cuda.get_device_properties(device).total_memory // SHARE, 4 * FARTHEST)


def memory_format(shape: Sequence[int], strides: Sequence[int]) -> torch.memory_format:
    """The memory format of the output of such an input, as for a convolution."""
    return schema.memory_format(torch.empty_strided(tuple(shape), tuple(strides), device="meta"))
