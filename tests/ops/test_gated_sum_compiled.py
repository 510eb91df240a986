"""The kernels of `gated_sum` through Triton's compiler, for GPUs that need not be there: nothing is launched."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from gated_cases import GatedCase, arguments
from torch import Tensor

triton = pytest.importorskip("triton", reason="Triton is there on Linux only")
from no_gpu import TARGETS, NoGPU  # noqa: E402
from triton.runtime import JITFunction, driver  # noqa: E402

from lit_adaptconv.ops.gpu import gated_sum as gpu  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter compiles nothing"),
]
KERNELS = ["gated_sum_kernel", "gated_sum_backward_kernel", "add_rows_kernel"]


def compiled(
    patch: pytest.MonkeyPatch, cache: Path, target: str, case: GatedCase, dtype: torch.dtype, last: bool
) -> list[Any]:
    """What forward and backward of a case would launch."""
    made: list[Any] = []
    run = JITFunction.run
    patch.setenv("TRITON_CACHE_DIR", str(cache))
    patch.setattr(JITFunction, "run", lambda self, *a, **o: made.append(run(self, *a, **{**o, "warmup": True})))
    patch.setattr(driver, "_active", NoGPU(TARGETS[target]))
    for plan in (gpu._plan_forward, gpu._plan_backward):
        plan.cache_clear()
    memory = torch.channels_last if last else torch.contiguous_format
    args = arguments(case, size=(16, 16), dtype=dtype, memory=memory)
    filtered, values, *rest = (t.detach() if isinstance(t, Tensor) else t for t in args)
    values = filtered.new_empty(0) if values is None else values
    out = gpu.forward(filtered, values, *rest)
    gpu.backward(out, filtered, values, rest[0], *rest[2:], True)
    for plan in (gpu._plan_forward, gpu._plan_backward):
        plan.cache_clear()
    return made


@pytest.mark.parametrize(
    ("target", "dtype"),
    [("sm_80", torch.bfloat16), ("sm_90", torch.float64), ("gfx942", torch.float32), ("gfx942", torch.bfloat16)],
)
@pytest.mark.parametrize("case", [GatedCase(), GatedCase(shared=True, stacked=False)])
def test_every_kernel_compiles_for_gpus_of_both_makers(
    target: str, dtype: torch.dtype, case: GatedCase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = compiled(monkeypatch, tmp_path, target, case, dtype, last=True)
    assert [kernel.metadata.name for kernel in made] == KERNELS
    assert all(kernel.asm["hsaco" if target == "gfx942" else "cubin"] for kernel in made)


@pytest.mark.parametrize("last", [False, True])
def test_images_are_read_16_bytes_at_a_time_in_either_format(
    last: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    case = GatedCase(rank=1, channels=64, groups=1)
    made = compiled(monkeypatch, tmp_path, "sm_90", case, torch.bfloat16, last)
    for kernel, images in zip(made[:2], (3, 5), strict=True):  # output, gates, values and their gradients
        wide = re.findall(r"(?:ld|st)\.global[.\w:]*\.v4\.b32", kernel.asm["ptx"])
        assert len(wide) >= 2 * images


def test_no_kernel_is_atomic(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Results do not depend on the order of threads."""
    for kernel in compiled(monkeypatch, tmp_path, "sm_80", GatedCase(), torch.float32, last=False):
        assert "st.global" in kernel.asm["ptx"]
        assert not re.search(r"\b(atom|red)\.", kernel.asm["ptx"])
