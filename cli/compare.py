"""`adaptconv compare`: several runs side by side."""

from pathlib import Path

from rich.console import Console

from lit_adaptconv.errors import UserError
from lit_adaptconv.train.result import RunResult
from lit_adaptconv.train.runs import newest_run
from lit_adaptconv.verdict.metric import ACCURACY, Metric

from .tables import result_note, result_table


def compare(*runs: Path, min_test_accuracy: float = 0.0) -> int:
    """Print the results of several runs in one table.

    Args:
        runs: Folders of runs, `<root>/<name>/<id>`, or `<root>/<name>` for the newest of that name.
        min_test_accuracy: Fail unless every run's test accuracy is at least this.

    Raises:
        UserError: `min_test_accuracy` is no share, a folder holds no run, or a run is below `min_test_accuracy`, or was
            tested by another metric.
    """
    if not 0 <= min_test_accuracy <= 1:
        raise UserError(f"min_test_accuracy is a share between 0 and 1, such as 0.9 for 90 %, got {min_test_accuracy}")
    folders = [run if (run / "result.json").is_file() else newest_run(str(run.parent), run.name) for run in runs]
    results = [RunResult.read(folder / "result.json") for folder in folders]
    console = Console()
    console.print(result_table(results))
    if note := result_note(results):
        console.print(note, soft_wrap=True)
    for result in results if min_test_accuracy else ():
        if Metric(result.test_metric, result.mode, result.test_metric).name != ACCURACY.name:
            raise UserError(f"{result.name} was tested by {result.test_metric}: leave out --min_test_accuracy")
        if not (result.test_value or 0.0) >= min_test_accuracy:
            raise UserError(
                f"{result.name} has a test accuracy of {ACCURACY.shown(result.test_value)}, "
                f"less than {ACCURACY.shown(min_test_accuracy)}"
            )
    return 0
