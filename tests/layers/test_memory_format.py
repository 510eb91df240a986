"""Every kind in PyTorch's channels_last format, and what was stored when stacks of kernels had five dimensions."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from lit_adaptconv import AdaptiveConv2d, LowRankAdaptiveConv2d
from lit_adaptconv.layers import CondConv2d, DynamicConv2d, LocalDynamicFilter2d, ODConv2d
from lit_adaptconv.layers.kinds import conv_kind, kinds
from lit_adaptconv.models.backbones import ResNet8

STACKS: dict[type, tuple[str, ...]] = {
    AdaptiveConv2d: ("generator_weight",),
    LowRankAdaptiveConv2d: ("gate_weight", "weight"),
    **dict.fromkeys((LocalDynamicFilter2d, CondConv2d, DynamicConv2d, ODConv2d), ("weight",)),
}
OPTIONS = {"adaptive_low_rank": {"rank": 2}, "odconv": {"num_kernels": 3}}


def make(kind: str, groups: int = 2) -> nn.Module:
    torch.manual_seed(0)
    return conv_kind(kind)(4, 6, 3, 2, 1, groups=groups, **OPTIONS.get(kind, {}), dtype=torch.float64)


def images() -> Tensor:
    return torch.randn(3, 4, 7, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("kind", kinds())
def test_in_channels_last_format_output_and_gradients_are_the_same(kind: str, groups: int) -> None:
    results = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        layer = make(kind, groups).to(memory_format=memory_format)
        assert all(p.is_contiguous(memory_format=memory_format) for p in layer.parameters() if p.dim() == 4)
        x = images().to(memory_format=memory_format).requires_grad_()
        out = layer(x)
        cotangent = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
        results.append([out, *torch.autograd.grad(out, [x, *layer.parameters()], cotangent)])
    torch.testing.assert_close(results[1], results[0])


@pytest.mark.parametrize("kind", kinds())
def test_a_network_of_any_kind_trains_in_channels_last_format(kind: str) -> None:
    network = ResNet8(3, 10, (16, 16), conv_kind(kind), 0.2).to(memory_format=torch.channels_last)
    network(torch.randn(2, 3, 16, 16).to(memory_format=torch.channels_last)).sum().backward()
    torch.optim.AdamW(network.parameters()).step()
    assert all(p.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("version", [1, None])
@pytest.mark.parametrize("kind", kinds())
def test_a_state_with_kernels_of_five_dimensions_loads(kind: str, version: int | None) -> None:
    layer = make(kind)
    old = copy.deepcopy(layer.state_dict())
    for module_name, module in layer.named_modules():
        for name in STACKS.get(type(module), ()):
            key = f"{module_name}.{name}".lstrip(".")
            second = module.in_channels // module.groups if isinstance(module, AdaptiveConv2d) else module.out_channels
            old[key] = old[key].unflatten(0, (-1, second))
        if version is None:
            del old._metadata[module_name]  # type: ignore[attr-defined]
        else:
            old._metadata[module_name]["version"] = version  # type: ignore[attr-defined]
    fresh = make(kind)
    for parameter in fresh.parameters():
        nn.init.normal_(parameter)
    fresh.load_state_dict(old)
    assert all(torch.equal(a, b) for a, b in zip(fresh.parameters(), layer.parameters(), strict=True))


def test_a_state_of_another_shape_is_still_refused() -> None:
    state = AdaptiveConv2d(4, 6, 3).state_dict()
    with pytest.raises(RuntimeError, match="size mismatch for generator_weight"):
        AdaptiveConv2d(4, 6, 3, generator_size=5).load_state_dict(state)
    state["generator_weight"] = torch.zeros(4, 6, 9, 5, 5)
    state._metadata[""]["version"] = 1
    with pytest.raises(RuntimeError, match="size mismatch for generator_weight"):
        AdaptiveConv2d(4, 6, 3).load_state_dict(state)
