"""A disk that fails at any write costs a line, or a trial, and the next start ends as if nothing had happened."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from adaptconv_cli.main import main

from .conftest import FAST

ERRORS = (errno.ENOSPC, errno.EIO)
SHORT = [
    *(*FAST, "--data.image_size", "12", "--trainer.limit_train_batches", "2", "--trainer.limit_val_batches", "1"),
    *("--trainer.limit_test_batches", "1", "--trainer.max_epochs", "2", "--run.name", "a", "--run.id", "1"),
]
RUN = Path("runs/a/1")


class Disk:
    """Counts what is done to files – made, written to at first and in the middle, brought to disk, renamed.

    It fails at the n-th, or from it on.
    """

    def __init__(self, fails_at: int | None = None, stays: bool = False, number: int = errno.ENOSPC) -> None:
        self.done = 0
        self._fails_at, self._stays, self._number = fails_at, stays, number

    def step(self) -> None:
        self.done += 1
        if self._fails_at is not None and (self.done == self._fails_at or (self._stays and self.done > self._fails_at)):
            raise OSError(self._number, os.strerror(self._number))

    @contextlib.contextmanager
    def installed(self) -> Iterator[Disk]:
        disk, opened = self, Path.open

        class Writer(io.BufferedWriter):
            writes = 0

            def write(self, data: Any, /) -> int:
                self.writes += 1
                if self.writes in (1, 9):  # PyTorch writes a checkpoint in a hundred pieces
                    disk.step()
                return super().write(data)

        def open_(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
            if mode != "xb":
                return opened(path, mode, *args, **options)
            disk.step()
            return Writer(io.FileIO(path, "x"))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "open", open_)
            for call in ("fsync", "replace", "mkdir"):
                patch.setattr(os, call, self._failing(getattr(os, call)))
            yield self

    def _failing(self, function: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            self.step()
            return function(*args, **options)

        return call


def left() -> dict[str, Any]:
    from benchmarks.kills import state_of

    return state_of(RUN)


def end() -> int:
    """Go on with the run, or begin it where it was not begun."""
    begun = (RUN / "config.yaml").is_file()
    return main(["fit", "--ckpt_path", str(RUN / "checkpoints/last.ckpt")] if begun else ["fit", *SHORT])


@pytest.mark.slow
def test_wherever_the_disk_fails_a_training_ends_in_a_line_and_the_next_ends_as_the_undisturbed_one(
    folder: Path, unchecked: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "whole").mkdir()
    os.chdir(folder / "whole")
    with Disk().installed() as disk:
        assert main(["fit", *SHORT]) == 0
    expected = left()
    assert disk.done > 30
    capsys.readouterr()
    for fails_at in range(1, disk.done + 1, disk.done // 12 | 1):  # an odd step meets both errors, gone again or not
        place = folder / str(fails_at)
        place.mkdir()
        os.chdir(place)
        number = ERRORS[fails_at % 2]
        with Disk(fails_at, stays=fails_at % 4 > 1, number=number).installed():
            status = main(["fit", *SHORT])
        error = capsys.readouterr().err
        assert "Traceback" not in error
        if status != 0:
            assert status == 1
            (line,) = (line for line in error.splitlines() if "error:" in line)
            assert os.strerror(number) in line, (fails_at, line)
            assert end() == 0, fails_at
        found = left()
        assert [part for part in expected if found[part] != expected[part]] == [], fails_at


OTHERS = {
    "predict": ["predict", "--trainer.enable_progress_bar", "false", "--output", "new/p.csv"],
    "parquet": ["predict", "--trainer.enable_progress_bar", "false", "--output", "new/p.parquet"],
    "export": ["export", "--seconds", "0.01", "--test_images", "4", "--output", "new/network.onnx"],
}


@pytest.mark.parametrize("what", ["predict", "parquet", "export"])
def test_wherever_the_disk_fails_a_command_ends_in_a_line_and_leaves_the_old_file(
    folder: Path, checkpoint: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    args = [*OTHERS[what], "--ckpt_path", str(checkpoint)]
    output = Path(OTHERS[what][OTHERS[what].index("--output") + 1])
    output.parent.mkdir()
    output.write_text("old")
    with Disk().installed() as disk:
        assert main(args) == 0
    new = output.read_bytes()
    for fails_at in range(1, disk.done + 1):
        output.write_text("old")
        capsys.readouterr()
        with Disk(fails_at).installed():
            status = main(args)
        assert "Traceback" not in capsys.readouterr().err
        assert status in (0, 1)
        assert output.read_bytes() == (b"old" if status else new)
        assert [file.name for file in output.parent.iterdir()] == [output.name]


def test_a_storage_of_a_tuning_that_is_damaged_anywhere_costs_nothing_but_a_line(tmp_path: Path) -> None:
    import random

    from sweep_cases import maker, plan, result

    from lit_adaptconv.sweep.folder import SweepFolder
    from lit_adaptconv.sweep.plan import Search, Tuning
    from lit_adaptconv.sweep.tuning import Tuner

    tuning = Tuning(4, {"optimizer.lr": Search(0.001, 1.0, log=True)})
    of = plan(tuning=tuning, budgets=[300])

    def search(said: list[str]) -> list[tuple[str, str]]:
        tuner = Tuner(maker(of), tuning, SweepFolder(tmp_path), "uid", lambda trials: trials, say=said.append)
        waiting, ran = tuner.start(), []
        while waiting:
            trial = waiting.pop(0)
            ran.append((trial.id, str(trial.tuned)))
            assert trial.tuned is not None
            waiting += tuner.follow(trial, result(trial, [1 / (1 + abs(trial.tuned["optimizer.lr"] - 0.1))]))
        return ran

    expected = search([])
    storage = tmp_path / "optuna.db"
    whole = storage.read_bytes()
    draw = random.Random(0)
    damaged = [b"", b"no database", whole[: len(whole) // 2], whole[:100], b"\x00" * len(whole)]
    for _ in range(3):
        cut = draw.randrange(len(whole))
        damaged.append(whole[:cut] + draw.randbytes(min(4096, len(whole) - cut)) + whole[cut + 4096 :])
    for content in damaged:
        storage.write_bytes(content)
        said: list[str] = []
        ran = search(said)
        comparison = [one for one in expected if one in ran]
        assert comparison  # what is compared is what would have been compared
        assert ran[-3:] == expected[-3:]
        for other in tmp_path.glob("optuna.db*"):
            other.unlink()


def test_a_storage_that_cannot_be_written_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sweep_cases import maker, plan

    from lit_adaptconv.errors import UserError
    from lit_adaptconv.sweep.folder import SweepFolder
    from lit_adaptconv.sweep.plan import Search, Tuning
    from lit_adaptconv.sweep.tuning import Tuner

    tuning = Tuning(3, {"optimizer.lr": Search(0.001, 1.0, log=True)})
    args = (maker(plan(tuning=tuning, budgets=[300])), tuning, SweepFolder(tmp_path), "uid", lambda trials: trials)
    tuner = Tuner(*args)
    with sqlite3.connect(tmp_path / "optuna.db") as other:
        other.execute("DROP TABLE trials")
    with pytest.raises(UserError, match="the tuning's storage .* can't be used: .*no such table: trials") as caught:
        tuner.start()
    assert "\n" not in str(caught.value)
    (tmp_path / "optuna.db").unlink()
    (tmp_path / "optuna.db").mkdir()
    with pytest.raises(UserError, match="can't be used: .*unable to open database file"):
        Tuner(*args)
