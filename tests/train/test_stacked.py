"""Runs that are trained together end as each does alone."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from lit_adaptconv.errors import DivergedError, UserError
from lit_adaptconv.layers import conv_kind
from lit_adaptconv.layers.kinds import kinds
from lit_adaptconv.models import Backbone, LeNet5
from lit_adaptconv.train.checkpoint import STAGED
from lit_adaptconv.train.runs import CHECKPOINTS
from lit_adaptconv.train.stacked.network import StackedNetwork, check_stackable
from lit_adaptconv.train.stacked.training import NotTogetherError, _member, check_config, train_together
from lit_adaptconv.train.training import Training

CLOCK = ("seconds", "training_seconds", "started", "stacked")
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "torch.optim.AdamW": {"lr": 0.003, "weight_decay": 0.02},
    "torch.optim.SGD": {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3},
    "torch.optim.Adam": {"lr": 0.003, "amsgrad": True},
    "torch.optim.RMSprop": {"lr": 0.002, "momentum": 0.5},
    "torch.optim.NAdam": {"lr": 0.003},
    "torch.optim.Adafactor": {"lr": 0.01},  # it treats a matrix as a whole
}


class Dropped(Backbone):
    """A small network with all that has a state of its own: averages of batches, and masks of three sorts."""

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 10,
        image_size: tuple[int, int] = (28, 28),
        conv: Callable[..., nn.Module] = nn.Conv2d,
        width: Any = 1.0,
    ) -> None:
        super().__init__()
        self.widths = (4, 6)
        self.layers = nn.Sequential(
            conv(in_channels, 4, 3, padding=1, bias=False),  # its gradient would be rounding, which Adam makes large
            nn.BatchNorm2d(4),
            nn.Dropout2d(0.2),
            nn.ReLU(),
            nn.Conv2d(4, 6, 1),
            nn.Dropout(0.1),
            nn.AdaptiveAvgPool2d(3),
            nn.Flatten(),
            nn.BatchNorm1d(54, affine=False),
            nn.Linear(54, num_classes, bias=False),
        )

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        return logits


def config(folder: Path, seed: int, **given: Any) -> dict[str, Any]:
    """A short run in double precision; `given` are its sections, by names with two underscores for a dot."""
    fit: dict[str, Any] = {
        "seed_everything": seed,
        "data": {
            "class_path": "lit_adaptconv.data.Digits",
            "init_args": {"batch_size": 50, "image_size": 12, "shift": 1},
        },
        "model": {"backbone": {"class_path": "lit_adaptconv.models.LeNet5"}, "width": 0.3},
        "trainer": {
            "max_epochs": 2,
            "accelerator": "cpu",
            "precision": "64-true",
            "val_check_interval": 0.5,
            "limit_train_batches": 10,
            "enable_progress_bar": False,
        },
        "run": {"root": str(folder), "name": "run", "id": str(seed), "wandb": False},
    }
    for name, value in given.items():
        *sections, last = name.split("__")
        place = fit
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return {"subcommand": "fit", "fit": fit}


def optimizer(name: str, **given: Any) -> dict[str, Any]:
    return {"class_path": name, "init_args": {**OPTIMIZERS[name], **given}}


def alone(configs: Sequence[dict[str, Any]]) -> list[BaseException | None]:
    errors: list[BaseException | None] = []
    for each in configs:
        try:
            Training(copy.deepcopy(each))
            errors.append(None)
        except DivergedError as error:
            errors.append(error)
    return errors


def together(configs: Sequence[dict[str, Any]]) -> list[BaseException | None]:
    errors = train_together(configs)
    return [errors[number] for number in range(len(configs))]


def both(folder: Path, configs: Sequence[dict[str, Any]]) -> tuple[list[Any], list[Any]]:
    """Train all alone, then together, and compare all that is left of each."""
    ways = []
    for way, run in (("alone", alone), ("together", together)):
        moved = copy.deepcopy(list(configs))
        for each in moved:
            each["fit"]["run"]["root"] = str(folder / way)
        ways.append(run(moved))
        if way == "together":
            settle(folder / way)
    for each in configs:
        id = each["fit"]["run"]["id"]
        compare_runs(folder / "alone" / "run" / id, folder / "together" / "run" / id)
    return ways[0], ways[1]


def settle(folder: Path) -> None:
    for staged in folder.glob(f"*/*/checkpoints/*{STAGED}"):
        staged.replace(staged.with_name(staged.name.removesuffix(STAGED)))


def compare_runs(one: Path, other: Path) -> None:
    results = [json.loads((folder / "result.json").read_text()) for folder in (one, other)]
    agree(results[0], results[1], "result")
    assert (results[0]["stacked"], results[1]["stacked"] is not None) == (None, True)
    for name in CHECKPOINTS.values():
        assert (one / name).exists() == (other / name).exists()
        if (one / name).exists():
            stored = [torch.load(folder / name, weights_only=True) for folder in (one, other)]
            agree(stored[0], stored[1], str(name))


def agree(one: Any, other: Any, where: str) -> None:
    """Check that two trees of values agree but for clocks, places, and the batches of evaluations.

    The state of Python's own generator is left out: some library draws from it when it is first used.
    """
    if isinstance(one, dict):
        if "val_loop" in where or "ModelCheckpoint" in where:
            return
        assert one.keys() == other.keys(), where
        for name in one:
            if name not in (*CLOCK, "python") and "Checkpoint{" not in str(name) and "val_loop" not in str(name):
                agree(one[name], other[name], f"{where}.{name}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for number, (mine, its) in enumerate(zip(one, other, strict=True)):
            agree(mine, its, f"{where}.{number}")
    elif isinstance(one, Tensor) and one.is_floating_point():
        scale = float(other.abs().max()) if other.numel() else 1.0
        rtol = 1e-9 if one.dtype == torch.float64 else 1e-6
        atol = max(rtol * scale, 1e-11)  # what is rounding alone, before a normalisation, has no relative error
        assert torch.allclose(one, other, rtol=rtol, atol=atol), (where, float((one - other).abs().max()))
    elif isinstance(one, Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, float):
        assert other == pytest.approx(one, rel=1e-6, abs=1e-6, nan_ok=True), where
    else:
        assert one == other, where


QUICK = ("standard",)


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind in QUICK else pytest.mark.slow) for kind in kinds()]
)
def test_every_kind_ends_as_alone(tmp_path: Path, kind: str) -> None:
    given = {"model__kind": kind, "trainer__gradient_clip_val": 0.5}
    given["model__optimizer"] = optimizer("torch.optim.SGD", lr=0.02)  # Adam would divide rounding by rounding
    configs = [config(tmp_path, seed, **given) for seed in (3, 4)]
    assert both(tmp_path, configs) == ([None] * 2, [None] * 2)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name.endswith("AdamW") else pytest.mark.slow) for name in OPTIMIZERS],
)
def test_every_optimizer_schedule_and_state_end_as_alone(tmp_path: Path, name: str) -> None:
    schedules: list[Any] = [
        {"class_path": "lit_adaptconv.train.OneCycle"},
        {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 1}},
        None,
    ]
    given = {
        "model__backbone": {"class_path": f"{__name__}.Dropped"},
        "model__width": 1.0,
        "model__label_smoothing": 0.1,
        "model__scheduler": schedules[list(OPTIMIZERS).index(name) % 3],
        "trainer__gradient_clip_val": 0.3,
        "trainer__gradient_clip_algorithm": "value" if name.endswith("SGD") else "norm",
    }
    rates = (0.002, 0.004, 0.004)  # two with the same settings share an optimizer
    configs = [
        config(tmp_path, seed, **given, model__optimizer=optimizer(name, lr=rate)) for seed, rate in enumerate(rates)
    ]
    assert both(tmp_path, configs) == ([None] * 3, [None] * 3)


@pytest.mark.slow
def test_transforms_are_drawn_by_each_as_alone(tmp_path: Path) -> None:
    names = ("RandAugment", "RandomErasing", "MixUp", "CutMix")
    transforms = [{"class_path": f"torchvision.transforms.v2.{name}"} for name in names]
    configs = [
        config(tmp_path, seed, data__init_args__transforms=transforms, model__label_smoothing=0.1) for seed in (3, 4)
    ]
    assert both(tmp_path, configs) == ([None] * 2, [None] * 2)


@pytest.mark.slow
def test_frozen_parts_stay_as_alone(tmp_path: Path) -> None:
    given = {
        "model__kind": "adaptive_low_rank",
        "model__adaptive_in": "first",
        "model__freeze": ["features.0", "*.bias"],
    }
    configs = [config(tmp_path, seed, **given) for seed in (3, 4)]
    assert both(tmp_path, configs) == ([None] * 2, [None] * 2)


def test_one_that_diverges_ends_alone_and_the_others_go_on(tmp_path: Path) -> None:
    configs = [
        config(tmp_path, seed, model__optimizer=optimizer("torch.optim.SGD", lr=rate), trainer__log_every_n_steps=5)
        for seed, rate in enumerate((0.05, 1e30, 0.05))
    ]
    separately, together = both(tmp_path, configs)
    assert [type(error) for error in together] == [type(None), DivergedError, type(None)]
    assert str(separately[1]) == str(together[1])


@pytest.mark.slow
def test_one_that_is_stopped_early_leaves_the_others(tmp_path: Path) -> None:
    stop = {"class_path": "lightning.pytorch.callbacks.EarlyStopping"}
    stop["init_args"] = {"monitor": "val/loss", "patience": 1, "mode": "min"}  # type: ignore[assignment]
    configs = [
        config(
            tmp_path,
            seed,
            trainer__callbacks=[stop],
            trainer__max_epochs=4,
            trainer__limit_train_batches=6,
            model__optimizer=optimizer("torch.optim.SGD", lr=rate),
            model__scheduler=None,
        )
        for seed, rate in enumerate((0.02, 1.5, 0.02))
    ]
    both(tmp_path, configs)
    steps = [json.loads((tmp_path / "together/run" / str(n) / "result.json").read_text())["steps"] for n in range(3)]
    assert steps[1] < steps[0] == steps[2]


class Drawn(nn.Module):
    """Draws random numbers that are no dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(StochasticDepth(0.5, "row"), nn.Flatten(), nn.Linear(9, 2))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        return logits


class Hidden(nn.Module):
    """Keeps a tensor that is neither a parameter nor a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(9, 2)
        self.hidden = torch.zeros(2)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.linear(images.flatten(1)) + self.hidden
        self.hidden = torch.randn(2, dtype=images.dtype) + logits.detach()[0] * 0
        return logits


class Branching(nn.Module):
    """Goes by a value."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(9, 10)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.linear(images.flatten(1))
        return logits if logits.sum() > 0 else -logits


@pytest.mark.parametrize("network", [Drawn, Hidden, Branching])
def test_what_cannot_be_mapped_is_told_in_a_line(network: type[nn.Module]) -> None:
    before = torch.get_rng_state()
    with pytest.raises(UserError) as refused:
        check_stackable(network(), (1, 3, 3))
    assert "\n" not in str(refused.value)
    torch.manual_seed(0)
    torch.set_rng_state(before)


def test_checking_leaves_the_network_and_the_random_state_alone() -> None:
    network = Dropped()
    state = copy.deepcopy(network.state_dict())
    random = torch.get_rng_state()
    check_stackable(network, (1, 28, 28))
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert network.training


def test_a_stack_takes_and_gives_back_its_members() -> None:
    networks = [LeNet5(1, 10, (28, 28), conv=conv_kind("standard"), width=0.3) for _ in range(3)]
    before = [copy.deepcopy(network.state_dict()) for network in networks]
    stacked = StackedNetwork(networks)
    with torch.no_grad():
        for parameter in stacked.parameters.values():
            parameter += 1
    stacked.unstack(networks)
    for network, state in zip(networks, before, strict=True):
        assert all(torch.equal(value, state[name] + 1) for name, value in network.named_parameters())


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"model__compile": True}, "compiled"),
        ({"model__channels_last": True}, "channels are laid out last"),
        ({"model__teacher": "runs/a/1"}, "learns from a teacher"),
        ({"model__loss": "binary_cross_entropy"}, "the loss is binary_cross_entropy"),
        ({"trainer__accumulate_grad_batches": 2}, "accumulate_grad_batches"),
        ({"trainer__precision": "16-mixed"}, "precision"),
        ({"trainer__min_steps": 14}, "min_steps"),
        ({"trainer__devices": 2}, "several devices"),
        (
            {"trainer__callbacks": [{"class_path": "lightning.pytorch.callbacks.StochasticWeightAveraging"}]},
            "Averaging",
        ),
        ({"model": {"class_path": "their.Module"}}, "their.Module"),
    ],
)
def test_settings_that_act_within_steps_are_told(tmp_path: Path, given: dict[str, Any], reason: str) -> None:
    check_config(config(tmp_path, 0)["fit"])
    with pytest.raises(UserError, match=reason):
        check_config(config(tmp_path, 0, **given)["fit"])


def test_an_optimizer_that_evaluates_other_weights_is_left_to_train_alone() -> None:
    optimizer = SimpleNamespace(eval=lambda: None)
    with pytest.raises(NotTogetherError, match="evaluates other weights"):
        _member(SimpleNamespace(trainer=SimpleNamespace(optimizers=[optimizer])))  # type: ignore[arg-type]


def test_a_network_that_fails_in_the_stack_is_left_to_be_trained_alone(tmp_path: Path) -> None:
    configs = [config(tmp_path, seed, model__backbone={"class_path": f"{__name__}.Branching"}) for seed in range(2)]
    for each in configs:
        each["fit"]["model"].pop("width")
        each["fit"]["data"]["init_args"]["image_size"] = 3
        each["fit"]["data"]["init_args"]["shift"] = 0
    with pytest.raises(NotTogetherError, match="vmap"):
        train_together(configs)
