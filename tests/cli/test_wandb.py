"""Weights & Biases: the offline log, read back with wandb's own reader; and what happens without a server or login."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
import yaml
from adaptconv_cli.main import main

from lit_adaptconv.train.result import RunResult
from lit_adaptconv.train.tracking import START_SECONDS, wandb_logger

from .conftest import command
from .silent_server import HOW, misbehaving_server

ARGUMENTS = [
    *("fit", "--trainer.max_epochs", "2", "--run.name", "a", "--run.id", "1", "--trainer.enable_progress_bar", "false"),
    *("--run.group", "the group", "--run.job_type", "arm", "--run.tags", "[x, y]", "--model.budget", "5000"),
    *("--convergence.targets", "[0.1]"),
]
RUN = Path("runs/a/1")


@pytest.fixture(autouse=True)
def own_service(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let no state of wandb's cross from one test to another."""
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(folder / "wandb-config"))
    monkeypatch.delenv("WANDB_BASE_URL", raising=False)
    wandb.teardown()
    yield
    wandb.teardown()


def inspect(log: Path, *options: str) -> str:
    program = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *options, str(log)]
    read = subprocess.run(program, capture_output=True, check=True)
    return read.stdout.decode()


def logs() -> list[Path]:
    return sorted(RUN.rglob("*.wandb"))


def summary(log: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(inspect(log, "--summary"))
    return read


def test_without_a_login_everything_is_logged_offline(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(ARGUMENTS) == 0
    out = capsys.readouterr().out
    (log,) = logs()
    assert f"wandb sync {os.path.relpath(log.parent)}" in out
    read, result = summary(log), RunResult.read(RUN / "result.json")
    assert (read["state"], read["tags"], read["run_id"]) == ("finished", ["x", "y"], "a-1")
    metrics = read["summary"]
    assert metrics["val/accuracy"] == pytest.approx(result.val_value, abs=1e-6)
    assert metrics["test/accuracy"] == pytest.approx(result.test_value, abs=1e-6)
    assert {"train/loss", "train/accuracy", "val/loss", "test/loss"} <= metrics.keys()
    assert metrics["convergence/steps_to_0.1"] == result.convergence[0].steps
    config = read["config"]
    assert (config["parameters"], config["flops"]) == (result.parameters, result.flops)
    columns = {name: config[name] for name in ("data", "backbone", "kind", "budget", "seed", "learning_rate")}
    expected = {"data": "Digits", "backbone": "LeNet5", "kind": "standard", "budget": result.budget, "seed": 0}
    assert columns == {**expected, "learning_rate": 0.003}
    saved = yaml.safe_load((RUN / "config.yaml").read_text())
    assert config["config"] == {**saved, "run": {**saved["run"], "id": "1"}}
    (run,) = (line["run"] for line in map(json.loads, inspect(log).splitlines()) if line["type"] == "run")
    assert (run["run_group"], run["job_type"], run["project"]) == ("the group", "arm", "lit-adaptconv")


@pytest.mark.slow
def test_a_continued_run_has_the_same_id() -> None:
    assert main([*ARGUMENTS, "--run.test", "false"]) == 0
    wandb.teardown()
    (first,) = logs()
    first = first.parent.rename(first.parent.with_name("first")) / first.name  # it may start in the same second
    assert main(["fit", "--ckpt_path", "last"]) == 0
    second = next(log for log in logs() if log != first)
    assert summary(first)["run_id"] == summary(second)["run_id"] == "a-1"


def test_a_failed_run_is_marked_as_failed() -> None:
    assert main([*ARGUMENTS, "--model.optimizer.lr", "1e30"]) == 1
    assert wandb.run is None
    (log,) = logs()
    read = summary(log)
    assert (read["state"], read["exit_code"]) == ("failed", 1)


def test_disabled_it_leaves_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert main(ARGUMENTS) == 0
    assert {file.name for file in RUN.iterdir()} == {"config.yaml", "metrics.csv", "checkpoints", "result.json"}
    assert "wandb" not in capsys.readouterr().out


def test_online_without_a_login_is_offline_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    with pytest.warns(UserWarning, match=r"WANDB_MODE is online, but there is no login .* logged offline"):
        assert main([*ARGUMENTS, "--trainer.max_epochs", "1"]) == 0
    assert len(logs()) == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_on_a_terminal_nothing_is_asked_even_where_online_is_wanted(folder: Path) -> None:
    import pty

    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["WANDB_MODE"] = "online"
        os.execv(sys.executable, [sys.executable, "-m", "adaptconv_cli.main", *ARGUMENTS])
    out, end = b"", time.monotonic() + 120
    while time.monotonic() < end:
        if select.select([terminal], [], [], 1)[0]:
            try:
                read = os.read(terminal, 4096)
            except OSError:  # Linux's way to say that the other side is closed
                break
            if not read:
                break
            out += read
            if b"Enter your choice" in out:
                os.kill(pid, 9)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, out.decode()
    assert b"WANDB_MODE is online, but there is no login" in out
    assert len(logs()) == 1


@pytest.mark.slow
def test_an_unreachable_server_costs_a_warning_and_nothing_else(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    process = command(folder, *ARGUMENTS)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert [line for line in err.splitlines() if "warning" in line.lower()] == [
        line for line in err.splitlines() if "Weights & Biases can't be reached" in line
    ]
    assert err.count("can't be reached") == 1
    assert "wandb sync" in out
    result = RunResult.read(RUN / "result.json")
    assert result.status == "done"
    offline = next(log for log in logs() if "offline-run" in str(log))
    assert summary(offline)["summary"]["test/accuracy"] == pytest.approx(result.test_value, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("how", HOW)
def test_a_server_that_misbehaves_holds_a_process_up_once_and_not_for_long(
    folder: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    with misbehaving_server(how) as (address, requests):
        monkeypatch.setenv("WANDB_BASE_URL", address)
        with pytest.warns(UserWarning, match=r"Weights & Biases can't be reached \(.*this run is logged offline"):
            took = start(folder / "1")
        assert took < START_SECONDS + 5  # a busy machine takes its time to start even an offline run
        assert requests
        asked = runs_asked_for(requests)
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            for name in ("2", "3"):
                start(folder / name)
        assert runs_asked_for(requests) == asked
    assert len(list(folder.glob("*/wandb/offline-run-*"))) == 3


def runs_asked_for(requests: list[bytes]) -> int:
    """Requests but those of telemetry."""
    return sum(b"/otel/" not in request for request in requests)


def start(folder: Path) -> float:
    """Start a run, end it, and return the seconds that the start took."""
    begin = time.monotonic()
    logger = wandb_logger(folder, "p", "name", folder.name, {})
    took = time.monotonic() - begin
    assert logger.experiment.offline
    logger.experiment.finish()
    return took
