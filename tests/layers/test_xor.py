"""XOR: an adaptive layer multiplies two pixels, so a linear read-out of it can learn what none of a convolution can."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lit_adaptconv import AdaptiveConv2d, LowRankAdaptiveConv2d

# The four patterns as images of one row and two pixels; the target is 1 where the pixels differ.
PATTERNS = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]).view(4, 1, 1, 2)
XOR = torch.tensor([0.0, 1.0, 1.0, 0.0])
LAYERS = {
    "full rank": lambda: AdaptiveConv2d(1, 4, (1, 2)),
    "full rank, identity": lambda: AdaptiveConv2d(1, 4, (1, 2), kernel_activation="identity"),
    "low rank": lambda: LowRankAdaptiveConv2d(1, 4, (1, 2)),
}


def train(layer: nn.Module) -> Tensor:
    """Fit layer and read-out to XOR by least squares; return the four answers."""
    net = nn.Sequential(layer, nn.Flatten(), nn.Linear(4, 1), nn.Flatten(0))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.03)
    for _ in range(800):
        optimizer.zero_grad()
        nn.functional.mse_loss(net(PATTERNS), XOR).backward()
        optimizer.step()
    with torch.no_grad():
        answers: Tensor = net(PATTERNS)
    return answers


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
@pytest.mark.parametrize("name", ["full rank", *(pytest.param(name, marks=pytest.mark.slow) for name in [*LAYERS][1:])])
def test_one_adaptive_layer_with_a_linear_read_out_learns_xor_exactly(name: str, seed: int) -> None:
    torch.manual_seed(seed)
    answers = train(LAYERS[name]())
    assert torch.equal(answers > 0.5, XOR > 0.5)
    assert (answers - XOR).abs().max() < 0.05


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_a_linear_convolution_with_the_same_read_out_answers_one_half_everywhere(seed: int) -> None:
    torch.manual_seed(seed)
    answers = train(nn.Conv2d(1, 4, (1, 2)))
    assert not torch.equal(answers > 0.5, XOR > 0.5)
    torch.testing.assert_close(answers, torch.full((4,), 0.5), rtol=0, atol=0.02)


def test_one_half_everywhere_is_the_best_that_any_affine_function_can_do() -> None:
    """A convolution and a linear read-out compose to an affine function of the pixels; least squares finds the best."""
    affine = np.column_stack([np.ones(4), PATTERNS.view(4, 2).numpy()])
    best, residual, *_ = np.linalg.lstsq(affine, XOR.numpy(), rcond=None)
    np.testing.assert_allclose(affine @ best, 0.5, atol=1e-7)
    np.testing.assert_allclose(residual, 4 * 0.5**2, atol=1e-6)


def test_a_written_down_adaptive_layer_computes_xor_with_no_training() -> None:
    """x² + y² - 2xy = (x - y)², which is XOR on the four patterns: K = (x - y, y - x)."""
    layer = AdaptiveConv2d(1, 1, (1, 2), bias=False, kernel_activation="identity")
    with torch.no_grad():
        layer.generator_bias.zero_()
        layer.generator_weight.copy_(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).view(1, 2, 1, 2))
    assert torch.equal(layer(PATTERNS).flatten(), XOR)
