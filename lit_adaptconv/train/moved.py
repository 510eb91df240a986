"""Classes by the names that they had when configurations were written that are still to be read."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

MOVED = {
    "lit_adaptconv.backbones": "lit_adaptconv.models.backbones",
    "lit_adaptconv.convergence": "lit_adaptconv.train.convergence",
    "lit_adaptconv.convert_callback": "lit_adaptconv.train.convert_callback",
    "lit_adaptconv.convert_select": "lit_adaptconv.models.selection",
    "lit_adaptconv.schedules": "lit_adaptconv.train.schedules",
}
"""Modules whose classes configurations name: where they were, and where they are."""
NETWORKS = ("cifar_resnet", "convnet", "lenet", "mobilenet", "resnet", "squeezenet")
MOVED |= {f"lit_adaptconv.backbones.{name}": f"lit_adaptconv.models.backbones.{name}" for name in NETWORKS}


class _Moved(ModuleType):
    """A module that is elsewhere now."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # such as __path__, by which Python would import the same files once more
            raise AttributeError(name)
        return getattr(importlib.import_module(MOVED[self.__name__]), name)


sys.modules.update({name: _Moved(name) for name in MOVED})
