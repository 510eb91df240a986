"""`adaptconv status`: a sweep as it stands, from any terminal."""

from jsonargparse import Namespace
from rich.console import Console

from lit_adaptconv.errors import UserError
from lit_adaptconv.sweep.folder import SweepFolder
from lit_adaptconv.sweep.progress import Progress
from lit_adaptconv.sweep.store import RESULTS, Store, read_curves, read_results

from .display import render
from .fitted import text
from .main import SOME_FAILED
from .verdict import print_failures, print_verdict


def status(given: Namespace) -> int:
    """Show how far sweeps are and what they have shown; where none is running, its tables are rebuilt.

    Returns:
        Exit status: 3 if a trial failed or diverged, else 0.
    """
    failed = False
    for path in given.sweep:
        console = Console()
        folder = SweepFolder(path)
        plan = folder.read()
        busy = folder.busy
        store = Store(folder, plan)
        kept = not folder.ids() and (path / RESULTS).exists()  # without the folders of its trials
        if not busy and not kept:
            try:
                store.write()
            except OSError as error:  # the folder of someone else, or a full disk; what there is to see is seen
                console.print(text(f"Its tables can't be rebuilt: {error.strerror or error}"), soft_wrap=True)
        results = read_results(path) if kept else store.results()
        counts = results["status"].to_pylist()
        complete = counts.count("done") == plan.expected
        failed = failed or "failed" in counts or "diverged" in counts
        if busy and not complete:  # else its networks are timed
            try:
                console.print(render(Progress.read(path)))
            except UserError:
                console.print(text(f"{plan.name} is starting"))
            print_failures(console, results, plan, busy=True)
        else:
            state = "finished" if complete else "not running"
            console.print(text(f"{plan.name}: {state}, {counts.count('done'):,} of {plan.expected:,} trials done"))
            print_verdict(console, results, read_curves(path) if kept else store.curves(), plan, details=given.details)
    return SOME_FAILED if failed else 0
