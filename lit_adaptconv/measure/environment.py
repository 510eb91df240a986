"""What a measurement was made with and on: versions, commit and device."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess

import torch


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on."""
    packages = ("lit-adaptconv", "torch", "torchvision", "lightning", "torchmetrics", "jsonargparse", "wandb", "numpy")
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


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
    return f"{device.type} ({platform.processor() or platform.machine()})"
