"""A sweep's folder: its plan, its list of trials, a folder for each trial."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lit_adaptconv.errors import UserError
from lit_adaptconv.files import write_text
from lit_adaptconv.sweep.trial import Trial

TRIALS = "trials"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Sweep:
    """What `sweep.json` holds: the facts that the trials share, and the trials.

    Attributes:
        name: Name of the sweep.
        data: Class of the data module.
        backbone: Class of the network.
        targets: Validation accuracies to reach.
        primary_arm: The arm that the others are compared with.
        trials: The trials of the comparison, in the order in which they run.
        expected: Number of trials of the comparison, those that wait for tuning included.
        tuning: Number of tuning trials.
    """

    name: str
    data: str
    backbone: str
    targets: tuple[float, ...]
    primary_arm: str
    trials: tuple[Trial, ...]
    expected: int
    tuning: int = 0


class SweepFolder:
    """The folder of a sweep.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    def trial(self, trial: Trial) -> Path:
        """Folder of a trial."""
        return self.path / self.group(trial) / trial.id

    def group(self, trial: Trial) -> str:
        """Name of the folder in which a trial's folder is."""
        return TRIALS if trial.tuning is None else "tuning"

    def write(self, sweep: Sweep) -> None:
        """Write `sweep.json`."""
        write_text(self.path / "sweep.json", json.dumps({"schema": SCHEMA_VERSION, **asdict(sweep)}) + "\n")

    def read(self) -> Sweep:
        """Read `sweep.json`.

        Raises:
            UserError: There is none, or one of another version.
        """
        path = self.path / "sweep.json"
        try:
            content: dict[str, Any] = json.loads(path.read_text())
            if content.pop("schema") != SCHEMA_VERSION:
                raise UserError(f"{path} was written by another version of lit-adaptconv: run the sweep again")
            trials = tuple(Trial(**{**trial, "widths": tuple(trial["widths"])}) for trial in content.pop("trials"))
            return Sweep(**{**content, "targets": tuple(content["targets"])}, trials=trials)
        except FileNotFoundError:
            raise UserError(f"{self.path} is not the folder of a sweep: it has no sweep.json") from None
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} can't be read: {error}") from None

    def unfinished_code(self, trials: Sequence[Trial]) -> dict[str, Path]:
        """Folders of finished trials that differ from the given ones in the version of the code alone, by id."""
        present: dict[str, list[Path]] = {}
        with contextlib.suppress(FileNotFoundError):
            for path in (self.path / TRIALS).iterdir():
                present.setdefault(path.name.split("-")[0], []).append(path)
        found = {}
        for trial in trials:
            others = [p for p in present.get(trial.id.split("-")[0], []) if p.name != trial.id]
            if others:
                found[trial.id] = max(others, key=lambda path: path.stat().st_mtime_ns)
        return found

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder, so that two sweeps do not run in it.

        Raises:
            UserError: Another process holds it.
        """
        try:
            import fcntl
        except ImportError:  # not on Windows
            yield
            return
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(f"a sweep is running in {self.path}: `adaptconv status` shows it") from None
            except OSError:  # a file system without locks
                pass
            yield

    @property
    def busy(self) -> bool:
        """Whether a sweep is running in the folder, as far as this machine can tell."""
        try:
            with self.locked():
                return False
        except UserError:
            return True
