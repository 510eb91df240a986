"""Mean and standard deviation of the pixels of each channel."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from jaxtyping import UInt8


def channel_statistics(
    batches: Iterable[UInt8[np.ndarray, "batch channels height width"]], channels: int
) -> tuple[list[float], list[float]]:
    """Compute them from a histogram, which is exact and takes no more memory than a batch.

    Args:
        batches: pixels, shape (B, C, H, W).
        channels: C.

    Returns:
        Mean and standard deviation (of the population) of each channel, where 1 is white. The latter is at least one
        grey level, so that a channel without contrast stays finite when it is normalised.
    """
    counts = np.zeros((channels, 256), np.int64)
    for batch in batches:
        for channel in range(channels):
            counts[channel] += np.bincount(batch[:, channel].ravel(), minlength=256)
    shares = counts / counts.sum(1, keepdims=True)
    values = np.arange(256) / 255
    mean = shares @ values
    variance = (shares * (values - mean[:, None]) ** 2).sum(1)
    return mean.tolist(), np.maximum(np.sqrt(variance), 1 / 255).tolist()
