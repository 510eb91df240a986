"""The IDX file format of MNIST: a magic number, big-endian sizes, then bytes."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lit_adaptconv.errors import UserError

UNSIGNED_BYTE = 0x08


def read_idx(path: Path, dimensions: int) -> Tensor:
    """Read an IDX file of unsigned bytes.

    Args:
        path: the file, uncompressed.
        dimensions: how many the array must have.

    Returns:
        The array, uint8.

    Raises:
        UserError: the file is of another format, or shorter or longer than its header says.
    """
    content = path.read_bytes()
    header = 4 * (1 + dimensions)
    if len(content) < header:
        raise UserError(f"{path}: truncated, {len(content)} bytes are too few for an IDX header of {header}")
    if content[:4] != bytes([0, 0, UNSIGNED_BYTE, dimensions]):
        raise UserError(
            f"{path}: not an IDX file of unsigned bytes in {dimensions} dimensions "
            f"(begins with {content[:4].hex(' ')}, expected 00 00 08 {dimensions:02x})"
        )
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    expected = header + math.prod(shape)
    if len(content) != expected:
        kind = "truncated" if len(content) < expected else "too long"
        sizes = "×".join(map(str, shape))
        raise UserError(f"{path}: {kind}, {len(content):,} bytes where a header of {sizes} needs {expected:,}")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy())
