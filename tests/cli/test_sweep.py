"""`adaptconv sweep` and `adaptconv status` on the digits, with real trainings in real worker processes."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from adaptconv_cli.main import main

from lit_adaptconv.sweep.folder import SweepFolder
from lit_adaptconv.sweep.progress import Listener
from lit_adaptconv.sweep.reading import read_plan
from lit_adaptconv.sweep.run import run_sweep
from lit_adaptconv.sweep.store import read_curves, read_results
from lit_adaptconv.train.result import RunResult
from lit_adaptconv.verdict.budget_share import percent

PLAN: dict[str, Any] = {
    "name": "tiny",
    "data": {"class_path": "Digits", "init_args": {"image_size": 8, "batch_size": 128}},
    "backbone": {"class_path": "ConvNet", "init_args": {"channels": [3, 4], "pool_after": [0]}},
    "arms": {"standard": {"kind": "standard"}, "low_rank": {"kind": "adaptive_low_rank"}},
    "budgets": [200],
    "seeds": 2,
    "targets": [0.02, 0.999],
    "trainer": {"max_epochs": 2, "accelerator": "cpu"},
    "optimizer": {"class_path": "AdamW", "init_args": {"lr": 0.02}},
}
ONE_WORKER = ["--workers", "1", "--cpus", "1"]


@dataclasses.dataclass(frozen=True)
class Finished:
    folder: Path
    plan: Path
    status: int

    def again(self, *args: str) -> int:
        return main(["sweep", "--config", str(self.plan), "--output", str(self.folder), *ONE_WORKER, *args])

    def results(self) -> pa.Table:
        return read_results(self.folder)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    """A sweep that has ended: two arms, one budget, two seeds, logged to Weights & Biases offline."""
    folder = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("HOME", str(folder))
        (folder / "plan.yaml").write_text(yaml.safe_dump(PLAN, sort_keys=False))
        made = Finished(folder / "runs" / "tiny", folder / "plan.yaml", 0)
        yield dataclasses.replace(made, status=made.again())


def trials(folder: Path) -> dict[str, int]:
    """When each trial's result was last written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("trials/*/result.json")}


def test_it_ends_with_status_zero_and_a_row_for_every_trial(finished: Finished) -> None:
    assert finished.status == 0
    rows = finished.results().to_pylist()
    assert {(row["arm"], row["budget"], row["seed"]) for row in rows} == {
        (arm, 200, seed) for arm in ("standard", "low_rank") for seed in (0, 1)
    }
    for row in rows:
        assert row["status"] == "done"
        assert row["parameters"] <= 200
        assert 0 < row["test_metric"] <= 1
        assert row["steps_to_0.02"] is not None
        assert row["steps_to_0.999"] is None
        assert row["threads"] == 1


def test_a_trial_is_an_ordinary_run_that_can_be_repeated_from_its_config(
    finished: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    row = finished.results().to_pylist()[0]
    folder = finished.folder / "trials" / row["trial"]
    result = RunResult.read(folder / "result.json")
    assert (result.test_value, result.group, result.job_type) == (row["test_metric"], "tiny", "standard")
    assert {"config.yaml", "metrics.csv", "log.txt"} <= {path.name for path in folder.iterdir()}
    args = ["--run.root", str(finished.folder / "by_hand"), "--run.name", "again", "--run.wandb", "false"]
    assert main(["fit", "--config", str(folder / "config.yaml"), *args]) == 0
    (again,) = (finished.folder / "by_hand" / "again").glob("*/result.json")
    assert RunResult.read(again).test_value == row["test_metric"]
    checkpoint = folder / "checkpoints" / "last.ckpt"
    assert main(["test", "--ckpt_path", str(checkpoint)]) == 0
    assert f"{100 * row['test_metric']:.2f} %" in capsys.readouterr().out


def test_a_trial_is_given_the_widths_that_meet_its_budget(finished: Finished) -> None:
    listed = {trial["id"]: trial for trial in json.loads((finished.folder / "sweep.json").read_text())["trials"]}
    for row in finished.results().to_pylist():
        folder = finished.folder / "trials" / row["trial"]
        model = yaml.safe_load((folder / "config.yaml").read_text())["model"]
        assert model["budget"] is None
        assert "-".join(map(str, model["width"])) == row["widths"]
        assert listed[row["trial"]]["settings"] == {"model.width": model["width"]}
        assert RunResult.read(folder / "result.json").budget == row["budget"] == 200


def test_a_sweep_is_run_from_python_too(finished: Finished) -> None:
    before, said = trials(finished.folder), list[str]()
    outcome = run_sweep(read_plan(finished.plan), finished.folder, workers=1, listener=Listener(say=said.append))
    assert trials(finished.folder) == before
    assert outcome.complete
    assert not outcome.interrupted
    assert outcome.results.equals(finished.results())
    assert (outcome.sweep.name, said) == ("tiny", [])


def test_pairs_see_the_same_data_and_other_seeds_see_others(finished: Finished) -> None:
    from lit_adaptconv.data import Digits

    def first_labels(seed: int) -> list[int]:
        data = Digits(image_size=8, seed=seed)
        data.setup("fit")
        labels: list[int] = next(iter(data.train_dataloader()))[1].tolist()
        return labels

    configs = [yaml.safe_load(path.read_text()) for path in finished.folder.glob("trials/*/config.yaml")]
    by_seed = {seed: [c["data"] for c in configs if c["seed_everything"] == seed] for seed in (0, 1)}
    assert by_seed[0][0] == by_seed[0][1]
    assert len(by_seed[0]) == 2
    assert first_labels(0) != first_labels(1)


def test_curves_hold_every_evaluation_of_every_trial(finished: Finished) -> None:
    curves = read_curves(finished.folder).to_pylist()
    assert len(curves) == 4 * 2
    last = {row["trial"]: row["val_metric"] for row in curves}
    assert last == {row["trial"]: row["val_metric"] for row in finished.results().to_pylist()}


def logged_run(log: Path) -> dict[str, Any]:
    """What an offline log says of its run, by wandb's own reader."""
    program = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(log)]
    lines = subprocess.run(program, capture_output=True, check=True, text=True).stdout.splitlines()
    run: dict[str, Any] = next(line["run"] for line in map(json.loads, lines) if line["type"] == "run")
    return run


@pytest.mark.slow
def test_every_trial_and_the_summary_are_runs_of_weights_and_biases(finished: Finished) -> None:
    offline = [path.name for path in finished.folder.glob("trials/*/wandb/offline-run-*")]
    assert len(offline) == 4
    uid = json.loads((finished.folder / "sweep.json").read_text())["uid"]
    assert all(uid in name for name in offline)
    (summary,) = finished.folder.glob("wandb/offline-run-*")
    tables = {path.name.split("_")[0] for path in (summary / "files" / "media" / "table").rglob("*.json")}
    assert {"results", "Against-standard", "Test-accuracy", "Convergence"} <= tables
    figures = {path.name.split("_")[0] for path in (summary / "files" / "media" / "plotly" / "figures").glob("*.json")}
    assert {"pareto-parameters", "curves-steps-200", "survival-0.02-steps-200", "smallest"} <= figures
    runs = {run["run_id"]: run for run in map(logged_run, finished.folder.rglob("*.wandb"))}
    assert {run["run_group"] for run in runs.values()} == {"tiny"}
    assert {run["project"] for run in runs.values()} == {"lit-adaptconv"}
    assert all(run["tags"] == ["tiny"] for run in runs.values())
    job_types = {id.removeprefix(f"{uid}-"): run["job_type"] for id, run in runs.items()}
    arms = {row["trial"]: row["arm"] for row in finished.results().to_pylist()}
    assert job_types == {**arms, "summary": "summary"}


def test_running_it_again_runs_nothing_and_says_the_same(
    finished: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    before, table = trials(finished.folder), finished.results()
    assert finished.again() == 0
    assert trials(finished.folder) == before
    assert finished.results().equals(table)
    out = capsys.readouterr().out
    assert "undecided" in out
    assert f"adaptconv report {os.path.relpath(finished.folder)}" in out.splitlines()[-1]


def test_status_shows_the_verdict_and_rebuilds_the_tables(
    finished: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    table = finished.results()
    (finished.folder / "results.parquet").unlink()
    assert main(["status", str(finished.folder)]) == 0
    assert finished.results().equals(table)
    out = capsys.readouterr().out
    assert "4 of 4 trials done" in out
    assert "Against standard: test accuracy" in out
    assert "At 200 parameters" not in out
    assert main(["status", "--details", str(finished.folder)]) == 0
    assert "At 200 parameters" in capsys.readouterr().out


@pytest.mark.parametrize("columns", [80, 120, 200])
def test_the_verdict_fits_the_screen_and_cuts_no_number(
    finished: Finished, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["status", str(finished.folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line.rstrip()) for line in lines) <= columns
    rows = {row["arm"]: row for row in finished.results().to_pylist()}
    for arm, row in rows.items():
        size = [arm, "200", str(row["parameters"]), f"{row['flops']:,}"]
        assert any(line.split()[:4] == size for line in lines)


def test_while_a_sweep_runs_status_calls_no_running_trial_interrupted(
    finished: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    result = next(finished.folder.glob("trials/*/result.json"))
    text = result.read_text()
    result.write_text(text.replace('"status": "done"', '"status": "running"'))
    try:
        with SweepFolder(finished.folder).locked():
            assert main(["status", str(finished.folder)]) == 0
        out = capsys.readouterr().out
        assert "4 of 4" in out  # as the sweep last wrote it
        assert "interrupted" not in out
        assert main(["status", str(finished.folder)]) == 0
        assert "interrupted: it is running, or was killed" in capsys.readouterr().out
    finally:
        result.write_text(text)


def test_a_dry_run_tells_the_exact_sizes_and_trains_nothing(
    finished: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    before = trials(finished.folder)
    assert finished.again("--dry-run", "--budgets", "[200, 400]") == 0
    out = capsys.readouterr().out
    for row in finished.results().to_pylist():
        assert f"{row['parameters']:,}" in out
        assert f"{row['flops']:,}" in out
        assert percent(row["budget_share"]) in out
    little = [line for line in out.splitlines() if line.startswith("Less than 95 % of the budget is used by ")]
    shares = [line.split()[3] for line in out.splitlines() if len(line.split()) > 4 and line.split()[4] == "%"]
    assert len(shares) == 4
    assert len(little) == any(float(share) < 95 for share in shares)
    assert "8 trials, 4 of them done" in out
    assert "from 4 finished trials" in out
    assert trials(finished.folder) == before


def test_a_budget_that_no_network_meets_is_a_failed_row_and_status_three(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["sweep", "--config", str(finished.plan), "--output", str(tmp_path), *ONE_WORKER, "--budgets", "[5]"]
    assert main(args) == 3
    assert set(read_results(tmp_path)["status"].to_pylist()) == {"failed"}
    assert "the narrowest" in capsys.readouterr().out
    assert main(["status", str(tmp_path)]) == 3


def test_other_code_is_said_to_be_other_and_its_trials_are_kept_if_wished(
    finished: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    before = trials(finished.folder)
    renamed = {}
    for id in before:  # as if another version of the package had finished them
        renamed[id] = id.split("-")[0] + "-01dc0de0"
        os.rename(finished.folder / "trials" / id, finished.folder / "trials" / renamed[id])
    try:
        assert finished.again("--accept-old") == 0
        assert set(trials(finished.folder)) == set(renamed.values())
        assert {row["code_version"].split("+")[1] for row in finished.results().to_pylist()} == {"01dc0de0"}
        capsys.readouterr()
        assert finished.again("--budgets", "[5]", "--dry-run") == 0
    finally:
        for id, other in renamed.items():
            os.rename(finished.folder / "trials" / other, finished.folder / "trials" / id)
        assert finished.again() == 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--trainer.max_epoch", "3"], "max_epoch"),
        (["--model", "torch.nn.Conv2d"], "Conv2d is no LightningModule"),
        (["--arms", '{"a": {"kind": "adaptiv"}}'], "unknown conv kind 'adaptiv'"),
        (["--arms", '{"a": {"kind_options": {"rank": 1}}}'], "has no option 'rank'"),
        (
            ["--arms", '{"a": {"backbone_options": {"chanels": [1]}}}'],
            "ConvNet has no argument 'chanels'; did you mean 'channels'? it has",
        ),
        (
            ["--backbone", '{"class_path": "torchvision.models.resnet18"}'],
            "ResNet does not take images of 1×8×8",
        ),
        (["--workers", "0"], "workers must be at least 1"),
        (["--arms", '{"one": {}, "two": {"kind": "standard"}}'], "'one' and 'two' are one and the same"),
        (["--ray-address", "nowhere:1", "--targets", "[]"], "one or more different values of val/accuracy"),
        (
            ["--tuning", '{"trials": 1, "space": {"optimizer.learning_rate": {"low": 0.1, "high": 1.0}}}'],
            "learning_rate",
        ),
    ],
)
def test_a_mistake_in_the_plan_is_one_line_before_anything_runs(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str], args: list[str], message: str
) -> None:
    status = main(["sweep", "--config", str(finished.plan), "--output", str(tmp_path / "new"), *args])
    assert status in (1, 2)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line
    assert not list(tmp_path.glob("new/trials/*"))


@pytest.mark.parametrize("name", ["..", "a/b"])
def test_a_name_that_is_none_of_a_folder_is_one_line_unless_a_folder_is_given(
    finished: Finished,
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lit_adaptconv.sweep.estimate.step_seconds", lambda *_: 0.01)
    args = ["sweep", "--config", str(finished.plan), "--name", name, "--dry-run"]
    assert main(args) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{name!r}, is not one of a folder" in line
    assert main([*args, "--output", str(tmp_path / "new")]) == 0
    assert main([*args[:-1], "--export-wandb", str(tmp_path / "grid.yaml")]) == 1
