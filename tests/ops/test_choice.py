"""Which implementation is chosen, and what is said where the wanted one cannot be used."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from lit_adaptconv import AdaptiveConv2d
from lit_adaptconv.ops import choice, schema
from lit_adaptconv.ops.choice import VARIABLE, implementation

HALVES_AND_FULL = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What was found out about this machine is found out again in each test."""
    monkeypatch.delenv(VARIABLE, raising=False)
    choice.fused.cache_clear()
    yield
    choice.fused.cache_clear()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that Triton compiles for, as far as can be asked."""
    pytest.importorskip("triton", reason="Triton is there on Linux only")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: (8, 0))
    monkeypatch.setenv("CC", "cc")


@pytest.fixture
def no_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("lit_adaptconv.ops.cpu")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "numba", None)  # an import of it fails


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("dtype", HALVES_AND_FULL)
def test_on_cuda_tensors_triton_computes(dtype: torch.dtype) -> None:
    assert implementation("cuda", dtype) == "gpu"


@pytest.mark.parametrize("dtype", HALVES_AND_FULL)
def test_on_cpu_tensors_numba_computes(dtype: torch.dtype) -> None:
    assert implementation("cpu", dtype) == "cpu"


def test_without_triton_cuda_tensors_take_the_reference_with_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lit_adaptconv.ops.gpu", None)
    with pytest.warns(UserWarning, match="slow reference implementation: triton cannot be imported") as caught:
        assert [implementation("cuda", torch.float32) for _ in range(3)] == ["reference"] * 3
    assert len(caught) == 1


@pytest.mark.usefixtures("gpu")
def test_an_old_gpu_takes_the_reference_and_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: (6, 1))
    with pytest.warns(UserWarning, match="compute capability 7.0 or later, this one has 6.1"):
        assert implementation("cuda", torch.float32) == "reference"


@pytest.mark.usefixtures("gpu")
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, Triton brings its compiler")
def test_without_a_c_compiler_the_warning_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC")
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.warns(UserWarning, match="triton needs a C compiler: install gcc or clang"):
        assert implementation("cuda", torch.float32) == "reference"


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(("wish", "device", "found"), [("gpu", "cpu", "cpu"), ("cpu", "cuda", "gpu")])
def test_an_implementation_demanded_where_it_cannot_run_is_one_line_that_says_which_can(
    wish: str, device: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, wish)
    message = rf"^{VARIABLE}={wish} cannot be used: on {device} tensors of torch\.float32, {found} computes$"
    with pytest.raises(ValueError, match=message):
        implementation(device, torch.float32)


@pytest.mark.parametrize("device", ["mps", "xpu"])
def test_devices_without_a_fused_implementation_take_the_reference_with_one_warning(device: str) -> None:
    with pytest.warns(UserWarning, match=f"compute on cpu and cuda tensors, not on {device} tensors$") as warned:
        assert [implementation(device, torch.float32) for _ in range(3)] == ["reference"] * 3
    assert len(warned) == 1


def test_the_environment_can_ask_for_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "reference")
    assert implementation("cpu", torch.float32) == "reference"


def test_an_unknown_name_in_the_environment_is_answered_with_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "fast")
    with pytest.raises(ValueError, match=f"^{VARIABLE} must be one of reference, cpu, gpu, got 'fast'$"):
        implementation("cpu", torch.float32)


@pytest.mark.usefixtures("no_numba")
def test_without_numba_the_reference_computes_with_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, images = AdaptiveConv2d(1, 1, 3), torch.randn(1, 1, 4, 4)
    with pytest.warns(UserWarning, match="slow reference implementation: numba cannot be imported") as warned:
        out = [layer(images) for _ in range(3)]
    assert len(warned) == 1
    assert torch.equal(out[0], out[2])
    monkeypatch.setenv(VARIABLE, "cpu")
    with pytest.raises(ValueError, match=r"=cpu cannot be used: on cpu tensors of torch\.float32, reference computes$"):
        layer(images)


@pytest.mark.usefixtures("no_numba")
def test_without_numba_the_operator_itself_has_the_reference_and_its_derivatives() -> None:
    """A program that was exported where Numba was there is run where it is not."""
    layer, images = AdaptiveConv2d(2, 3, 3), torch.randn(1, 2, 5, 5)
    tensors, call = (images, *layer.parameters()), ([3, 3], [1, 1], [0, 0, 0, 0], [1, 1], 1, "tanh")
    with pytest.warns(UserWarning, match="slow reference implementation: numba cannot be imported"):
        out = schema.FORWARD(*tensors, *call)
    torch.testing.assert_close(out, layer(images))
    grads = (torch.autograd.grad(y.square().sum(), layer.parameters()) for y in (out, layer(images)))
    torch.testing.assert_close(*grads)


def test_a_type_that_is_not_known_goes_to_the_reference_with_one_warning() -> None:
    with pytest.warns(UserWarning, match=r"float16 and bfloat16, not torch\.int32") as warned:
        assert [implementation("cpu", torch.int32) for _ in range(3)] == ["reference"] * 3
    assert len(warned) == 1


@pytest.mark.parametrize("wish", ["cpu", "gpu", "reference"])
def test_on_the_meta_device_every_implementation_knows_its_shapes(wish: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, wish)
    layer: nn.Module = AdaptiveConv2d(2, 3, 3, padding=1, device="meta")
    out = layer(torch.empty(2, 2, 5, 5, device="meta"))
    assert out.shape == (2, 3, 5, 5)
    out.sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in layer.parameters())
