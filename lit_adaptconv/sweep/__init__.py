"""Parameter-budget sweeps: arms × budgets × seeds, trained under equal conditions and compared.

The room itself may be called: `lit_adaptconv.sweep(plan)` runs a sweep, see `lit_adaptconv.sweep.frames`.
"""

import sys
import types
from typing import Any

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


class _Callable(types.ModuleType):
    """A module of the same name as the function that people look for."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Run a sweep."""
        from lit_adaptconv.sweep.frames import sweep

        return sweep(*args, **options)


sys.modules[__name__].__class__ = _Callable
