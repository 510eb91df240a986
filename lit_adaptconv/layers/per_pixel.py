"""A convolution in which every pixel has its own kernel, shared by the channels of a group."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_adaptconv.kernels.geometry import Window


def per_pixel_conv2d(
    input: Tensor,
    kernels: Tensor,
    windows: tuple[Window, Window],
    kernel_size: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
) -> Tensor:
    """Weigh the pixels under every output pixel by its own kernel, channel by channel.

        out[c](p) = Σ_t kernels[group of c, t](p) · input[c](p + t)

    The sum runs over shifted views of the input, so no patches are kept for the backward pass. Narrow floating-point
    types are summed in float32 and rounded once.

    Args:
        input: `(N, C, H, W)`.
        kernels: `(N, G, kh * kw, H_out, W_out)`, taps in row-major order; G divides C, and C / G neighbouring channels
            share a kernel.
        windows: Where the kernel lies on both axes, from `lit_adaptconv.kernels.geometry.windows`.
        kernel_size: `(kh, kw)`.
        stride: Step between output pixels.
        dilation: Distance between taps.

    Returns:
        `(N, C, H_out, W_out)`, of the type of `kernels`.
    """
    rows, columns = windows
    wide = torch.float64 if input.dtype == torch.float64 else torch.float32
    padded = F.pad(input, (*columns.kernel_pad, *rows.kernel_pad)).to(wide)
    grouped = torch.unflatten(padded, 1, (kernels.shape[1], -1))
    terms = []
    for tap, weight in enumerate(kernels.to(wide).unsqueeze(2).unbind(3)):
        top, left = dilation[0] * (tap // kernel_size[1]), dilation[1] * (tap % kernel_size[1])
        bottom, right = top + stride[0] * (rows.out - 1) + 1, left + stride[1] * (columns.out - 1) + 1
        terms.append((grouped[..., top : bottom : stride[0], left : right : stride[1]], weight))
    out = terms[0][0] * terms[0][1]
    for pixels, weight in terms[1:]:
        out = torch.addcmul(out, pixels, weight)
    return out.flatten(1, 2).to(kernels.dtype)
