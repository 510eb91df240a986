"""Every measured number in README.md and docs/results/, from the tables of the sweeps beside those pages.

    python -m benchmarks.results                    write the numbers anew
    python -m benchmarks.results keep runs/NAME     take a finished sweep's tables and pictures into docs/results/NAME

A page quotes a number between two comments, which a reader does not see:

    <!-- =mnist_small accuracy low_rank 934 -->97.32 % ± 0.12<!-- / -->

The first word is the sweep, the rest a question to `Facts`; `claim` in place of a sweep asks `benchmarks/claims.py`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from benchmarks.claims import CLAIMS
from benchmarks.facts import Facts
from lit_adaptconv.files import write_text
from lit_adaptconv.report.content import read_content
from lit_adaptconv.report.figures import main_figures
from lit_adaptconv.report.images import write_images
from lit_adaptconv.sweep.store import CURVES, RESULTS

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "results"
QUOTE = re.compile(r"(<!-- =(?P<question>[^>]+?) -->)(?P<answer>.*?)(<!-- / -->)", flags=re.DOTALL)


def pages() -> Iterator[Path]:
    """The pages that quote results."""
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        if QUOTE.search(page.read_text()):
            yield page


def regenerated(text: str) -> str:
    """A page with every quoted number as the tables have it now."""
    return QUOTE.sub(lambda m: f"{m[1]}{answer(m['question'])}{m[4]}", text)


def answer(question: str) -> str:
    """Answer the question of a quotation.

    Raises:
        KeyError: There is no such claim or fact.
    """
    about, _, rest = question.partition(" ")
    return CLAIMS[rest](facts) if about == "claim" else facts(about).ask(rest)


@cache
def facts(sweep: str) -> Facts:
    """The facts of a sweep in docs/results."""
    return Facts(FOLDER / sweep)


def keep(source: Path) -> Path:
    """Copy a finished sweep's tables, and draw its pictures."""
    content = read_content(source)
    target = FOLDER / content.sweep.name
    target.mkdir(parents=True, exist_ok=True)
    for name in ("sweep.json", RESULTS, CURVES):
        (target / name).write_bytes((source / name).read_bytes())
    wanted = [figure for figure in main_figures(content) if figure.place in ("pareto", "difference", "ratio", "curves")]
    for file in write_images(target, wanted):
        if file.suffix == ".svg":
            file.unlink()
    return target


def main(args: list[str]) -> None:
    """Run the command."""
    for folder in args[1:] if args[:1] == ["keep"] else []:
        print(keep(Path(folder)))
    for page in pages():
        text = page.read_text()
        if (now := regenerated(text)) != text:
            write_text(page, now)
            print(f"{page.relative_to(ROOT)}: numbers written anew")


if __name__ == "__main__":
    main(sys.argv[1:])
