"""Squeeze-and-excitation: a convolution whose output channels are scaled by what their means say of the image."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_adaptconv.layers.base import ConvLayer
from lit_adaptconv.layers.init import draw
from lit_adaptconv.layers.squeeze import Squeeze, hidden_channels
from lit_adaptconv.ops.geometry import Padding, PaddingMode


class SqueezeExcitationConv2d(ConvLayer):
    """An ordinary convolution, then a squeeze-and-excitation block: a gate on each of its output channels.

        u    = bias + weight ⋆ x
        s(u) = sigmoid(excitation · relu(squeeze · mean over pixels of u))
        out  = s(u) ⊙ u

    With h = max(4, C_out // reduction) hidden units, it has
    `C_out * C_in // groups * kh * kw + (C_out + 1) * h + (h + 1) * C_out + C_out` parameters. The paper has one block
    at the end of each residual branch, after its BatchNorm. As a kind, it follows every convolution, before BatchNorm.

    Initialisation: the gates start as `nn.Linear` does, around 1/2, and the weights such that outputs keep the variance
    of a standardised input: (C_in / groups) * kh * kw * Var(weight) / 4 = 1; `bias` starts at zero.

    Source: Hu, Shen, Sun, *Squeeze-and-Excitation Networks*, CVPR 2018, https://arxiv.org/abs/1709.01507.

    The first arguments, `device` and `dtype` are those of `torch.nn.Conv2d`.

    Args:
        reduction: How many times narrower than the output the gates' hidden layer is.

    Raises:
        ValueError: An argument is out of its range; the message names it and its value.

    Examples:
        >>> SqueezeExcitationConv2d(16, 8, 3, padding=1)(torch.randn(2, 16, 32, 32)).shape
        torch.Size([2, 8, 32, 32])
    """

    generator_parts = ("squeeze", "excitation")

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
        reduction: int = 16,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, padding_mode)
        hidden = hidden_channels(out_channels, reduction)
        self.squeeze = Squeeze(out_channels, hidden, device=device, dtype=dtype)
        self.excitation = nn.Linear(hidden, out_channels, device=device, dtype=dtype)
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(out_channels, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew, as the class describes."""
        self.squeeze.linear.reset_parameters()
        self.excitation.reset_parameters()
        draw(self.weight, 2 / math.sqrt(math.prod(self.weight.shape[1:])))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def _convolve(self, batch: Tensor) -> Tensor:
        batch, padding = self.padded(batch)
        self.windows(batch, padding)  # refuses an image that is smaller than the kernel
        out = F.conv2d(batch, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)
        return out * torch.sigmoid(self.excitation(self.squeeze(out)))[..., None, None]
