"""A network with a fault, while a file exists: what can go wrong in a trial, in the process of the trial."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lit_adaptconv.layers.kinds import Conv
from lit_adaptconv.models.backbones import ConvNet
from lit_adaptconv.models.backbones.base import Width
from lit_adaptconv.train.checkpoint import AtomicCheckpointIO


class Faulty(ConvNet):
    """A small ConvNet that, in training and while the file `while_exists` is there, does what `fault` says."""

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 10,
        image_size: tuple[int, int] = (28, 28),
        conv: Conv = nn.Conv2d,
        width: Width = 1.0,
        *,
        fault: str = "none",
        while_exists: str = "",
    ) -> None:
        super().__init__(in_channels, num_classes, image_size, conv, width, channels=(3, 4), pool_after=(0,))
        self.fault = fault
        self.flag = Path(while_exists or "/nowhere")

    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        if self.training and self.flag.exists():
            return self._go_wrong(logits)
        return logits

    def _go_wrong(self, logits: Tensor) -> Tensor:
        if self.fault == "raise":
            raise RuntimeError("the network has a fault\nand a second line")
        if self.fault == "diverge":
            return logits * float("nan")
        if self.fault == "kill":  # as the system does when memory is short
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault == "memory":
            limits = resource.getrlimit(resource.RLIMIT_AS)
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, limits[1]))
            try:
                torch.empty(2**30)
            finally:
                resource.setrlimit(resource.RLIMIT_AS, limits)
        if self.fault == "disk":
            AtomicCheckpointIO.save_checkpoint = _full  # type: ignore[method-assign]
        return logits


_save = AtomicCheckpointIO.save_checkpoint


def _full(self: AtomicCheckpointIO, *args: Any, **kwargs: Any) -> None:
    AtomicCheckpointIO.save_checkpoint = _save  # type: ignore[method-assign]
    raise OSError(28, "No space left on device")
