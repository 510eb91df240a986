"""What Lightning's finders of batch sizes and learning rates have found, written into a configuration."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from jsonargparse import Namespace
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder
from lightning.pytorch.utilities.parsing import lightning_getattr, lightning_hasattr

FINDERS = (BatchSizeFinder, LearningRateFinder)
PLACES = ("data.init_args", "model.optimizer.init_args", "model.init_args", "model", "optimizer.init_args")
"""Where an argument of a finder's name may stand."""


def take_found(config: Namespace, trainer: pl.Trainer) -> bool:
    """Put what finders have found in the place of the finders.

    Args:
        config: The configuration of the training.
        trainer: The trainer; its finders have been at work.

    Returns:
        Whether there were any.
    """
    names = [_name(callback) for callback in trainer.callbacks if type(callback) in FINDERS]  # type: ignore[attr-defined]
    for name in names:
        place = next((place for place in PLACES if name in (config.get(place) or {})), None)
        if place is not None and lightning_hasattr(trainer.lightning_module, name):
            config[f"{place}.{name}"] = lightning_getattr(trainer.lightning_module, name)
    if names:
        given = config.trainer.callbacks
        config.trainer.callbacks = [one for one in given if not _is_finder(one)] if isinstance(given, list) else None
    return bool(names)


def _name(finder: Any) -> str:
    return str(finder._batch_arg_name if isinstance(finder, BatchSizeFinder) else finder._attr_name or "lr")


def _is_finder(callback: Any) -> bool:
    return callback.class_path.rpartition(".")[2] in [finder.__name__ for finder in FINDERS]
