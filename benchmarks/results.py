"""Every measured number in README.md and docs/results/, from the tables of the sweeps beside those pages.

    python -m benchmarks.results                    write the numbers anew
    python -m benchmarks.results keep runs/<name>   take a finished sweep's tables and pictures into docs/results/NAME

A page quotes a number between two comments, which a reader does not see:

    <!-- =mnist_small accuracy low_rank 934 -->97.32 % ± 0.12<!-- / -->

The first word is the sweep, the rest a question to `Facts`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from benchmarks.facts import Facts
from lit_adaptconv.errors import UserError
from lit_adaptconv.files import write_atomically, write_text
from lit_adaptconv.report.content import read_content
from lit_adaptconv.report.figure_files import WIDTH, draw
from lit_adaptconv.report.figures import main_figures
from lit_adaptconv.sweep.store import CURVES, RESULTS
from lit_adaptconv.sweep.tuning_table import TUNING

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "results"
PICTURED = ("pareto", "curves", "ratio", "difference", "tuning")
ENDED = ("done", "diverged")
"""Statuses of trials that would end so again."""
QUOTE = re.compile(r"(<!-- =(?P<question>[^>]+?) -->)(?P<answer>.*?)(<!-- / -->)", flags=re.DOTALL)


def pages() -> Iterator[Path]:
    """The pages that quote results."""
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        if QUOTE.search(page.read_text()):
            yield page


def regenerated(text: str) -> str:
    """A page with every quoted number as the tables have it now."""
    return QUOTE.sub(lambda quote: f"{quote[1]}{answer(quote['question'])}{quote[4]}", text)


def answer(question: str) -> str:
    """Answer the question of a quotation.

    Raises:
        UserError: There is no such sweep or fact, or none of such an arm, budget or target.
    """
    sweep, _, rest = question.partition(" ")
    try:
        return facts(sweep).ask(rest)
    except (KeyError, StopIteration, TypeError, ValueError) as error:  # no such fact, arm, number of words, number
        raise UserError(f"a page asks {question!r}, which has no answer; benchmarks/facts.py says what has") from error


@cache
def facts(sweep: str) -> Facts:
    """The facts of a sweep in docs/results."""
    return Facts(FOLDER / sweep)


def keep(source: Path) -> Path:
    """Copy a finished sweep's tables, and draw its pictures.

    Raises:
        UserError: It is no sweep's folder, the sweep is not finished, or no browser can draw.
    """
    content = read_content(source)
    if sum(content.statuses.get(status, 0) for status in ENDED) < content.sweep.expected:
        raise UserError(f"{source}: {content.state}; only a finished sweep is kept")
    target = FOLDER / content.sweep.name
    wanted = [figure for figure in main_figures(content) if figure.place in PICTURED]
    files = draw({f"{figure.name}.png": figure.drawing.plotly() for figure in wanted}, WIDTH)
    names = [name for name in ("sweep.json", RESULTS, CURVES, TUNING) if (source / name).exists()]
    files |= {name: (source / name).read_bytes() for name in names}
    for name, data in files.items():
        write_atomically(target / name, lambda file, data=data: file.write(data))
    return target


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.results", description="Write the quoted numbers anew.")
    keeping = parser.add_subparsers(metavar="keep").add_parser("keep", help="take finished sweeps first")
    keeping.add_argument("sweeps", type=Path, nargs="+", help="their folders")
    try:
        for folder in getattr(parser.parse_args(), "sweeps", []):
            print(keep(folder))
        for page in pages():
            text = page.read_text()
            if (now := regenerated(text)) != text:
                write_text(page, now)
                print(f"{page.relative_to(ROOT)}: numbers written anew")
    except UserError as error:
        parser.exit(1, f"{parser.prog}: error: {error}\n")


if __name__ == "__main__":
    main()
