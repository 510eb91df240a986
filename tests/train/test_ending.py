"""Whatever the trainer's settings, the curve ends at the last step, with an evaluation of the network as it is then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch.callbacks import EarlyStopping, StochasticWeightAveraging, TQDMProgressBar
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from training import same_state

from lit_adaptconv.train.checkpoint import BestCheckpoint, LastCheckpoint
from lit_adaptconv.train.convergence import ConvergenceCallback, Evaluation
from lit_adaptconv.train.ending import EvaluatingTrainer
from lit_adaptconv.train.metrics_csv import MetricsCSV
from lit_adaptconv.train.recorder import RunRecorder
from lit_adaptconv.train.result import RunResult
from lit_adaptconv.train.resume import RandomStateCallback

BATCHES = 5


class Counting(pl.LightningModule):
    """Logs its own state, so that an evaluation tells of which network it was; the dropout takes random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.norm = nn.BatchNorm1d(1)
        self.steps = 0

    def value(self) -> float:
        return float(self.layer.weight.detach().sum() + 10 * self.norm.num_batches_tracked)  # type: ignore[operator]

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        noisy = nn.functional.dropout(batch[0], 0.5)
        loss: Tensor = (self.norm(self.layer(noisy)) - 1).square().mean() + self.layer.weight.square().sum()
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val/score", self.value())
        self.log("val/noise", torch.randn(()).item())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Stop(pl.Callback):
    """Ends the training after so many batches, as `max_time` does."""

    def __init__(self, after: int) -> None:
        self.after = after

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.after -= 1
        trainer.should_stop = trainer.should_stop or self.after <= 0


class Evaluations(pl.Callback):
    """Counts them."""

    def __init__(self) -> None:
        self.number = 0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.number += not trainer.sanity_checking


class Run:
    """A training as `adaptconv fit` makes it."""

    def __init__(self, folder: Path, ckpt: Path | None = None, callbacks: Any = (), **arguments: Any) -> None:
        torch.manual_seed(0)
        self.module = Counting()
        self.folder = folder
        self.convergence = ConvergenceCallback([1e9], monitor="val/score")
        self.metrics = MetricsCSV(str(folder), "a", "1")
        self.recorder = RunRecorder(RunResult("a", "1"), folder, self.convergence, self.metrics)
        self.counted = Evaluations()
        own = [self.convergence, self.recorder, RandomStateCallback(), self.counted, *callbacks]
        own += [BestCheckpoint(folder, "val/score", "max"), LastCheckpoint(folder)]
        quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
        self.trainer = EvaluatingTrainer(**{**quiet, "logger": self.metrics, "callbacks": own, **arguments})
        data = DataLoader(TensorDataset(torch.randn(4 * BATCHES, 2)), batch_size=4, generator=torch.Generator())
        self.trainer.fit(self.module, data, data, ckpt_path=ckpt, weights_only=True)
        self.result = RunResult.read(folder / "result.json")

    def check(self, checkpoints: bool = True) -> None:
        curve = self.result.curve
        assert curve[-1].step == self.trainer.global_step == self.result.steps
        assert self.result.val_value == pytest.approx(self.module.value(), rel=1e-5)
        places = [(e.step, e.epoch) for e in curve]
        assert places == sorted(set(places))
        assert self.result.best_val_value == max(e.value for e in curve)
        if not checkpoints:
            return
        kept = torch.load(self.folder / "best.ckpt", weights_only=True)["callbacks"]["ConvergenceCallback"]["curve"]
        assert kept[-1]["value"] == self.result.best_val_value
        logged = [row for row in self.metrics.rows if "val/score" in row]
        assert [row["step"] for row in logged] == [e.step - 1 for e in curve]


@pytest.fixture(autouse=True)
def quiet() -> None:
    import warnings

    for message in (".*does not have many workers.*", ".*smaller than the logging interval.*", ".*not found in.*"):
        warnings.filterwarnings("ignore", message=message)
    warnings.filterwarnings("ignore", message=".*Checkpoint directory.*exists.*")
    warnings.filterwarnings("ignore", message=".*cannot be continued within an epoch.*")


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    interval=st.sampled_from([{}, *({"val_check_interval": each} for each in (0.4, 0.5, 0.99, 1, 2, 3))]),
    every=st.sampled_from([1, 2, 3, 100]),
    epochs=st.integers(1, 4),
    steps=st.sampled_from([-1, 1, 3, 7]),
    accumulated=st.sampled_from([1, 2, 3]),
    stop=st.sampled_from([1, 4, 8, 1000]),
    limit=st.sampled_from([1.0, 3]),
)
def test_the_last_point_of_the_curve_is_at_the_last_step(
    tmp_path_factory: pytest.TempPathFactory,
    interval: dict[str, Any],
    every: int,
    epochs: int,
    steps: int,
    accumulated: int,
    stop: int,
    limit: float,
) -> None:
    run = Run(
        tmp_path_factory.mktemp("run"),
        callbacks=[Stop(stop)],
        check_val_every_n_epoch=every,
        max_epochs=epochs,
        max_steps=steps,
        accumulate_grad_batches=accumulated,
        limit_train_batches=limit,
        **interval,
    )
    run.check(checkpoints=accumulated == 1)  # Lightning writes one checkpoint and one row a step


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize(
    "arguments",
    [
        {"val_check_interval": 7, "check_val_every_n_epoch": None},
        {"max_time": {"seconds": 0}},
        {"limit_val_batches": 1, "check_val_every_n_epoch": 2},
        {"callbacks": [EarlyStopping("val/noise", patience=1, mode="min")], "check_val_every_n_epoch": 2},
        {
            "callbacks": [EarlyStopping("val/score", patience=1, mode="min", check_on_train_epoch_end=True)],
            "val_check_interval": 0.4,
        },
        {"callbacks": [StochasticWeightAveraging(0.1, swa_epoch_start=1)], "val_check_interval": 0.4},
        {"callbacks": [TQDMProgressBar()], "enable_progress_bar": True, "val_check_interval": 0.4},
    ],
)
def test_so_it_is_with_other_ways_to_stop(arguments: dict[str, Any], epochs: int, tmp_path: Path) -> None:
    without_steps = "max_time" in arguments or "StochasticWeight" in str(arguments)  # or epochs without
    Run(tmp_path, max_epochs=epochs, **arguments).check(checkpoints=not without_steps)


def test_a_training_that_was_evaluated_at_its_end_is_not_evaluated_again(tmp_path: Path) -> None:
    for number, (arguments, evaluations) in enumerate(
        [({}, 3), ({"val_check_interval": 0.2}, 15), ({"check_val_every_n_epoch": 3}, 1), ({"max_steps": 5}, 1)]
    ):
        run = Run(tmp_path / str(number), max_epochs=3, **arguments)
        assert run.counted.number == len(run.result.curve) == evaluations


def test_where_validation_is_switched_off_nothing_is_evaluated(tmp_path: Path) -> None:
    run = Run(tmp_path, max_epochs=2, limit_val_batches=0)
    assert (run.counted.number, run.result.curve, run.result.val_value) == (0, [], None)


def without_clock(curve: list[Evaluation]) -> list[tuple[Any, ...]]:
    return [(e.step, e.epoch, e.value) for e in curve]


@pytest.mark.parametrize(
    "arguments",
    [{"val_check_interval": 0.4}, {"check_val_every_n_epoch": 2}, {"val_check_interval": 0.4, "max_steps": 13}],
)
def test_a_run_that_is_killed_in_its_last_evaluation_ends_as_one_that_is_not(
    arguments: dict[str, Any], tmp_path: Path
) -> None:
    whole = Run(tmp_path / "a", max_epochs=3, **arguments)
    # last.ckpt is written before the last evaluation: what a kill within it leaves
    again = Run(tmp_path / "b", tmp_path / "a" / "last.ckpt", max_epochs=3, **arguments)
    again.check()
    assert again.counted.number == 1
    assert without_clock(again.result.curve) == without_clock(whole.result.curve)
    assert again.metrics.rows == whole.metrics.rows
    assert same_state(again.module.state_dict(), whole.module.state_dict())


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({}, marks=pytest.mark.slow),
        {"val_check_interval": 0.4},
        pytest.param({"check_val_every_n_epoch": 2}, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("file", ["last.ckpt", "best.ckpt"])
def test_a_finished_run_that_is_trained_longer_is_the_longer_run(
    arguments: dict[str, Any], file: str, tmp_path: Path
) -> None:
    long = Run(tmp_path / "a", max_epochs=5, **arguments)
    Run(tmp_path / "b", max_epochs=3, **arguments)
    again = Run(tmp_path / "c", tmp_path / "b" / file, max_epochs=5, **arguments)
    again.check(checkpoints=file == "last.ckpt")  # from the other, Lightning goes on logging a row too early
    assert len(again.result.curve) == len(long.result.curve) + (file == "best.ckpt" and len(arguments))
    if file == "last.ckpt":  # the other was written in an evaluation that the longer run does not have
        assert without_clock(again.result.curve) == without_clock(long.result.curve)
        assert again.metrics.rows == long.metrics.rows
        assert same_state(again.module.state_dict(), long.module.state_dict())
