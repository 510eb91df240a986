"""The fused GPU kernel through Triton's compiler, for GPUs that need not be there: nothing is launched."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from agreement import float32_convolutions

from lit_adaptconv.ops.geometry import Call

triton = pytest.importorskip("triton", reason="Triton is there on Linux only")
import triton.language as tl  # noqa: E402
from no_gpu import TARGETS, NoGPU  # noqa: E402
from triton.runtime import JITFunction, driver  # noqa: E402

from lit_adaptconv.ops.gpu import launch, passes, tiles  # noqa: E402
from lit_adaptconv.ops.gpu.sizes import FARTHEST, Extent, Sizes, measure  # noqa: E402

pytestmark = pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter compiles nothing")
Compile = Callable[..., list[Any]]


@pytest.fixture
def compile_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Compile]:
    """Compile what forward and backward of a call would launch."""
    made: list[Any] = []
    run = JITFunction.run

    def compile_only(self: Any, *args: Any, **options: Any) -> None:
        made.append(run(self, *args, **{**options, "warmup": True}))

    def compile_for(target: str, dtype: torch.dtype, shape: tuple[int, ...], size: int, outputs: int = 0) -> list[Any]:
        """For a depthwise layer or, with `outputs`, a dense one."""
        monkeypatch.setattr(driver, "_active", NoGPU(TARGETS[target]))
        passes._plan_forward.cache_clear()
        passes._plan_backward.cache_clear()
        groups, filters = (1, outputs * shape[1]) if outputs else (shape[1], shape[1])
        x, weight = torch.zeros(shape, dtype=dtype), torch.zeros((filters, size**2, size, size), dtype=dtype)
        bias = torch.zeros((filters * groups // shape[1], shape[1] // groups, size**2), dtype=dtype)
        call = Call((size, size), (1, 1), (1, 1, 1, 1), (1, 1), groups, "tanh")
        made.clear()
        out = passes.forward(x, weight, bias, None, call)
        passes.backward(out, x, weight, bias, call, True, True)
        return made.copy()

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(JITFunction, "run", compile_only)
    with float32_convolutions("ieee"):
        yield compile_for


KERNELS = {
    "depthwise": ["forward_kernel", "depthwise_kernel", "add_parts_kernel"],
    "dense": ["forward_kernel", "spread_kernel", "collect_kernel", "weight_kernel", "add_parts_kernel"],
    "matrices": [
        "pack_kernel",
        "forward_matrix_kernel",
        "pack_kernel",
        "backward_matrix_kernel",
        "collect_kernel",
        "add_parts_kernel",
    ],
}

FORWARD = ("forward_kernel", "forward_matrix_kernel")


def names(made: list[Any]) -> list[str]:
    return [kernel.metadata.name for kernel in made]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "dtype"),
    [
        ("sm_75", torch.float16),
        ("sm_80", torch.bfloat16),
        ("sm_90", torch.float64),
        ("gfx942", torch.float32),
        ("gfx942", torch.bfloat16),
        ("gfx90a", torch.float16),
    ],
)
def test_every_kernel_compiles_for_gpus_of_both_makers(compile_all: Compile, target: str, dtype: torch.dtype) -> None:
    binary = "hsaco" if target.startswith("gfx") else "cubin"
    depthwise = compile_all(target, dtype, (2, 4, 9, 16), 3)
    # Of float64, a window of nine pixels leaves no registers for all gradients at once.
    assert names(depthwise) == KERNELS["dense" if dtype == torch.float64 else "depthwise"]
    dense = compile_all(target, dtype, (2, 2, 9, 16), 3, outputs=4)
    assert names(dense) == KERNELS["matrices" if dtype.itemsize == 2 else "dense"]
    assert all(kernel.asm[binary] for kernel in depthwise + dense)


@pytest.mark.slow
def test_float32_is_multiplied_by_matrix_units_where_it_may_be_rounded(compile_all: Compile) -> None:
    with float32_convolutions("tf32"):
        made = compile_all("sm_90", torch.float32, (2, 2, 9, 16), 3, outputs=16)
    assert names(made) == KERNELS["matrices"]
    for kernel in made:
        multiplies = "matrix" in kernel.metadata.name
        assert bool(re.search(r"mma", kernel.asm["ptx"])) == multiplies
        assert ("tanh.approx.f32" in kernel.asm["ptx"]) == multiplies


@pytest.mark.slow
@pytest.mark.parametrize("target", ["sm_75", "gfx90a", "gfx942"])
def test_float32_is_exact_on_gpus_whose_convolutions_have_no_tf32(compile_all: Compile, target: str) -> None:
    with float32_convolutions("tf32"):
        made = compile_all(target, torch.float32, (2, 2, 9, 16), 3, outputs=16)
    assert names(made) == KERNELS["dense"]
    assert not any("tanh.approx" in text for kernel in made for text in kernel.asm.values() if isinstance(text, str))


@pytest.mark.slow
def test_exact_float32_has_neither_coarse_tanh_nor_a_division(compile_all: Compile) -> None:
    for outputs in (0, 2):
        for kernel in compile_all("sm_90", torch.float32, (2, 4, 9, 16), 3, outputs):
            assert not re.search(r"tanh\.approx|div\.(rn|full)|mma", kernel.asm["ptx"])


@pytest.mark.slow
def test_sizes_of_one_which_the_compiler_takes_for_constants_compile(compile_all: Compile) -> None:
    assert len(compile_all("sm_80", torch.float32, (1, 1, 1, 1), 1)) == 3


@pytest.mark.slow
def test_results_do_not_depend_on_the_order_of_threads_for_no_kernel_is_atomic(compile_all: Compile) -> None:
    made = compile_all("sm_80", torch.float32, (2, 4, 9, 16), 3) + compile_all(
        "sm_80", torch.bfloat16, (2, 2, 9, 16), 3, outputs=4
    )
    code = [kernel.asm["ptx"] for kernel in made]
    assert all("ld.global" in text and "st.global" in text for text in code)
    assert not any(re.search(r"\b(atom|red)\.", text) for text in code)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "outputs", "scratch"),
    [(torch.float32, 0, 2**24), (torch.bfloat16, 8, 2**24), (torch.bfloat16, 8, 4 * 8 * 32 * 9 * 4)],
    ids=["depthwise", "matrices", "in pieces"],
)
def test_what_backward_launches_is_compiled_once_before_it(
    compile_all: Compile,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    dtype: torch.dtype,
    outputs: int,
    scratch: int,
) -> None:
    compiled: list[str] = []
    compile_it = JITFunction._do_compile

    def noted(self: Any, *args: Any) -> Any:
        compiled.append(self.fn.__name__)
        return compile_it(self, *args)

    monkeypatch.setattr(JITFunction, "_do_compile", noted)
    for remembered in (passes._plan_backward, launch._form):
        remembered.cache_clear()
    monkeypatch.setattr(passes, "scratch", lambda device: scratch)
    monkeypatch.setattr(driver, "_active", NoGPU(TARGETS["sm_90"]))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    groups, filters = (1, outputs * 4) if outputs else (4, 4)
    x, weight = torch.zeros((2, 4, 8, 32), dtype=dtype), torch.zeros((filters, 9, 3, 3), dtype=dtype)
    bias = torch.zeros((filters * groups // 4, 4 // groups, 9), dtype=dtype)
    grad = torch.zeros((2, outputs or 4, 8, 32), dtype=dtype)
    call = Call((3, 3), (1, 1), (1, 1, 1, 1), (1, 1), groups, "tanh")
    for _ in range(2):  # the second time there is nothing to do
        passes.expect_backward(
            x.shape, x.stride(), weight.shape, call, dtype, passes.coarse(dtype), x.device, True, True
        )
    launch._compilers().shutdown()
    launch._compilers.cache_clear()

    def binaries() -> set[Path]:
        return set(tmp_path.glob("*/*.cubin"))

    ahead = binaries()
    assert {*compiled} == {*KERNELS["matrices" if outputs else "depthwise"]} - {*FORWARD}
    passes.backward(grad, x, weight, bias, call, True, True)
    assert binaries() == ahead
    assert len(compiled) == len(ahead)


@pytest.mark.parametrize(
    ("channels", "groups", "outputs", "image", "launched"),
    [(3, 1, 64, 8192, "forward_matrix_kernel"), (3, 3, 3, 32768, "forward_kernel")],
    ids=["output alone", "input, depthwise"],
)
def test_offsets_that_need_64_bits_have_them(
    monkeypatch: pytest.MonkeyPatch, channels: int, groups: int, outputs: int, image: int, launched: str
) -> None:
    """In forward and backward, of images channels last, without their memory."""
    planned: dict[str, Any] = {}

    def noted(kernel: Any, programs: int, numbers: tuple[Any, ...], options: dict[str, Any]) -> None:
        planned[kernel.fn.__name__] = options.get("index")

    monkeypatch.setattr(passes, "Launch", noted)
    monkeypatch.setattr(passes, "scratch", lambda device: 2**30)
    monkeypatch.setattr(driver, "_active", NoGPU(TARGETS["sm_90"]))
    x = torch.empty((1, channels, image, image), device="meta").to(memory_format=torch.channels_last)
    out = torch.empty((1, outputs, image, image), device="meta").to(memory_format=torch.channels_last)
    call = Call((3, 3), (1, 1), (1, 1, 1, 1), (1, 1), groups, "tanh")
    weight = (outputs * channels // groups, 9, 3, 3)
    rest = (call, torch.float16, True, torch.device("meta"))
    passes._plan_forward.__wrapped__(x.shape, x.stride(), weight, False, *rest, None)
    passes._plan_backward.__wrapped__(x.shape, x.stride(), weight, out.stride(), *rest, True, True)
    assert launched in planned
    assert {"pack_kernel", "add_parts_kernel"} >= {name for name, index in planned.items() if index != tl.int64}


def test_maps_are_counted_in_32_bits_however_large_a_gpu_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for total in (16 * 10**9, 150 * 10**9, 300 * 10**9):
        found = SimpleNamespace(total_memory=total)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device, found=found: found)
        scratch = passes.scratch(torch.device("cuda"))
        assert 10**9 <= scratch <= 4 * FARTHEST


def sizes(window: int, group_in: int = 2, group_out: int = 2) -> tuple[Extent, Sizes]:
    call = Call((window, window), (1, 1), (0, 0, 0, 0), (1, 1), 1, "tanh")
    return measure((2, group_in, 16, 16), (group_in * group_out, window**2, window, window), call)


ENDING = """
import contextlib, time
import torch
from lit_adaptconv.ops.gpu.launch import Launch

class Kernel:
    arg_names = []
    def run(self, *arguments, **options):
        time.sleep(0.5)
        print("compiled", flush=True)

torch.cuda.device = lambda device: contextlib.nullcontext()
torch.cuda.current_device = lambda: 0
for number in range(40):
    Launch(Kernel(), 1, (), {})(torch.empty(1, device="meta"))
"""


@pytest.mark.slow
def test_a_program_that_ends_does_not_wait_for_what_nobody_will_launch() -> None:
    done = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True, check=True)
    assert 0 < done.stdout.count("compiled") <= launch.COMPILERS


@pytest.mark.parametrize("window", [1, 3, 5, 7, 11])
@pytest.mark.parametrize("words", [1, 2])
def test_tiles_fit_the_call(window: int, words: int) -> None:
    some = sizes(window)
    assert tiles.forward(*some, 2 * 16 * 16, words)["outputs"] <= 2
    assert tiles.weights(*some, words)["taps_at_once"] <= window**2
    for outputs in (1, 16, 70):
        dense = sizes(window, 1, outputs)
        form, tile = tiles.matrices(*dense), tiles.matrix_backward(*dense)
        assert form["taps"] % tile["taps_at_once"] == 0
        assert form["taps"] >= window**2
        assert form["inner"] > window**2
        assert form["outer"] >= outputs


def test_only_a_depthwise_layer_whose_sums_fit_in_registers_is_computed_in_one_pass() -> None:
    assert tiles.is_depthwise(*sizes(3, 1, 1), 1)
    assert not tiles.is_depthwise(*sizes(3, 1, 1), 2)
    assert not tiles.is_depthwise(*sizes(5, 1, 1), 1)
    assert not tiles.is_depthwise(*sizes(3, 1, 2), 1)
    assert not tiles.is_depthwise(*sizes(3, 2, 1), 1)
