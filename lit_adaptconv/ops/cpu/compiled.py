"""The compiled loops, compiled at their first call and kept on disk by Numba."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lit_adaptconv.ops import rational
from lit_adaptconv.ops.cpu import loops


@dataclass(frozen=True)
class Compiled:
    """The two entry points; each is compiled once for float32 and once for float64."""

    forward: Callable[..., None]
    backward: Callable[..., None]


@lru_cache(maxsize=1)
def compiled() -> Compiled:
    """Return the loops, from Numba's cache where it holds them.

    Numba looks for changes in the file of the outermost function alone. Here the fingerprint of all sources is part of
    what it finds a cached function by, so that a changed one is never run from the cache.
    """
    sources = [*sorted(Path(__file__).parent.glob("*.py")), Path(rational.__file__)]
    fingerprint = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "cache": True}
    try:
        return _compile(fingerprint, options)
    except RuntimeError:  # Numba finds no folder that it may write to
        return _compile(fingerprint, options | {"cache": False})


def _compile(fingerprint: str, options: dict[str, Any]) -> Compiled:
    return Compiled(
        forward=loops.compile_forward(fingerprint, **options),
        backward=loops.compile_backward(fingerprint, **options),
    )
