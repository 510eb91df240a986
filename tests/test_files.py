from __future__ import annotations

import fnmatch
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest
import torch
from adaptconv_cli.main import main
from hypothesis import given, settings
from hypothesis import strategies as st
from versions import write_versions

from lit_adaptconv.errors import UserError
from lit_adaptconv.files import write_atomically, write_text
from lit_adaptconv.sweep.engines.base import Job
from lit_adaptconv.sweep.engines.worker import run_job
from lit_adaptconv.sweep.folder import SweepFolder
from lit_adaptconv.train.checkpoint import AtomicCheckpointIO
from lit_adaptconv.train.runs import alone_in


def test_a_file_is_written_and_replaced_with_its_folder_made(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b.txt"
    write_text(file, "one – ü")
    write_text(file, "two")
    assert file.read_bytes() == b"two"
    assert [f.name for f in file.parent.iterdir()] == ["b.txt"]


def test_a_write_that_fails_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    write_text(file, "old")

    def broken(stream: BinaryIO) -> None:
        stream.write(b"half of the n")
        raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError, match="disk on fire"):
        write_atomically(file, broken)
    assert file.read_text() == "old"
    assert [f.name for f in tmp_path.iterdir()] == ["a.txt"]


def test_the_content_is_complete_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replaced: list[bytes] = []
    replace = os.replace

    def watching(source: Path, target: Path) -> None:
        assert not Path(target).exists()
        assert Path(source).parent == Path(target).parent
        replaced.append(Path(source).read_bytes())
        replace(source, target)

    monkeypatch.setattr(os, "replace", watching)
    write_text(tmp_path / "a.txt", "all of it")
    assert replaced == [b"all of it"]


class Disk:
    """A file that takes so many bytes and then fails, as a full disk does."""

    def __init__(self, file: BinaryIO, room: int) -> None:
        self.file, self.room = file, room

    def write(self, data: bytes) -> int:
        self.file.write(data[: self.room])
        self.room -= len(data)
        if self.room < 0:
            raise OSError(28, "No space left on device")
        return len(data)


@settings(max_examples=40)
@given(chunks=st.lists(st.binary(max_size=50), max_size=6), data=st.data())
def test_wherever_writing_fails_the_old_content_stays_alone(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[bytes], data: st.DataObject
) -> None:
    file = tmp_path_factory.mktemp("disk") / "a.bin"
    write_text(file, "old")
    room = data.draw(st.integers(0, sum(map(len, chunks))))

    def fill(stream: BinaryIO) -> None:
        disk = Disk(stream, room)
        for chunk in chunks:
            disk.write(chunk)

    if room < sum(map(len, chunks)):
        with pytest.raises(OSError, match="No space left"):
            write_atomically(file, fill)
        assert file.read_text() == "old"
    else:
        write_atomically(file, fill)
        assert file.read_bytes() == b"".join(chunks)
    assert [f.name for f in file.parent.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_a_system_call_that_fails_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: BaseException
) -> None:
    write_text(tmp_path / "a.txt", "old")

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(type(error)):
        write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [f.name for f in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize(
    "pool",
    [ThreadPoolExecutor, pytest.param(ProcessPoolExecutor, marks=pytest.mark.slow)],
    ids=["threads", "processes"],
)
def test_of_several_writers_at_once_each_reader_sees_one_whole(tmp_path: Path, pool: type[Executor]) -> None:
    file, writers, versions = tmp_path / "a.txt", 4, 25
    write_versions(file, 0, 1)
    options = {"mp_context": multiprocessing.get_context("spawn")} if pool is ProcessPoolExecutor else {}
    with pool(writers, **options) as executor:  # type: ignore[call-arg]
        running = [executor.submit(write_versions, file, writer, versions) for writer in range(writers)]
        seen: set[bytes] = set()
        while not all(future.done() for future in running):
            lines = file.read_bytes().split()
            assert len(lines) == 500
            assert len(set(lines)) == 1
            seen.update(lines)
        for future in running:
            future.result()
    assert file.read_bytes().split()[0] in {b"%d:%d" % (writer, versions - 1) for writer in range(writers)}
    assert [f.name for f in tmp_path.iterdir()] == ["a.txt"]


def test_a_name_as_long_as_names_may_be_can_be_written(tmp_path: Path) -> None:
    write_text(tmp_path / ("n" * 255), "x")
    assert [len(f.name) for f in tmp_path.iterdir()] == [255]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_writer_that_is_killed_leaves_the_old_content_and_a_file_known_by_its_name(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    program = (
        "import os, signal; from lit_adaptconv.files import write_atomically\n"
        "write_atomically('a.txt', lambda f: (f.write(b'half'), f.flush(), os.kill(os.getpid(), signal.SIGKILL)))"
    )
    killed = subprocess.run([sys.executable, "-c", program], cwd=tmp_path)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "a.txt").read_text() == "old"
    (left,) = (f.name for f in tmp_path.iterdir() if f.name != "a.txt")
    assert fnmatch.fnmatch(left, ".*.tmp")
    (tmp_path / ".other.tmp").write_text("of another program")
    write_text(tmp_path / "b.txt", "next")
    assert {f.name for f in tmp_path.iterdir()} == {"a.txt", "b.txt", ".other.tmp"}


def test_what_another_writer_is_writing_is_not_taken_for_what_a_killed_one_left(tmp_path: Path) -> None:
    def within(stream: BinaryIO) -> None:
        stream.write(b"half")
        write_text(tmp_path / "b.txt", "inner")
        stream.write(b" and half")

    write_atomically(tmp_path / "a.txt", within)
    assert (tmp_path / "a.txt").read_text() == "half and half"
    assert {f.name for f in tmp_path.iterdir()} == {"a.txt", "b.txt"}


@pytest.mark.parametrize("hidden", ["RuntimeError", "chain"])
def test_a_full_disk_is_told_as_one_whatever_a_library_makes_of_it(tmp_path: Path, hidden: str) -> None:
    def write(stream: BinaryIO) -> None:
        try:
            raise OSError(28, "No space left on device")
        except OSError as error:
            if hidden == "chain":
                raise ValueError("cannot encode") from error
            raise RuntimeError("unexpected pos 64 vs 0")  # noqa: B904

    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "a", write)
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_is_read_back(tmp_path: Path) -> None:
    checkpoint = {"state_dict": {"weight": torch.randn(3)}, "epoch": 2}
    AtomicCheckpointIO().save_checkpoint(checkpoint, tmp_path / "a.ckpt")
    read = AtomicCheckpointIO().load_checkpoint(tmp_path / "a.ckpt")
    assert read["epoch"] == 2
    assert torch.equal(read["state_dict"]["weight"], checkpoint["state_dict"]["weight"])  # type: ignore[index]
    assert [f.name for f in tmp_path.iterdir()] == ["a.ckpt"]


def refuse(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        AtomicCheckpointIO().load_checkpoint(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.system, ("touch pwned",))


def test_a_checkpoint_that_would_run_code_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {}, "evil": Evil()}, "evil.ckpt")
    assert "holds more than tensors and plain values" in refuse(Path("evil.ckpt"))
    assert not Path("pwned").exists()


def test_what_is_missing_or_another_object_is_refused(tmp_path: Path) -> None:
    assert refuse(tmp_path / "a.ckpt") == f"no checkpoint at {tmp_path / 'a.ckpt'}"
    assert "no checkpoint at" in refuse(tmp_path)
    torch.save([1, 2], tmp_path / "list.ckpt")
    assert "it has no state_dict" in refuse(tmp_path / "list.ckpt")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_truncated_checkpoint_is_refused(tmp_path: Path, share: float) -> None:
    AtomicCheckpointIO().save_checkpoint({"state_dict": {"weight": torch.randn(1000)}}, tmp_path / "a.ckpt")
    content = (tmp_path / "a.ckpt").read_bytes()
    (tmp_path / "a.ckpt").write_bytes(content[: int(share * len(content))])
    assert "is not a checkpoint, or a damaged one" in refuse(tmp_path / "a.ckpt")


@settings(max_examples=50)
@given(content=st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode)))
def test_no_bytes_at_all_are_more_than_a_line(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.ckpt"
    file.write_bytes(content)
    refuse(file)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(os.path.relpath(path))  # the name of a socket is short


NOT_REGULAR = [getattr(os, "mkfifo", None), _socket, Path.mkdir, lambda path: path.symlink_to("/dev/zero")]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
@pytest.mark.parametrize("make", NOT_REGULAR)
@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("sweep.json", ["status", "x"]),
        ("sweep.json", ["report", "x"]),
        ("1/result.json", ["compare", "x"]),
        ("1/config.yaml", ["fit", "--ckpt_path", "last", "--run.root", ".", "--run.name", "x"]),
        ("1/config.yaml", ["test", "--ckpt_path", "last", "--run.root", ".", "--run.name", "x"]),
        ("c.yaml", ["fit", "--config", "x/c.yaml"]),
        ("c.yaml", ["sweep", "--config", "x/c.yaml"]),
        ("1/checkpoints/last.ckpt", ["test", "--ckpt_path", "x/1/checkpoints/last.ckpt"]),
        ("1/checkpoints/last.ckpt", ["export", "x/1/checkpoints/last.ckpt", "--output", "x.onnx"]),
    ],
)
def test_what_is_no_regular_file_is_one_line_and_never_waited_for(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    make: Callable[[Path], object],
    name: str,
    command: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x" / name
    path.parent.mkdir(parents=True)
    make(path)
    assert main(command) in (1, 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("adaptconv: error: ")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
@pytest.mark.parametrize("make", NOT_REGULAR)
def test_a_lock_that_is_no_regular_file_is_never_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], object]
) -> None:
    monkeypatch.chdir(tmp_path)
    job = Job("a", tmp_path / "trial", resume=False)
    job.folder.mkdir()
    for path in (Path(".run.running"), Path(".lock"), job.folder / ".lock"):
        make(path)
    sweep = SweepFolder(tmp_path)
    assert not sweep.busy
    for lock in (sweep.locked(), alone_in(tmp_path / "run")):
        with pytest.raises(OSError, match="not a regular file|No such device|s a directory"), lock:
            pass
    assert run_job(job, lambda folder: None).status == "failed"
