"""Threads, processes and the disk cache: same bits everywhere, and no deadlock."""

from __future__ import annotations

import multiprocessing
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from agreement import results, tensors
from cases import Case
from torch import Tensor, nn

from lit_adaptconv import AdaptiveConv2d
from lit_adaptconv.functional import adaptive_conv2d
from lit_adaptconv.ops.cpu import openmp
from lit_adaptconv.ops.cpu import threads as threads_module
from lit_adaptconv.ops.cpu.threads import run_tasks

CASE = Case(9, (13, 14), 3, 2, 2, (3, 3), (3, 3), (1, 1), (1, 1), (1, 1), True, 0)


@pytest.fixture(autouse=True)
def restored_threads() -> Any:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def outputs(threads: int) -> list[Tensor]:
    torch.set_num_threads(threads)
    return results(tensors(CASE), "cpu", kernel_size=3, padding=1, groups=2)


def convolved(threads: int) -> Tensor:
    torch.set_num_threads(threads)
    return adaptive_conv2d(*tensors(CASE), kernel_size=3, padding=1, groups=2)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    one = outputs(1)
    for threads in (2, 3, 5, 64):
        for a, b in zip(one, outputs(threads), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("tasks", [0, 1, 5, 100])
def test_each_task_is_done_once(threads: int, tasks: int) -> None:
    torch.set_num_threads(threads)
    done: list[int] = []
    run_tasks(tasks, lambda first, last: done.extend(range(first, last)))
    assert sorted(done) == list(range(tasks))


def test_an_error_in_a_task_reaches_the_caller_and_the_pool_goes_on() -> None:
    torch.set_num_threads(4)

    def fail(first: int, last: int) -> None:
        raise MemoryError(f"no room for {first}")

    with pytest.raises(MemoryError, match="no room"):
        run_tasks(100, fail)
    test_each_task_is_done_once(4, 100)


@pytest.fixture
def own_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where PyTorch's OpenMP cannot be reached: on macOS and Windows."""
    monkeypatch.setattr(threads_module, "on_openmp_threads", lambda *_: False)


@pytest.mark.usefixtures("own_pool")
def test_without_openmp_a_pool_does_the_same() -> None:
    test_any_number_of_threads_gives_the_same_bits()
    test_each_task_is_done_once(7, 100)
    test_an_error_in_a_task_reaches_the_caller_and_the_pool_goes_on()
    test_threads_that_call_at_the_same_time_get_the_same_as_alone()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere PyTorch's OpenMP is not looked for")
def test_tasks_run_on_as_many_of_openmps_threads_as_asked_for_and_the_callers_is_one() -> None:
    seen: set[int] = set()
    together = threading.Barrier(3)

    def work() -> None:
        together.wait(timeout=30)  # passed by three threads at the same time alone
        seen.add(threading.get_ident())

    assert openmp.on_openmp_threads(3, work)
    assert len(seen) == 3
    assert threading.get_ident() in seen


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere PyTorch's OpenMP is not looked for")
def test_ctrl_c_in_a_task_reaches_the_caller() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        openmp.on_openmp_threads(2, interrupt)


def test_where_it_is_not_certain_which_openmp_is_pytorchs_none_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = tmp_path / "maps"
    monkeypatch.setattr(openmp, "MAPS", maps)
    openmp._gomp_parallel.cache_clear()
    try:
        assert not openmp.on_openmp_threads(2, lambda: None)  # there is no such file
        line = "7f0000000000-7f0000001000 r-xp 00000000 08:01 1234 "
        maps.write_text("".join(f"{line}                 /usr/lib/{n}/libgomp.so.1\n" for n in ("a", "b")))
        openmp._gomp_parallel.cache_clear()
        assert not openmp.on_openmp_threads(2, lambda: None)
    finally:
        openmp._gomp_parallel.cache_clear()


def test_threads_that_call_at_the_same_time_get_the_same_as_alone() -> None:
    torch.set_num_threads(3)
    expected = outputs(3)
    got: list[list[Tensor]] = []

    def call() -> None:
        torch.set_num_threads(3)
        got.extend(outputs(3) for _ in range(5))

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(timeout=60)
    assert len(got) == 20
    assert all(torch.equal(a, b) for result in got for a, b in zip(result, expected, strict=True))


def _in_child(queue: Any) -> None:
    torch.set_num_threads(2)
    queue.put(convolved(2).numpy())  # backward in a forked child is refused by autograd itself


@pytest.mark.skipif(sys.platform != "linux", reason="fork is Linux's way")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_forked_child_of_a_process_that_has_used_threads_computes_too() -> None:
    expected = convolved(2)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(queue,))
    child.start()
    got = queue.get(timeout=60)
    child.join(timeout=60)
    assert torch.equal(expected, torch.from_numpy(got))


STEP = """
import torch, sys
torch.set_num_threads(1)
from lit_adaptconv import AdaptiveConv2d
torch.manual_seed(0)
layer = AdaptiveConv2d(2, 2, 3)
layer(torch.ones(1, 2, 4, 4)).sum().backward()
from lit_adaptconv.ops.cpu.compiled import compiled
hits = [sum(f.stats.cache_hits.values()) for f in (compiled().forward, compiled().backward)]
print(*hits, repr(layer.generator_bias.grad.sum().item()))
"""


def _run(cache: Path | str, **environment: str) -> list[str]:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), **environment}
    done = subprocess.run([sys.executable, "-c", STEP], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.slow
def test_a_second_process_takes_the_compiled_loops_from_disk(tmp_path: Path) -> None:
    first, second = _run(tmp_path), _run(tmp_path)
    assert first[:2] == ["0", "0"]
    assert second[:2] == ["1", "1"]
    assert first[2] == second[2]


@pytest.mark.slow
@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() == 0, reason="root can write into the package's own folder")
def test_where_no_folder_can_be_written_it_compiles_without_a_cache(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IREAD | stat.S_IEXEC)
    assert _run("/dev/null/nowhere", HOME="/dev/null", XDG_CACHE_HOME="/dev/null/nowhere")[0] == "0"


def _train(rank: int, world: int, store: str, queue: Any) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    torch.manual_seed(0)
    layer = nn.parallel.DistributedDataParallel(AdaptiveConv2d(2, 4, 3, padding=1))
    images = torch.randn(4, 2, 6, 6, generator=torch.Generator().manual_seed(1))
    for _ in range(2):
        layer.zero_grad()
        layer(images[rank::world]).square().mean().backward()
    queue.put((rank, [p.grad.numpy() for p in layer.parameters()]))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_with_gloo_average_to_the_gradients_of_the_whole_batch(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    children = [context.Process(target=_train, args=(rank, 2, str(tmp_path / "store"), queue)) for rank in range(2)]
    for child in children:
        child.start()
    got = dict(queue.get(timeout=120) for _ in children)
    for child in children:
        child.join(timeout=60)
    torch.manual_seed(0)
    layer = AdaptiveConv2d(2, 4, 3, padding=1)
    images = torch.randn(4, 2, 6, 6, generator=torch.Generator().manual_seed(1))
    layer(images).square().mean().backward()
    for rank in range(2):
        for parameter, grad in zip(layer.parameters(), got[rank], strict=True):
            assert parameter.grad is not None
            torch.testing.assert_close(parameter.grad, torch.from_numpy(grad))
