"""What goes on unseen goes on: signals that are ignored, outputs that are closed, two who want the same run."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lightning.pytorch as pl
import pytest
import yaml
from adaptconv_cli.main import main

from lit_adaptconv.errors import UserError
from lit_adaptconv.sweep.folder import SweepFolder
from lit_adaptconv.sweep.interrupt import SIGNALS, Interruption
from lit_adaptconv.sweep.store import read_results
from lit_adaptconv.train.runs import alone_in

from .conftest import FAST, command

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals, and no such locks")
SHORT = [
    *(*FAST, "--data.image_size", "12", "--trainer.limit_train_batches", "2", "--trainer.max_epochs", "1"),
    *("--run.name", "a", "--run.id", "1", "--run.test", "false"),
]


@contextmanager
def handled(handlers: dict[int, object]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}  # type: ignore[arg-type]
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.parametrize("ignored", [c for n in range(len(SIGNALS) + 1) for c in itertools.combinations(SIGNALS, n)])
def test_a_sweep_heeds_the_signals_that_were_not_ignored(ignored: tuple[int, ...]) -> None:
    with handled({number: signal.SIG_IGN if number in ignored else signal.SIG_DFL for number in SIGNALS}):
        for number in SIGNALS:
            with Interruption() as interruption:
                interruption.listen()
                if number not in ignored or signal.getsignal(number) is signal.SIG_IGN:
                    signal.raise_signal(number)
                assert interruption.asked == (number not in ignored)
        assert [signal.getsignal(number) for number in ignored] == [signal.SIG_IGN] * len(ignored)


class Signalling(pl.Callback):
    """Sends this process a signal in the middle of each stage."""

    def __init__(self, number: int) -> None:
        self.number = number

    def on_train_batch_end(self, *_: object) -> None:
        signal.raise_signal(self.number)

    on_test_batch_end = on_train_batch_end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_training_that_was_told_to_ignore_a_signal_does(folder: Path, number: int) -> None:
    callback = ["--trainer.callbacks", f"{__name__}.Signalling", "--trainer.callbacks.number", str(int(number))]
    with handled({number: signal.SIG_IGN}):
        assert main(["fit", *SHORT, "--run.test", "true", *callback]) == 0
        assert main(["test", "--ckpt_path", "last", "--trainer.enable_progress_bar", "false", *callback]) == 0
        assert signal.getsignal(number) is signal.SIG_IGN


PRINTS = """
import subprocess, sys
from adaptconv_cli.output import check_written, survive_closed_output
survive_closed_output()
for i in range(20000):
    print("a line", i)
print("to the other", file=sys.stderr, flush=True)
subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
file = open("kept.txt", "w")
assert file.fileno() > 2
file.write("all of it")
file.close()
check_written()
"""


@pytest.mark.parametrize("out", ["closed pipe", "closed", "full", "file"])
@pytest.mark.parametrize("err", ["closed pipe", "closed", "file"])
def test_what_is_printed_to_nowhere_stops_nothing(tmp_path: Path, out: str, err: str) -> None:
    def stream(how: str, name: str) -> int:
        if how == "full":
            return os.open("/dev/full", os.O_WRONLY)
        if how == "closed pipe":
            reading, writing = os.pipe()
            os.close(reading)
            return writing
        return os.open(tmp_path / name, os.O_WRONLY | os.O_CREAT)

    def close() -> None:
        for number, how in ((0, out), (1, out), (2, err)):
            if how == "closed":
                os.close(number)

    streams = [stream(out, "out"), stream(err, "err")]
    done = subprocess.run(
        [sys.executable, "-c", PRINTS], stdout=streams[0], stderr=streams[1], cwd=tmp_path, preexec_fn=close
    )
    assert done.returncode == (1 if out == "full" else 0)
    assert (tmp_path / "kept.txt").read_text() == "all of it"
    said = (tmp_path / "err").read_text() if err == "file" else ""
    assert "Broken pipe" not in said
    assert "Exception ignored" not in said
    assert ("could not be written: No space left" in said) == (out == "full" and err == "file")
    if out == "file":
        assert len((tmp_path / "out").read_text().splitlines()) == 20001


@pytest.mark.slow
@pytest.mark.parametrize("args", ["kinds", "fit --help", "sweep --help", "configs", "--help", "kernels --help"])
def test_a_reader_that_has_seen_enough_is_no_error(folder: Path, args: str) -> None:
    process = command(folder, *args.split())
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline()
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == ""
    assert process.wait() == 0


@pytest.mark.slow
def test_a_sweep_that_nobody_listens_to_and_whose_terminal_is_gone_ends_all_its_trials(tmp_path: Path) -> None:
    plan = {
        "name": "unseen",
        "data": {"class_path": "Digits", "init_args": {"image_size": 8, "batch_size": 256}},
        "backbone": {"class_path": "ConvNet", "init_args": {"channels": [3, 4], "pool_after": [0]}},
        "arms": {"plain": {}},
        "seeds": 3,
        "targets": [0.1],
        "trainer": {"max_epochs": 2, "accelerator": "cpu"},
        "wandb": False,
    }
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    process = subprocess.Popen(
        [sys.executable, "-m", "adaptconv_cli.main", "sweep", "--config", "plan.yaml", "--output", "run"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),  # type: ignore[arg-type, return-value]
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    process.stdout.close()
    for _ in range(3):
        process.send_signal(signal.SIGHUP)
        time.sleep(0.1)
    assert process.wait(300) == 0
    assert read_results(tmp_path / "run")["status"].to_pylist() == ["done"] * 3


def hold(folder: Path) -> int:
    """Hold a run in a process of its own."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        with alone_in(folder):
            os.write(writing, b"held")
            time.sleep(600)
        os._exit(0)
    assert os.read(reading, 4) == b"held"
    return pid


def test_a_run_that_is_trained_is_not_continued_by_another(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", *SHORT]) == 0
    before = {file: file.read_bytes() for file in Path("runs").rglob("*") if file.is_file()}
    holder = hold(Path("runs/a/1"))
    for again in (["--ckpt_path", "last"], ["--ckpt_path", "runs/a/1/checkpoints/last.ckpt"]):
        capsys.readouterr()
        assert main(["fit", *again]) == 1
        said = capsys.readouterr().err
        assert said.startswith("adaptconv: error: another process is training in ")
        assert said.endswith("runs/a/1: wait until it has ended\n")
    assert {file: file.read_bytes() for file in before} == before
    assert main(["test", "--ckpt_path", "last", "--trainer.enable_progress_bar", "false"]) == 0  # who reads may
    os.kill(holder, signal.SIGKILL)
    os.waitpid(holder, 0)
    assert main(["fit", "--ckpt_path", "last"]) == 0
    assert not list(Path("runs/a").glob(".*"))


def test_who_looks_at_a_sweep_never_keeps_one_from_starting(tmp_path: Path) -> None:
    folder, stop = SweepFolder(tmp_path), threading.Event()
    with folder.locked():
        assert folder.busy
        with pytest.raises(UserError, match="a sweep is running"), folder.locked():
            pass
    assert not folder.busy

    def look() -> None:
        while not stop.is_set():
            SweepFolder(tmp_path).busy  # noqa: B018

    lookers = [threading.Thread(target=look) for _ in range(4)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(30):
            with folder.locked():
                assert folder.busy
    finally:
        stop.set()
        for looker in lookers:
            looker.join()


def test_a_sweep_is_shown_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sweep_cases import maker, plan, result, sweep

    of = plan()
    folder = SweepFolder(tmp_path)
    folder.write(sweep(of, list(maker(of).all())))
    for trial in folder.read().trials:
        result(trial, [0.4, 0.6]).write(folder.trial(trial) / "result.json")
    with folder.locked():
        pass
    opened = Path.open

    def read_only(path: Path, mode: str = "r", *args: object, **options: object) -> object:
        if set(mode) & set("wax+"):
            raise OSError(30, "Read-only file system")
        return opened(path, mode, *args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", read_only)
    assert main(["status", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "Its tables can't be rebuilt: Read-only file system" in out
    assert "finished, 12 of 12 trials done" in out
