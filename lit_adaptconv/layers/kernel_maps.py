"""The kernels that an adaptive layer makes for an image, written out, and how much they vary over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.adaptive import AdaptiveConv2d
from lit_adaptconv.layers.low_rank import LowRankAdaptiveConv2d
from lit_adaptconv.layers.residual import ResidualAdaptiveConv2d
from lit_adaptconv.ops.activation import activate
from lit_adaptconv.ops.geometry import Call, sides
from lit_adaptconv.ops.reference import generate_kernels

AdaptiveLayer = AdaptiveConv2d | LowRankAdaptiveConv2d | ResidualAdaptiveConv2d

Position = tuple[int, int]
"""Row and column of an output pixel."""


def adaptive_layers(network: nn.Module) -> dict[str, AdaptiveLayer]:
    """The layers of a network whose kernels can be written out, by their names."""
    found: dict[str, AdaptiveLayer] = {}
    for name, module in network.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in found)  # the adaptive part of a residual layer
        if isinstance(module, AdaptiveConv2d | LowRankAdaptiveConv2d | ResidualAdaptiveConv2d) and not inside:
            found[name] = module
    return found


@dataclass(frozen=True)
class KernelMaps:
    """What a layer does with one image.

    Attributes:
        kernels: `(C_out, C_in / groups, kh, kw, H_out, W_out)`: the kernel of every output pixel.
        output: The layer's output, `(C_out, H_out, W_out)`.
        input_size: Height and width of the layer's input.
    """

    kernels: Tensor
    output: Tensor
    input_size: tuple[int, int]

    @property
    def mean(self) -> Tensor:
        """The kernel `(C_out, C_in / groups, kh, kw)`, averaged over the image."""
        return self.kernels.mean(dim=(-2, -1))

    @property
    def variation(self) -> Tensor:
        """How far each pixel's kernel is from the mean kernel, `(H_out, W_out)`.

        It is the Euclidean distance over all channels and taps, divided by the root mean square of the kernels' norms
        over the image: 0 everywhere for an ordinary convolution.
        """
        size = self.kernels.flatten(0, 3).square().sum(0).mean().sqrt()
        distance = (self.kernels - self.mean[..., None, None]).flatten(0, 3).norm(dim=0)
        relative: Tensor = distance / size if size > 0 else distance
        return relative

    def spread_out(self, count: int) -> list[Position]:
        """Choose pixels whose kernels differ most: each next one is farthest from those chosen before it.

        The first is the one whose kernel is farthest from the mean kernel.
        """
        width = self.kernels.shape[-1]
        flat = self.kernels.flatten(0, 3).flatten(1)
        distance = self.variation.flatten()
        chosen: list[Position] = []
        for _ in range(min(count, flat.shape[1])):
            index = int(distance.argmax())
            chosen.append((index // width, index % width))
            to_this = (flat - flat[:, index : index + 1]).norm(dim=0)
            distance = to_this if len(chosen) == 1 else torch.minimum(distance, to_this)
        return chosen

    def check(self, positions: Sequence[Position]) -> None:
        """Check that positions are pixels of the output.

        Raises:
            UserError: One is not.
        """
        rows, columns = self.kernels.shape[-2:]
        for row, column in positions:
            if not (0 <= row < rows and 0 <= column < columns):
                raise UserError(f"position {row},{column} is not in the layer's output of {rows}×{columns} pixels")


def kernel_maps(network: nn.Module, layer: AdaptiveLayer, image: Tensor) -> KernelMaps:
    """Write out the kernels that a layer of a network makes for an image.

    Args:
        network: In evaluation mode.
        layer: One of its `adaptive_layers`.
        image: `(C, H, W)`, normalised as the network expects it.

    Raises:
        UserError: The network does not use the layer.
    """
    seen: list[tuple[Tensor, Tensor]] = []
    hook = layer.register_forward_hook(lambda _, args, output: seen.append((args[0], output)))
    try:
        with torch.inference_mode():
            network(image[None])
            if not seen:
                raise UserError("the network does not use this layer")
            given, output = seen[0]
            return KernelMaps(pixel_kernels(layer, given)[0], output[0], (given.shape[-2], given.shape[-1]))
    finally:
        hook.remove()


def pixel_kernels(layer: AdaptiveLayer, input: Tensor) -> Tensor:
    """The kernel of every output pixel, `(N, C_out, C_in / groups, kh, kw, H_out, W_out)`, for `(N, C_in, H, W)`."""
    if isinstance(layer, ResidualAdaptiveConv2d):
        return layer.static.weight[..., None, None] + pixel_kernels(layer.adaptive, input)
    input, padding = layer.padded(input)
    if isinstance(layer, AdaptiveConv2d):
        around = sides(padding, layer.kernel_size, layer.stride, layer.dilation)
        call = Call(layer.kernel_size, layer.stride, around, layer.dilation, layer.groups, layer.kernel_activation)
        generated = generate_kernels(input, layer.generator_weight, layer.generator_bias, call)
        by_output = generated.transpose(2, 3).flatten(1, 2)
        return torch.unflatten(by_output, 3, layer.kernel_size)
    seen = F.pad(input, layer.windows(input, padding).generator_pad)
    filters = torch.unflatten(layer.gate_weight, 0, (layer.rank, -1))
    gates = [
        F.conv2d(seen, weight, bias, layer.stride, 0, layer.dilation, layer.groups)
        for weight, bias in zip(filters, layer.gate_bias, strict=True)
    ]
    taken = activate(torch.stack(gates, dim=1), layer.gate_activation)
    return torch.einsum("nrohw,rocyx->nocyxhw", taken, torch.unflatten(layer.weight, 0, (layer.rank, -1)))
