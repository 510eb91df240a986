"""The help of the commands that take a configuration: one screen with the common options, the rest on demand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

HELP = Path(__file__).with_name("help")
"""A text for each of these commands; a test compares what they say with the parsers."""
ASKING = ("-h", "--help")


def short_help(command: str, args: Sequence[str]) -> str | None:
    """The screen of a command, if its arguments ask for help; None if they do not, or ask for all of it."""
    if not any(arg in ASKING for arg in args) or without_all(args) != list(args):
        return None
    text = HELP / f"{command}.txt"
    return text.read_text(encoding="utf-8") if text.is_file() else None


def without_all(args: Sequence[str]) -> list[str]:
    """The arguments, `--help` for `--help all`, which is all that a parser can say."""
    found: list[str] = []
    for arg in args:
        if arg == "all" and found and found[-1] in ASKING:
            continue
        found.append("--help" if arg == "--help=all" else arg)
    return found
