"""The files around the code: workflows, configs, Makefile and README agree with what is there."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
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
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
SCHEMAS = {
    "github-workflows": WORKFLOWS,
    "github-issue-forms": sorted(GITHUB.glob("ISSUE_TEMPLATE/[!c]*.yml")),
    "github-issue-config": [GITHUB / "ISSUE_TEMPLATE" / "config.yml"],
    "dependabot": [GITHUB / "dependabot.yml"],
    "github-actions": [ROOT / "action.yml"],
    "citation-file-format": [ROOT / "CITATION.cff"],
}
CONFIGS = sorted(p for folder in ("digits", "mnist") for p in (ROOT / "configs" / folder).glob("*.yaml"))


def assert_follow(schema: str, *files: Path) -> None:
    program = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    checked = subprocess.run([*program, *map(str, files)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("schema", SCHEMAS)
def test_what_others_read_follows_their_schema(schema: str) -> None:
    assert_follow(schema, *SCHEMAS[schema])


def test_the_workflow_of_the_how_to_follows_the_schema_and_gives_the_action_what_it_takes(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "howto" / "ci_gate.md").read_text(encoding="utf-8")
    (workflow,) = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    file = tmp_path / "network.yml"
    file.write_text(workflow, encoding="utf-8")
    assert_follow("github-workflows", file)
    (given,) = [
        step["with"] for step in yaml.safe_load(workflow)["jobs"]["network"]["steps"] if "lit-adaptconv" in step["uses"]
    ]
    assert given.keys() <= ACTION["inputs"].keys()
    assert {f"`{name}`" for name in ACTION["inputs"]} <= {*re.findall(r"^\| (`\w+`) \|", text, flags=re.MULTILINE)}


@pytest.mark.skipif(sys.version_info < (3, 11), reason="zizmor needs Python 3.11")
def test_workflows_have_no_known_hole() -> None:
    program = [str(Path(sys.executable).parent / "zizmor"), "--offline", "--persona", "pedantic"]
    checked = subprocess.run([*program, str(GITHUB), str(ROOT / "action.yml")], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda p: p.name)
def test_actions_of_others_are_pinned_to_a_commit_and_name_its_version(workflow: Path) -> None:
    used = re.findall(r"uses: (.*)", workflow.read_text(encoding="utf-8"))
    assert used
    assert not [each for each in used if not re.fullmatch(r"\./.*|[\w/-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", each)]


def test_jobs_end_and_may_do_little() -> None:
    for workflow in WORKFLOWS:
        content = yaml.safe_load(workflow.read_text(encoding="utf-8"))
        assert content["permissions"] in ({}, {"contents": "read"})
        assert all(job["timeout-minutes"] <= 60 for job in content["jobs"].values())


def version_of(folder: Path) -> str:
    """What a build in a folder would call the package."""
    command = [sys.executable, "-W", "ignore", "-m", "setuptools_scm"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_version_is_that_of_the_tag_in_a_clone_and_in_an_archive(tmp_path: Path) -> None:
    clone, archive, plain = (tmp_path / name for name in ("clone", "archive", "plain"))
    for folder in (clone, archive, plain):
        folder.mkdir()
    for name in ("pyproject.toml", ".gitattributes", ".git_archival.txt"):
        shutil.copy(ROOT / name, clone)
    shutil.copy(ROOT / "pyproject.toml", plain)

    def git(*arguments: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *who, *arguments], cwd=clone, capture_output=True, check=True)

    git("init", "--initial-branch", "main")
    git("add", ".")
    git("commit", "--message", "First")
    assert re.fullmatch(r"0\.1\.[\w.]*dev1\+g\w+", version_of(clone))  # without tags
    git("tag", "--annotate", "v7.8.9", "--message", "Release")
    assert version_of(clone) == "7.8.9"
    git("archive", "--output", str(tmp_path / "archive.tar"), "HEAD")
    shutil.unpack_archive(tmp_path / "archive.tar", archive)
    assert version_of(archive) == "7.8.9"
    git("commit", "--allow-empty", "--message", "Second")
    assert version_of(clone).startswith("7.8.10.dev1+g")
    assert version_of(plain) == "0.1.0.dev0"


def requirements(lines: list[str]) -> set[str]:
    return {re.split(r"[\[<>=]", line)[0] for line in lines}


BROUGHT_BY = {
    "ai_edge_litert": "litert_torch",
    "choreographer": "kaleido",
    "docstring_parser": "jsonargparse",
    "lightning_utilities": "lightning",
    "llvmlite": "numba",
    "shtab": "jsonargparse",
    "torchao": "executorch",
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
    assert packages | {"onnxscript", "timm"} == set(declared)  # PyTorch imports the first, a recipe names the second
    assert {name: extra for extra, names in extras.items() for name in names} == {
        **{package(name): extra for name, extra in EXTRAS.items()},
        "lit-adaptconv": "slurm",
        "datasets": "huggingface",  # whose data module says so itself
        "timm": "timm",
    }


ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))


def gated(folder: Path, **inputs: str) -> dict[str, subprocess.CompletedProcess[str]]:
    """What the action's steps, without the installation, do in a folder; the first that fails is the last."""
    given = {name: told["default"] for name, told in ACTION["inputs"].items()} | inputs
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    files = {name: str(folder / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    done = {}
    for step in ACTION["runs"]["steps"][1:]:
        values = {
            name: given[re.fullmatch(r"\$\{\{ inputs\.(\w+) \}\}", value)[1]] for name, value in step["env"].items()
        }
        done[step["name"]] = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", step["run"]],
            cwd=folder,
            env={**os.environ, **files, **values, "PATH": path, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        if done[step["name"]].returncode:
            break
    return done


def smoke_inputs() -> dict[str, dict[str, str]]:
    """What the smoke workflow gives the action, for each kind."""
    job = yaml.safe_load((GITHUB / "workflows" / "smoke.yml").read_text(encoding="utf-8"))["jobs"]["smoke"]
    (step,) = (step for step in job["steps"] if step.get("uses") == "./")
    return {
        kind: {name: value.replace("${{ matrix.kind }}", kind) for name, value in step["with"].items()}
        for kind in job["strategy"]["matrix"]["kind"]
    }


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the action's steps are tried with bash on Linux and macOS")
@pytest.mark.parametrize("kind", smoke_inputs())
def test_the_action_trains_what_the_smoke_workflow_asks_for_and_checks_the_floor(kind: str, tmp_path: Path) -> None:
    done = gated(tmp_path, **smoke_inputs()[kind])
    assert [step.returncode for step in done.values()] == [0, 0], done
    (output,) = (tmp_path / "GITHUB_OUTPUT").read_text().splitlines()
    compared = json.loads(Path(output.removeprefix("compared=")).read_text())
    assert [run["kind"] for run in compared["runs"]] == [kind]
    assert [gate["gate"] for gate in compared["gates"]] == ["min_test_accuracy"]
    assert "| Test accuracy | " in (tmp_path / "GITHUB_STEP_SUMMARY").read_text()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the action's steps are tried with bash on Linux and macOS")
def test_the_action_fails_where_a_gate_is_not_met_or_the_training_fails(tmp_path: Path) -> None:
    short = "--trainer.max_epochs 1 --model.kind_options '{rank: 1}' --model.kind adaptive_low_rank"
    unmet = gated(tmp_path, arguments=short, name="my network", gates="--min_test_accuracy 1 --max_parameters 10")
    assert unmet["Train"].returncode == 0, unmet["Train"].stderr
    assert unmet["Gate"].returncode
    assert "less than 100.00 %" in unmet["Gate"].stderr
    assert "Not met" in (tmp_path / "GITHUB_STEP_SUMMARY").read_text()
    failed = gated(tmp_path, arguments="--no_such_option 1", name="other")
    assert [*failed] == ["Train"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the action's steps are tried with bash on Linux and macOS")
def test_what_is_given_to_the_action_is_never_run_by_the_shell(tmp_path: Path) -> None:
    for given in ("$(touch hole) `touch hole` ; touch hole", "' ; touch hole"):
        gated(tmp_path, config=given, arguments=given, name=given, gates=given)
    assert not list(tmp_path.rglob("hole"))


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
