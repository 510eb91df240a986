import numpy as np
import pytest
import torch
import torchvision
from cases import Case, cases
from hypothesis import given, settings
from hypothesis import strategies as st
from loop_oracle import images, linear, loop_conv, make, outputs, relu, sigmoid
from torch import nn

from lit_adaptconv.layers import SqueezeExcitationConv2d
from lit_adaptconv.measure.count import count_parameters
from lit_adaptconv.models import convert


@settings(max_examples=40)
@given(cases(), st.integers(1, 20))
def test_agrees_with_the_paper_s_formula_in_loops(case: Case, reduction: int) -> None:
    layer, x = make(case, SqueezeExcitationConv2d, reduction=reduction), images(case)
    kernels = np.broadcast_to(layer.weight.detach().numpy(), (len(x), *layer.weight.shape))
    u = loop_conv(case, x, lambda i, j: kernels, layer.bias)
    gates = sigmoid(linear(layer.excitation, relu(linear(layer.squeeze.linear, u.mean((2, 3))))))
    np.testing.assert_allclose(outputs(layer, x), gates[:, :, None, None] * u, rtol=1e-9, atol=1e-9)


def test_outputs_and_gradients_are_those_of_torchvision_s_block_after_a_convolution() -> None:
    layer = SqueezeExcitationConv2d(6, 32, 3, stride=2, padding=1, reduction=4, dtype=torch.float64)
    plain = nn.Conv2d(6, 32, 3, stride=2, padding=1, dtype=torch.float64)
    block = torchvision.ops.SqueezeExcitation(32, 8).double()
    pairs = [
        (plain.weight, layer.weight),
        (plain.bias, layer.bias),
        (block.fc1.weight, layer.squeeze.linear.weight),
        (block.fc1.bias, layer.squeeze.linear.bias),
        (block.fc2.weight, layer.excitation.weight),
        (block.fc2.bias, layer.excitation.bias),
    ]
    with torch.no_grad():
        for theirs, mine in pairs:
            assert theirs is not None
            assert mine is not None
            theirs.copy_(mine.reshape(theirs.shape))
    x = torch.randn(3, 6, 9, 8, dtype=torch.float64)
    ours, reference = (y.square().mean() for y in (layer(x), block(plain(x))))
    torch.testing.assert_close(ours, reference)
    ours.backward()
    reference.backward()
    for theirs, mine in pairs:
        assert theirs is not None
        assert mine is not None
        assert mine.grad is not None
        torch.testing.assert_close(mine.grad.reshape(theirs.shape), theirs.grad)


def test_a_resnet_50_with_a_block_at_the_end_of_each_branch_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        network = torchvision.models.resnet50()
        convert(network, "squeeze_excitation", where=lambda name, _: name.endswith("conv3"))
    assert count_parameters(network) == 28_088_024


def test_a_gate_of_no_width_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^reduction must be at least 1, got 0$"):
        SqueezeExcitationConv2d(4, 4, 3, reduction=0)
