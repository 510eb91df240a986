"""The files around the code: workflows, configs, Makefile and README agree with what is there."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from adaptconv_cli.extras import EXTRAS
from adaptconv_cli.main import main

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
CONFIGS = sorted(p for folder in ("digits", "mnist") for p in (ROOT / "configs" / folder).glob("*.yaml"))


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda p: p.name)
def test_workflows_follow_githubs_schema(workflow: Path) -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(workflow)],
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def requirements(lines: list[str]) -> set[str]:
    return {re.split(r"[\[<>=]", line)[0] for line in lines}


BROUGHT_BY = {
    "ai_edge_litert": "litert_torch",
    "choreographer": "kaleido",
    "docstring_parser": "jsonargparse",
    "lightning_utilities": "lightning",
    "llvmlite": "numba",
    "shtab": "jsonargparse",
    "triton": "torch",
}
NAMES = {
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
    "lazy_loader": "lazy-loader",
    "litert_torch": "litert-torch",
}
"""What a package is called where it is installed from."""


def test_what_the_code_imports_is_declared_once_in_the_base_or_in_an_extra() -> None:
    imported: set[str] = set()
    for path in (*(ROOT / "lit_adaptconv").rglob("*.py"), *(ROOT / "cli").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add((node.module or "").partition(".")[0])
    imported -= {*sys.stdlib_module_names, "lit_adaptconv", "adaptconv_cli"}
    base = requirements(PROJECT["dependencies"])
    optional = PROJECT["optional-dependencies"]
    extras = {extra: requirements(lines) for extra, lines in optional.items() if extra not in ("all", "dev", "docs")}
    declared = [*base, *(name for names in extras.values() for name in names if name != "lit-adaptconv")]
    assert len(declared) == len(set(declared))

    def package(name: str) -> str:
        name = BROUGHT_BY.get(name, name)
        return NAMES.get(name, name)

    packages = {package(name) for name in imported}
    assert packages | {"onnxscript"} == set(declared)  # PyTorch imports that one
    assert {name: extra for extra, names in extras.items() for name in names} == {
        **{package(name): extra for name, extra in EXTRAS.items()},
        "lit-adaptconv": "slurm",
    }


def smoke_steps() -> list[str]:
    jobs = yaml.safe_load((ROOT / ".github/workflows/smoke.yml").read_text())["jobs"]
    return [step["run"] for step in jobs["smoke"]["steps"] if "run" in step and step["name"] != "Install"]


def run_step(step: str, folder: Path) -> subprocess.CompletedProcess[str]:
    if not (folder / "configs").exists():
        (folder / "configs").symlink_to(ROOT / "configs")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-ec", step],
        cwd=folder,
        env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="the workflow's steps are written for bash on Linux")
def test_the_smoke_workflows_own_steps_train_and_check_the_floor(tmp_path: Path) -> None:
    steps = smoke_steps()
    assert len(steps) == 3
    for step in steps:
        done = run_step(step, tmp_path)
        assert done.returncode == 0, done.stderr
    assert "--min_test_accuracy" in steps[-1]
    higher = run_step(re.sub(r"--min_test_accuracy \S+", "--min_test_accuracy 1", steps[-1]), tmp_path)
    assert higher.returncode == 1
    assert "less than 100.00 %" in higher.stderr


@pytest.mark.parametrize("config", CONFIGS, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_every_config_is_accepted(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config", str(config), "--print_config"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["trainer"]["max_epochs"] >= 1


def test_the_readmes_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"^make ([a-z-]+)", (ROOT / "README.md").read_text(), flags=re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


@pytest.mark.filterwarnings("ignore")
def test_the_readmes_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT / "examples")
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(block, {})


def test_the_readmes_addresses_are_files_of_this_repository() -> None:
    """It is read where relative links lead nowhere, too."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    raw = PROJECT["urls"]["Repository"].replace("github.com", "raw.githubusercontent.com")
    starts = (f"{PROJECT['urls']['Repository']}/blob/main/", f"{raw}/main/")
    addresses = re.findall(r"https://[^\s)\"]+", text)
    own = [address[len(start) :] for address in addresses for start in starts if address.startswith(start)]
    assert {"docs/images/operator.svg", "docs/images/operator-dark.svg"} < set(own)
    assert [path for path in own if not (ROOT / path).is_file()] == []
    assert re.findall(r"\]\((?!https://)", text) == []
    defined, used = set(re.findall(r"^\[([^\]]+)\]:", text, flags=re.M)), set(re.findall(r"\]\[([^\]]+)\]", text))
    assert used <= defined


def test_the_guide_to_conversion_prints_the_table_that_it_shows(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(
        r"```(\w*)\n(.*?)```", (ROOT / "docs" / "convert.md").read_text(encoding="utf-8"), flags=re.DOTALL
    )
    (language, code), (_, printed) = blocks[:2]
    assert language == "python"
    exec(code, {})
    assert capsys.readouterr().out.strip() == printed.strip()
