"""Which implementation computes: the caller's wish, the environment's, the device's, the reference at last."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from lit_adaptconv import AdaptiveConv2d
from lit_adaptconv.kernels import choice
from lit_adaptconv.kernels.choice import VARIABLE, choose


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What was found out about compilers, and told, is found out and told again."""
    monkeypatch.delenv(VARIABLE, raising=False)
    for function in (choice._obstacle, choice._warn):
        function.cache_clear()
    yield
    for function in (choice._obstacle, choice._warn):
        function.cache_clear()


def test_the_callers_wish_counts_before_the_environments_and_that_before_the_devices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert choose(None, "cpu", torch.float32) == "cpu"
    monkeypatch.setenv(VARIABLE, "reference")
    assert choose(None, "cpu", torch.float32) == "reference"
    assert choose("cpu", "cpu", torch.float32) == "cpu"


def test_an_unknown_kernel_in_the_environment_is_told_with_the_variables_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "fast")
    with pytest.raises(ValueError, match=f"^{VARIABLE} must be one of reference, cpu, gpu, got 'fast'$"):
        choose(None, "cpu", torch.float32)


def test_without_numba_the_reference_computes_with_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("lit_adaptconv.kernels.cpu")]:
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


def test_other_devices_get_the_reference_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choose(None, "mps", torch.float32) == "reference"
    with pytest.raises(ValueError, match="the cpu kernel does not compute on mps tensors"):
        choose("cpu", "mps", torch.float32)


@pytest.mark.parametrize("kernel", ["cpu", "gpu", "reference"])
def test_on_the_meta_device_every_kernel_knows_its_shapes(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, kernel)
    layer: nn.Module = AdaptiveConv2d(2, 3, 3, padding=1, device="meta")
    assert layer(torch.empty(2, 2, 5, 5, device="meta")).shape == (2, 3, 5, 5)
