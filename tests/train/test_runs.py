from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lit_adaptconv.errors import UserError
from lit_adaptconv.train.runs import CHECKPOINTS, CONFIG, RunOptions, newest_run, run_of_checkpoint


def run(root: Path, name: str, id: str, age: int) -> Path:
    folder = root / name / id
    folder.mkdir(parents=True)
    (folder / CONFIG).write_text("")
    os.utime(folder / CONFIG, (1e9 - age, 1e9 - age))
    return folder


def test_runs_that_start_at_once_get_folders_of_their_own(tmp_path: Path) -> None:
    def claim(_: int) -> Path:
        options = RunOptions("a", str(tmp_path))
        options.claim_folder()
        return options.folder

    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(claim, range(24)))
    assert len(set(folders)) == 24
    assert all(folder.is_dir() for folder in folders)


def test_a_given_id_is_taken_once(tmp_path: Path) -> None:
    RunOptions("a", str(tmp_path), "1").claim_folder()
    RunOptions("a", str(tmp_path), "1").claim_folder()  # nothing has been written: a trial that failed to start
    (tmp_path / "a" / "1" / CONFIG).write_text("")
    with pytest.raises(UserError, match="exists: continue it with --ckpt_path last, or give another run.id or none"):
        RunOptions("a", str(tmp_path), "1").claim_folder()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "a\\b", "a*", "a?", "[a]", "c:a"])
def test_a_name_that_is_no_folder_of_its_own_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="run.name must be the plain name of a folder"):
        RunOptions(name)
    with pytest.raises(UserError, match="run.id must be the plain name of a folder"):
        RunOptions("a", id=name)


def test_the_newest_run_is_the_one_that_started_last(tmp_path: Path) -> None:
    old, new, other = (run(tmp_path, *of) for of in (("a", "2", 20), ("a", "1", 10), ("b", "3", 5)))
    (old / "metrics.csv").write_text("")  # written to later, not started later
    assert newest_run(str(tmp_path)) == other
    assert newest_run(str(tmp_path), "a") == new
    assert newest_run(str(tmp_path), "a", "2") == old
    assert newest_run(str(tmp_path), None, "2") == old
    for where in (("c",), ("a", "3")):
        with pytest.raises(UserError, match="no run of `adaptconv fit` found in"):
            newest_run(str(tmp_path), *where)


def test_a_checkpoint_knows_its_run_even_before_it_is_written(tmp_path: Path) -> None:
    folder = run(tmp_path, "a", "1", 0)
    assert run_of_checkpoint(folder / CHECKPOINTS["last"]) == folder
    assert run_of_checkpoint(tmp_path / "copy.ckpt") is None
