"""Kernels that are written out, applied pixel by pixel, give what the layer gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from lit_adaptconv import AdaptiveConv2d, LowRankAdaptiveConv2d
from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.kernel_maps import AdaptiveLayer, KernelMaps, adaptive_layers, kernel_maps, pixel_kernels
from lit_adaptconv.layers.kinds import conv_kind
from lit_adaptconv.layers.residual import ResidualAdaptiveConv2d
from lit_adaptconv.models.backbones import ConvNet, LeNet5, ResNet8

LAYERS = {"full rank": AdaptiveConv2d, "low rank": LowRankAdaptiveConv2d, "residual": ResidualAdaptiveConv2d}


def apply_by_hand(
    kernels: NDArray[np.float64], image: NDArray[np.float64], bias: NDArray[np.float64], stride: int, dilation: int
) -> NDArray[np.float64]:
    """Weigh the pixels under each output pixel by its kernel, in loops; `image` is padded."""
    out_channels, group_in, kh, kw, rows, columns = kernels.shape
    groups = image.shape[0] // group_in
    out = np.zeros((out_channels, rows, columns))
    for o, y, x in np.ndindex(*out.shape):
        first = o // (out_channels // groups) * group_in
        top, left = y * stride, x * stride
        seen = image[
            first : first + group_in, top : top + dilation * kh : dilation, left : left + dilation * kw : dilation
        ]
        out[o, y, x] = bias[o] + (kernels[o, :, :, :, y, x] * seen).sum()
    return out


@pytest.mark.parametrize("name", LAYERS)
@given(
    groups=st.integers(1, 2),
    group_in=st.integers(1, 2),
    group_out=st.integers(1, 2),
    k=st.integers(1, 3),
    q=st.integers(1, 4),
    stride=st.integers(1, 2),
    padding=st.integers(0, 1),
    dilation=st.integers(1, 2),
    seed=st.integers(0, 1000),
)
@settings(max_examples=15)
def test_the_written_out_kernels_are_those_that_the_layer_applies(
    name: str,
    groups: int,
    group_in: int,
    group_out: int,
    k: int,
    q: int,
    stride: int,
    padding: int,
    dilation: int,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    layer: AdaptiveLayer = LAYERS[name](
        group_in * groups,
        group_out * groups,
        k,
        stride,
        padding,
        dilation,
        groups,
        generator_size=q,
        dtype=torch.float64,
    )
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    image = torch.randn(1, group_in * groups, 6, 7, dtype=torch.float64)
    kernels = pixel_kernels(layer, image)
    bias = layer.static.bias if isinstance(layer, ResidualAdaptiveConv2d) else layer.bias
    assert bias is not None
    padded = F.pad(image, (padding,) * 4)[0].numpy()
    by_hand = apply_by_hand(kernels[0].detach().numpy(), padded, bias.detach().numpy(), stride, dilation)
    np.testing.assert_allclose(by_hand, layer(image)[0].detach().numpy(), atol=1e-9)


def test_an_ordinary_convolution_in_disguise_does_not_vary() -> None:
    layer = AdaptiveConv2d(2, 3, 3)
    layer.start_from(nn.Conv2d(2, 3, 3))
    maps = kernel_maps(layer, layer, torch.randn(2, 8, 8))
    assert maps.variation.shape == (6, 6)
    assert maps.variation.abs().max() < 1e-6


def test_variation_is_the_distance_from_the_mean_kernel_in_units_of_a_typical_kernel() -> None:
    kernels = torch.zeros(1, 1, 1, 2, 1, 2)  # two pixels with kernels (3, 0) and (0, 3): mean (1.5, 1.5)
    kernels[0, 0, 0, :, 0, 0] = torch.tensor([3.0, 0.0])
    kernels[0, 0, 0, :, 0, 1] = torch.tensor([0.0, 3.0])
    maps = KernelMaps(kernels, torch.zeros(1, 1, 2), (1, 2))
    torch.testing.assert_close(maps.variation, torch.full((1, 2), 1.5 * 2**0.5 / 3))


def test_the_chosen_pixels_are_the_ones_whose_kernels_differ() -> None:
    kernels = torch.zeros(1, 1, 1, 1, 3, 4)
    kernels[..., 1, 2] = 5.0
    kernels[..., 2, 0] = -2.0
    maps = KernelMaps(kernels, torch.zeros(1, 3, 4), (3, 4))
    assert maps.spread_out(3)[:2] == [(1, 2), (2, 0)]
    assert len(set(maps.spread_out(3))) == 3
    with pytest.raises(UserError, match="3,0 .* 3×4"):
        maps.check([(3, 0)])


class Skips(nn.Module):
    """Has an adaptive layer that it does not use."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = AdaptiveConv2d(1, 1, 3)

    def forward(self, images: Tensor) -> Tensor:
        return images


def test_a_layer_that_is_not_used_is_said_so() -> None:
    network = Skips()
    with pytest.raises(UserError, match="does not use"):
        kernel_maps(network, network.unused, torch.zeros(1, 4, 4))


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("adaptive", ["features.0", "features.3"]),
        ("adaptive_separable", ["features.0.depthwise", "features.3.depthwise"]),
        ("adaptive_low_rank", ["features.0", "features.3"]),
        ("adaptive_residual", ["features.0", "features.3"]),
        ("standard", []),
        ("involution", []),
    ],
)
def test_the_layers_that_can_be_shown_are_found(kind: str, names: list[str]) -> None:
    assert list(adaptive_layers(LeNet5(conv=conv_kind(kind)))) == names


def test_the_input_of_a_deep_layer_is_what_the_network_gives_it() -> None:
    torch.manual_seed(0)
    network = ConvNet(1, 3, (12, 12), conv_kind("adaptive_low_rank"), channels=(2, 3)).eval()
    image = torch.randn(1, 12, 12)
    maps = kernel_maps(network, network.blocks[1].conv, image)  # type: ignore[arg-type]
    given = network.blocks[0](image[None])
    torch.testing.assert_close(maps.output, network.blocks[1].conv(given)[0])
    torch.testing.assert_close(maps.kernels, pixel_kernels(network.blocks[1].conv, given)[0])  # type: ignore[arg-type]


def test_every_adaptive_layer_of_a_residual_network_can_be_shown() -> None:
    network = ResNet8(3, 10, (16, 16), conv_kind("adaptive"), 0.2).eval()
    for layer in adaptive_layers(network).values():
        assert kernel_maps(network, layer, torch.randn(3, 16, 16)).variation.isfinite().all()
