"""Convolutions whose kernels are computed from the image under them, as layers, networks and a fair benchmark.

Nothing is imported before it is used, so that `import lit_adaptconv` costs nothing; `__init__.pyi` lists the names.
"""

import importlib
import importlib.metadata
from typing import Any

import lazy_loader

_lazy, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    """Import what is asked for; `sweep` is the room of that name, which can be called."""
    if name == "__version__":
        try:
            return importlib.metadata.version("lit-adaptconv")
        except importlib.metadata.PackageNotFoundError:  # run from a tree that is not installed
            return "0+unknown"
    return importlib.import_module(f"{__name__}.sweep") if name == "sweep" else _lazy(name)
