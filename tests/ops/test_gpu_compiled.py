"""The fused GPU kernel through Triton's compiler, for GPUs that need not be there: nothing is launched."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lit_adaptconv.ops.geometry import Call

triton = pytest.importorskip("triton", reason="Triton is there on Linux only")
from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.runtime import JITFunction, driver  # noqa: E402

from lit_adaptconv.ops.gpu import passes, tiles  # noqa: E402
from lit_adaptconv.ops.gpu.forward_kernel import forward_kernel  # noqa: E402
from lit_adaptconv.ops.gpu.input_kernels import spread_kernel  # noqa: E402
from lit_adaptconv.ops.gpu.weight_kernel import weight_kernel  # noqa: E402

pytestmark = pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter compiles nothing")
TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
DEVICES = itertools.count(1000)  # Triton remembers what it compiled for each
Compile = Callable[[str, torch.dtype, tuple[int, ...], int], list[Any]]


class NoGPU:
    """Triton's view of a GPU, for its compiler alone."""

    def __init__(self, target: GPUTarget) -> None:
        self._target, self._device = target, next(DEVICES)

    def get_current_target(self) -> GPUTarget:
        return self._target

    def get_current_device(self) -> int:
        return self._device

    def get_current_stream(self, device: int) -> int:
        return 0


@pytest.fixture
def compile_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Compile:
    """Compile what forward and backward of a call would launch."""
    made: list[Any] = []
    run = JITFunction.run

    def compile_only(self: Any, *args: Any, **options: Any) -> None:
        made.append(run(self, *args, **{**options, "warmup": True}))

    def compile_for(target: str, dtype: torch.dtype, shape: tuple[int, ...], size: int) -> list[Any]:
        monkeypatch.setattr(driver, "_active", NoGPU(TARGETS[target]))
        x, weight = torch.zeros(shape, dtype=dtype), torch.zeros((shape[1], size**2, size, size), dtype=dtype)
        call = Call((size, size), (1, 1), (1, 1, 1, 1), (1, 1), shape[1], "tanh")
        made.clear()
        bias = weight[:, None, :, 0, 0]
        out = passes.forward(x, weight, bias, None, call)
        passes.backward(out, x, weight, bias, call, True, True)
        return made

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(JITFunction, "run", compile_only)
    for kernel in (forward_kernel, spread_kernel, weight_kernel):
        monkeypatch.setattr(kernel, "configs", kernel.configs[:1])
    return compile_for


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_every_kernel_compiles_for_gpus_of_both_makers(compile_all: Compile, target: str, dtype: torch.dtype) -> None:
    made = compile_all(target, dtype, (2, 4, 9, 16), 3)
    assert [kernel.metadata.name for kernel in made] == [
        "forward_kernel",
        "spread_kernel",
        "collect_kernel",
        "weight_kernel",
    ]
    assert all(kernel.asm["hsaco" if target == "gfx942" else "cubin"] for kernel in made)


@pytest.mark.slow
def test_sizes_of_one_which_the_compiler_takes_for_constants_compile(compile_all: Compile) -> None:
    assert len(compile_all("sm_80", torch.float32, (1, 1, 1, 1), 1)) == 4


@pytest.mark.slow
def test_results_do_not_depend_on_the_order_of_threads_for_no_kernel_is_atomic(compile_all: Compile) -> None:
    code = [kernel.asm["ptx"] for kernel in compile_all("sm_80", torch.float32, (2, 4, 9, 16), 3)]
    assert all("ld.global" in text and "st.global" in text for text in code)
    assert not any(re.search(r"\b(atom|red)\.", text) for text in code)


@pytest.mark.parametrize("window", [1, 3, 5, 7, 11])
@pytest.mark.parametrize("real", ["float32", "float64"])
def test_measured_tiles_fit_the_call_and_at_least_one_is_left(window: int, real: str) -> None:
    sizes = dict.fromkeys(("kernel_height", "kernel_width", "window_height", "window_width"), window)
    options = {**sizes, "group_out": 2, "real": getattr(triton.language, real)}
    forward = tiles.prune_forward(tiles.FORWARD, {}, **options)
    spread = tiles.prune_spread(tiles.SPREAD, {}, **options)
    weights = tiles.prune_weights(tiles.WEIGHTS, {}, **options)
    assert all(config.kwargs["outputs"] <= 2 for config in forward)
    assert all(config.kwargs["taps_at_once"] <= window**2 for config in weights)
    assert all((forward, spread, weights))
    assert window < 11 or [len(forward), len(spread), len(weights)] == [1, 1, 1]
