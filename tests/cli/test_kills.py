"""Killed commands lose nothing: a small campaign of `benchmarks/kills.py`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="processes are forked")
def test_commands_that_are_killed_at_any_moment_end_as_undisturbed_ones(tmp_path: Path) -> None:
    few = ["--fit", "6", "--checkpoint", "4", "--others", "1", "--output", str(tmp_path / "kills")]
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "kills.py"), *few],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the same") == 5, done.stdout
