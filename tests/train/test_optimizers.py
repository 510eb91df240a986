"""Optimizers beyond PyTorch's: Muon for any parameters, and those that need no schedule."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training import digits, same_state, trainer

from lit_adaptconv.errors import UserError
from lit_adaptconv.models import ResNet8
from lit_adaptconv.train import ImageClassifier, MuonAdamW
from lit_adaptconv.train.checkpoint import LastCheckpoint
from lit_adaptconv.train.muon import orthogonalized


@pytest.mark.parametrize("shape", [(3, 8), (8, 3), (6, 6), (1, 5), (5, 1)])
def test_the_step_is_the_nearest_orthogonal_matrix(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(shape, generator=generator, dtype=torch.float64), full_matrices=False)
    values = torch.linspace(0.5, 3, min(shape), dtype=torch.float64)
    got = left.T @ orthogonalized(left * values @ right) @ right.T
    assert torch.allclose(got, got.diagonal().diag(), atol=1e-9)
    assert got.diagonal().min() > 0.6
    assert got.diagonal().max() < 1.3


def steps(optimizer: Any, parameters: list[nn.Parameter], number: int = 5) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(number):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
    return [parameter.detach().clone() for parameter in parameters]


def parameters(*shapes: tuple[int, ...]) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(2)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


def test_vectors_step_as_with_adamw_and_matrices_as_with_pytorchs_muon() -> None:
    settings = {"lr": 0.02, "weight_decay": 0.1}
    got, expected = parameters((7,), ()), parameters((7,), ())
    for one, other in zip(
        steps(MuonAdamW(got, **settings), got), steps(torch.optim.AdamW(expected, **settings), expected), strict=True
    ):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-6)
    got, expected = parameters((6, 9), (9, 4)), parameters((6, 9), (9, 4))
    muon = torch.optim.Muon(expected, adjust_lr_fn="match_rms_adamw", **settings)
    for one, other in zip(steps(MuonAdamW(got, **settings), got), steps(muon, expected), strict=True):
        assert torch.allclose(one, other, atol=0.02)  # theirs computes in bfloat16


def test_a_convolution_is_a_matrix_of_its_output_channels() -> None:
    kernel, matrix = parameters((4, 2, 3, 3)), [nn.Parameter(parameters((4, 2, 3, 3))[0].detach().flatten(1))]
    generator = torch.Generator().manual_seed(3)
    both = [MuonAdamW(kernel), MuonAdamW(matrix)]
    for _ in range(3):
        kernel[0].grad = torch.randn(4, 2, 3, 3, generator=generator)
        matrix[0].grad = kernel[0].grad.flatten(1)
        for optimizer in both:
            optimizer.step()
    assert torch.allclose(kernel[0].flatten(1), matrix[0])


@pytest.mark.parametrize(
    "wrong", [{"lr": -1.0}, {"weight_decay": float("nan")}, {"momentum": 1.0}, {"betas": (0.9, -1)}]
)
def test_what_is_no_setting_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Invalid"):
        MuonAdamW(parameters((2, 2)), **wrong)


def test_it_goes_on_from_its_state() -> None:
    shapes = ((4, 2, 3, 3), (5,), (3, 4))
    whole = parameters(*shapes)
    end = steps(optimizer := MuonAdamW(whole, 0.01), whole)
    state = copy.deepcopy(optimizer.state_dict())
    other = [nn.Parameter(value) for value in end]
    again = MuonAdamW(other)
    again.load_state_dict(state)
    assert same_state(steps(optimizer, whole), steps(again, other))


def test_pytorchs_muon_is_refused_with_the_one_to_take() -> None:
    module = ImageClassifier(image_size=(12, 12), optimizer=partial(torch.optim.Muon, lr=0.01))
    with pytest.raises(UserError, match=r"matrices only: lit_adaptconv\.train\.MuonAdamW takes any"):
        trainer(max_epochs=1).fit(module, digits())


@pytest.mark.parametrize("kind", ["standard", "adaptive_low_rank"])
def test_muon_trains_a_network_whose_biases_are_not_decayed(kind: str) -> None:
    torch.manual_seed(0)
    module = ImageClassifier(
        partial(ResNet8), kind, width=0.25, image_size=(12, 12), optimizer=partial(MuonAdamW, lr=0.01)
    )
    end = trainer(max_epochs=3)
    end.fit(module, digits())
    assert [group["weight_decay"] for group in end.optimizers[0].param_groups] == [0.01, 0.0]
    assert float(end.callback_metrics["val/accuracy"]) > 0.4


class ScheduleFree(torch.optim.Optimizer):
    """SGD of Defazio et al. (2024): gradients are taken at y, between the steps z and their average x."""

    def __init__(self, params: Iterable[Any], lr: float = 0.5, share: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "share": share, "steps": 0, "training": False})

    def _parts(self) -> Iterable[tuple[dict[str, Any], Tensor, dict[str, Any]]]:
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state["x"], state["z"] = parameter.detach().clone(), parameter.detach().clone()
                yield group, parameter, state

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        with torch.enable_grad():
            loss = closure()
        for group, parameter, state in self._parts():
            assert group["training"], "a step with the weights of the evaluation"
            if parameter.grad is not None:
                state["z"] -= group["lr"] * parameter.grad
                state["x"] += (state["z"] - state["x"]) / (group["steps"] + 1)
                parameter.copy_(state["z"] + group["share"] * (state["x"] - state["z"]))
        for group in self.param_groups:
            group["steps"] += 1
        return loss

    @torch.no_grad()
    def train(self) -> None:
        for group, parameter, state in self._parts():
            parameter.copy_(state["z"] + group["share"] * (state["x"] - state["z"]))
        for group in self.param_groups:
            group["training"] = True

    @torch.no_grad()
    def eval(self) -> None:
        for _, parameter, state in self._parts():
            parameter.copy_(state["x"])
        for group in self.param_groups:
            group["training"] = False


@pytest.mark.parametrize("interval", [1.0, 0.3])
def test_an_optimizer_without_a_schedule_evaluates_and_keeps_what_it_found(interval: float, tmp_path: Any) -> None:
    torch.manual_seed(0)

    class Checked(ImageClassifier):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            optimizer: Any = self.trainer.optimizers[0]
            assert all(torch.equal(parameter, state["x"]) for _, parameter, state in optimizer._parts())
            super().validation_step(batch, batch_idx)

    def module() -> ImageClassifier:
        return Checked(image_size=(12, 12), optimizer=partial(ScheduleFree), scheduler=None)

    end = trainer(
        max_epochs=3, callbacks=[LastCheckpoint(tmp_path)], enable_checkpointing=True, val_check_interval=interval
    )
    end.fit(trained := module(), digits())
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert same_state(kept["state_dict"], dict(trained.state_dict()))
    states = kept["optimizer_states"][0]["state"]
    assert same_state([state["x"] for state in states.values()], [p.detach() for p in trained.parameters()])
    assert float(end.callback_metrics["val/accuracy"]) > 0.3
