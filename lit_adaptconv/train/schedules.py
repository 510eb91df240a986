"""The default learning-rate schedule."""

from __future__ import annotations

from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR


class OneCycle(OneCycleLR):
    """PyTorch's `OneCycleLR` whose peak is the optimizer's own learning rate, over the whole training.

    Args:
        optimizer: Its learning rate (of each parameter group) is the peak.
        total_steps: Number of optimizer steps; filled in with the training's length if left out of a config.
        pct_start: Share of the steps in which the rate rises.
        div_factor: Peak over initial rate.
        final_div_factor: Initial over final rate.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int = 0,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
    ) -> None:
        super().__init__(
            optimizer,
            max_lr=[group["lr"] for group in optimizer.param_groups],
            total_steps=total_steps,
            pct_start=pct_start,
            div_factor=div_factor,
            final_div_factor=final_div_factor,
        )
