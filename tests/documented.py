"""Every command in the documentation, in docstrings and in comments of configurations, as it stands there."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
READ = ("README.md", "CONTRIBUTING.md", "examples/README.md")
PAGES = [*(ROOT / name for name in READ), *(ROOT / "docs").rglob("*.md")]
ROOMS = ("lit_adaptconv", "cli", "benchmarks", "configs", "docs", "examples")
CODE = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
CONFIGS = [path for room in ROOMS for path in (ROOT / room).rglob("*.yaml")]
PROGRAMS = ("adaptconv", "make", "pip", "python", "wandb")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
INDENTED = re.compile(rf"^ *(?:{'|'.join(PROGRAMS)}) [^`\n]*(?:\n {{6,}}[-\[][^`\n]*)*$", flags=re.MULTILINE)


@dataclass(frozen=True)
class Command:
    """A command: where it stands, and its words; the first is one of `PROGRAMS`."""

    source: Path
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.source.relative_to(ROOT)}: {' '.join(self.words)}"


def documented() -> list[Command]:
    """All of them, each once, where it stands first."""
    found = {command.words: command for path in reversed([*PAGES, *CODE, *CONFIGS]) for command in commands(path)}
    return list(reversed(found.values()))


def commands(path: Path) -> list[Command]:
    """The commands in a page, in a module's docstrings, or in a configuration's comments."""
    return [Command(path, words) for text in _texts(path) for line in _lines(text) if (words := _words(line))]


def _texts(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return [text]
    if path.suffix == ".yaml":
        return ["\n".join(re.findall(r"#(.*)", text))]
    return [
        node.value.value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]


def _lines(text: str) -> Iterator[str]:
    """What may be a command: a line of a shell's block, an indented line, and what stands between backticks."""
    for language, block in BLOCK.findall(text):
        if language in ("sh", "bash", "console"):
            yield from block.replace("\\\n", " ").splitlines()
    prose = BLOCK.sub("", text)
    for line in INDENTED.findall(prose):
        yield re.split(r"(?<=\S) {3,}(?![-\[ ])", line.replace("\n", " "))[0]  # what follows a gap is a remark
    for line in re.findall(r"`([^`]+)`", prose):
        yield " ".join(line.split())


def _words(line: str) -> tuple[str, ...]:
    """The words of a command, without variables before it; `<name>` is one word, whatever spaces it has."""
    line = line.strip().removeprefix("$ ").replace(".venv\\Scripts\\", "")
    line = re.sub(r"<([^<>]+)>", lambda found: shlex.quote(f"<{found[1]}>"), line)
    if not re.match(rf"(?:[A-Z_]+=\S* )*(?:{'|'.join(PROGRAMS)}) \S", line):
        return ()
    words = shlex.split(line, comments=True)
    while re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    return tuple(words)
