from __future__ import annotations

import json
import math
import re
import subprocess
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lit_adaptconv.errors import UserError
from lit_adaptconv.measure.environment import device_name, git_commit, versions
from lit_adaptconv.train.convergence import Evaluation, TargetReached, first_reached
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


VERSION_1 = {
    "name": "a", "id": "1", "status": "done", "reason": None, "data": "Digits", "backbone": "LeNet5",
    "kind": "standard", "kind_options": {}, "widths": [3, 4], "budget": None,
    "parameters": 61706, "flops": 0, "seed": 0, "group": None,
    "job_type": None, "epochs": 2, "steps": 20, "training_seconds": 1.5, "val_accuracy": 0.9, "best_val_accuracy": 0.95,
    "test_accuracy": 0.91, "test_loss": 0.3,
    "convergence": [{"target": 0.9, "steps": 10, "epochs": 1.0, "flops": 300, "seconds": 0.5}],
    "curve": [
        {"step": 10, "epoch": 1.0, "flops": 300, "seconds": 0.5, "value": 0.93, "train_accuracy": 0.91, "loss": 0.2}
    ],
    "device": "cpu", "threads": 1, "versions": {"torch": "2.14"}, "git_commit": None, "started": "", "schema": 1,
}  # fmt: skip
"""A result as the version before wrote it."""


def test_a_result_of_the_version_before_is_read_under_todays_names(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps(VERSION_1))
    read = RunResult.read(tmp_path / "result.json")
    assert (read.val_value, read.best_val_value, read.test_value) == (0.9, 0.95, 0.91)
    assert read.test_metrics == {"test/accuracy": 0.91, "test/loss": 0.3}
    assert (read.monitor, read.mode, read.test_metric) == ("val/accuracy", "max", "test/accuracy")
    assert (read.model, read.backbone, read.parameters, read.flops) == ("ImageClassifier", "LeNet5", 61706, None)
    assert read.curve == [Evaluation(10, 1.0, 300, 0.5, 0.93, 0.91, 0.2)]
    read.write(tmp_path / "result.json")
    assert RunResult.read(tmp_path / "result.json") == read


def test_a_result_of_the_version_before_without_a_test_has_none(tmp_path: Path) -> None:
    content = VERSION_1 | {"test_accuracy": None, "test_loss": None, "status": "failed"}
    (tmp_path / "result.json").write_text(json.dumps(content))
    read = RunResult.read(tmp_path / "result.json")
    assert (read.test_value, read.test_metrics) == (None, {})


@given(st.data())
@pytest.mark.parametrize("version", [1, 2])
def test_a_damaged_result_is_read_or_refused_in_one_line(version: int, data: st.DataObject) -> None:
    whole = VERSION_1 if version == 1 else json.loads(json.dumps(asdict(result())))
    damaged = data.draw(damage(whole))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.json"
        path.write_bytes(damaged)
        try:
            read = RunResult.read(path)
        except UserError as error:
            refusal = str(error)
        else:
            refusal = None
    if refusal is not None:
        assert refusal.startswith(str(path))
        assert "\n" not in refusal
        return
    assert isinstance(read.steps, int)
    assert all(isinstance(e.value, float) for e in read.curve)
    assert all(isinstance(value, float) for value in read.test_metrics.values())


@st.composite
def damage(draw: st.DrawFn, whole: dict[str, Any]) -> bytes:
    """A file that was cut short, overwritten in places, or holds a value of another kind somewhere."""
    text = json.dumps(whole).encode()
    kind = draw(st.sampled_from(["cut", "overwritten", "value", "entry"]))
    if kind == "cut":
        return text[: draw(st.integers(0, len(text)))]
    if kind == "overwritten":
        place = draw(st.integers(0, len(text) - 1))
        return text[:place] + draw(st.binary(min_size=1, max_size=8)) + text[place + 1 :]
    other = draw(st.sampled_from(["abc", 7, -1.5, True, None, [], {}, [1], {"a": 1}, "NaN", [[]], 10**400]))
    if kind == "value":
        return json.dumps(whole | {draw(st.sampled_from(sorted(whole))): other}).encode()
    rows = [dict(row) for row in whole["curve"]]
    rows[0][draw(st.sampled_from(sorted(rows[0])))] = other
    return json.dumps(whole | {"curve": rows}).encode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": "abc"}, "steps: 'abc' is not a whole number"),
        ({"status": "lost"}, "status: 'lost' is not running or done or"),
        ({"mode": "most"}, "mode: 'most' is not max or min"),
        ({"curve": [{"step": 1}]}, "curve: epoch is missing"),
        ({"curve": {}}, "curve: {} is not a list"),
        ({"test_metrics": {"test/rmse": "low"}}, "test_metrics: 'low' is not a number"),
        ({"device": None}, "device: None is not text"),
        ({"parameters": True}, "parameters: True is not a whole number"),
    ],
)
def test_a_value_of_another_type_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    result().write(tmp_path / "result.json")
    content = json.loads((tmp_path / "result.json").read_text())
    (tmp_path / "result.json").write_text(json.dumps(content | change))
    with pytest.raises(UserError, match=re.escape(message)):
        RunResult.read(tmp_path / "result.json")


def test_what_is_no_number_becomes_null_and_the_file_stays_json(tmp_path: Path) -> None:
    diverged = result()
    diverged.test_value = math.nan
    diverged.curve = [Evaluation(10, 1.0, None, 0.5, math.inf)]
    diverged.write(tmp_path / "result.json")
    read = json.loads((tmp_path / "result.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert (read["test_value"], read["curve"][0]["value"]) == (None, None)
    again = RunResult.read(tmp_path / "result.json")
    assert math.isnan(again.curve[0].value)
    assert first_reached(again.curve, 0.5) == TargetReached(0.5)
    assert first_reached(again.curve, 0.5, "min") == TargetReached(0.5)


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
