"""Stratified splits that are drawn from a seed alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lit_adaptconv.errors import UserError


def stratified_split(labels: Tensor, size: float, seed: int, *, name: str = "val_size") -> tuple[Tensor, Tensor]:
    """Hold out `size` of the samples, each class in proportion to its share.

    Fractions of a sample are given to the classes by largest remainder, so that exactly `size` samples are held out.

    Args:
        labels: class indices, shape (N,).
        size: a fraction of the samples below 1, or a count of samples from 1 on.
        seed: the split depends on `labels`, `size` and `seed` alone.
        name: the argument to name in an error.

    Returns:
        The indices that are kept and the indices that are held out, both sorted.

    Raises:
        UserError: nothing would be held out, or a class would lose all of its samples.
    """
    total = labels.numel()
    count = round(size * total) if size < 1 else round(size)
    if not 0 < count < total:
        raise UserError(f"{name}={size:g} holds out {count} of {total} images: it must leave some on both sides")
    classes, members = np.unique(labels.numpy(), return_counts=True)
    shares = members * (count / total)
    quota = np.floor(shares).astype(int)
    # stable: equal remainders go to the lower classes
    quota[np.argsort(quota - shares, kind="stable")[: count - quota.sum()]] += 1
    if (short := members <= quota).any():
        label, kept = classes[short][0], members[short][0]
        raise UserError(f"{name}={size:g} would hold out all {kept} images of class {label}: it must be smaller")
    rng = np.random.default_rng(seed)
    held = [
        rng.permutation(np.flatnonzero(labels.numpy() == label))[:number]
        for label, number in zip(classes, quota, strict=True)
    ]
    mask = np.zeros(total, dtype=bool)
    mask[np.concatenate(held)] = True
    return torch.from_numpy(np.flatnonzero(~mask)), torch.from_numpy(np.flatnonzero(mask))
