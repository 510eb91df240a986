"""A disk that fails at any write costs a line, or a trial, and the next start ends as if nothing had happened."""

from __future__ import annotations

import contextlib
import copy
import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from adaptconv_cli.main import main

from lit_adaptconv.export import onnx

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


@pytest.mark.parametrize(
    "what", ["predict", *(pytest.param(what, marks=pytest.mark.slow) for what in ("parquet", "export"))]
)
def test_wherever_the_disk_fails_a_command_ends_in_a_line_and_leaves_the_old_file(
    folder: Path, checkpoint: Path, what: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, to_onnx = list[Any](), onnx.to_onnx

    def to_onnx_once(*args: Any) -> Any:
        """In the first two calls it is exported, to the same bytes; then the second's is given again."""
        if len(made) < 2:
            made.append(to_onnx(*args))
        return copy.deepcopy(made[-1])

    monkeypatch.setattr(onnx, "to_onnx", to_onnx_once)
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
