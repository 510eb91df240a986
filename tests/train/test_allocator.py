from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

STEPS = """
import resource
import torch

def step():
    kept = [torch.ones(bytes // 4) for bytes in SIZES]
    return [2 * tensor for tensor in kept]

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

SIZES = [1 << 18, 1 << 20, 5 << 20, 40 << 20]
step(), step()
before = faults()
for _ in range(40):  # of which some find the free memory in pieces that are too small, and get more
    step()
print(faults() - before)
"""
KEEP = "from lit_adaptconv.train.allocator import keep_freed_memory as keep; keep()"
TRAIN = """
from adaptconv_cli.main import main
assert main(["fit", "--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1", "--run.wandb", "false"]) == 0
print()
"""

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")


def faults(begin: str, **environment: str) -> int:
    """Page faults of some steps that get large blocks and free them, in a process that begins so."""
    script = begin + "\n" + STEPS
    known = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    child = subprocess.run([sys.executable, "-c", script], env=known | environment, capture_output=True, check=True)
    return int(child.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def usual() -> int:
    return faults("")


@pytest.mark.slow
def test_what_a_step_frees_is_there_for_the_next(usual: int) -> None:
    assert faults(KEEP) < usual / 10


@pytest.mark.slow
def test_so_it_is_in_a_training(usual: int, tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert faults(TRAIN) < usual / 10


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value"),
    [("MALLOC_MMAP_THRESHOLD_", "131072"), ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=131072")],
)
def test_settings_of_ones_own_stay(usual: int, name: str, value: str) -> None:
    assert faults(KEEP, **{name: value}) > usual / 2
