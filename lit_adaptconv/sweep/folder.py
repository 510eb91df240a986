"""A sweep's folder: its plan, its list of trials, a folder for each trial."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from lit_adaptconv.errors import UserError
from lit_adaptconv.files import open_regular, read_text, write_text
from lit_adaptconv.records import record
from lit_adaptconv.sweep.trial import SERIES, Trial
from lit_adaptconv.train.result import RunResult
from lit_adaptconv.verdict.metric import ACCURACY, Metric
from lit_adaptconv.verdict.question import Question

TRIALS = "trials"
SWEEP = "sweep.json"
ENDED = ("done", "failed", "diverged")
LOCK = ".lock"
LOCK_SECONDS = 1.0
"""How long a sweep that starts waits for the lock."""
SCHEMA_VERSION = 2


@dataclass(frozen=True)
class Sweep:
    """What `sweep.json` holds: the facts that the trials share, and the trials.

    Attributes:
        name: Name of the sweep.
        uid: A name that no other sweep has, not even another of this name.
        data: Class of the data module.
        backbone: Class of the network, where the model has one; several, with commas, where arms have other classes.
        targets: Values of the metric to reach in validation.
        primary_arm: The arm that the others are compared with.
        trials: The trials of the comparison, in the order in which they run.
        expected: Number of trials of the comparison, those that wait for tuning included.
        tuning: Number of tuning trials.
        notes: What is to be known, a line each: what of the plan was changed after results were there, and the choices
            of the tuning at the edge of what was tried.
        model: Class of the LightningModule.
        metric: What the networks are judged by.
        question: What the plan asks.
    """

    name: str
    uid: str
    data: str
    backbone: str
    targets: tuple[float, ...]
    primary_arm: str
    trials: tuple[Trial, ...]
    expected: int
    tuning: int = 0
    model: str = "ImageClassifier"
    metric: Metric = ACCURACY
    question: Question = field(default_factory=Question)
    notes: tuple[str, ...] = ()

    @property
    def network(self) -> str:
        """What is trained, as people name it."""
        return self.backbone or self.model


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
        write_text(self.path / SWEEP, json.dumps({"schema": SCHEMA_VERSION, **asdict(sweep)}) + "\n")

    def read(self) -> Sweep:
        """Read `sweep.json`.

        Raises:
            UserError: There is none, or one of another version.
        """
        path = self.path / SWEEP
        try:
            content = json.loads(read_text(path))
            if content.pop("schema") not in (1, SCHEMA_VERSION):  # what 1 lacks has a default
                raise UserError(f"{path} was written by another version of lit-adaptconv: run the sweep again")
            return record(Sweep, content)
        except FileNotFoundError:
            raise UserError(f"{self.path} is not the folder of a sweep: it has no sweep.json") from None
        except UserError:
            raise
        except (OSError, AttributeError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(f"{path} can't be read: {error}") from None

    def ids(self, group: str = TRIALS) -> set[str]:
        """Ids of the trials that have a folder, of the comparison or of "tuning"."""
        with contextlib.suppress(FileNotFoundError):
            return {path.name for path in (self.path / group).iterdir() if not path.name.startswith(".")}
        return set()

    def settled(self, trial: Trial) -> RunResult | None:
        """Result of a trial that is not run again: one that is done or, in tuning, that failed or diverged.

        What tuning has found out stays as it is, or the comparison that follows from it might be another.
        """
        try:
            result = RunResult.read(self.trial(trial) / "result.json")
        except UserError:
            return None
        return result if result.status in (("done",) if trial.tuning is None else ENDED) else None

    def done(self, trials: Sequence[Trial]) -> set[str]:
        """Ids of the given trials that are not run again."""
        present = {group: self.ids(group) for group in {self.group(trial) for trial in trials}}
        return {trial.id for trial in trials if trial.id in present[self.group(trial)] and self.settled(trial)}

    def finished_before(self, trials: Sequence[Trial]) -> dict[str, Trial]:
        """For trials that are not done, the same trials as the last other version of the code finished them, by id."""
        present: dict[tuple[str, str], list[str]] = {}
        for group in {self.group(trial) for trial in trials}:
            for id in self.ids(group):
                present.setdefault((group, id.split("-")[0]), []).append(id)
        found = {}
        for trial in trials:
            others = [id for id in present.get((self.group(trial), trial.id.split("-")[0]), ()) if id != trial.id]
            if others and not self.settled(trial):
                ended = [(result.started, id) for id in others if (result := self.settled(replace(trial, id=id)))]
                for _, id in sorted(ended)[-1:]:
                    found[trial.id] = replace(trial, id=id, code=f"{SERIES}+{id.rpartition('-')[2]}")
        return found

    def adopted(self, trials: Sequence[Trial]) -> list[Trial]:
        """The trials, those that other code finished in the place of the same ones."""
        finished = self.finished_before(trials)
        return [finished.get(trial.id, trial) for trial in trials]

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder, so that two sweeps do not run in it; a new one of which no sweep comes is removed again.

        Raises:
            UserError: Another process holds it.
        """
        try:
            import fcntl
        except ImportError:  # not on Windows
            yield
            return
        made = not self.path.exists()
        self.path.mkdir(parents=True, exist_ok=True)
        with open_regular(self.path / LOCK, "ab") as lock:
            end = time.monotonic() + LOCK_SECONDS
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if time.monotonic() > end:
                        raise UserError(f"a sweep is running in {self.path}: `adaptconv status` shows it") from None
                    time.sleep(LOCK_SECONDS / 20)  # perhaps somebody has only looked whether it is held
                    continue
                except OSError:  # a file system without locks
                    pass
                break
            try:
                yield
            finally:
                if made and not (self.path / SWEEP).exists():
                    shutil.rmtree(self.path, ignore_errors=True)

    @property
    def busy(self) -> bool:
        """Whether a sweep is running in the folder, as far as this machine can tell; the folder may be read-only.

        To look, the lock is shared for an instant, which holds up neither others who look nor a sweep that starts.
        """
        try:
            import fcntl

            with open_regular(self.path / LOCK) as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except (ImportError, OSError):
            return False
        return False
