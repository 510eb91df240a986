"""The residual adaptive layer: an ordinary convolution, plus an adaptive part that starts at zero."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lit_adaptconv.layers.init import PartConv2d, draw
from lit_adaptconv.layers.low_rank import LowRankAdaptiveConv2d
from lit_adaptconv.ops.geometry import Padding, PaddingMode


class _ClosedLowRank(LowRankAdaptiveConv2d):
    """A low-rank layer whose gates start at zero, and so do its outputs."""

    def reset_parameters(self) -> None:
        """Draw the parameters anew, and close the gates."""
        super().reset_parameters()
        self.close_gates()

    def close_gates(self) -> None:
        """Let the gates start at zero."""
        nn.init.zeros_(self.gate_weight)
        nn.init.zeros_(self.gate_bias)


class ResidualAdaptiveConv2d(nn.Module):
    """Residual adaptive convolution: a static kernel, and at every pixel a generated correction of low rank.

        K[o,c,t](p) = static[o,c,t] + Σ_r tanh( gate_bias[r,o] + (gate_weight[r,o] ⋆ x)(p) ) · weight[r,o,c,t]
        out[o](p)   = bias[o] + Σ_c Σ_t K[o,c,t](p) · x[c](p + t)

    which equals an `nn.Conv2d` plus a `LowRankAdaptiveConv2d`. For generator windows of (qh, qw), it has
    `C_out * C_in // groups * kh * kw + rank * C_out * (C_in // groups * (kh * kw + qh * qw) + 1) + C_out` parameters.

    Initialisation: the gates start at zero, so the adaptive part is exactly zero, and the layer is exactly its static
    convolution. `start_from` takes over a trained one, for fine-tuning. The gates receive a gradient from the first
    step (tanh has slope 1 at zero, and `weight` is drawn as in the low-rank layer), and `weight`, which the zero gates
    hide, from the second. A static part that is not taken over keeps the variance of a standardised input.

    Source: this project, for a convolution beside a gated one (see `LowRankAdaptiveConv2d`) whose gates start closed.

    The first arguments, `device` and `dtype` are those of `torch.nn.Conv2d`.

    Args:
        rank: Number of kernels that are mixed into the static one.
        generator_size: Size of the window that the gate sees, `q` or `(qh, qw)`; None means `kernel_size`.

    Raises:
        ValueError: An argument is out of its range; the message names it and its value.

    Examples:
        >>> ResidualAdaptiveConv2d(16, 8, 3, padding=1)(torch.randn(2, 16, 32, 32)).shape
        torch.Size([2, 8, 32, 32])
    """

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
        rank: int = 1,
        generator_size: int | tuple[int, int] | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        geometry = (in_channels, out_channels, kernel_size, stride, padding, dilation, groups)
        self.adaptive = _ClosedLowRank(
            *geometry, False, padding_mode, rank=rank, generator_size=generator_size, device=device, dtype=dtype
        )
        self.static = PartConv2d(*geometry, bias, padding_mode, device=device, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew, as the class describes."""
        self.adaptive.reset_parameters()
        draw(self.static.weight, 1 / math.sqrt(math.prod(self.static.weight.shape[1:])))
        if self.static.bias is not None:
            nn.init.zeros_(self.static.bias)

    @torch.no_grad()
    def start_from(self, convolution: nn.Conv2d) -> None:
        """Take over a trained convolution's kernel and bias, and set the adaptive part to zero.

        Afterwards the layer's outputs are those of `convolution`.

        Raises:
            ValueError: Its geometry, its bias or its kind of padding differs from this layer's; nothing is changed.
        """
        mine = str(self.static).removeprefix("Part")
        if str(convolution) != mine:
            raise ValueError(f"this layer can take over {mine}, got {convolution}")
        self.static.load_state_dict(convolution.state_dict())
        self.adaptive.close_gates()

    def forward(
        self, input: Float[Tensor, "*batch in_channels height width"]
    ) -> Float[Tensor, "*batch out_channels out_height out_width"]:
        """Convolve `(N, C_in, H, W)` or `(C_in, H, W)`."""
        out: Tensor = self.adaptive(input) + self.static(input)
        return out
