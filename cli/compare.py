"""`adaptconv compare`: several runs side by side, and the gates that they have to meet."""

from __future__ import annotations

import sys
from pathlib import Path

from jsonargparse import Namespace
from rich.console import Console

from lit_adaptconv.errors import UserError
from lit_adaptconv.files import write_text
from lit_adaptconv.measure.latency import RUNTIMES, read_latencies, seconds_of
from lit_adaptconv.text import markdown, markdown_table, visible
from lit_adaptconv.train.loading import check_writable
from lit_adaptconv.train.result import RunResult
from lit_adaptconv.train.runs import newest_run

from .fitted import fits, fitted, text
from .gates import Compared, Limits
from .output import print_error
from .tables import by_run, result_note, result_table

STDOUT = "-"


def compare(given: Namespace) -> int:
    """Print the results of several runs in one table, and an error for each gate that is not met.

    Returns:
        Exit status: 0, or 1 if a gate is not met.

    Raises:
        UserError: A limit is none, a folder holds no run, the baseline can't be read, or a file can't be written.
    """
    if given.max_drop is not None and given.baseline is None:
        raise UserError("max_drop needs a baseline: give --baseline the JSON of an earlier comparison")
    if given.markdown and given.json == STDOUT:
        raise UserError("--markdown and --json - both go to standard output: give --json a file")
    limits = Limits(
        min_test_accuracy=given.min_test_accuracy,
        max_test_accuracy=given.max_test_accuracy,
        max_drop=Limits.max_drop if given.max_drop is None else given.max_drop,
        max_parameters=given.max_parameters,
        max_bytes=given.max_bytes,
        max_latency=None if given.max_latency is None else seconds_of("max_latency", given.max_latency),
        runtime=given.runtime,
    )
    if given.json not in (None, STDOUT):
        check_writable(Path(given.json))
        if given.baseline is not None and Path(given.json).resolve() == given.baseline.resolve():
            raise UserError("--json would overwrite the baseline, and the next comparison pass: give another file")
    folders = [run if (run / "result.json").is_file() else newest_run(str(run.parent), run.name) for run in given.runs]
    results = [RunResult.read(folder / "result.json") for folder in folders]
    baseline = None if given.baseline is None else Compared.read(given.baseline)
    compared = Compared.of(results, [read_latencies(folder) for folder in folders]).checked(limits, baseline)
    unmet = [gate.reason for gate in compared.gates if not gate.met]
    if given.json == STDOUT:
        sys.stdout.write(compared.json())
    else:
        if given.json is not None:
            write_text(given.json, compared.json())
        _print(results, compared, unmet, as_markdown=given.markdown)
    for reason in unmet:
        print_error(reason)
    return 1 if unmet else 0


def _print(results: list[RunResult], compared: Compared, unmet: list[str], *, as_markdown: bool) -> None:
    runs = compared.runs
    latencies = {name: [getattr(run, f"{runtime}_latency") for run in runs] for runtime, name in RUNTIMES.items()}
    table, budgets = result_table(results, latencies), result_note(results)
    told = [*([] if budgets is None else [budgets.plain]), *compared.notes]
    if as_markdown:
        told += [f"Not met: {reason}." for reason in unmet]
        names = [str(column.header) for column in table.columns]
        rows = zip(*([str(cell) for cell in column.cells] for column in table.columns), strict=True)
        lines = markdown_table(names, list(rows), numbers=len(names) - 1)
        print("\n".join([*lines, "", *(f"- {markdown(visible(each))}" for each in told)]))
        return
    console = Console()
    console.print(table if fits(table, console) else fitted(by_run(table), console))
    for note in told:
        console.print(text(note), soft_wrap=True)
