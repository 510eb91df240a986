"""Where runs live: `<root>/<name>/<id>/`, and how to find the one to continue."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from lit_adaptconv.errors import DivergedError, UserError
from lit_adaptconv.files import open_regular, write_atomically
from lit_adaptconv.measure.budget import Budget
from lit_adaptconv.text import visible
from lit_adaptconv.train.plain_parser import options_of

CONFIG = "config.yaml"
CHECKPOINTS = {name: Path("checkpoints") / f"{name}.ckpt" for name in ("last", "best")}
"""What `--ckpt_path last` and `best` mean, in a run's folder."""
RECORDS = ("result.json", "metrics.csv")
"""What a start writes to a run's folder before it has trained."""


@dataclass
class RunOptions:
    """The run's folder, its tracking, and what happens after training.

    Args:
        name: Name of the run. The default is made of the data, the backbone and the kind.
        root: Folder of all runs.
        id: Id of the run within its name. The default is the time of its start.
        title: Name that Weights & Biases shows. The default is `name`.
        wandb_id: Id of the Weights & Biases run. The default is made of `name` and `id`.
        group: Group of the run in Weights & Biases.
        job_type: Role of the run in that group.
        tags: Tags in Weights & Biases.
        project: Project in Weights & Biases.
        wandb: Log to Weights & Biases; without a login it logs offline.
        test: Test the finished model at the end of `fit`.
        test_metric: The logged metric of the test to show in tables. The default is `convergence.monitor` with `test/`
            in place of `val/`.
        budget: Budget to record; a sweep sets it.
    """

    name: str | None = None
    root: str = "runs"
    id: str | None = None
    title: str | None = None
    wandb_id: str | None = None
    group: str | None = None
    job_type: str | None = None
    tags: list[str] = field(default_factory=list)
    project: str = "lit-adaptconv"
    wandb: bool = True
    test: bool = True
    test_metric: str | None = None
    budget: int | Budget | None = None

    def __post_init__(self) -> None:
        if self.budget is not None:
            try:
                Budget.of(self.budget)
            except UserError as error:
                raise UserError(f"run.budget: {error}") from None
        for option, value in (("name", self.name), ("id", self.id)):
            if value is not None and not is_plain(value):
                raise UserError(
                    f"run.{option} must be the plain name of a folder, got {value!r}; run.root may be a path"
                )

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(self.root) / str(self.name) / str(self.id)

    def claim_folder(self) -> bool:
        """Make the folder of a new run, which no other run has or gets.

        Without an id the run is given the time, and a number if another run of that name started in the same second.

        Returns:
            Whether the folder was not there before.

        Raises:
            UserError: A run with the given id exists.
        """
        if self.id is None:
            now = datetime.now().strftime("%Y%m%d-%H%M%S")
            for id in (now, *(f"{now}-{count}" for count in range(2, 1000))):
                self.id = id
                try:
                    self.folder.mkdir(parents=True)
                except FileExistsError:
                    if not self.folder.is_dir():
                        raise  # a file is in the way
                else:
                    return True
        if (self.folder / CONFIG).exists():
            raise UserError(
                f"the run {self.folder} exists: continue it with --ckpt_path last, or give another run.id or none"
            )
        made = not self.folder.exists()
        self.folder.mkdir(parents=True, exist_ok=True)
        return made


def is_plain(name: str) -> bool:
    """Whether a name is that of a single folder or file, on any system."""
    return name not in ("", ".", "..") and not set(name) & set("/\\*?[]:") and visible(name) == name


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a run's folder until the block ends, or the process, however it does.

    Raises:
        UserError: Another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    path = folder.with_name(f".{folder.name}.running")
    while True:
        file = open_regular(path, "ab")
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # which a process that is forked does not inherit
        except (BlockingIOError, PermissionError):
            file.close()
            raise UserError(f"another process is training in {folder}: wait until it has ended") from None
        except OSError:  # a file system without locks
            break
        if _is_at(file.fileno(), path):
            break
        file.close()  # its holder has just removed it
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        file.close()


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file is the one that has this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def started_in(run: RunOptions, continues: bool, begun: Callable[[], bool]) -> Iterator[None]:
    """Hold the folder of a run that starts or continues, and leave it as it was if the start fails.

    Args:
        run: The run; a new one gets its folder, and its id if it has none.
        continues: Whether its folder is there.
        begun: Whether a step was trained. What fails before that is a failed start, except a loss that is not finite.

    Raises:
        UserError: The folder is taken, or another process holds it.
    """
    parents = [folder for folder in (run.folder.parent, *run.folder.parent.parents) if not _is_there(folder)]
    try:
        made = not continues and run.claim_folder()
        with alone_in(run.folder):
            for leftover in [*run.folder.glob(".*.tmp"), *run.folder.glob("checkpoints/.*.tmp")]:
                leftover.unlink()  # the run was killed while it wrote
            before = {file: file.read_bytes() for name in (*RECORDS, CONFIG) if (file := run.folder / name).is_file()}
            try:
                yield
            except Exception as error:
                if not begun() and not isinstance(error, DivergedError):
                    with contextlib.suppress(OSError):
                        _put_back(run.folder, before, made)
                raise
    finally:
        with contextlib.suppress(OSError):  # another run has come to be there
            for folder in () if _is_there(run.folder) else parents:
                if _is_there(folder):
                    folder.rmdir()


def _is_there(folder: Path) -> bool:
    try:
        return folder.exists()
    except OSError:  # a name that is too long
        return False


def _put_back(folder: Path, before: dict[Path, bytes], made: bool) -> None:
    if made:
        if not any(folder.rglob("*.ckpt")):  # a trained network is kept
            shutil.rmtree(folder)
        return
    for file in (folder / name for name in (*RECORDS, CONFIG)):
        if file not in before:
            file.unlink(missing_ok=True)
        elif file.read_bytes() != before[file]:
            write_atomically(file, lambda stream, file=file: stream.write(before[file]))  # type: ignore[misc]


def newest_run(root: str, name: str | None = None, id: str | None = None, *checkpoints: str) -> Path:
    """The folder of the run that started (or was continued) last, of this name and id or of any.

    Args:
        root: Folder of all runs.
        name: The run's name; None means any.
        id: Its id; None means any.
        checkpoints: Of "last" and "best", of which it has one, unless no run has any of them.

    Raises:
        UserError: There is none.
    """
    configs = [path for path in Path(root).glob(f"{name or '*'}/{id or '*'}/{CONFIG}") if path.is_file()]
    if not configs:
        raise UserError(f"no run of `adaptconv fit` found in {Path(root) / (name or '') / (id or '')}")
    files = [CHECKPOINTS[checkpoint] for checkpoint in checkpoints]
    having = [config for config in configs if any((config.parent / file).is_file() for file in files)]
    return max(having or configs, key=lambda config: (config.stat().st_mtime_ns, config.parent.name)).parent


def best_weights(folder: Path) -> Path | None:
    """The best checkpoint in a run's folder, or the last, where no other was kept; None where there is none."""
    kept = (folder / CHECKPOINTS[name] for name in ("best", "last"))
    return next((weights for weights in kept if weights.is_file()), None)


def run_of_checkpoint(checkpoint: Path) -> Path | None:
    """The folder of the run that wrote a checkpoint, if it stands in one."""
    run = checkpoint.absolute().parent.parent
    return run if (run / CONFIG).is_file() else None


def with_config_of_run(args: list[str]) -> list[str]:
    """Take the configuration of the run that `--ckpt_path` names, unless one is given.

    What a command line appends to (`--data.transforms+=…`) starts empty: the run's configuration has it already.
    """
    given = _value(args, "--ckpt_path")
    if given is None or _value(args, "--config") or _value(args, "-c"):
        return args
    if given not in CHECKPOINTS and Path(given).is_dir():
        last = Path(given) / CHECKPOINTS["last"]
        meant = f", such as {last}" if last.is_file() else ", last or best"
        raise UserError(f"--ckpt_path {given} is a folder: give the file of a checkpoint{meant}")
    root, name, id = (_value(args, f"--run.{option}") for option in ("root", "name", "id"))
    named = given in CHECKPOINTS
    run = newest_run(root or "runs", name, id, given) if named else run_of_checkpoint(Path(given))
    if run is None:
        return args
    appended = dict.fromkeys(arg.partition("+=")[0] for arg in args if arg.startswith("--") and "+=" in arg)
    return [args[0], "--config", str(run / CONFIG), *(f"{option}=[]" for option in appended), *args[1:]]


def _value(args: list[str], option: str) -> str | None:
    return next((value for name, value in options_of(args) if name == option), None)
