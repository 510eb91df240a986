"""The documentation: its site builds without a warning, its links lead somewhere, and its Python runs."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
REPOSITORY = "https://github.com/lit-adaptconv/lit-adaptconv"
RAW = "https://raw.githubusercontent.com/lit-adaptconv/lit-adaptconv"
SITE = "https://lit-adaptconv.github.io/lit-adaptconv/"
OURS = re.compile(rf"(?:{REPOSITORY}/(?:blob|tree|raw)|{RAW})/main/(?P<path>.*)")
PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / ".github").rglob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    ROOT / "examples/README.md",
]
HOW_TOS = sorted((ROOT / "docs" / "howto").glob("*.md"))

FENCED = re.compile(r"^( *)```.*?^\1```$", flags=re.DOTALL | re.MULTILINE)
LINK = re.compile(
    r"\[(?:[^\[\]]|\[[^\[\]]*\](?:\([^()]*\))?)*\]\(([^()\s]+)\)"  # its text may hold a picture
    r"|(?:src|srcset|href)=\"([^\"]+)\"|^\[[^\]]+\]: (\S+)",
    flags=re.MULTILINE,
)
IMAGE = re.compile(r"!\[[^\]]*\]\(([^()\s]+)\)")


def prose(page: Path) -> str:
    """A page without its blocks of code and what stands between backticks."""
    return re.sub(r"`[^`\n]*`", "`code`", FENCED.sub("", page.read_text(encoding="utf-8")))


@cache
def links(page: Path) -> list[str]:
    text = prose(page)
    targets = [next(filter(None, found)) for found in LINK.findall(text)]
    return [*dict.fromkeys([*targets, *IMAGE.findall(text)])]


@cache
def anchors(page: Path) -> set[str]:
    """What GitHub calls the headings of a page."""
    found: dict[str, int] = {}
    for heading in re.findall(r"^#+ +(.+?) *#*$", FENCED.sub("", page.read_text(encoding="utf-8")), flags=re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        kept = (c for c in plain if c in "-_ " or unicodedata.category(c)[0] in "LNM")
        name = "".join(kept).replace(" ", "-")
        found[name] = found.get(name, -1) + 1
        if found[name]:
            found[f"{name}-{found[name]}"] = 0
    return set(found)


def is_broken(page: Path, link: str) -> bool:
    """Whether a link within the repository, or to its files on GitHub or its site, leads nowhere."""
    target, _, anchor = link.partition("#")
    if ours := OURS.fullmatch(target):
        path = ROOT / ours["path"]
    elif target.startswith(SITE):
        name = target.removeprefix(SITE).strip("/")
        candidates = [ROOT / "docs" / f"{name or 'index'}.md", ROOT / "docs" / name / "index.md"]
        path = next((each for each in candidates if each.is_file()), candidates[0])
    elif re.match(r"\w+:", target):
        return False
    else:
        path = page if not target else page.parent / target
    return not path.exists() or bool(anchor and path.suffix == ".md" and anchor not in anchors(path))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    assert not [link for link in links(page) if is_broken(page, link)]


@pytest.mark.parametrize(
    "link",
    [
        "gone.md",
        "docs/tutorial.md#gone",
        "#gone",
        f"{REPOSITORY}/blob/main/gone.md",
        f"{RAW}/main/docs/images/gone.svg",
        f"{SITE}gone/",
        f"{SITE}tutorial/#gone",
    ],
)
def test_a_link_that_leads_nowhere_is_found(link: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        f"# Here\n\n[![picture](https://example.org/a.png)]({link}) and `[code](none.md)`\n\n```\n[c](none)\n```\n"
    )
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    assert links(page) == [link, "https://example.org/a.png"]
    assert is_broken(page, link)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_can_be_reached(page: Path) -> None:
    """By a link from another page, perhaps to its folder; the pages in the root and of GitHub's own need none."""
    if page.parent == ROOT or ".github" in page.parts:
        return
    meant = {page, page.parent} if page.stem in ("README", "index") else {page}
    others = [other for other in PAGES if other != page]
    assert any((other.parent / link.partition("#")[0]).resolve() in meant for other in others for link in links(other))


def programs(page: Path) -> Iterator[tuple[str | None, str]]:
    """Programs of a page, each with its module's name where the line before ends with that of a file."""
    for line, program in re.findall(r"([^\n]*)\n\n```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        named = re.search(r"`(?:examples/)?(\w+)\.py`:$", line)
        yield named and named[1], program


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("page", HOW_TOS, ids=lambda page: page.stem)
def test_the_python_of_a_how_to_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, program in programs(page):
        module = ModuleType(name or page.stem)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(program, vars(module))


@pytest.mark.slow
def test_data_of_ones_own_train_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from adaptconv_cli.main import main

    ((_, module),) = programs(ROOT / "docs" / "howto" / "own_data.md")
    (tmp_path / "stripes.py").write_text(module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    network = ["--model.backbone", "ConvNet", "--model.kind", "adaptive_low_rank", "--model.budget", "1000"]
    run = ["--trainer.max_epochs", "1", "--run.wandb", "false", "--trainer.enable_progress_bar", "false"]
    assert main(["fit", "--data", "stripes.Stripes", *network, *run]) == 0
    os.environ.pop("PL_GLOBAL_SEED", None)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly."""
    for package in ("mkdocs", "material", "mkdocstrings_handlers", "latex2mathml"):
        if importlib.util.find_spec(package) is None:
            pytest.skip("the extra docs is not installed")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    return folder


@pytest.mark.slow
def test_the_site_has_every_page_and_nothing_raw(site: Path) -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").with_suffix("").as_posix()
        place = site / name.removesuffix("index") / "index.html"
        text = place.read_text(encoding="utf-8")
        assert "::: lit_adaptconv" not in text
        shown = re.sub(r"<!--.*?-->|<(pre|code|script|style)\b.*?</\1>", "", text, flags=re.DOTALL)
        assert not re.search(r"\[![A-Z]+\]|```|^\| ---", shown, flags=re.MULTILINE), name
        assert not re.search(r"(?:src|href)=\"https?://[^\"]*\.(?:js|css|woff2?)", text)  # nothing from elsewhere
        formulas = len(re.findall(r"^```math", page.read_text(encoding="utf-8"), flags=re.MULTILINE))
        assert text.count("<math ") == formulas
    assert {"changelog", "contributing"} <= {path.name for path in site.iterdir()}
    assert not [*site.rglob("*.py"), *site.rglob("*.parquet")]


@pytest.mark.slow
def test_the_sites_pages_show_their_pictures(site: Path) -> None:
    for page in site.rglob("*.html"):
        for source in re.findall(r"<img[^>]* src=\"([^\":]+)\"", page.read_text(encoding="utf-8")):
            assert (page.parent / source).is_file(), (page, source)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_what_the_site_is_built_into_is_ignored() -> None:
    checked = subprocess.run(["git", "check-ignore", "-q", "site/index.html"], cwd=ROOT)
    assert checked.returncode in (0, 128)  # 128: no repository
