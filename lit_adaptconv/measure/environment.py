"""What a measurement was made with and on: versions, commit and device."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import torch

from lit_adaptconv.errors import UserError

PACKAGES = (
    *("lit-adaptconv", "torch", "torchvision", "lightning", "torchmetrics", "jsonargparse", "wandb", "numpy"),
    *("numba", "triton"),
)


def versions(*further: str) -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on, and of further ones."""
    installed = {package: _version(package) for package in (*PACKAGES, *further)}
    found = {package: version for package, version in installed.items() if version is not None}
    return {"python": platform.python_version(), **found}


def git_commit() -> str | None:
    """Commit of the current directory's repository, with "+changes" if files differ from it; None outside of one."""
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10)
        changes = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit.stdout.strip() + ("+changes" if changes.stdout.strip() else "")


def device_name(device: torch.device) -> str:
    """The device as a reader of a table would name it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({_processor()})"


def usable_cores() -> int:
    """Cores of the CPU that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_device(name: str) -> torch.device:
    """Return a device that is there.

    Raises:
        UserError: It is none, or is not there.
    """
    try:
        torch.empty(1, device=name).sum().item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # PyTorch has no error of its own for this
        raise UserError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from error
    return torch.device(name)


@cache
def _version(package: str) -> str | None:
    """The version of a package; None if it is not installed. What is installed stays so while the process runs."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    """Name of the processor, as far as the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


@dataclass(frozen=True)
class Machine:
    """Where something was measured.

    Attributes:
        device: Name of the CPU or GPU.
        cores: CPU cores that the process may use.
        system: Operating system.
        load: Load average of the last minute when measuring began; above the number of threads, others were busy.
        versions: Versions of Python and packages.
    """

    device: str
    cores: int
    system: str = field(default_factory=platform.platform)
    load: float | None = field(default_factory=lambda: os.getloadavg()[0] if hasattr(os, "getloadavg") else None)
    versions: dict[str, str] = field(default_factory=versions)

    @classmethod
    def here(cls, device: str) -> Machine:
        """Describe this machine."""
        return cls(device_name(torch.device(device)), usable_cores())
