"""What the layers share: a kernel window (and a generator window), checked and shown as `nn.Conv2d`'s."""

from __future__ import annotations

import math

from torch import Tensor, nn

from lit_adaptconv.ops.geometry import Padding, check_padding, two_ints


class ConvLayer(nn.Module):
    """Geometry of a layer that takes `nn.Conv2d`'s arguments."""

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

    def check_source(self, convolution: nn.Conv2d) -> None:
        """Check that this layer can compute what a convolution does.

        Raises:
            ValueError: Its geometry, its bias or its kind of padding differs from this layer's.
        """
        if convolution.padding_mode != "zeros":
            raise ValueError(f"only zero padding can be taken over, got padding_mode={convolution.padding_mode!r}")
        for name in ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"):
            mine, theirs = getattr(self, name), getattr(convolution, name)
            if mine != theirs:
                raise ValueError(f"this layer's {name} is {mine}, that of the convolution to take over is {theirs}")
        if (self.bias is None) != (convolution.bias is None):
            raise ValueError("this layer and the convolution to take over must both have a bias, or neither")

    def describe(self, **options: tuple[object, object]) -> str:
        """Return `nn.Conv2d`'s way of writing the layer; `options` maps names to (value, default)."""
        shown: dict[str, tuple[object, object]] = {
            "stride": (self.stride, None),
            "padding": (self.padding, (0, 0)),
            "dilation": (self.dilation, (1, 1)),
            "groups": (self.groups, 1),
            **options,
        }
        named = (f"{name}={value!r}" for name, (value, default) in shown.items() if value != default)
        return ", ".join([f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}", *named])


class WindowedLayer(ConvLayer):
    """Geometry of a layer with a kernel of `kernel_size` and a generator that sees `generator_size`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int],
        padding: Padding,
        dilation: int | tuple[int, int],
        groups: int,
        generator_size: int | tuple[int, int] | None,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups)
        self.generator_size = two_ints(kernel_size if generator_size is None else generator_size, "generator_size")

    def describe(self, **options: tuple[object, object]) -> str:
        """Return `nn.Conv2d`'s way of writing the layer; `options` maps names to (value, default)."""
        return super().describe(generator_size=(self.generator_size, self.kernel_size), **options)


def elementwise_product_flops(output_shape: tuple[int, ...], terms: int) -> int:
    """FLOPs of an output whose every element is a sum of `terms` products."""
    return 2 * terms * math.prod(output_shape)
