"""Parameter-budget sweeps: arms × budgets × seeds, trained under equal conditions and compared.

You can call the module itself: `lit_adaptconv.sweep(plan)` runs a sweep; see `lit_adaptconv.sweep.frames`.
"""

import sys
import types
from typing import Any

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


class _Callable(types.ModuleType):
    """A module of the same name as the function that people look for."""

    def __call__(self, source: Any, output: Any = None, *, engine: str = "local", workers: int | None = None) -> Any:
        """Run a sweep, or continue it; see `lit_adaptconv.sweep.frames.sweep`."""
        from lit_adaptconv.sweep.frames import sweep

        return sweep(source, output, engine=engine, workers=workers)  # type: ignore[arg-type]


sys.modules[__name__].__class__ = _Callable
