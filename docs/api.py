"""Write docs/api.md, every public name with its signature and docstring: `python docs/api.py`."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import lit_adaptconv as la

PAGE = Path(__file__).with_suffix(".md")
HEAD = """# Every public name

`import lit_adaptconv as la` offers what follows; nothing is imported before it is used. `python docs/api.py` writes
this page from the docstrings.
"""


def page() -> str:
    """The page."""
    parts = [HEAD]
    for name in sorted(la.__all__):
        parts += _described(f"la.{name}", getattr(la, name))
        if inspect.ismodule(room := getattr(la, name)):
            for inner in sorted(room.__all__):
                parts += _described(f"la.{name}.{inner}", getattr(room, inner), level=3)
    return "\n".join(parts) + "\n"


def _described(name: str, value: Any, level: int = 2) -> list[str]:
    text = inspect.getdoc(value.__call__ if isinstance(value, type(la)) and callable(value) else value) or ""
    signature = "" if inspect.ismodule(value) else _signature(value)
    return [
        f"{'#' * level} `{name}`",
        "",
        *([f"```python\n{name}{signature}\n```", ""] if signature else []),
        "```text",
        text,
        "```",
        "",
    ]


def _signature(value: Any) -> str:
    try:
        text = str(inspect.signature(value))
    except (TypeError, ValueError):
        return ""
    for pattern, shown in (
        (r"(: |-> )'([^']*)'", r"\1\2"),  # annotations are text
        (r"<class '(?:[\w.]+\.)?(\w+)'>", r"\1"),
        (r"<function .*? at 0x[0-9a-f]+>", "…"),
    ):
        text = re.sub(pattern, shown, text)
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
