"""`adaptconv compare`: several runs side by side."""

from pathlib import Path

from rich.console import Console

from lit_adaptconv.result import RunResult

from .runs import newest_run
from .tables import result_table


def compare(*runs: Path) -> int:
    """Print the results of several runs in one table.

    Args:
        runs: Folders of runs, `<root>/<name>/<id>`, or `<root>/<name>` for the newest of that name.
    """
    folders = [run if (run / "result.json").is_file() else newest_run(str(run.parent), run.name) for run in runs]
    Console().print(result_table([RunResult.read(folder / "result.json") for folder in folders]))
    return 0
