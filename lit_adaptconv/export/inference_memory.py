"""Peak memory of inference: a process of its own that loads networks and runs one image."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn

from lit_adaptconv.export import onnx
from lit_adaptconv.measure.memory import CLEAR_REFS, in_a_process, resident_peak

Peaks = tuple[int | None, int | None]


def peaks_of_inference(
    networks: Sequence[tuple[nn.Module, bytes | None, tuple[int, int, int]]], threads: int
) -> list[Peaks]:
    """Bytes by which loading a network and running one image raise the process's most memory.

    Args:
        networks: A network, its ONNX file where there is one, and the shape `(C, H, W)` of an image.
        threads: CPU threads.

    Returns:
        Of each network the bytes in onnxruntime, and those in PyTorch; None where that can't be known: not on Linux, or
        of a network that Python can't send to another process.
    """
    if not CLEAR_REFS.exists():
        return [(None, None)] * len(networks)
    given = [(file, _pickled(network), shape) for network, file, shape in networks]
    return [(onnx, torch) for onnx, torch in in_a_process(__name__, (given, threads))]


def _pickled(network: nn.Module) -> bytes | None:
    try:
        return pickle.dumps(network)
    except Exception:  # pickle has no error of its own for a class that it does not find, or a lock
        return None


def _peak(run: Callable[[], object]) -> int | None:
    try:
        with torch.inference_mode():
            return resident_peak(run)
    except Exception:  # of a class that is not to be found in this process
        return None


def _onnx(file: bytes, shape: tuple[int, int, int]) -> object:
    return onnx.runtime(file)(torch.zeros(1, *shape))


def _torch(network: bytes, shape: tuple[int, int, int]) -> object:
    return pickle.loads(network)(torch.zeros(1, *shape))


def _measured(file: bytes | None, network: bytes | None, shape: tuple[int, int, int]) -> Peaks:
    return (
        None if file is None else _peak(partial(_onnx, file, shape)),
        None if network is None else _peak(partial(_torch, network, shape)),
    )


if __name__ == "__main__":
    given, threads = pickle.load(sys.stdin.buffer)
    torch.set_num_threads(threads)
    print(json.dumps([_measured(file, network, shape) for file, network, shape in given]))
