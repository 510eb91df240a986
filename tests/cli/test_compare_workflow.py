"""The workflow with gates that the documentation gives to copy: it is valid, and each line of it runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOW = next(
    block
    for block in re.findall(
        r"```yaml\n(.*?)```", (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8"), flags=re.DOTALL
    )
    if "GITHUB_STEP_SUMMARY" in block
)
STEPS = {step["name"]: step["run"] for step in yaml.safe_load(WORKFLOW)["jobs"]["network"]["steps"] if "run" in step}


def test_it_follows_githubs_schema(tmp_path: Path) -> None:
    (tmp_path / "network.yml").write_text(WORKFLOW)
    schema = ["--builtin-schema", "vendor.github-workflows"]
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", *schema, str(tmp_path / "network.yml")],
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_what_it_installs_is_this_package() -> None:
    project = re.search(r'^name = "(.*)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert project is not None
    assert STEPS["Install"] == f"python -m pip install {project[1]}"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the workflow's steps are written for bash on Linux")
def test_its_steps_train_check_and_append_to_the_summary(folder: Path) -> None:
    def step(run: str) -> subprocess.CompletedProcess[str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        known = {"PATH": path, "OMP_NUM_THREADS": "1", "GITHUB_STEP_SUMMARY": str(folder / "summary.md")}
        return subprocess.run(
            ["bash", "-ec", run], cwd=folder, env={**os.environ, **known}, capture_output=True, text=True
        )

    (folder / "summary.md").write_text("before\n")
    train, check = STEPS["Train"], STEPS["Check"]
    assert list(STEPS) == ["Install", "Train", "Check"]
    done = step(train)
    assert done.returncode == 0, done.stderr
    made = step("adaptconv compare runs/network --json baseline.json")
    assert made.returncode == 0, made.stderr
    done = step(check)
    assert done.returncode == 0, done.stderr
    summary = (folder / "summary.md").read_text(encoding="utf-8")
    assert summary.startswith("before\n|")
    assert "| Test accuracy | " in summary
    assert all(gate["met"] for gate in json.loads((folder / "compared.json").read_text())["gates"])
    failed = step(re.sub(r"--max_parameters \S+", "--max_parameters 1000", check))
    assert failed.returncode == 1
    assert failed.stderr == "adaptconv: error: network has 61,706 parameters, more than 1,000\n"
    assert "- Not met: network has 61,706 parameters" in (folder / "summary.md").read_text(encoding="utf-8")
