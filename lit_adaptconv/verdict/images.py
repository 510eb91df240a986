"""Test images that are drawn anew like the seeds: how far the images of a test move a mean, and a difference of means.

Every seed of an arm is tested on the same images, and so are all arms: seeds and images are crossed. The variance of a
mean over both is that of the means of the seeds, plus that of the means of the images, less what is in both (Searle,
Casella and McCulloch, *Variance Components*, 1992). A bit a trial and image is enough for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from scipy import special

from lit_adaptconv.verdict.observations import Observations
from lit_adaptconv.verdict.statistics import Array, spread

COLUMNS = ("test_correct", "test_images", "test_labels")
"""Columns of the results with a trial's bits, their number, and what tells one test set from another."""
_CLOSE = 1e-6
"""A metric that differs by less is the share of the images: it was logged as a float32."""

Bits = tuple[bytes | None, int | None, str | None, float]
"""A trial's bits, their number, the checksum of the labels, and its test metric."""


@dataclass(frozen=True)
class ImageShares:
    """What several seeds of a network got right, image by image.

    Attributes:
        test: Number of images and checksum of their labels.
        shares: Share of the seeds that got each image right, shape `(images,)`.
        noise: Variance of the mean that neither seeds nor images explain.
    """

    test: tuple[int, str]
    shares: Array
    noise: float

    @property
    def variance(self) -> float:
        """Variance of the mean that comes from the images."""
        return _variance(self.shares, self.noise)

    @property
    def freedom(self) -> float:
        """Degrees of freedom of that variance: with few images that are hard, as near 99 %, it is known roughly."""
        deviations = self.shares - self.shares.mean()
        second = float((deviations**2).mean())
        excess = float((deviations**4).mean()) / second**2 - 1 if second else 0.0
        return max(1.0, 2 * len(self.shares) / excess) if excess > 0 else np.inf


def difference_variance(one: ImageShares, other: ImageShares) -> float:
    """Variance of the difference of two means that comes from the images, which are the same for both."""
    return _variance(one.shares - other.shares, one.noise + other.noise)


def _variance(shares: Array, noise: float) -> float:
    return max(0.0, float(shares.var(ddof=1)) / len(shares) - noise)


def image_shares(trials: Sequence[Bits]) -> ImageShares | None:
    """Put the bits of an arm's trials together.

    Args:
        trials: The finished ones.

    Returns:
        None with fewer than two trials or images, where one of them has no bits or was tested on other images, and
        where the metric is not the share of the images.
    """
    tests = {(images, labels) for _, images, labels, _ in trials}
    if len(trials) < 2 or len(tests) != 1:
        return None
    (images, labels), bits = tests.pop(), [bits for bits, *_ in trials if bits is not None]
    if images is None or images < 2 or {len(each) for each in bits} != {-(-images // 8)} or len(bits) < len(trials):
        return None
    packed = np.frombuffer(b"".join(bits), np.uint8).reshape(len(bits), -1)
    found = np.unpackbits(packed, axis=1, count=images)
    seeds = found.sum(1) / images
    if np.abs(seeds - [value for *_, value in trials]).max() > _CLOSE:
        return None
    shares = found.sum(0, dtype=np.uint32) / len(bits)
    mean, n = float(shares.mean()), len(bits)
    # A bit is its own square: the sum of squares about the mean needs no second pass over the bits.
    left = mean * (1 - mean) * n * images - images * ((seeds - mean) ** 2).sum() - n * ((shares - mean) ** 2).sum()
    noise = max(0.0, float(left)) / ((n - 1) * (images - 1)) / (n * images)
    return ImageShares((images, labels or ""), shares, noise)


@dataclass(frozen=True)
class ImageVariances:
    """Variances that come from the test images; NaN where they are not known.

    Attributes:
        means: Of each arm's mean at each budget, shape `(arms, budgets)`.
        freedoms: Their degrees of freedom.
        differences: Of the difference of an arm's mean and the primary's, shape `(arms - 1, budgets)`.
        together: Of the difference over all budgets that have one and count together, shape `(arms - 1,)`.
    """

    means: Array
    freedoms: Array
    differences: Array
    together: Array


def image_variances(observations: Observations) -> ImageVariances:
    """Work them out for a sweep, a budget at a time.

    Over several budgets, whose networks see the same images, a budget counts by the inverse of its standard error, as
    in the comparison itself.
    """
    arms, budgets, _ = observations.rows.shape
    means, freedoms = np.full((2, arms, budgets), np.nan)
    differences, together = np.full((arms - 1, budgets), np.nan), np.full(arms - 1, np.nan)
    columns = _columns(observations.table)
    if columns is None:
        return ImageVariances(means, freedoms, differences, together)
    values = observations.final()
    weighted: list[list[tuple[float, Array, float]]] = [[] for _ in range(arms - 1)]
    compared = np.isfinite(values).sum(2) > 1
    counted = compared[0] & compared[1:] & observations.independent
    for b in range(budgets):
        found = [_cell(columns, observations, values, a, b) for a in range(arms)]
        for a, shares in enumerate(found):
            if shares is not None:
                means[a, b], freedoms[a, b] = shares.variance, shares.freedom
            primary = found[0]
            if a and shares is not None and primary is not None and shares.test == primary.test:
                difference, noise = shares.shares - primary.shares, shares.noise + primary.noise
                differences[a - 1, b] = _variance(difference, noise)
                error = float(np.sqrt(sum(spread(x[None])[0] ** 2 / np.isfinite(x).sum() for x in values[[0, a], b])))
                if error and observations.independent[a - 1, b]:
                    weighted[a - 1].append((1 / error, difference, noise))
    for a, parts in enumerate(weighted):
        whole = len(parts) == counted[a].sum() and len({len(d) for _, d, _ in parts}) == 1
        if whole:
            total = sum(weight for weight, _, _ in parts)
            mean = np.sum([weight / total * difference for weight, difference, _ in parts], axis=0)
            together[a] = _variance(mean, sum((weight / total) ** 2 * noise for weight, _, noise in parts))
    return ImageVariances(means, freedoms, differences, together)


def _columns(table: pa.Table) -> list[list[object]] | None:
    """The columns of bits; None where there are none."""
    if not {*COLUMNS} <= {*table.column_names} or table[COLUMNS[0]].null_count == table.num_rows:
        return None
    return [table[name].to_pylist() for name in COLUMNS]


def _cell(columns: list[list[object]], observations: Observations, values: Array, a: int, b: int) -> ImageShares | None:
    done = np.isfinite(values[a, b])
    rows = observations.rows[a, b][done]
    bits = ([column[row] for column in columns] for row in rows)
    return image_shares([(*each, value) for each, value in zip(bits, values[a, b][done], strict=True)])


def reaches(mean: Array, variance: Array, freedom: Array, tail: float) -> tuple[Array, Array]:
    """How far below and above a share the images let it be: Wilson's interval with the effective number of images.

    Args:
        mean: The share.
        variance: Its variance that comes from the images.
        freedom: Degrees of freedom of the variance.
        tail: Error at each end.

    Returns:
        Both at least 0; 0 where the images make no difference. Dean and Pagano, "Evaluating confidence interval methods
        for binomial proportions in clustered surveys", Journal of Survey Statistics and Methodology 3 (2015).
    """
    quantile = -special.stdtrit(np.minimum(freedom, 1e9), tail)
    with np.errstate(divide="ignore", invalid="ignore"):
        each = quantile**2 * variance / (mean * (1 - mean))  # z² / n
        middle = (mean + each / 2) / (1 + each)
        reach = np.sqrt(each * mean * (1 - mean) + each**2 / 4) / (1 + each)
    nothing = np.where(np.isfinite(variance), 0.0, np.nan)
    known = variance > 0
    return np.where(known, mean - middle + reach, nothing), np.where(known, middle + reach - mean, nothing)


def widened(estimate: Array, low: Array, high: Array, down: Array, up: Array) -> tuple[Array, Array]:
    """An interval over the seeds, widened by how far the images reach.

    The two are independent, so the squares of what they add are added (Zou and Donner, "Construction of confidence
    limits about effect measures: a general approach", Statistics in Medicine 27, 2008). It holds the interval over the
    seeds, and goes beyond 1 only where that does.
    """
    bottom = estimate - np.sqrt((estimate - low) ** 2 + down**2)
    top = estimate + np.sqrt((high - estimate) ** 2 + up**2)
    return bottom, np.minimum(top, np.maximum(high, 1.0))
