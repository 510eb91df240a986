"""What the site adds to the pages: formulas, the pages from outside docs/, and links to files of the repository."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
FROM_OUTSIDE = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
"""Files of the repository that are pages of the site, too."""

LINK = re.compile(r"(?<=\]\()([^)\s#]+)(#[^)\s]*)?(?=\))")
FENCE = re.compile(r"^(```.*?^```$)", flags=re.DOTALL | re.MULTILINE)


def on_config(config: MkDocsConfig) -> None:
    """Draw blocks of `math` as MathML, which browsers show by themselves."""
    fence = {"name": "math", "class": "math", "format": formula}
    config.mdx_configs.setdefault("pymdownx.superfences", {})["custom_fences"] = [fence]


def formula(source: str, *_: Any, **__: Any) -> str:
    """A block of LaTeX as MathML."""
    return f'<div class="formula">{convert(source, display="block")}</div>'


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside docs/."""
    for source, name in FROM_OUTSIDE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        content = LINK.sub(lambda link: _from_root(link[1]) + (link[2] or ""), text)
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at the repository where they lead to what is no page."""
    folder = posixpath.dirname(page.file.src_uri)

    def followed(link: re.Match[str]) -> str:
        target, anchor = link[1], link[2] or ""
        if re.match(r"\w+:", target):
            return link[0]
        path = posixpath.normpath(posixpath.join("docs", folder, target))
        if path in FROM_OUTSIDE:
            return posixpath.relpath(FROM_OUTSIDE[path], folder or ".") + anchor
        place = ROOT / path
        if not place.exists() or (path.startswith("docs/") and files.get_file_from_path(path.removeprefix("docs/"))):
            return link[0]
        return f"{config.repo_url}/{'tree' if place.is_dir() else 'blob'}/main/{path}{anchor}"

    parts = FENCE.split(markdown)
    parts[::2] = [LINK.sub(followed, part) for part in parts[::2]]
    return "".join(parts)


def _from_root(target: str) -> str:
    """A link in a file of the root, as the page in docs/ has it."""
    if re.match(r"\w+:", target):
        return target
    return target.removeprefix("docs/") if target.startswith("docs/") else f"../{target}"
