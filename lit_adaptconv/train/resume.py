"""What a resumed run needs beside Lightning's own checkpoint to end with the same numbers."""

from __future__ import annotations

import random
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
import torch.distributed as dist
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils._pytree import tree_leaves


class RandomStateCallback(pl.Callback):
    """Keeps the states of Python's, NumPy's and PyTorch's random generators in the checkpoint.

    Dropout and augmentations that use the global generators so go on as if the run had never stopped.
    """

    def __init__(self) -> None:
        self._loaded: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the states of all processes, as tensors and plain numbers that a safe reader accepts."""
        states = [self._own_state()]
        if dist.is_available() and dist.is_initialized():
            states *= dist.get_world_size()
            dist.all_gather_object(states, states[0])
        return {"processes": states}

    def _own_state(self) -> dict[str, Any]:
        version, words, gauss = random.getstate()
        _, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 (the global generator is meant)
        return {
            "python": [version, list(words), gauss],
            "numpy": [
                torch.from_numpy(np.asarray(keys).astype(np.int64)),
                int(position),
                int(has_gauss),
                float(cached),
            ],
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the states until training starts: what happens before must not use them up."""
        self._loaded = state_dict

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set the generators to the checkpoint's states; say so where the batches cannot go on exactly."""
        loaders = tree_leaves(trainer.train_dataloader)
        foreign = next((loader for loader in loaders if not hasattr(loader, "state_dict")), None)
        if self._loaded is not None and foreign is not None:
            rank_zero_warn(
                f"a {type(foreign).__name__} cannot be continued within an epoch: the run goes on from its last "
                "checkpoint, perhaps with other batches than it would have had; torchdata's StatefulDataLoader can be "
                "continued exactly"
            )
        self.restore(trainer)

    def restore(self, trainer: pl.Trainer) -> None:
        """Set the generators to the checkpoint's states, once."""
        if self._loaded is None:
            return
        states = self._loaded.get("processes", [self._loaded])  # earlier versions kept the first process's alone
        state = states[trainer.global_rank if len(states) == trainer.world_size else 0]
        version, words, gauss = state["python"]
        random.setstate((version, tuple(words), gauss))
        keys, position, has_gauss, cached = state["numpy"]
        np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
        torch.set_rng_state(state["torch"].cpu())
        if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([one.cpu() for one in state["cuda"]])
        self._loaded = None
