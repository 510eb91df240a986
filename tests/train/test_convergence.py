from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.loggers import Logger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from training import digits, trainer

from lit_adaptconv.errors import UserError
from lit_adaptconv.train.classifier import ImageClassifier
from lit_adaptconv.train.convergence import ConvergenceCallback, Evaluation, TargetReached, first_reached, number

SAMPLES, BATCH = 40, 8


class Scripted(pl.LightningModule):
    """A module that knows nothing of the package, whose "score" follows a given curve."""

    def __init__(self, curve: list[float]) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.curve = iter(curve)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss: Tensor = self.layer(batch[0]).square().mean()
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        pass

    def on_validation_epoch_end(self) -> None:
        self.log("score", torch.tensor(next(self.curve), dtype=torch.float32))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Memory(Logger):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int | None, dict[str, float]]] = []

    name = "memory"
    version = "0"

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.append((step, metrics))

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass


def loader() -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(TensorDataset(torch.randn(SAMPLES, 2)), batch_size=BATCH)


@pytest.fixture(autouse=True)
def few_workers() -> None:
    """Lightning advises more workers for a loader of forty numbers."""
    import warnings

    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")


def fit(callback: ConvergenceCallback, curve: list[float], **arguments: Any) -> pl.Trainer:
    run = trainer(max_epochs=2, callbacks=[callback], **arguments)
    run.fit(Scripted(curve), loader(), loader())
    return run


def test_each_target_is_reached_at_the_first_evaluation_that_shows_it() -> None:
    curve = [Evaluation(10 * i, i / 2, 100 * i, 0.5 * i, value) for i, value in enumerate([0.1, 0.8, 0.7, 0.9, 0.9])]
    assert first_reached(curve, 0.1) == TargetReached(0.1, 0, 0.0, 0, 0.0)
    assert first_reached(curve, 0.75) == TargetReached(0.75, 10, 0.5, 100, 0.5)
    assert first_reached(curve, 0.9) == TargetReached(0.9, 30, 1.5, 300, 1.5)
    assert first_reached(curve, 0.91) == TargetReached(0.91)
    assert first_reached(curve, 0.5, "min") == TargetReached(0.5, 0, 0.0, 0, 0.0)
    assert first_reached(curve, 0.05, "min") == TargetReached(0.05)
    assert first_reached([], 0.5) == TargetReached(0.5)


@pytest.mark.parametrize("total", [20, 100, 360, 5000, 10_000])
@pytest.mark.parametrize("percent", [55, 90, 95, 98, 99])
def test_an_accuracy_that_is_exactly_the_target_reaches_it_in_float32(percent: int, total: int) -> None:
    hits = percent * total // 100
    if hits * 100 == percent * total:
        value = number(torch.tensor(hits, dtype=torch.float32) / total)
        assert value is not None
        assert value >= percent / 100
    assert number((torch.tensor(hits, dtype=torch.float32) - 1) / total) < percent / 100  # type: ignore[operator]


def test_steps_epochs_and_targets_follow_the_curve_of_any_module() -> None:
    callback = ConvergenceCallback([0.5, 0.95, 0.99], monitor="score")
    fit(callback, [0.4, 0.95])
    assert [(e.step, e.epoch, e.flops, e.value) for e in callback.curve] == [(5, 1.0, None, 0.4), (10, 2.0, None, 0.95)]
    steps = [(r.target, r.steps, r.epochs, r.flops) for r in callback.reached]
    assert steps == [(0.5, 10, 2.0, None), (0.95, 10, 2.0, None), (0.99, None, None, None)]


def test_less_may_be_better() -> None:
    callback = ConvergenceCallback([0.3], monitor="score", mode="min")
    fit(callback, [0.4, 0.2])
    assert callback.reached[0].steps == 10


def test_evaluation_within_the_epoch_is_finer() -> None:
    callback = ConvergenceCallback([0.5], monitor="score")
    fit(callback, [0.1, 0.2, 0.5, 0.6], val_check_interval=2)
    assert [(e.step, e.epoch) for e in callback.curve] == [(2, 0.4), (4, 0.8), (7, 1.4), (9, 1.8)]
    assert callback.reached[0].steps == 7


def test_accumulated_gradients_count_steps_of_the_optimizer() -> None:
    callback = ConvergenceCallback([0.5], monitor="score")
    fit(callback, [0.5, 0.5], accumulate_grad_batches=5)
    assert [(e.step, e.epoch) for e in callback.curve] == [(1, 1.0), (2, 2.0)]


def test_sanity_checks_and_plain_validation_are_no_evaluations() -> None:
    callback = ConvergenceCallback([0.5], monitor="score")
    run = fit(callback, [0.9, 0.1, 0.2], num_sanity_val_steps=1)
    assert [e.value for e in callback.curve] == [0.1, 0.2]
    run.validate(Scripted([0.9]), loader(), verbose=False)
    assert len(callback.curve) == 2


def test_a_reached_target_is_logged_once_beside_its_evaluation() -> None:
    memory = Memory()
    fit(ConvergenceCallback([0.3, 0.5], monitor="score"), [0.4, 0.6], logger=memory, log_every_n_steps=1)
    logged = [(step, set(row)) for step, row in memory.rows if any("convergence" in name for name in row)]
    measures = ("steps", "epochs", "seconds")
    assert logged == [
        (4, {f"convergence/{measure}_to_0.3" for measure in measures}),
        (9, {f"convergence/{measure}_to_0.5" for measure in measures}),
    ]
    assert [step for step, row in memory.rows if "score" in row] == [4, 9]
    values = {name: value for _, row in memory.rows for name, value in row.items()}
    assert (values["convergence/steps_to_0.5"], values["convergence/epochs_to_0.5"]) == (10, 2)


def test_flops_are_those_of_a_training_step_for_every_sample() -> None:
    callback = ConvergenceCallback([0.0])
    model = ImageClassifier(image_size=(12, 12))
    data = digits(batch_size=500)
    trainer(max_epochs=2, callbacks=[callback], log_every_n_steps=1).fit(model, data)
    trained = len(data._ready(data._train).indices)
    assert [e.flops for e in callback.curve] == [model.training_flops * trained, 2 * model.training_flops * trained]
    assert callback.reached[0].flops == model.training_flops * trained
    assert 2 * model.flops < model.training_flops < 3 * model.flops  # the first layer's input needs no gradient
    assert callback.curve[0].train_value is not None
    assert callback.curve[0].loss is not None


class Thaw(pl.Callback):
    """Frees the first layer as an epoch starts."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        pl_module.network.features[0].requires_grad_(False)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pl_module.network.features[0].requires_grad_(trainer.current_epoch > 0)


def test_what_is_freed_in_the_midst_of_training_costs_from_then_on() -> None:
    callback, model = ConvergenceCallback([0.0]), ImageClassifier(image_size=(12, 12))
    data, whole = digits(batch_size=500), model.training_flops
    trainer(max_epochs=2, callbacks=[callback, Thaw()], log_every_n_steps=1).fit(model, data)
    trained = len(data._ready(data._train).indices)
    frozen = callback.curve[0].flops
    assert frozen is not None
    saved = (
        2 * 12 * 12 * 6 * 25 + 6 * 12 * 12 + 6 * 6 * 6 * 4 + 2 * 2 * 2 * 16 * 6 * 25
    )  # and what needs none behind it
    assert frozen == (whole - saved) * trained
    assert callback.curve[1].flops == frozen + whole * trained


def test_flops_of_an_earlier_version_s_checkpoint_are_not_mixed_with_these() -> None:
    state = {
        "curve": [{"step": 1, "epoch": 1.0, "flops": 9, "seconds": 1.0, "value": 0.1}],
        "seconds": 1.0,
        "samples": 3,
    }
    callback, again = ConvergenceCallback(), ConvergenceCallback()
    callback.load_state_dict(state)
    assert (callback.flops, callback.curve[0].flops, callback.curve[0].value) == (None, None, 0.1)
    again.load_state_dict(state | {"flops": 12})
    assert (again.flops, again.curve[0].flops) == (12, 9)


class Pause(pl.Callback):
    """Sleeps where it is told."""

    def __init__(self, *hooks: str) -> None:
        for hook in hooks:
            setattr(self, hook, lambda *args: time.sleep(0.04))


@pytest.mark.parametrize("first", [True, False])
def test_seconds_exclude_evaluation_and_what_others_do_at_its_end(first: bool) -> None:
    def seconds(*hooks: str) -> float:
        callback, pause = ConvergenceCallback([0.0], monitor="score"), Pause(*hooks)
        callbacks = [pause, callback] if first else [callback, pause]
        trainer(max_epochs=2, callbacks=callbacks).fit(Scripted([0.5, 0.5]), loader(), loader())
        assert callback.curve[-1].seconds == callback.seconds
        return callback.seconds

    slow = seconds("on_validation_batch_end", "on_validation_end")  # 2 epochs × 6 × 0.04 s
    training = seconds("on_train_batch_end")  # 2 epochs × 5 × 0.04 s
    assert slow < 0.3 * training


def test_seconds_include_making_the_batches() -> None:
    class Slow(TensorDataset):
        def __getitem__(self, index: int) -> tuple[Tensor, ...]:
            time.sleep(0.01)
            return super().__getitem__(index)

    callback = ConvergenceCallback([0.0], monitor="score")
    slow = DataLoader(Slow(torch.randn(SAMPLES, 2)), batch_size=BATCH)
    trainer(max_epochs=1, callbacks=[callback]).fit(Scripted([0.5]), slow, loader())
    assert callback.seconds > 0.8 * 0.01 * SAMPLES


def test_a_metric_that_is_not_logged_is_named_with_those_that_are() -> None:
    with pytest.raises(UserError, match=r"^convergence.monitor is 'val/acc', which is not logged; logged: score$"):
        fit(ConvergenceCallback([0.5], monitor="val/acc"), [0.5])


def test_the_curve_and_its_counters_survive_in_a_checkpoint(tmp_path: Path) -> None:
    before = ConvergenceCallback([0.3, 0.5], monitor="score")
    run = trainer(max_epochs=1, callbacks=[before])
    run.fit(Scripted([0.4]), loader(), loader())
    run.save_checkpoint(tmp_path / "a.ckpt")
    after = ConvergenceCallback([0.3, 0.5], monitor="score")
    continued = trainer(max_epochs=2, callbacks=[after])
    continued.fit(Scripted([0.6]), loader(), loader(), ckpt_path=tmp_path / "a.ckpt", weights_only=True)
    assert [(e.step, e.epoch, e.value) for e in after.curve] == [(5, 1.0, 0.4), (10, 2.0, 0.6)]
    assert after.curve[0] == before.curve[0]
    assert after.samples == 2 * SAMPLES
    assert after.curve[1].seconds > before.seconds
    assert [r.steps for r in after.reached] == [5, 10]


def test_the_time_that_is_running_is_saved_too() -> None:
    callback = ConvergenceCallback([0.0], monitor="score")
    saved: list[dict[str, Any]] = []

    class Saving(pl.Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            time.sleep(0.02)
            saved.append(callback.state_dict())

    trainer(max_epochs=1, callbacks=[callback, Saving()]).fit(Scripted([0.5]), loader(), loader())
    seconds = [state["seconds"] for state in saved]
    assert seconds == sorted(seconds)
    assert seconds[0] >= 0.02
    assert callback.seconds >= seconds[-1] >= 5 * 0.02


@pytest.mark.parametrize("hook", ["on_validation_start", "on_train_epoch_end"])
def test_the_clock_stops_when_the_device_has_done_its_work(hook: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now, waited = [100.0], list[torch.device]()

    def work(device: torch.device) -> None:
        waited.append(device)
        now[0] += 5.0

    monkeypatch.setattr("lit_adaptconv.train.convergence.time.perf_counter", lambda: now[0])
    monkeypatch.setattr("torch.accelerator.synchronize", work)
    for device, seconds in ((torch.device("cpu"), 1.0), (torch.device("cuda", 1), 6.0)):
        callback = ConvergenceCallback()
        module: Any = SimpleNamespace(device=device)
        run: Any = None
        callback.on_train_epoch_start(run, module)
        now[0] += 1.0
        getattr(callback, hook)(run, module)
        getattr(callback, hook)(run, module)  # it stands still: nothing to wait for
        assert callback.seconds == seconds
    assert waited == [torch.device("cuda", 1)]
