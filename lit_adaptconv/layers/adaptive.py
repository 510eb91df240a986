"""The paper's layer: a convolution whose full-rank kernel is computed from the image under it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lit_adaptconv.functional import convolve
from lit_adaptconv.layers.base import ConvLayer, elementwise_product_flops
from lit_adaptconv.layers.init import Init, draw, draw_as_conv2d, tanh_input_std
from lit_adaptconv.ops.activation import Activation, activate
from lit_adaptconv.ops.choice import implementation
from lit_adaptconv.ops.geometry import Call, Padding, PaddingMode, check_one_of, sides

STATIC_SHARE = 0.95


class AdaptiveConv2d(ConvLayer):
    """Adaptive convolution, full rank: every output pixel generates its own kernel from the pixels under it.

    Drop-in for `torch.nn.Conv2d`; see `lit_adaptconv.functional.adaptive_conv2d` for the equation. It has
    `C_out * (C_in / groups) * k² * (q² + 1) + C_out` parameters: q² + 1 times an ordinary convolution's weights.

    Initialisation: with n = (C_in / groups) * kh * kw terms in an output's sum and a standardised input, outputs keep
    the input's variance if every kernel tap has E[K²] = 1/n, as in any convolution. For tanh, the standard deviation
    of its argument solves E[tanh²] = 1/n. The generator's bias gets 95 % of that variance and its weights 5 % (1/q² of
    it each). If the kernel came from the input alone, the layer would be a quadratic form: its output variance would
    grow with the square of the input variance, and ten such layers would explode. With a share ρ of static variance, a
    deviation grows by the factor 2 - ρ per layer instead. All draws are uniform; `bias` starts at zero.
    With `init="default"` the generator starts as PyTorch's convolutions of one channel do, as in the released code
    (https://github.com/adapconv/adaptive-cnn): its weights and biases are U(-1/q, 1/q). Then outputs have a standard
    deviation of about 2.2 in its padded first layer, 1 → 6 with 5×5 kernels, and more with more channels.

    Source: Zamora Esquivel et al., *Adaptive Convolutional Kernels*, ICCV Workshops 2019.

    The first arguments, `device` and `dtype` are those of `torch.nn.Conv2d`. A `padding_mode` other than "zeros" pads
    the image first; the generator's window sees the padded image, and zeros beyond it.

    Args:
        generator_size: Size of the window that the generator sees, `q` or `(qh, qw)`; None means `kernel_size`.
        kernel_activation: Applied to the generated kernel, "tanh" or "identity".
        output_activation: Applied to the output, "tanh" or "identity".
        init: How the parameters start, "balanced" or "default".

    Raises:
        ValueError: An argument is out of its range; the message names it and its value.

    Examples:
        >>> AdaptiveConv2d(3, 8, 3, padding=1)(torch.randn(2, 3, 32, 32)).shape
        torch.Size([2, 8, 32, 32])
    """

    generator_parts = ("generator_weight",)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: Padding = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        *,
        generator_size: int | tuple[int, int] | None = None,
        kernel_activation: Activation = "tanh",
        output_activation: Activation = "identity",
        init: Init = "balanced",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        geometry = (in_channels, out_channels, kernel_size, stride, padding, dilation, groups)
        super().__init__(*geometry, padding_mode, generator_size)
        check_one_of(kernel_activation, "kernel_activation", Activation)
        check_one_of(output_activation, "output_activation", Activation)
        check_one_of(init, "init", Init)
        self.init: Init = init
        self.kernel_activation: Activation = kernel_activation
        self.output_activation: Activation = output_activation
        seen, taps = in_channels // groups, math.prod(self.kernel_size)
        filters = (out_channels * seen, taps, *self.generator_size)
        self.generator_weight = nn.Parameter(torch.empty(filters, device=device, dtype=dtype))
        self.generator_bias = nn.Parameter(torch.empty(out_channels, seen, taps, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(out_channels, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew, as the class describes."""
        if self.init == "default":
            draw_as_conv2d(math.prod(self.generator_size), self.generator_weight, self.generator_bias)
            draw_as_conv2d(math.prod(self.generator_bias.shape[1:]), self.bias)
            return
        variance = 1 / math.prod(self.generator_bias.shape[1:])
        std = tanh_input_std(variance) if self.kernel_activation == "tanh" else math.sqrt(variance)
        draw(self.generator_bias, std * math.sqrt(STATIC_SHARE))
        draw(self.generator_weight, std * math.sqrt((1 - STATIC_SHARE) / math.prod(self.generator_size)))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    @torch.no_grad()
    def start_from(self, convolution: nn.Conv2d) -> None:
        """Take over a trained convolution: its kernel at every pixel, until the generator's weights leave zero.

        Raises:
            ValueError: Its geometry differs from this layer's, or its kernel or this layer's output activation cannot
                give the same outputs; nothing is changed.
        """
        self.check_source(convolution)
        if self.output_activation != "identity":
            raise ValueError(f"outputs cannot be kept with output_activation={self.output_activation!r}")
        kernel = convolution.weight.flatten(2)
        if self.kernel_activation == "tanh":
            largest = kernel.abs().max().item()
            if largest >= 1:
                raise ValueError(
                    f"tanh cannot give a kernel with an element of {largest:.3g}: use kernel_activation='identity'"
                )
            kernel = kernel.double().atanh()
        nn.init.zeros_(self.generator_weight)
        self.generator_bias.copy_(kernel)
        if self.bias is not None and convolution.bias is not None:
            self.bias.copy_(convolution.bias)

    def _convolve(self, batch: Tensor) -> Tensor:
        batch, padding = self.padded(batch)
        zeros = sides(padding, self.kernel_size, self.stride, self.dilation)
        call = Call(self.kernel_size, self.stride, zeros, self.dilation, self.groups, self.kernel_activation)
        out = convolve(batch, self.generator_weight, self.generator_bias, self.bias, call)
        return activate(out, self.output_activation)

    def extra_flops(self, output_shape: tuple[int, ...]) -> int:
        """FLOPs of the activations, and of applying the generated kernels where no fused operator tells of it."""
        weight, terms = self.generator_weight, math.prod(self.generator_bias.shape[1:])
        activated = terms * (self.kernel_activation != "identity") + (self.output_activation != "identity")
        fused = implementation(weight.device.type, weight.dtype) != "reference"
        applied = 0 if fused else elementwise_product_flops(output_shape, terms)
        return applied + activated * math.prod(output_shape)
