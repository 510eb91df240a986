"""Sweeps in Python: a plan or a folder in, tables as data frames out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from lit_adaptconv.measure.budget import to_columns
from lit_adaptconv.sweep.folder import Sweep, SweepFolder
from lit_adaptconv.sweep.plan import Plan
from lit_adaptconv.sweep.reading import read_plan
from lit_adaptconv.sweep.run import EngineName, default_folder, run_sweep
from lit_adaptconv.sweep.store import Store, read_curves, read_results
from lit_adaptconv.train.configs import find_config
from lit_adaptconv.verdict.verdict import verdict_of

Source = str | os.PathLike[str] | Mapping[str, Any] | Plan


@dataclass(frozen=True)
class SweepTables:
    """What a sweep has shown so far.

    Attributes:
        folder: Its folder.
        results: One row per trial, with the columns of `results.parquet`.
        curves: One row per evaluation, with the columns of `curves.parquet`.
        summary: One row per arm and budget: size, share of the budget, trials, mean, standard deviation and interval
            of the test metric: `low` and `high` for new seeds, `low_images` and `high_images` for new seeds and images.
        speed: One row per arm, budget, target and measure: how many trials reached the target, and the median time with
            its interval.
        comparisons: One row per arm, budget and measure: estimate, interval, p and answer against the primary arm;
            `over` is more than one where several budgets are taken together.
        sentences: The verdict in words. These four are empty until a trial of the primary arm has begun.
    """

    folder: Path
    results: pd.DataFrame
    curves: pd.DataFrame
    summary: pd.DataFrame
    speed: pd.DataFrame
    comparisons: pd.DataFrame
    sentences: tuple[str, ...]


def sweep(
    source: Source,
    output: str | os.PathLike[str] | None = None,
    *,
    engine: EngineName = "local",
    workers: int | None = None,
) -> SweepTables:
    """Run a sweep to its end, or continue it.

    A script that calls this needs the usual `if __name__ == "__main__":`, since the trials run in processes of their
    own.

    Args:
        source: A plan: its file, the name of a packaged one such as "sweeps/digits", its content, or a `Plan`. Or the
            folder of a sweep, which is continued.
        output: Folder of the sweep; by default the given one, or `runs/<name>`.
        engine: "local" runs trials on this machine, "ray" and "slurm" on a cluster.
        workers: Number of trials at the same time; by default one per GPU, or else one per core.

    Raises:
        UserError: The plan is not valid, or its data are not there. A failing trial is a row of `results`.
    """
    folder = _folder(source)
    plan = read_plan(folder / "plan.yaml") if folder is not None else _plan(source)
    target = Path(output) if output is not None else folder
    return _tables(run_sweep(plan, target, engine=engine, workers=workers).folder)


def compare(source: Source) -> SweepTables:
    """Read what a sweep has shown so far; nothing is trained.

    Args:
        source: The folder of a sweep; or its plan (see `sweep`), which stands for the folder `runs/<name>`.

    Raises:
        UserError: There is no such sweep.

    Examples:
        >>> tables = compare("docs/results/digits")  # in a clone of the repository
        >>> tables.summary[["arm", "budget"]].shape
        (6, 2)
    """
    return _tables(folder_of(source))


def folder_of(source: Source) -> Path:
    """The folder of a sweep: the given one, or that of a plan."""
    folder = _folder(source)
    return default_folder(_plan(source)) if folder is None else folder


def _folder(source: Source) -> Path | None:
    """The folder of a sweep, where that is what was given."""
    if isinstance(source, (Mapping, Plan)) or not Path(source).is_dir():
        return None
    return Path(source)


def _plan(source: Source) -> Plan:
    return read_plan(source if isinstance(source, (Mapping, Plan)) else find_config(os.fspath(source)))


def read_sweep(folder: Path) -> tuple[Sweep, pa.Table, pa.Table]:
    """The facts of a sweep, its results so far and its curves.

    Raises:
        UserError: The folder is not that of a sweep, or a file of it can't be read.
    """
    place = SweepFolder(folder)
    made = place.read()
    if place.ids():
        store = Store(place, made)
        return made, store.results(), store.curves()
    return made, read_results(folder), read_curves(folder)  # kept without the folders of its trials


def _tables(folder: Path) -> SweepTables:
    made, results, curves = read_sweep(folder)
    verdict = verdict_of(results, made.targets, made.primary_arm, made.metric, curves=curves, question=made.question)
    return SweepTables(
        folder=folder.absolute(),
        results=results.to_pandas(),
        curves=curves.to_pandas(),
        summary=_frame(verdict.finished if verdict else ()),
        speed=_frame(verdict.convergence if verdict else ()),
        comparisons=_frame(verdict.comparisons if verdict else ()),
        sentences=verdict.sentences if verdict else (),
    )


def _frame(rows: Sequence[Any]) -> pd.DataFrame:
    """One row per record; what lies within a record stands beside the rest, the ends of an interval as low, high.

    Those of an interval for new seeds and images are low_images and high_images.
    """
    flat = []
    for row in rows:
        cells = asdict(row)
        if (at := cells.pop("at", None)) is not None:
            cells = {**at, "budget_share": row.at.budget_share, **cells}
        cells |= to_columns(row.budget if at is None else row.at.budget)
        ends: dict[str, float | None] = {}
        for name in [name for name in cells if name.startswith(("interval", "bounds"))]:
            end = name.removeprefix("interval").removeprefix("bounds")
            ends[f"low{end}"], ends[f"high{end}"] = cells.pop(name) or (None, None)
        flat.append({**cells, **ends})
    return pd.DataFrame(flat)
