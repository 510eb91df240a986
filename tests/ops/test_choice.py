"""Which implementation is chosen, and what is said where the wanted one cannot be used."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from lit_adaptconv import AdaptiveConv2d
from lit_adaptconv.ops import choice
from lit_adaptconv.ops.choice import choose

HALVES_AND_FULL = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What was found out about this machine is found out again in each test."""
    monkeypatch.delenv(choice.VARIABLE, raising=False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    for function in (choice._obstacle, choice._warn):
        function.cache_clear()
    yield
    for function in (choice._obstacle, choice._warn):
        function.cache_clear()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that Triton compiles for, as far as can be asked."""
    pytest.importorskip("triton", reason="Triton is there on Linux only")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: (8, 0))
    monkeypatch.setenv("CC", "cc")


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("dtype", HALVES_AND_FULL)
def test_on_cuda_tensors_the_gpu_kernel_is_the_default(dtype: torch.dtype) -> None:
    assert choose(None, "cuda", dtype) == "gpu"


@pytest.mark.parametrize("dtype", HALVES_AND_FULL)
def test_on_cpu_tensors_the_cpu_kernel_is_the_default(dtype: torch.dtype) -> None:
    assert choose(None, "cpu", dtype) == "cpu"


def test_without_triton_cuda_tensors_take_the_reference_with_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lit_adaptconv.ops.gpu", None)
    with pytest.warns(UserWarning, match="slow reference implementation: triton cannot be imported") as caught:
        assert [choose(None, "cuda", torch.float32) for _ in range(3)] == ["reference"] * 3
    assert len(caught) == 1


@pytest.mark.usefixtures("gpu")
def test_an_old_gpu_takes_the_reference_and_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: (6, 1))
    with pytest.warns(UserWarning, match="compute capability 7.0 or later, this one has 6.1"):
        assert choose(None, "cuda", torch.float32) == "reference"


@pytest.mark.usefixtures("gpu")
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, Triton brings its compiler")
def test_without_a_c_compiler_the_error_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC")
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ValueError, match="^kernel=gpu cannot be used: triton needs a C compiler: install gcc or clang"):
        choose("gpu", "cuda", torch.float32)


@pytest.mark.parametrize(
    ("kernel", "device", "message"),
    [
        ("gpu", "cpu", "the gpu kernel computes on cuda tensors, not on cpu tensors: take cpu or reference"),
        ("cpu", "cuda", "the cpu kernel computes on cpu tensors, not on cuda tensors: take gpu or reference"),
        ("gpu", "mps", "the gpu kernel computes on cuda tensors, not on mps tensors: take reference"),
    ],
)
@pytest.mark.parametrize("by_environment", [True, False])
def test_a_kernel_forced_where_it_cannot_run_is_one_line_that_says_which_can(
    kernel: choice.Kernel, device: str, message: str, by_environment: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = choice.VARIABLE if by_environment else "kernel"
    if by_environment:
        monkeypatch.setenv(choice.VARIABLE, kernel)
    with pytest.raises(ValueError, match=f"^{name}={kernel} cannot be used: {message}$"):
        choose(None if by_environment else kernel, device, torch.float32)


def test_an_unknown_kernel_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="^kernel must be one of reference, cpu, gpu, got 'tpu'$"):
        choose("tpu", "cpu", torch.float32)  # type: ignore[arg-type]


@pytest.mark.parametrize("device", ["mps", "xpu"])
def test_devices_without_a_fused_kernel_take_the_reference_in_silence(device: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choose(None, device, torch.float32) == "reference"


def test_the_callers_wish_counts_before_the_environments_and_that_before_the_devices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert choose(None, "cpu", torch.float32) == "cpu"
    monkeypatch.setenv(choice.VARIABLE, "reference")
    assert choose(None, "cpu", torch.float32) == "reference"
    assert choose("cpu", "cpu", torch.float32) == "cpu"


def test_an_unknown_kernel_in_the_environment_is_told_with_the_variables_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(choice.VARIABLE, "fast")
    with pytest.raises(ValueError, match=f"^{choice.VARIABLE} must be one of reference, cpu, gpu, got 'fast'$"):
        choose(None, "cpu", torch.float32)


def test_without_numba_the_reference_computes_with_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("lit_adaptconv.ops.cpu")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "numba", None)  # an import of it fails
    layer, images = AdaptiveConv2d(1, 1, 3), torch.randn(1, 1, 4, 4)
    with pytest.warns(UserWarning, match="slow reference implementation: numba cannot be imported") as warned:
        out = [layer(images) for _ in range(3)]
    assert len(warned) == 1
    assert torch.equal(out[0], out[2])
    with pytest.raises(ValueError, match="^kernel=cpu cannot be used: numba cannot be imported"):
        choose("cpu", "cpu", torch.float32)


def test_a_type_that_no_kernel_knows_goes_to_the_reference_with_one_warning() -> None:
    with pytest.warns(UserWarning, match=r"float16 and bfloat16, not torch\.int32") as warned:
        assert [choose(None, "cpu", torch.int32) for _ in range(3)] == ["reference"] * 3
    assert len(warned) == 1


@pytest.mark.parametrize("kernel", ["cpu", "gpu", "reference"])
def test_on_the_meta_device_every_kernel_knows_its_shapes(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(choice.VARIABLE, kernel)
    layer: nn.Module = AdaptiveConv2d(2, 3, 3, padding=1, device="meta")
    assert layer(torch.empty(2, 2, 5, 5, device="meta")).shape == (2, 3, 5, 5)
