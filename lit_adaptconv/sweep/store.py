"""The results of a sweep: rows made from the trials' folders, written as Parquet, rebuilt at any time."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lit_adaptconv.errors import UserError
from lit_adaptconv.files import write_atomically
from lit_adaptconv.measure.budget import Limits, to_columns
from lit_adaptconv.measure.latency import RUNTIMES, Latencies, read_latencies
from lit_adaptconv.measure.timing import Spread
from lit_adaptconv.sweep.engines import Outcome
from lit_adaptconv.sweep.folder import Sweep, SweepFolder
from lit_adaptconv.sweep.latency_limit import read_limited
from lit_adaptconv.sweep.schema import ADDED, CURVES_SCHEMA, LIMITS, RENAMED, SCHEMA_KEY, SCHEMA_VERSION, results_schema
from lit_adaptconv.sweep.step_costs import read_step_costs
from lit_adaptconv.sweep.trial import Trial
from lit_adaptconv.text import visible
from lit_adaptconv.train.convergence import first_reached
from lit_adaptconv.train.result import RunResult
from lit_adaptconv.verdict.budget_share import budget_share
from lit_adaptconv.verdict.summaries import MEASURES, to_target

RESULTS, CURVES = "results.parquet", "curves.parquet"
PER_SAMPLE = "training_flops_per_sample"
FINAL = ("done", "failed", "diverged", "interrupted")


class Store:
    """Reads trials' results, each once it is final only once, and writes the tables.

    Args:
        folder: The sweep's folder.
        sweep: The sweep.
    """

    def __init__(self, folder: SweepFolder, sweep: Sweep) -> None:
        self.folder = folder
        self.sweep = sweep
        self._results: dict[str, RunResult] = {}
        self._rows: dict[str, dict[str, Any]] = {}  # of the final results
        self._under_way: set[str] = set()

    def result(self, trial: Trial) -> RunResult | None:
        """Result of a trial so far; None if it has not begun; one whose file is damaged has failed."""
        if trial.id in self._results:
            return self._results[trial.id]
        path = self.folder.trial(trial) / "result.json"
        if not path.exists():
            return None
        try:
            result = RunResult.read(path)
        except UserError as error:
            result = replace(self._empty(trial), status="failed", reason=str(error))
        if result.status in FINAL and trial.id not in self._under_way:  # until it writes, it has that of its last run
            self._results[trial.id] = result
        return result

    def begin(self, trial: Trial) -> None:
        """Forget the result of a trial that starts again."""
        self._under_way.add(trial.id)
        self._forget(trial)

    def _forget(self, trial: Trial) -> None:
        self._results.pop(trial.id, None)
        self._rows.pop(trial.id, None)

    def finish(self, trial: Trial, outcome: Outcome) -> RunResult:
        """Settle how a trial ended, where it could not write that itself; one that wrote that it is done stays so.

        The result is kept in memory too, so that a full disk does not hide it from this sweep's table.
        """
        self._under_way.discard(trial.id)
        self._forget(trial)
        result = self.result(trial)
        if result is None or result.status not in (outcome.status, "done"):
            result = result or self._empty(trial)
            result.status = "failed" if outcome.status == "lost" else outcome.status
            result.reason = outcome.reason
            try:
                result.write(self.folder.trial(trial) / "result.json")
            except OSError as error:
                result.reason = f"{result.reason or ''} (not written to its folder: {error})".strip()
        self._results[trial.id] = result
        return result

    def _empty(self, trial: Trial) -> RunResult:
        return RunResult(
            name=self.sweep.name,
            id=trial.id,
            data=self.sweep.data,
            model=self.sweep.model,
            backbone=trial.backbone or self.sweep.backbone,
            kind=trial.kind,
            kind_options=trial.kind_options,
            widths=list(trial.widths),
            **to_columns(trial.budget),
            parameters=trial.parameters,
            flops=trial.flops,
            file_bytes=trial.file_bytes,
            seed=trial.seed,
            group=self.sweep.name,
            job_type=trial.arm,
        )

    def extend(self, trials: Sequence[Trial], notes: Sequence[str] = ()) -> None:
        """Add trials that tuning has made known, and what is to be known of it, in memory and in `sweep.json`."""
        new = {trial.id for trial in trials}
        before = tuple(trial for trial in self.sweep.trials if trial.id not in new)
        self.sweep = replace(self.sweep, trials=before + tuple(trials), notes=tuple(notes))
        self.folder.write(self.sweep)

    def begun(self) -> list[tuple[Trial, RunResult]]:
        """The trials of the comparison that have begun, with their results."""
        found = [(trial, self.result(trial)) for trial in self.sweep.trials]
        return [(trial, result) for trial, result in found if result is not None]

    def results(self) -> pa.Table:
        """The table of `results.parquet`."""
        rows, begun = [], self.begun()
        columns = ("flops", "training_flops", *(to_target("flops", target) for target in self.sweep.targets))
        two = counted_in_two_ways(result for _, result in begun)
        for trial, result in begun:
            row = self._rows.get(trial.id) or self.row(trial, result)
            if trial.id in self._results:
                self._rows[trial.id] = row
            rows.append(row | dict.fromkeys(columns) if two and counted_before(result) else row)
        costs, limited = self._step_costs(), limit_columns(self.folder.path)
        latencies = latency_columns(read_latencies(self.folder.path))
        places = [(trial.arm, trial.budget) for trial, _ in begun]
        rows = [
            _timed(row, costs.get(at), self.sweep.targets)
            | latencies.get((*at, row["kind"], row["parameters"]), {})
            | limited.get(at, {})
            for row, at in zip(rows, places, strict=True)
        ]
        return pa.Table.from_pylist(rows, results_schema(self.sweep.targets))

    def curves(self) -> pa.Table:
        """The table of `curves.parquet`."""
        return _curves(self.begun(), self._step_costs())

    def _step_costs(self) -> dict[tuple[str, Limits | None], float]:
        """Seconds of a training step of each arm's network at a budget, where they were timed."""
        timed = read_step_costs(self.folder.path)
        return {(cost.arm, cost.budget): cost.seconds for cost in timed.costs} if timed else {}

    def write(self) -> None:
        """Write `results.parquet` and `curves.parquet`, whole or not at all."""
        _write(self.folder.path / RESULTS, self.results())
        _write(self.folder.path / CURVES, self.curves())

    def row(self, trial: Trial, result: RunResult) -> dict[str, Any]:
        """A trial's row of `results.parquet`."""
        running = result.status == "running"
        last = result.curve[-1] if result.curve else None
        metric = self.sweep.metric
        copied: tuple[str, ...] = ("data", "backbone", "device", "parameters", "flops", PER_SAMPLE, "git_commit")
        copied += ("started", "threads", "stacked")
        row: dict[str, Any] = {name: getattr(result, name) or None for name in copied}
        row["reason"] = "it is running, or was killed" if running else result.reason
        row = {name: visible(value) if isinstance(value, str) else value for name, value in row.items()}
        row |= {"steps": result.steps, "training_seconds": result.training_seconds}
        row |= {"val_metric": result.val_value, "best_val_metric": result.best_val_value}
        tested = {"test_metric": metric.test_metric, "test_loss": "test/loss"}
        row |= {column: result.test_metrics.get(name) for column, name in tested.items()}
        row |= {
            "trial": trial.id,
            "sweep": self.sweep.name,
            "arm": trial.arm,
            "kind": trial.kind,
            "kind_options": json.dumps(trial.kind_options, sort_keys=True),
            **to_columns(trial.budget),
            "file_bytes": result.file_bytes,
            "widths": "-".join(map(str, result.widths or trial.widths)) or None,
            "seed": trial.seed,
            "pair": trial.pair,
            "status": "interrupted" if running else result.status,
            "epochs": last.epoch if last else float(result.epochs),
            "budget_share": budget_share(trial.budget, result.sizes),
            "training_flops": last.flops if last else None,
            "tuned": None if trial.tuned is None else json.dumps(trial.tuned, sort_keys=True),
            "versions": json.dumps(result.versions, sort_keys=True),
            "code_version": trial.code,
        }
        if (images := result.test_images) is not None:
            row |= {"test_images": images.images, "test_labels": images.labels, "test_correct": images.bits}
        for target in self.sweep.targets:
            reached = first_reached(result.curve, target, metric.mode)
            row |= {to_target(measure, target): getattr(reached, measure) for measure in MEASURES}
        return row


Network = tuple[str, Limits | None, str, int | None]
"""Arm, budget, conv kind and parameters: a network that has changed since it was timed has no latency."""


def latency_columns(latencies: Latencies | None) -> dict[Network, dict[str, Any]]:
    """The columns of `results.parquet` on latency, of each network that was timed."""
    if latencies is None:
        return {}
    same = {
        "latency_batch_size": latencies.batch_size,
        "latency_threads": latencies.threads,
        "latency_device": visible(latencies.device),
        "latency_versions": json.dumps(latencies.versions, sort_keys=True),
    }
    found = {}
    for network in latencies.networks:
        columns = {**same, "onnx_bytes": network.onnx_bytes, "onnx_reason": visible(network.reason) or None}
        for runtime in RUNTIMES:
            if (measured := network.of(runtime)) is not None:
                columns[f"{runtime}_memory"] = measured.memory
                columns |= _quartiles(f"{runtime}_latency", measured.image)
                columns |= _quartiles(f"{runtime}_batch_latency", measured.batch)
        found[network.arm, network.budget, network.kind, network.parameters] = columns
    return found


def limit_columns(folder: Path) -> dict[tuple[str, Limits | None], dict[str, Any]]:
    """The columns on the plan's limit on latency, of each arm and budget: what was measured as the width was chosen."""
    with contextlib.suppress(UserError):
        if (limited := read_limited(folder)) is not None:
            same = {"latency_limit": limited.limit.seconds, "latency_limit_runtime": limited.limit.runtime}
            return {
                (one.arm, one.budget): same | ({} if one.latency is None else _quartiles("sized_latency", one.latency))
                for one in limited.sizes
            }
    return {}


def _quartiles(column: str, spread: Spread) -> dict[str, float]:
    """A median and its quartiles as columns."""
    return {column: spread.median, f"{column}_lower": spread.lower, f"{column}_upper": spread.upper}


_MEASURED = {name: name for name in ("step", "epoch", "flops", "seconds")}
_MEASURED |= {"val_metric": "value", "train_metric": "train_value", "val_loss": "loss"}


def _timed(row: dict[str, Any], cost: float | None, targets: Sequence[float]) -> dict[str, Any]:
    """A row with the cost of a step. A trial that was trained with others takes its seconds from that, not theirs."""
    row = {**row, "step_seconds": cost}
    if row["stacked"] is None:
        return row
    pairs = [("training_seconds", "steps"), *((to_target("seconds", t), to_target("steps", t)) for t in targets)]
    return row | {name: None if cost is None or row[steps] is None else cost * row[steps] for name, steps in pairs}


def _curves(results: Sequence[tuple[Trial, RunResult]], costs: Mapping[tuple[str, Limits | None], float]) -> pa.Table:
    rows = [(trial, evaluation, result) for trial, result in results for evaluation in result.curve]
    two = counted_in_two_ways(result for _, result in results)
    columns: dict[str, list[Any]] = {name: [] for name in CURVES_SCHEMA.names}
    for trial, evaluation, result in rows:
        columns["trial"].append(trial.id)
        for name in ("arm", "kind", "seed", "pair"):
            columns[name].append(getattr(trial, name))
        for name, value in to_columns(trial.budget).items():
            columns[name].append(value)
        for name, attribute in _MEASURED.items():
            left_out = name == "flops" and two and counted_before(result)
            value = None if left_out else getattr(evaluation, attribute)
            if name == "seconds" and result.stacked is not None:  # its own are those of all that it was trained with
                cost = costs.get((trial.arm, trial.budget))
                value = None if cost is None else cost * evaluation.step
            columns[name].append(value)
    return pa.table(columns, schema=CURVES_SCHEMA)


def counted_before(result: RunResult) -> bool:
    """Whether its FLOPs are those of earlier versions: without activations, and training as three forward passes."""
    return result.training_flops_per_sample is None and any(e.flops is not None for e in result.curve)


def counted_in_two_ways(results: Iterable[RunResult]) -> bool:
    """Whether some FLOPs are counted as earlier versions did and others are not: those are left out of the tables."""
    old = [counted_before(result) for result in results if result.curve]
    return any(old) and not all(old)


def _write(path: Path, table: pa.Table) -> None:
    write_atomically(path, lambda file: pq.write_table(table, file))


def read_results(folder: Path) -> pa.Table:
    """Read a sweep's `results.parquet`, which has one row per trial.

    Raises:
        UserError: There is none, or it has another schema.

    Examples:
        >>> read_results(Path("docs/results/digits")).num_rows  # in a clone of the repository
        42
    """
    table = _read(folder / RESULTS)
    if PER_SAMPLE not in table.column_names:  # written by an earlier version, which counted otherwise
        table = table.add_column(table.column_names.index("steps"), PER_SAMPLE, pa.nulls(table.num_rows, pa.int64()))
    if "budget_share" not in table.column_names:
        sizes = zip(table["budget"].to_pylist(), table["parameters"].to_pylist(), strict=True)
        shares = pa.array([budget_share(budget, {"parameters": size}) for budget, size in sizes], pa.float64())
        table = table.add_column(table.column_names.index("flops"), "budget_share", shares)
    return _completed(table, ADDED)


def read_curves(folder: Path) -> pa.Table:
    """Read a sweep's `curves.parquet`, which has one row per evaluation.

    Raises:
        UserError: There is none, or it has another schema.

    Examples:
        >>> sorted(set(read_curves(Path("docs/results/digits"))["arm"].to_pylist()))  # in a clone of the repository
        ['adaptive', 'low_rank', 'standard']
    """
    return _completed(_read(folder / CURVES), LIMITS)


def _completed(table: pa.Table, columns: Mapping[str, pa.DataType]) -> pa.Table:
    """A table with the columns that those of earlier versions lack."""
    for name, kind in columns.items():
        if name not in table.column_names:
            table = table.append_column(name, pa.nulls(table.num_rows, kind))
    return table


def _read(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise UserError(f"{path.parent} has no {path.name}: `adaptconv status {path.parent}` rebuilds it") from None
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{path} can't be read: {error}") from None
    version = (table.schema.metadata or {}).get(SCHEMA_KEY)
    if version == b"1":
        names = [RENAMED.get(name, name) for name in table.column_names]
        return table.rename_columns(names).replace_schema_metadata({SCHEMA_KEY: SCHEMA_VERSION})
    if version != SCHEMA_VERSION:
        raise UserError(f"{path} has schema {version!r}, this version reads {SCHEMA_VERSION!r}: rebuild it")
    return table


def readable(table: pa.Table) -> pa.Table:
    """A table without its columns of bytes."""
    return table.select([field.name for field in table.schema if not pa.types.is_binary(field.type)])
