"""The fused GPU kernel under Triton's interpreter, and on a GPU where there is one: runs of `gpu_kernel.py`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton", reason="Triton is there on Linux only")
TESTS = Path(__file__).with_name("gpu_kernel.py")
GROUPS = ("shapes", "random", "numbers", "cutting", "operator")


def passes(group: str, **environment: str) -> None:
    """Run the tests whose names begin with `group` in a process of their own."""
    command = [sys.executable, "-m", "pytest", str(TESTS), "-q", "-p", "no:cacheprovider", "-k", f"test_{group}"]
    inherited = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        command, env={**inherited, **environment}, cwd=TESTS.parents[2], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def interpreter_loops() -> bool:
    """Whether the interpreter runs with this NumPy: before Triton 3.6, it asks for what NumPy 2.4 no longer does."""
    import numpy as np
    import triton

    old = tuple(map(int, triton.__version__.split(".")[:2])) < (3, 6)
    return not (old and np.lib.NumpyVersion(np.__version__) >= "2.4.0")


@pytest.mark.slow
@pytest.mark.skipif(not interpreter_loops(), reason="this Triton's interpreter does not work with NumPy 2.4 or later")
@pytest.mark.parametrize("group", [group for group in GROUPS if group != "random"])
def test_under_the_interpreter_it_agrees_with_the_reference(group: str) -> None:
    passes(group, TRITON_INTERPRET="1", CUDA_VISIBLE_DEVICES="")


@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("group", GROUPS)
def test_on_a_gpu_it_agrees_with_the_reference(group: str) -> None:
    passes(group)
