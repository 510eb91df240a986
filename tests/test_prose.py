"""The text for readers: proselint's checks and a small house style, over every page.

`python -m pytest tests/test_prose.py` names each hit with its line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("proselint", reason="proselint is not installed")
from proselint.config import DEFAULT
from proselint.registry import CheckRegistry
from proselint.registry.checks import Check, CheckResult, types
from proselint.tools import LintFile

ROOT = Path(__file__).parent.parent
PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / ".github").glob("*.md"),
    ROOT / "examples/README.md",
]

NOT_OURS = ("annotations", "dates_times", "lexical_illusions", "psychology", "spelling", "typography")
"""Checks of proselint for other texts: drafts, decades, p values, American spelling, curly quotes."""

LONGEST = 45
"""Words in a sentence. More than that hides its point."""

PREFERRED = {
    r"did not arrive": "never reached the target",
    r"none arrived": "not reached",
    r"(?:share|trials|networks?) that (?:have )?arrived": "reached the target",
    r"beside it stands?": "it also includes",
    r"(?:can|cannot|can't) (?:not )?carry": "support",
    r"seeds (?:can )?carry": "support",
    r"(?:a )?map of the house": "a code map",
    r"one a (?:trial|core|GPU|run|class|slot|seed|cluster)": "one per …",
    r"(?:a|one) (?:trial|process|page|job|folder|file|row|line|seed) a (?:GPU|core|class|trial|sweep)": "per",
    r"costs no (?:other|trial)": "never affects",
    r"at the (?:most|least)": "at most, at least",
    r"as (?:good|well) as none": "negligible",
    r"on top of it": "after it",
    r"tells? of": "reports",
    r"is told of": "is reported",
    r"what comes along": "what is included",
    r"comes? along": "is included",
    r"in the small": "at small scale",
    r"(?:form|layer|kind|variant) of ours": "our …",
    r"at most so many": "at most that many",
    r"the next (?:one )?but one": "the one after next",
    r"till": "until",
    r"hyper-parameters?": "hyperparameter",
    r"data ?sets? of images": "image data set",
    r"time[- ]?outs?": "timeout",
    r"check-points?": "checkpoint",
    r"back-bones?": "backbone",
}
"""What reads like a translation, or is a second word for one thing, and what to write instead."""


def long_sentences(text: str, check: Check) -> Iterator[CheckResult]:
    for sentence in re.finditer(r"[^.!?;:\n]+(?:[.!?;:](?![)\s])[^.!?;:\n]*)*", text):
        if (words := len(re.findall(r"[^\W\d_][\w'’-]*", sentence[0]))) > LONGEST:
            yield CheckResult(check.path, f"{words} words in one sentence", sentence.span(), None)


HOUSE = (
    Check(types.PreferredForms(PREFERRED), path="house.words", message="Write '{}' instead of '{}'."),
    Check(long_sentences, path="house.length"),
)
ENABLED = {"house": True, "misc.phrasal_adjectives.ly": False}  # a multiply-add is no adverb
ENABLED |= {name: on and name not in NOT_OURS for name, on in DEFAULT["checks"].items()}


@pytest.fixture(scope="module", autouse=True)
def house_style() -> None:
    from proselint.checks import __register__

    registry = CheckRegistry()
    registry.register_many(__register__)
    registry.register_many(HOUSE)


def prose(markdown: str) -> str:
    """The words of a page where they stand: code, targets, comments and tags are blank, and a paragraph is one line."""
    for pattern in (
        r"(?ms)^( *)```.*?^\1```$",
        r"(?m)^ {4}.*$",
        r"(?s)<!--.*?-->",
        r"`[^`\n]*`",
        r"(?<=\])\([^)\s]*\)",
        r"<[^>\n]+>",
    ):
        markdown = re.sub(pattern, lambda found: re.sub(r"[^\n]", " ", found[0]), markdown)
    markdown = re.sub(r"(?<=[^\s|])\n(?= *[^\s\-*#\d|])", " ", markdown)
    return re.sub(r"\|", "\n", re.sub(r"[*_#]", " ", markdown))


def hits(name: str, markdown: str) -> list[str]:
    text = prose(markdown)
    found = LintFile(name, text).lint({"max_errors": 1000, "checks": ENABLED})
    return [
        f"{name}:{markdown.count(chr(10), 0, hit.check_result.span[0] - 1) + 1}: {hit.check_result.message}"
        for hit in found
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_reads_well(page: Path) -> None:
    found = hits(page.relative_to(ROOT).as_posix(), page.read_text(encoding="utf-8"))
    assert not found, "\n" + "\n".join(found)


def test_what_reads_badly_is_found_where_it_stands() -> None:
    page = f"# A\n\nA network did not\narrive `at the most`.\n\n```\nat the most\n```\n\n{'word ' * 51}.\n"
    assert hits("page", page) == [
        "page:3: Write 'never reached the target' instead of 'did not arrive'.",
        "page:10: 51 words in one sentence",
    ]
