"""`adaptconv sweep`: arms × budgets × seeds, trained under equal conditions and compared."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from lit_adaptconv.errors import UserError
from lit_adaptconv.export.onnx import check_onnx
from lit_adaptconv.sweep.engines.local import local_slots
from lit_adaptconv.sweep.engines.slurm import SlurmOptions
from lit_adaptconv.sweep.estimate import estimate
from lit_adaptconv.sweep.folder import SweepFolder
from lit_adaptconv.sweep.latency import measure_latencies
from lit_adaptconv.sweep.plan import Plan
from lit_adaptconv.sweep.progress import Listener
from lit_adaptconv.sweep.reading import parse_plan, plan_parser
from lit_adaptconv.sweep.run import Asked, EngineName, SweepOutcome, default_folder, prepare, run_sweep, slots_here
from lit_adaptconv.sweep.stack_sizes import stack_sizes, told
from lit_adaptconv.sweep.tuning import foreseen
from lit_adaptconv.train.parser import OneLineParser

from .display import live
from .dry_run import print_dry_run
from .extras import missing_extra
from .fitted import text
from .latency import print_latency
from .main import INTERRUPTED, SOME_FAILED
from .prospect import print_prospect
from .verdict import print_verdict


@dataclass(frozen=True)
class SweepOptions:
    """How a sweep runs; its results do not depend on it.

    Args:
        output: Folder of the sweep. The default is `runs/<name>`.
        engine: "local" runs trials on this machine, "ray" and "slurm" on a cluster.
        workers: Number of trials at the same time. The default is one per GPU, or one per core or cluster slot.
        workers_per_gpu: Number of trials that share a GPU. The default is one.
        ray_address: Address of a running cluster. Without it a cluster is started here.
        partition: Partition of SLURM. The default is the cluster's own.
        time_limit: Longest time of a trial on SLURM, in minutes.
        stack: Largest number of seeds of an arm to train together; "auto" decides.
        dry_run: Only print the trials, their exact sizes and the estimated time.
        accept_old: Keep trials that another version of the package finished.
        export_wandb: File to write the plan to, as a Weights & Biases sweep, instead of running it.
        like: Folder of an earlier sweep to take the spread between seeds from.
        measure_latency: Time each network after the last trial, as `adaptconv latency` does.
    """

    output: Path | None = None
    engine: EngineName = "local"
    workers: int | None = None
    workers_per_gpu: int | None = None
    ray_address: str | None = None
    partition: str | None = None
    time_limit: int = 60
    stack: Asked = "auto"
    dry_run: bool = False
    accept_old: bool = False
    export_wandb: Path | None = None
    like: Path | None = None
    measure_latency: bool = False


def sweep(args: list[str]) -> int:
    """Run a sweep, or continue it.

    Returns:
        Exit status: 0 if every trial ended well, 3 if some did not, 130 if interrupted.
    """
    plan, options = parse(args)
    console = Console()
    if options.export_wandb is not None:
        return _export(plan, options.export_wandb, console)
    if options.dry_run:
        return _dry_run(plan, options, console)
    if options.measure_latency:
        check_onnx()
    print_prospect(console, plan, options.like)
    with live(console) as (show, say):
        outcome = run_sweep(
            plan,
            options.output,
            engine=options.engine,
            workers=options.workers,
            workers_per_gpu=options.workers_per_gpu,
            ray_address=options.ray_address,
            slurm=SlurmOptions(options.partition, options.time_limit),
            stack=options.stack,
            accept_old=options.accept_old,
            listener=Listener(show, say),
        )
    print_verdict(console, outcome.results, outcome.curves, outcome.sweep)
    if options.measure_latency and not outcome.interrupted:
        _measure_latency(outcome.folder, console)
    if plan.wandb and not outcome.interrupted:
        _log_summary(plan, outcome, console)
    folder = os.path.relpath(outcome.folder)
    _say(console, f"Every budget and all reasons: adaptconv status --details {shlex.quote(folder)}")
    _say(console, f"A page with figures: adaptconv report {shlex.quote(folder)}")
    return INTERRUPTED if outcome.interrupted else 0 if outcome.complete else SOME_FAILED


def sweep_parser() -> OneLineParser:
    """The parser of a plan and of how it runs."""
    parser = plan_parser()
    parser.add_argument("--output", type=str | None, help="Folder of the sweep. The default is runs/<name>.")
    parser.add_argument("--engine", type=EngineName, default="local", help="Run on this machine or on a cluster.")
    parser.add_argument("--workers", type=int | None, help="Number of trials at the same time.")
    parser.add_argument("--workers-per-gpu", type=int | None, help="Number of trials that share a GPU.")
    parser.add_argument("--partition", type=str | None, help="Partition of SLURM.")
    parser.add_argument("--time-limit", type=int, default=60, help="Longest time of a trial on SLURM, in minutes.")
    parser.add_argument("--ray-address", type=str | None, help="Address of a running Ray cluster.")
    parser.add_argument("--stack", type=Asked, default="auto", help="Most seeds of an arm to train together, or auto.")
    parser.add_argument("--dry-run", action="store_true", help="Print the trials, their sizes and the estimated time.")
    parser.add_argument("--accept-old", action="store_true", help="Keep trials of another version of the package.")
    parser.add_argument("--export-wandb", type=str | None, help="Write the plan as a Weights & Biases sweep.")
    parser.add_argument("--like", type=str | None, help="Earlier sweep to take the spread between seeds from.")
    parser.add_argument("--measure-latency", action="store_true", help="Time each network at the end.")
    return parser


def parse(args: list[str]) -> tuple[Plan, SweepOptions]:
    """Read the plan and the options of `adaptconv sweep`."""
    plan, given = parse_plan(sweep_parser(), args)
    paths = {name: Path(given[name]) for name in ("output", "export_wandb", "like") if given[name] is not None}
    return plan, SweepOptions(**{**given, **paths})


def _dry_run(plan: Plan, options: SweepOptions, console: Console) -> int:
    folder = SweepFolder(options.output or default_folder(plan))
    prepared = prepare(plan, folder.path)
    trials, done = foreseen(prepared.maker, folder, options.accept_old)
    try:
        slots = slots_here(plan, options.workers, options.workers_per_gpu)
    except UserError as error:  # planned here, to run elsewhere
        _say(console, f"It can't run on this machine: {error}")
        slots = local_slots(options.workers, plan.cpus, None)
    expected = estimate(prepared, folder.path, slots.threads)
    print_dry_run(console, prepared, trials, done, expected, slots.number)
    for line in told(stack_sizes(prepared, options.stack if options.engine == "local" else 1, slots.sharing)):
        _say(console, line)
    console.print()
    print_prospect(console, plan, options.like)
    return 0


def _export(plan: Plan, file: Path, console: Console) -> int:
    from lit_adaptconv.sweep.wandb_export import export_wandb

    files = ", ".join(map(str, export_wandb(prepare(plan).maker, file)))
    _say(console, f"Wrote {files}. Next: wandb sweep {file}")
    if plan.tuning is not None:
        _say(console, "This leaves out the plan's tuning, which would be a sweep of its own in Weights & Biases.")
    return 0


def _measure_latency(folder: Path, console: Console) -> None:
    """Time the networks, which must not cost the sweep anything."""
    try:
        (measured,) = measure_latencies([folder])
    except UserError as error:
        _say(console, f"The latency was not measured: {error}")
    else:
        print_latency(console, measured)


def _log_summary(plan: Plan, outcome: SweepOutcome, console: Console) -> None:
    """Log to Weights & Biases, which must not cost the sweep anything."""
    from lit_adaptconv.report.content import content_of
    from lit_adaptconv.report.figures import main_figures
    from lit_adaptconv.sweep.wandb_summary import log_summary

    path, made, results = outcome.folder, outcome.sweep, outcome.results
    try:
        content = content_of(path, made, False, results, outcome.curves)
        if content.verdict is None:
            return
        figures = {figure.name: figure.drawing.plotly() for figure in main_figures(content)}
        hint = log_summary(path, plan.project, [*plan.tags, plan.name], made, results, content.verdict, figures)
    except Exception as error:  # whatever goes wrong there, the sweep itself is finished and written
        _say(console, f"The summary was not logged to Weights & Biases: {missing_extra(error) or error}")
    else:
        if hint:
            runs = os.path.relpath(path / "trials")
            _say(console, f"Weights & Biases: logged offline; send it with: {hint} {runs}/*/wandb/offline-run-*")


def _say(console: Console, line: str) -> None:
    console.print(text(line), soft_wrap=True)
