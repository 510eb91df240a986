"""What weight decay acts on."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_conv import GatedConv
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau, StepLR
from training import digits, same_state, trainer

from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.kinds import conv_kind, kinds
from lit_adaptconv.models import backbones
from lit_adaptconv.models.backbones import ConvNet
from lit_adaptconv.train.classifier import ImageClassifier
from lit_adaptconv.train.schedules import OneCycle
from lit_adaptconv.train.weight_decay import generating, spared, with_groups

NORMS = (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)
Groups = list[dict[str, Any]]


def model(kind: str = "adaptive_low_rank", **arguments: Any) -> ImageClassifier:
    torch.manual_seed(0)
    usual: dict[str, Any] = {"backbone": partial(ConvNet, channels=(4, 5)), "image_size": (12, 12), "scheduler": None}
    return ImageClassifier(kind=kind, **{**usual, **arguments})


def names(module: nn.Module, parameters: Iterable[Tensor]) -> set[str]:
    known = {id(parameter): name for name, parameter in module.named_parameters()}
    return {known[id(parameter)] for parameter in parameters}


def groups_of(module: ImageClassifier) -> Groups:
    optimizer = module.configure_optimizers()
    assert isinstance(optimizer, torch.optim.Optimizer)
    return optimizer.param_groups


def check(module: ImageClassifier) -> None:
    """Two groups that have each parameter once; decay is on what is called a weight and in no normalisation."""
    decayed, free = groups_of(module)
    assert (decayed["weight_decay"] > 0, free["weight_decay"]) == (True, 0)
    every = [id(p) for group in (decayed, free) for p in group["params"]]
    assert sorted(every) == sorted(id(p) for p in module.parameters())
    norms = {id(p) for part in module.modules() if isinstance(part, NORMS) for p in part.parameters()}
    weights = {n for n, p in module.named_parameters() if n.endswith("weight") and id(p) not in norms}
    assert names(module, decayed["params"]) == weights


@pytest.mark.parametrize("kind", kinds())
def test_of_every_kind_the_weights_decay_and_nothing_else(kind: str) -> None:
    check(model(kind))


@pytest.mark.parametrize("name", ["LeNet5", "ConvNet", "ResNet20", "SqueezeNet", "MobileNetV2"])
@pytest.mark.parametrize("kind", ["standard", "adaptive", "odconv"])
def test_of_every_network_the_weights_decay_and_nothing_else(name: str, kind: str) -> None:
    check(model(kind, backbone=getattr(backbones, name), in_channels=3, image_size=(32, 32), width=0.25))


def test_biases_of_gates_and_generators_and_scales_of_any_shape_are_spared() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate_bias = nn.Parameter(torch.ones(2, 3))
            self.relative_position_bias_table = nn.Parameter(torch.ones(9, 2))
            self.bias_k = nn.Parameter(torch.ones(1, 1, 4))
            self.biased_weight = nn.Parameter(torch.ones(2, 2))
            self.temperature = nn.Parameter(torch.ones(()))
            self.norm = nn.LayerNorm((3, 4, 4))
            self.positions = nn.Parameter(torch.ones(1, 5, 4))

    odd = Odd()
    assert names(odd, set(odd.parameters()) - spared(odd)) == {"biased_weight", "positions"}


def test_a_kind_of_ones_own_is_divided_by_dimensions() -> None:
    module = model("foreign_conv.GatedConv")
    assert any(isinstance(part, GatedConv) for part in module.modules())
    decayed, free = groups_of(module)
    assert all(p.ndim > 1 for p in decayed["params"])
    assert {n.rpartition(".")[2] for n in names(module, decayed["params"])} == {"weight", "gate"}
    assert all(p.ndim <= 1 for p in free["params"])


@pytest.mark.parametrize("arguments", [{"weight_decay": 0.0}, {}])
def test_without_weight_decay_there_is_one_group_and_no_number_changes(arguments: dict[str, float]) -> None:
    plain = partial(torch.optim.SGD, lr=0.05, **arguments)
    ends = []
    for on in ("weights", "all"):
        made = model(optimizer=plain, weight_decay_on=on)
        assert [len(group["params"]) for group in groups_of(made)] == [len([*made.parameters()])]
        trainer(max_steps=3, limit_val_batches=0).fit(made, digits())
        ends.append(made.state_dict())
    assert same_state(ends[0], ends[1])


@pytest.mark.parametrize("on", ["weights", "all"])
def test_a_step_without_gradients_shrinks_what_decays_alone(on: str) -> None:
    made = model("adaptive", optimizer=partial(torch.optim.SGD, lr=0.5, weight_decay=0.1), weight_decay_on=on)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.fill_(1.0)
    optimizer = made.configure_optimizers()
    assert isinstance(optimizer, torch.optim.Optimizer)
    for parameter in made.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in made.named_parameters():
        shrinks = on == "all" or (name.endswith("weight") and parameter.ndim > 1)
        torch.testing.assert_close(parameter.data, torch.full_like(parameter, 0.95 if shrinks else 1.0))


OPTIMIZERS = [
    kind
    for name, kind in vars(torch.optim).items()
    if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and kind is not torch.optim.Optimizer
]


@pytest.mark.parametrize("kind", OPTIMIZERS, ids=lambda kind: kind.__name__)
def test_every_optimizer_of_pytorch_that_has_weight_decay_is_divided_and_the_others_are_as_they_were(
    kind: type[torch.optim.Optimizer],
) -> None:
    try:
        kind(model().parameters(), lr=0.01)  # type: ignore[call-arg]
    except ValueError:  # it takes matrices only
        with pytest.raises(UserError, match="takes matrices only"):
            groups_of(model(optimizer=partial(kind, lr=0.01)))
        return
    has_decay = "weight_decay" in kind([nn.Parameter(torch.ones(2, 2))], lr=0.01).defaults  # type: ignore[call-arg]
    made = model(optimizer=partial(kind, lr=0.01, **({"weight_decay": 0.1} if has_decay else {})))
    assert len(groups_of(made)) == 1 + has_decay


class Ungrouped(torch.optim.SGD):
    """An optimizer that takes parameters only."""

    def __init__(self, params: Iterable[Any], lr: float = 0.1, weight_decay: float = 0.1) -> None:
        params = list(params)
        if not all(isinstance(parameter, Tensor) for parameter in params):
            raise ValueError("no groups, please")
        super().__init__(params, lr=lr, weight_decay=weight_decay)


def only_trained(params: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW([p for p in params if p.requires_grad], lr=0.1)


def own_groups(params: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    first, *others = params
    return torch.optim.AdamW([{"params": [first], "weight_decay": 0.5}, {"params": others, "lr": 0.2}], lr=0.1)


@pytest.mark.parametrize(("make", "count"), [(Ungrouped, 1), (only_trained, 1), (own_groups, 2)])
def test_an_optimizer_that_takes_no_groups_or_makes_its_own_stays_as_it_is(make: Any, count: int) -> None:
    groups = groups_of(model(optimizer=make))
    assert len(groups) == count
    assert sum(len(group["params"]) for group in groups) == len([*model().parameters()])
    if count == 2:
        assert [group["weight_decay"] for group in groups] == [0.5, 0.01]


def test_a_network_of_matrices_alone_has_one_group() -> None:
    plain = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Linear(4, 2, bias=False))
    assert len(with_groups(torch.optim.AdamW, plain).param_groups) == 1


def test_another_word_is_refused() -> None:
    with pytest.raises(UserError, match="weight_decay_on must be one of weights, static, all, got 'biases'"):
        model(weight_decay_on="biases")


SCHEDULES: dict[str, Any] = {
    "none": None,
    "one cycle": partial(OneCycle, total_steps=8),
    "steps": partial(StepLR, step_size=1, gamma=0.5),
    "function": partial(LambdaLR, lr_lambda=lambda epoch: 0.5**epoch),
    "plateau": partial(ReduceLROnPlateau, patience=0),
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("began", "goes_on"), [("all", "weights"), ("weights", "all")])
def test_a_training_that_is_continued_goes_on_as_it_began(
    schedule: str, began: str, goes_on: str, tmp_path: Path
) -> None:
    def made(on: str) -> ImageClassifier:
        decaying = partial(torch.optim.AdamW, lr=0.01, weight_decay=1.0)
        return model(optimizer=decaying, scheduler=SCHEDULES[schedule], weight_decay_on=on)

    options: dict[str, Any] = {"limit_train_batches": 4, "limit_val_batches": 1}
    first = trainer(max_epochs=1, **options)
    first.fit(made(began), digits())
    first.save_checkpoint(tmp_path / "half.ckpt")
    saved = torch.load(tmp_path / "half.ckpt", weights_only=True)
    assert len(saved["optimizer_states"][0]["param_groups"]) == (1 if began == "all" else 2)
    ends = []
    for on in (began, goes_on):
        ends.append(made(on))
        run = trainer(max_epochs=2, **options)
        run.fit(ends[-1], digits(), ckpt_path=tmp_path / "half.ckpt", weights_only=True)
        assert run.global_step == 8
    assert same_state(ends[0].state_dict(), ends[1].state_dict())


def test_weights_of_an_earlier_version_begin_a_new_training_in_todays_way(tmp_path: Path) -> None:
    first = trainer(max_steps=1, limit_val_batches=0)
    first.fit(model(weight_decay_on="all"), digits())
    first.save_checkpoint(tmp_path / "old.ckpt")
    old = torch.load(tmp_path / "old.ckpt", weights_only=True)
    del old["hyper_parameters"]["weight_decay_on"]
    torch.save(old, tmp_path / "old.ckpt")
    loaded = ImageClassifier.load_from_checkpoint(
        tmp_path / "old.ckpt", backbone=partial(ConvNet, channels=(4, 5)), scheduler=None, weights_only=True
    )
    assert len(groups_of(loaded)) == 2


@pytest.mark.parametrize("kind", [kind for kind, what in kinds().items() if what.kernel != "static"])
def test_without_its_generators_the_kernel_of_any_kind_is_static(kind: str) -> None:
    torch.manual_seed(0)
    options = {"warmup": 0} if kind == "kernel_warehouse" else {}
    layer = conv_kind(kind, options)(4, 4, 3, padding=1).double().eval()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.4)
    if kind in ("deformable", "dcnv4"):  # taps between pixels are no less static, but at the border
        nn.init.zeros_(layer.get_parameter("offsets.bias"))
    x, first, second = torch.randn(3, 2, 4, 9, 9, dtype=torch.float64)

    def is_affine() -> bool:
        both = layer(x + first + second) - layer(x)
        return torch.allclose(both, layer(x + first) + layer(x + second) - 2 * layer(x), rtol=0, atol=1e-9)

    generators = generating(layer)
    assert not is_affine()
    for parameter in generators or {layer.get_parameter("guide_scale")}:  # which is spared as it is
        if parameter.ndim > 1 or not generators:
            nn.init.zeros_(parameter)
    assert is_affine()


@pytest.mark.parametrize(
    "kind", ["standard", "separable", "adaptive", "adaptive_residual", "adaptive_low_rank_separable"]
)
def test_static_spares_generators_and_nothing_else(kind: str) -> None:
    made = model(kind, weight_decay_on="static")
    decayed, free = groups_of(made)
    assert (decayed["weight_decay"] > 0, free["weight_decay"]) == (True, 0)
    weights = names(made, {*made.parameters()} - spared(made))
    assert names(made, decayed["params"]) == {n for n in weights if not n.endswith(("generator_weight", "gate_weight"))}
    assert sum(len(group["params"]) for group in (decayed, free)) == len([*made.parameters()])


@pytest.mark.parametrize("began", ["weights", "static", "all"])
@pytest.mark.parametrize("given", ["weights", "static", "all"])
def test_what_is_continued_decays_as_it_began(began: Any, given: Any, tmp_path: Path) -> None:
    first = trainer(max_epochs=1, limit_train_batches=1, limit_val_batches=0)
    first.fit(model("adaptive", weight_decay_on=began), digits())
    first.save_checkpoint(tmp_path / "first.ckpt")
    again, run = (
        model("adaptive", weight_decay_on=given),
        trainer(max_epochs=2, limit_train_batches=1, limit_val_batches=0),
    )
    run.fit(again, digits(), ckpt_path=tmp_path / "first.ckpt", weights_only=True)
    sizes = [len(group["params"]) for group in run.optimizers[0].param_groups]
    assert sizes == [len(group["params"]) for group in groups_of(model("adaptive", weight_decay_on=began))]
