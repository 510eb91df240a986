"""What the layers share: `nn.Conv2d`'s arguments, checked and shown as its own, its padding, and old checkpoints."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lit_adaptconv.layers.per_sample import per_sample_conv2d
from lit_adaptconv.ops.geometry import (
    Padding,
    PaddingMode,
    Windows,
    check_input,
    check_one_of,
    check_padding,
    sides,
    two_ints,
    windows,
)


class ConvLayer(nn.Module):
    """A layer with `nn.Conv2d`'s arguments; a subclass says in `_convolve` what it makes of a batch.

    Parameters have at most four dimensions, so that PyTorch can bring a network into any memory format: where a layer
    has several kernels for each output channel, they are stacked along the first.

    Attributes:
        generator_size: Window (height, width) that a generator sees, where there is one.
        generator_parts: Names of the parameters and modules by which the kernel depends on the input.
    """

    generator_parts: ClassVar[tuple[str, ...]] = ()

    _version = 2  # before, stacks of kernels had a dimension of their own
    bias: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int],
        padding: Padding,
        dilation: int | tuple[int, int],
        groups: int,
        padding_mode: PaddingMode,
        generator_size: int | tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = two_ints(kernel_size, "kernel_size")
        self.stride = two_ints(stride, "stride")
        self.dilation = two_ints(dilation, "dilation")
        self.groups = groups
        for name in ("in_channels", "out_channels", "groups"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("in_channels", "out_channels"):
            if getattr(self, name) % groups:
                raise ValueError(f"{name} must be divisible by groups={groups}, got {getattr(self, name)}")
        self.padding: Padding = check_padding(padding, self.stride)
        check_one_of(padding_mode, "padding_mode", PaddingMode)
        self.padding_mode: PaddingMode = padding_mode
        self.generator_size = two_ints(kernel_size if generator_size is None else generator_size, "generator_size")

    def forward(
        self, input: Float[Tensor, "*batch in_channels height width"]
    ) -> Float[Tensor, "*batch out_channels out_height out_width"]:
        """Convolve `(N, C_in, H, W)` or `(C_in, H, W)`."""
        check_input(input.shape, self.in_channels)
        out = self._convolve(input if input.dim() == 4 else input.unsqueeze(0))
        return out if input.dim() == 4 else out.squeeze(0)

    def _convolve(self, batch: Tensor) -> Tensor:
        """Convolve `(N, C_in, H, W)`."""
        raise NotImplementedError

    def _convolve_per_sample(self, batch: Tensor, kernels: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve each sample of `(N, C_in, H, W)` with its own kernel of `(N, C_out, C_in // groups, kh, kw)`."""
        batch, padding = self.padded(batch)
        return per_sample_conv2d(batch, kernels, bias, self.stride, padding, self.dilation, self.groups)

    def _with_bias(self, out: Tensor) -> Tensor:
        return out if self.bias is None else out + self.bias[:, None, None].to(out.dtype)

    def padded(self, batch: Tensor) -> tuple[Tensor, Padding]:
        """Pad a batch as `padding_mode` says, and tell what remains to be padded with zeros.

        What sees further than the kernel, such as a generator's window, sees zeros beyond the padding in any mode. What
        sees the whole image, such as a mean of its channels, is computed before.
        """
        if self.padding_mode == "zeros":
            return batch, self.padding
        top, bottom, left, right = sides(self.padding, self.kernel_size, self.stride, self.dilation)
        return F.pad(batch, (left, right, top, bottom), self.padding_mode), 0

    def windows(self, batch: Tensor, padding: Padding) -> Windows:
        """Where the windows of kernel and generator lie on a batch with so many zeros around."""
        return windows(batch.shape[2:], self.kernel_size, self.generator_size, self.stride, padding, self.dilation)

    def check_source(self, convolution: nn.Conv2d) -> None:
        """Check that this layer can compute what a convolution does.

        Raises:
            ValueError: Its geometry, its bias or its kind of padding differs from this layer's.
        """
        geometry = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
        for name in (*geometry, "padding_mode"):
            mine, theirs = getattr(self, name), getattr(convolution, name)
            if mine != theirs:
                raise ValueError(f"this layer's {name} is {mine}, that of the convolution to take over is {theirs}")
        if (self.bias is None) != (convolution.bias is None):
            raise ValueError("this layer and the convolution to take over must both have a bias, or neither")

    def extra_repr(self) -> str:
        """Return the arguments as `nn.Conv2d` does: the stride, and by name what differs from its default."""
        shown = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        usual = {"padding": (0, 0), "dilation": (1, 1), "generator_size": self.kernel_size}
        for name, argument in list(inspect.signature(type(self)).parameters.items())[4:]:
            default = usual.get(name, argument.default)
            value = self.bias is not None if name == "bias" else getattr(self, name, default)
            if not isinstance(value, Tensor | nn.Module | None) and value != default:
                shown.append(f"{name}={value!r}")
        return ", ".join(shown)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: Mapping[str, Any], *args: Any
    ) -> None:
        if (local_metadata.get("version") or 1) < 2:
            for name, parameter in self.named_parameters(prefix[:-1], recurse=False):
                if name in state_dict:
                    state_dict[name] = stacked(state_dict[name], parameter)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)


def stacked(stored: Tensor, like: Tensor) -> Tensor:
    """Bring what was stored for a parameter, when stacks of kernels had five dimensions, into today's four."""
    fits = stored.dim() == 5 and like.shape == (stored.shape[0] * stored.shape[1], *stored.shape[2:])
    return stored.flatten(0, 1) if fits else stored


def elementwise_product_flops(output_shape: tuple[int, ...], terms: int) -> int:
    """FLOPs of an output whose every element is a sum of `terms` products, or a bias and so many."""
    return 2 * terms * math.prod(output_shape)
