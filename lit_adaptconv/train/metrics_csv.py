"""The logger behind `metrics.csv`: one row per step, written whole, and continued exactly by a resumed run."""

from __future__ import annotations

import csv
import io
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from lit_adaptconv.files import write_text


class MetricsCSV(Logger):
    """Keeps a run's metrics as rows and writes them to `<root>/<name>/<version>/metrics.csv`.

    Lightning's `CSVLogger` deletes the file of the run that it resumes. Here the rows travel in the checkpoint (see
    `RunRecorder`), so that a resumed run's file is the one that an undisturbed run writes.

    Args:
        root: Folder of all runs.
        name: Name of the run; a folder in `root`.
        version: Id of the run; a folder in it.
    """

    def __init__(self, root: str, name: str, version: str) -> None:
        super().__init__()
        self._root, self._name, self._version = root, name, version
        self.rows: list[dict[str, float]] = []

    @property
    def name(self) -> str:
        """Name of the run."""
        return self._name

    @property
    def version(self) -> str:
        """Id of the run."""
        return self._version

    @property
    def save_dir(self) -> str:
        """Folder of all runs."""
        return self._root

    @property
    def log_dir(self) -> str:
        """Folder of this run."""
        return str(Path(self._root) / self._name / self._version)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the run's `config.yaml` and `result.json` hold them."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add the metrics to the row of `step`."""
        at = float(step or 0)
        if not self.rows or self.rows[-1]["step"] != at:
            self.rows.append({"step": at})
        self.rows[-1].update({name: float(value) for name, value in metrics.items()})

    @rank_zero_only
    def write(self) -> None:
        """Write the file."""
        names = sorted({name for row in self.rows for name in row} - {"step", "epoch"})
        text = io.StringIO()
        writer = csv.DictWriter(text, ["step", "epoch", *names], lineterminator="\n")
        writer.writeheader()
        for row in self.rows:
            writer.writerow({k: int(v) if k in ("step", "epoch") else v for k, v in row.items()})
        write_text(Path(self.log_dir) / "metrics.csv", text.getvalue())

    def finalize(self, status: str) -> None:
        """Write the file at the end of a stage, whichever way it ended."""
        if self.rows:
            self.write()
