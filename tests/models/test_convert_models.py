"""`convert` on other people's models: torchvision's, timm's, and a trained LeNet."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from lit_adaptconv.data import Digits
from lit_adaptconv.models.backbones import LeNet5
from lit_adaptconv.models.conversion import convert

MODELS = [
    "torchvision/resnet18",
    "torchvision/mobilenet_v2",
    "torchvision/squeezenet1_1",
    "torchvision/efficientnet_b0",
    "torchvision/convnext_tiny",
    "timm/resnet10t",
    "timm/mobilenetv3_small_050",
    "timm/regnetx_002",
]
SIZE = 48
QUICK = "torchvision/mobilenet_v2", "timm/mobilenetv3_small_050"


def model_of(name: str) -> nn.Module:
    source, _, name = name.partition("/")
    torch.manual_seed(0)
    if source == "timm":
        model: nn.Module = timm.create_model(name, pretrained=False, num_classes=10)
    else:
        model = torchvision.models.get_model(name, weights=None, num_classes=10)
    return model


every_model = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in MODELS]
)


@every_model
def test_a_converted_model_learns_and_its_state_can_be_loaded(name: str) -> None:
    model, twin = model_of(name), model_of(name)
    images = torch.randn(2, 3, SIZE, SIZE)
    conversion = convert(model, "adaptive_low_rank", example_input=images)
    spatial = [m for m in twin.modules() if type(m) is nn.Conv2d and max(m.kernel_size) > 1]
    assert len(conversion.swapped) == len(spatial)
    assert conversion.flops_after is not None
    assert conversion.flops_before is not None
    assert conversion.flops_after > conversion.flops_before
    F.cross_entropy(model(images), torch.tensor([1, 2])).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    convert(twin, "adaptive_low_rank").model.load_state_dict(model.state_dict())
    assert torch.equal(twin.eval()(images), model.eval()(images))


@every_model
def test_the_standard_kind_leaves_a_models_outputs_as_they_were(name: str) -> None:
    model = model_of(name).eval()
    images = torch.randn(1, 3, SIZE, SIZE)
    before = model(images)
    conversion = convert(model, "standard")
    assert conversion.swapped
    assert torch.equal(model(images), before)


@every_model
def test_a_warm_start_leaves_a_models_outputs_as_they_were_within_rounding(name: str) -> None:
    model = model_of(name).eval()
    images = torch.randn(1, 3, SIZE, SIZE)
    before = model(images)
    convert(model, "adaptive_residual", warm_start=True)
    torch.testing.assert_close(model(images), before, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A LeNet-5 trained on digits for a few epochs, and its validation images and labels."""
    torch.manual_seed(0)
    data = Digits(batch_size=64)
    data.prepare_data()
    data.setup("fit")
    model = LeNet5()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.003)
    for _ in range(3):
        for images, labels in data.train_dataloader():
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
    batches = list(data.val_dataloader())
    return model.eval(), torch.cat([b[0] for b in batches]), torch.cat([b[1] for b in batches])


@pytest.mark.parametrize(
    "kind", [pytest.param("adaptive", marks=pytest.mark.slow), "adaptive_low_rank", "adaptive_residual"]
)
def test_a_trained_lenet_starts_warm_within_a_hundred_thousandth_and_is_fine_tuned(
    kind: str, trained: tuple[nn.Module, torch.Tensor, torch.Tensor]
) -> None:
    original, images, labels = trained
    with torch.no_grad():
        before = original(images)
    assert (before.argmax(1) == labels).float().mean() > 0.8
    model = convert(copy.deepcopy(original), kind, warm_start=True).model
    with torch.no_grad():
        torch.testing.assert_close(model(images), before, rtol=1e-5, atol=1e-5)
    cold = convert(copy.deepcopy(original), kind).model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    loss = F.cross_entropy(model(images), labels)
    assert loss < 0.5 * F.cross_entropy(cold(images), labels)
    for _ in range(8):
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
    assert F.cross_entropy(model(images), labels) < 0.95 * loss
