"""Where runs live: `<root>/<name>/<id>/`, and how to find the one to continue."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from lit_adaptconv.errors import UserError

LAST = Path("checkpoints") / "last.ckpt"


@dataclass
class RunOptions:
    """The run's folder, its tracking, and what happens after training.

    Args:
        name: Name of the run; by default data, backbone and kind.
        root: Folder of all runs.
        id: Id of the run within its name; by default the time of its start.
        title: Name that Weights & Biases shows; by default `name`.
        group: Group of runs that it belongs to, for Weights & Biases.
        job_type: Its role in the group, for Weights & Biases.
        tags: Tags, for Weights & Biases.
        project: Weights & Biases project.
        wandb: Whether to log to Weights & Biases (offline without a login).
        test: Whether `fit` ends by testing the finished model.
    """

    name: str | None = None
    root: str = "runs"
    id: str | None = None
    title: str | None = None
    group: str | None = None
    job_type: str | None = None
    tags: list[str] = field(default_factory=list)
    project: str = "lit-adaptconv"
    wandb: bool = True
    test: bool = True

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(self.root) / str(self.name) / str(self.id)


def new_id(root: str, name: str) -> str:
    """The time, with a number added if a run of that name started in the same second."""
    now = datetime.now().strftime("%Y%m%d-%H%M%S")
    id, count = now, 1
    while (Path(root) / name / id).exists():
        count += 1
        id = f"{now}-{count}"
    return id


def newest_run(root: str, name: str | None = None) -> Path:
    """The folder of the run that started last, of this name or of any.

    Raises:
        UserError: There is none.
    """
    runs = [config.parent for config in Path(root).glob(f"{name or '*'}/*/config.yaml")]
    if not runs:
        raise UserError(f"no run to continue in {Path(root) / (name or '')}: leave --ckpt_path out to start one")
    return max(runs, key=lambda run: (run.stat().st_ctime_ns, run.name))


def run_of_checkpoint(checkpoint: Path) -> Path | None:
    """The folder of the run that wrote a checkpoint, if it stands in one."""
    run = checkpoint.absolute().parent.parent
    return run if (run / "config.yaml").is_file() else None
