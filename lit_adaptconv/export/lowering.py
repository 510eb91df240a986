"""What runtimes of devices are given: a network for one image, in PyTorch's own operators, its constants computed."""

from __future__ import annotations

import warnings
from operator import attrgetter
from typing import Any

import torch
import torch.nn.functional as F
import torchvision.ops  # noqa: F401  # defines the operator that is decomposed
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from lit_adaptconv.errors import UserError
from lit_adaptconv.export.exporters import reason
from lit_adaptconv.export.program import DECOMPOSED


def to_static_program(network: nn.Module, image_shape: tuple[int, int, int]) -> ExportedProgram:
    """Export a network for a batch of one image.

    Weights that a layer rearranges before it uses them become constants: runtimes take a convolution whose weights
    are stored, and leave one whose weights are computed to slow kernels or refuse it.

    Args:
        network: In evaluation mode, on the CPU.
        image_shape: Shape `(C, H, W)` of an image.

    Raises:
        UserError: The network cannot be exported; the message says why.
    """
    image = (torch.zeros(1, *image_shape),)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = torch.export.export(network, image)
            program = program.run_decompositions(
                {
                    **DECOMPOSED,
                    torch.ops.aten.pad.default: _crop_and_pad,
                    torch.ops.torchvision.deform_conv2d.default: _deform,
                }
            )
            module = program.module(check_guards=False)
            _compute_constants(module)
            return torch.export.export(module, image)
        except Exception as error:  # whatever the network does that cannot be traced
            raise UserError(f"{type(network).__name__} cannot be exported: {reason(error)}") from error


@torch.no_grad()
def _compute_constants(module: fx.GraphModule) -> None:
    """Replace what does not depend on the input by its value, in memory of its own."""
    known: dict[fx.Node, Any] = {}
    for node in module.graph.nodes:
        if node.op == "get_attr":
            known[node] = attrgetter(str(node.target))(module)
        elif node.op == "call_function" and not node.is_impure() and all(n in known for n in node.all_input_nodes):
            args, options = fx.map_arg((node.args, node.kwargs), known.__getitem__)
            known[node] = node.target(*args, **options)
    for number, (node, value) in enumerate(known.items()):
        users = [user for user in node.users if user not in known]
        if users and isinstance(value, Tensor):
            name = f"computed_{number}"
            own = value.detach().clone(memory_format=torch.contiguous_format)
            module.register_parameter(name, nn.Parameter(own, requires_grad=False))
            with module.graph.inserting_before(node):
                constant = module.graph.get_attr(name)
            for user in users:
                user.replace_input_with(node, constant)
    module.graph.eliminate_dead_code()
    module.recompile()


def _crop_and_pad(input: Tensor, pad: list[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """`F.pad` whose negative amounts, which crop, are slices: runtimes refuse them."""
    if mode != "constant":
        left: Tensor = NotImplemented  # as it is
        return left
    for number, amount in enumerate(pad):
        if amount < 0:
            axis = -1 - number // 2
            input = input.narrow(axis, -amount if number % 2 == 0 else 0, input.shape[axis] + amount)
    return torch.constant_pad_nd(input, [max(amount, 0) for amount in pad], value or 0)


def _deform(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor,
    bias: Tensor,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    groups: int,
    offset_groups: int,
    use_mask: bool,
) -> Tensor:
    """`torchvision.ops.deform_conv2d` of one image: all taps are sampled at once, then a 1×1 convolution adds them."""
    channels, height, width = input.shape[1:]
    kh, kw = weight.shape[2:]
    taps, (rows, columns) = kh * kw, offset.shape[2:]
    shifts = offset.reshape(offset_groups, taps, 2, rows, columns)

    def places(axis: int, tap: Tensor, pixel: Tensor, size: int) -> Tensor:
        """Where taps lie on an axis, from -1 to 1 between the edges of the image."""
        return (2 * (shifts[:, :, axis] + (tap + pixel)) + 1) / size - 1

    tap = torch.arange(taps, dtype=input.dtype, device=input.device)
    y = torch.arange(rows, dtype=input.dtype, device=input.device) * stride_h - pad_h
    x = torch.arange(columns, dtype=input.dtype, device=input.device) * stride_w - pad_w
    down = places(0, (tap // kw * dilation_h)[:, None, None], y[:, None], height)
    right = places(1, (tap % kw * dilation_w)[:, None, None], x, width)
    grid = torch.stack((right, down), dim=-1).reshape(offset_groups, taps * rows, columns, 2)
    images = input.reshape(offset_groups, channels // offset_groups, height, width)
    sampled = F.grid_sample(images, grid, align_corners=False)
    if use_mask:
        sampled = sampled * mask.reshape(offset_groups, 1, taps * rows, columns)
    patches = sampled.reshape(1, channels * taps, rows, columns)
    return F.conv2d(patches, weight.reshape(len(weight), -1, 1, 1), bias, groups=groups)
