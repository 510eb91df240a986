from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path

import pytest
import torch

from lit_adaptconv.errors import UserError
from lit_adaptconv.measure.environment import device_name, git_commit, versions
from lit_adaptconv.train.convergence import Evaluation, TargetReached
from lit_adaptconv.train.result import RunResult


def result() -> RunResult:
    return RunResult(
        "mnist",
        "1",
        status="done",
        kind_options={"rank": 2},
        widths=[3, 4],
        convergence=[TargetReached(0.9, 10, 1.0, 300, 0.5), TargetReached(0.99)],
        curve=[Evaluation(10, 1.0, 300, 0.5, 0.93, 0.91, 0.2)],
    )


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    result().write(tmp_path / "result.json")
    assert RunResult.read(tmp_path / "result.json") == result()
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]


def test_what_is_no_number_becomes_null_and_the_file_stays_json(tmp_path: Path) -> None:
    diverged = result()
    diverged.test_value = math.nan
    diverged.curve = [Evaluation(10, 1.0, None, 0.5, math.inf)]
    diverged.write(tmp_path / "result.json")
    read = json.loads((tmp_path / "result.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert (read["test_value"], read["curve"][0]["value"]) == (None, None)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"name": "a", "id": "b"}', "null"])
def test_what_is_no_result_is_refused_by_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(UserError, match="result.json is not a result that this version reads"):
        RunResult.read(tmp_path / "result.json")


def test_a_field_of_another_version_is_refused(tmp_path: Path) -> None:
    result().write(tmp_path / "result.json")
    content = json.loads((tmp_path / "result.json").read_text())
    (tmp_path / "result.json").write_text(json.dumps(content | {"mood": "good"}))
    with pytest.raises(UserError, match="mood"):
        RunResult.read(tmp_path / "result.json")
    (tmp_path / "result.json").write_text(json.dumps(content | {"schema": 99}))
    with pytest.raises(UserError, match="schema 99"):
        RunResult.read(tmp_path / "result.json")


def test_a_missing_result_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no result at"):
        RunResult.read(tmp_path / "result.json")


def test_versions_name_what_a_result_depends_on() -> None:
    assert versions()["torch"] == torch.__version__.split("+")[0]
    assert {"python", "lightning", "numpy"} <= set(versions())


def test_the_device_is_named() -> None:
    assert device_name(torch.device("cpu")).startswith("cpu (")


def test_the_commit_tells_whether_files_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        author = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(["git", *author, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    assert git_commit() is None
    git("init")
    assert git_commit() is None
    (tmp_path / "a").write_text("a")
    git("add", "a")
    git("commit", "-m", "a")
    assert git_commit() == git("rev-parse", "HEAD")
    (tmp_path / "untracked").write_text("b")
    assert git_commit() == git("rev-parse", "HEAD")
    (tmp_path / "a").write_text("b")
    assert git_commit() == git("rev-parse", "HEAD") + "+changes"
    monkeypatch.setenv("PATH", "")
    assert git_commit() is None
