"""The latency of each different network of sweeps, and of single runs: measured together, by turns."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lit_adaptconv.errors import UserError
from lit_adaptconv.export.latency import BATCH_SIZE, ROUNDS, Timed, measure_latency
from lit_adaptconv.measure.budget import Limits, with_budget
from lit_adaptconv.measure.latency import Latencies, read_latencies
from lit_adaptconv.sweep.folder import SWEEP, SweepFolder
from lit_adaptconv.sweep.plan import ArmBudget
from lit_adaptconv.sweep.store import Store
from lit_adaptconv.train.loading import Trained, load_network
from lit_adaptconv.train.result import RunResult
from lit_adaptconv.train.runs import CONFIG, newest_run


@dataclass(frozen=True)
class MeasuredFolder:
    """What was measured in a sweep or a run.

    Attributes:
        folder: Its folder, which holds `latency.json` now.
        latencies: The latencies.
        notes: What else there is to know, a sentence each: what they replace, networks that nobody trained.
    """

    folder: Path
    latencies: Latencies
    notes: tuple[str, ...]


def measure_latencies(
    folders: Sequence[Path],
    *,
    batch_size: int = BATCH_SIZE,
    threads: int = 1,
    rounds: int = ROUNDS,
    torch_only: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> list[MeasuredFolder]:
    """Time the networks of all folders by turns, and write `latency.json` into each; a sweep's tables have it too.

    Args:
        folders: Folders of sweeps, or of runs: `<root>/<name>/<id>`, or `<root>/<name>` for the newest.
        batch_size: Images in a batch, which is timed beside the single image.
        threads: CPU threads of both runtimes.
        rounds: Turns of one image of each network; a batch has a third as many.
        torch_only: Whether onnxruntime is left out.
        say: Is told what is being done.

    Raises:
        UserError: A folder is neither, holds no network, or a sweep is running in it; or see `measure_latency`.
    """
    with contextlib.ExitStack() as held:
        asked: list[tuple[Path, Store | None, list[Timed], list[str]]] = []
        for path in dict.fromkeys(folders):
            if (path / SWEEP).is_file():
                place = SweepFolder(path)
                store = Store(place, place.read())
                held.enter_context(place.locked())
                asked.append((path, store, *_of_sweep(store)))
            else:
                path = path if (path / CONFIG).is_file() else newest_run(str(path.parent), path.name)
                asked.append((path, None, [_of_run(path)], []))
        together = [each for _, _, timed, _ in asked for each in timed]
        latencies = measure_latency(
            together, batch_size=batch_size, threads=threads, rounds=rounds, torch_only=torch_only, say=say
        )
        measured, networks = [], iter(latencies.networks)
        for path, recorder, timed, notes in asked:
            own = replace(latencies, networks=tuple(next(networks) for _ in timed))
            before = read_latencies(path)
            if before is not None and before.where != own.where:
                notes.append(f"They replace those that were measured on {before.where}.")
            own.write(path)
            if recorder is not None:
                recorder.write()
            measured.append(MeasuredFolder(path, own, tuple(notes)))
    return measured


def _of_sweep(store: Store) -> tuple[list[Timed], list[str]]:
    """Each network of a sweep, from a trial of it that is done or else has begun; and those that have no such trial."""
    kept: dict[ArmBudget, tuple[Path, RunResult]] = {}
    for trial, result in sorted(store.begun(), key=lambda each: each[1].status != "done"):
        folder = store.folder.trial(trial)
        if (folder / CONFIG).is_file():
            kept.setdefault(ArmBudget(trial.arm, trial.budget), (folder, result))
    every = dict.fromkeys(ArmBudget(trial.arm, trial.budget) for trial in store.sweep.trials)
    lacking = [
        f"{with_budget(*at)} was not measured: no trial of it has a network here." for at in every if at not in kept
    ]
    if not kept:
        raise UserError(
            f"{store.folder.path} has no network to measure: the folders of its trials are not there, or hold none"
        )
    timed = [_timed(load_network(kept[at][0]), kept[at][1], *at) for at in every if at in kept]
    return timed, lacking


def _of_run(folder: Path) -> Timed:
    result = RunResult.read(folder / "result.json")
    return _timed(load_network(folder), result, result.name, result.limits)


def _timed(trained: Trained, result: RunResult, arm: str, budget: Limits | None) -> Timed:
    return Timed(trained.network, trained.image_shape, arm, budget, result.kind, result.parameters)
