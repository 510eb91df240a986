"""What a run's folder says while it runs, after it was continued, and at its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from training import trainer

from lit_adaptconv.train.convergence import ConvergenceCallback
from lit_adaptconv.train.metrics_csv import MetricsCSV
from lit_adaptconv.train.recorder import RunRecorder
from lit_adaptconv.train.result import RunResult

ERRORS = [0.9, 0.4, 0.6, 0.3, 0.5, 0.8]
"""What the evaluations say, two an epoch of ten steps."""


class Regression(pl.LightningModule):
    """A module that knows nothing of the package and logs an error."""

    def __init__(self, errors: list[float], test_metric: str = "test/rmse") -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.errors = iter(errors)
        self.test_metric = test_metric

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss: Tensor = self.layer(batch[0]).square().mean()
        self.log("train/rmse", 0.25)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        pass

    def on_validation_epoch_end(self) -> None:
        self.log("val/rmse", torch.tensor(next(self.errors)))

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log_dict({self.test_metric: torch.tensor(0.7), "test/loss": torch.tensor(3.2e-8)})

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Reader(pl.Callback):
    """Reads the run's file at the moments after an evaluation, and as soon as training begins."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.seen: list[RunResult] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seen.append(RunResult.read(self.file))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seen.append(RunResult.read(self.file))


def run(folder: Path, model: Regression, epochs: int = 3, ckpt: Path | None = None) -> tuple[Reader, pl.Trainer]:
    """Train as `adaptconv fit` does, the recorder before the callback whose curve it writes down."""
    convergence = ConvergenceCallback([0.45, 0.35], monitor="val/rmse", mode="min")
    metrics = MetricsCSV(str(folder), "a", "1")
    recorder = RunRecorder(RunResult("a", "1"), folder, convergence, metrics)
    reader = Reader(folder / "result.json")
    of = trainer(max_epochs=epochs, val_check_interval=0.5, logger=metrics, callbacks=[recorder, convergence, reader])
    data = DataLoader(TensorDataset(torch.randn(40, 2)), batch_size=4)
    of.fit(model, data, data, ckpt_path=ckpt, weights_only=True)
    return reader, of


@pytest.fixture(autouse=True)
def quiet() -> None:
    import warnings

    for message in (".*does not have many workers.*", ".*smaller than the logging interval.*"):
        warnings.filterwarnings("ignore", message=message)


def test_the_file_has_each_evaluation_as_soon_as_it_is_made(tmp_path: Path) -> None:
    reader, _ = run(tmp_path, Regression(ERRORS))
    begun, *evaluated = reader.seen
    assert (begun.status, begun.steps, begun.curve, begun.model) == ("running", 0, [], "Regression")
    assert (begun.monitor, begun.mode, begun.test_metric) == ("val/rmse", "min", "test/rmse")
    for number, result in enumerate(evaluated, start=1):
        assert [e.value for e in result.curve] == pytest.approx(ERRORS[:number])
        assert result.steps == result.curve[-1].step == 5 * number
        assert result.val_value == pytest.approx(ERRORS[number - 1])
        assert result.best_val_value == pytest.approx(min(ERRORS[:number]))
        assert result.curve[-1].train_value == 0.25
    assert [r.steps for r in evaluated[1].convergence] == [10, None]
    assert [r.steps for r in evaluated[3].convergence] == [10, 20]
    text = (tmp_path / "a" / "1" / "metrics.csv").read_text()
    assert "convergence/steps_to_0.35" in text


def test_a_run_that_continues_says_at_once_how_far_it_is(tmp_path: Path) -> None:
    _, whole = run(tmp_path, Regression(ERRORS), epochs=2)
    whole.save_checkpoint(tmp_path / "last.ckpt")
    reader, _ = run(tmp_path / "again", Regression(ERRORS[4:]), ckpt=tmp_path / "last.ckpt")
    begun, *evaluated = reader.seen
    assert (begun.steps, len(begun.curve), begun.val_value) == (20, 4, pytest.approx(ERRORS[3]))
    assert [result.steps for result in evaluated] == [25, 30]
    assert [e.value for e in evaluated[-1].curve] == pytest.approx(ERRORS)
    assert evaluated[-1].best_val_value == pytest.approx(min(ERRORS))


def test_the_test_leaves_everything_that_it_logged(tmp_path: Path) -> None:
    model = Regression(ERRORS)
    _, of = run(tmp_path, model)
    of.test(model, DataLoader(TensorDataset(torch.randn(8, 2))), verbose=False)
    result = RunResult.read(tmp_path / "result.json")
    assert result.test_value == pytest.approx(0.7)
    assert result.test_metrics == {"test/rmse": pytest.approx(0.7), "test/loss": pytest.approx(3.2e-8)}


def test_a_test_metric_that_is_not_logged_is_said_with_those_that_are(tmp_path: Path) -> None:
    model = Regression(ERRORS, "test/mae")
    _, of = run(tmp_path, model)
    with pytest.warns(UserWarning, match="has not logged 'test/rmse'; logged: test/loss, test/mae"):
        of.test(model, DataLoader(TensorDataset(torch.randn(8, 2))), verbose=False)
    assert RunResult.read(tmp_path / "result.json").test_value is None


@pytest.mark.parametrize(
    ("monitor", "test_metric", "expected"),
    [
        ("val/accuracy", None, "test/accuracy"),
        ("val_iou", None, "test_iou"),
        ("valid/f1", None, "test/f1"),
        ("validation_f1", None, "test_f1"),
        ("score", None, "score"),
        ("value/f1", None, "value/f1"),
        ("val/f1", "test/f1_macro", "test/f1_macro"),
    ],
)
def test_the_test_metric_has_the_name_of_the_monitored_one_unless_another_is_given(
    tmp_path: Path, monitor: str, test_metric: str | None, expected: str
) -> None:
    given: dict[str, Any] = {} if test_metric is None else {"test_metric": test_metric}
    result = RunResult("a", "1", **given)
    RunRecorder(result, tmp_path, ConvergenceCallback([0.5], monitor), MetricsCSV(str(tmp_path), "a", "1"))
    assert result.test_metric == expected
