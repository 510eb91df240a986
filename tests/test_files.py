from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_adaptconv.errors import UserError
from lit_adaptconv.files import write_atomically, write_text
from lit_adaptconv.train.checkpoint import AtomicCheckpointIO


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
