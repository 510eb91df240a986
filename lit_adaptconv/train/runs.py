"""Where runs live: `<root>/<name>/<id>/`, and how to find the one to continue."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from lit_adaptconv.errors import UserError
from lit_adaptconv.text import visible
from lit_adaptconv.train.parser import options_of

CONFIG = "config.yaml"
CHECKPOINTS = {name: Path("checkpoints") / f"{name}.ckpt" for name in ("last", "best")}
"""What `--ckpt_path last` and `best` mean, in a run's folder."""


@dataclass
class RunOptions:
    """The run's folder, its tracking, and what happens after training.

    Args:
        name: Name of the run; by default data, backbone and kind.
        root: Folder of all runs.
        id: Id of the run within its name; by default the time of its start.
        title: Name that Weights & Biases shows; by default `name`.
        wandb_id: Id of the Weights & Biases run; by default `name` and `id`.
        group: Group of runs that it belongs to, for Weights & Biases.
        job_type: Its role in the group, for Weights & Biases.
        tags: Tags, for Weights & Biases.
        project: Weights & Biases project.
        wandb: Whether to log to Weights & Biases (offline without a login).
        test: Whether `fit` ends by testing the finished model.
        test_metric: The logged metric that tables show of the test; by default `convergence.monitor` with `test/` for
            `val/`.
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
    budget: int | None = None

    def __post_init__(self) -> None:
        for option, value in (("name", self.name), ("id", self.id)):
            if value is not None and not is_plain(value):
                raise UserError(
                    f"run.{option} must be the plain name of a folder, got {value!r}; run.root may be a path"
                )

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(self.root) / str(self.name) / str(self.id)

    def claim_folder(self) -> None:
        """Make the folder of a new run, which no other run has or gets.

        Without an id the run is given the time, and a number if another run of that name started in the same second.

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
                    return
        if (self.folder / CONFIG).exists():
            raise UserError(
                f"the run {self.folder} exists: continue it with --ckpt_path last, or give another run.id or none"
            )
        self.folder.mkdir(parents=True, exist_ok=True)


def is_plain(name: str) -> bool:
    """Whether a name is that of a single folder or file, on any system."""
    return name not in ("", ".", "..") and not set(name) & set("/\\*?[]:") and visible(name) == name


def newest_run(root: str, name: str | None = None, id: str | None = None) -> Path:
    """The folder of the run that started (or was continued) last, of this name and id or of any.

    Raises:
        UserError: There is none.
    """
    configs = list(Path(root).glob(f"{name or '*'}/{id or '*'}/{CONFIG}"))
    if not configs:
        raise UserError(f"no run of `adaptconv fit` found in {Path(root) / (name or '') / (id or '')}")
    return max(configs, key=lambda config: (config.stat().st_mtime_ns, config.parent.name)).parent


def run_of_checkpoint(checkpoint: Path) -> Path | None:
    """The folder of the run that wrote a checkpoint, if it stands in one."""
    run = checkpoint.absolute().parent.parent
    return run if (run / CONFIG).is_file() else None


def with_config_of_run(args: list[str]) -> list[str]:
    """Take the configuration of the run that `--ckpt_path` names, unless one is given."""
    given = _value(args, "--ckpt_path")
    if given is None or _value(args, "--config") or _value(args, "-c"):
        return args
    if given not in CHECKPOINTS and Path(given).is_dir():
        last = Path(given) / CHECKPOINTS["last"]
        meant = f", such as {last}" if last.is_file() else ", last or best"
        raise UserError(f"--ckpt_path {given} is a folder: give the file of a checkpoint{meant}")
    root, name, id = (_value(args, f"--run.{option}") for option in ("root", "name", "id"))
    run = newest_run(root or "runs", name, id) if given in CHECKPOINTS else run_of_checkpoint(Path(given))
    return args if run is None else [args[0], "--config", str(run / CONFIG), *args[1:]]


def _value(args: list[str], option: str) -> str | None:
    return next((value for name, value in options_of(args) if name == option), None)
