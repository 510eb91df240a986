"""Learning-rate schedules over the whole training."""

from __future__ import annotations

import math

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR


class OneCycle(OneCycleLR):
    """PyTorch's `OneCycleLR` whose peak is the optimizer's own learning rate, over the whole training.

    Args:
        optimizer: Its learning rate (of each parameter group) is the peak.
        total_steps: Number of optimizer steps. The default is the length of the training.
        pct_start: Share of the steps in which the rate rises.
        div_factor: Peak over initial rate.
        final_div_factor: Initial over final rate.

    Examples:
        >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        >>> round(OneCycle(optimizer, total_steps=100).get_last_lr()[0], 3)
        0.04
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


class WarmupCosine(LRScheduler):
    """A linear rise to the optimizer's own learning rate, then half a cosine down, over the whole training.

    Source: the cosine of Loshchilov & Hutter (2017), https://arxiv.org/abs/1608.03983, without restarts, and the rise
    of Goyal et al. (2017), https://arxiv.org/abs/1706.02677.

    Args:
        optimizer: Its learning rate (of each parameter group) is the peak.
        total_steps: Number of optimizer steps. The default is the length of the training.
        warmup: Share of the steps in which the rate rises.
        final: Final rate over peak.

    Raises:
        ValueError: There are no steps, or a share is none.

    Examples:
        >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        >>> schedule = WarmupCosine(optimizer, total_steps=100, warmup=0.1)
    """

    def __init__(self, optimizer: Optimizer, total_steps: int = 0, warmup: float = 0.05, final: float = 0.0) -> None:
        if total_steps < 1:
            raise ValueError(f"total_steps must be at least 1, got {total_steps}")
        if not 0 <= warmup < 1:
            raise ValueError(f"warmup must be a share of the steps, at least 0 and below 1, got {warmup}")
        if not 0 <= final <= 1:
            raise ValueError(f"final must be a share of the peak, between 0 and 1, got {final}")
        self.total_steps = total_steps
        self.warmup_steps = round(warmup * total_steps)
        self.final = final
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """The rate of each parameter group at the step that comes."""
        step, rising = self.last_epoch, self.warmup_steps
        if step < rising:
            share = (step + 1) / (rising + 1)
        else:
            fallen = min(1.0, (step - rising) / max(1, self.total_steps - rising))
            share = self.final + (1 - self.final) * (1 + math.cos(math.pi * fallen)) / 2
        return [float(rate) * share for rate in self.base_lrs]
