"""Which network to take within a limit of size: the best in the test, and those that are not ruled out beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from scipy import special

from lit_adaptconv.errors import UserError
from lit_adaptconv.measure.budget import Limits
from lit_adaptconv.measure.latency import Runtime, milliseconds, shown
from lit_adaptconv.verdict.budget_columns import budgets_of
from lit_adaptconv.verdict.images import COLUMNS, image_shares, reaches, widened
from lit_adaptconv.verdict.metric import Metric
from lit_adaptconv.verdict.numbers import NONE, count
from lit_adaptconv.verdict.power import against_best
from lit_adaptconv.verdict.statistics import Array, spread
from lit_adaptconv.verdict.summaries import NEW_SEEDS, NEW_SEEDS_AND_IMAGES, Bounds, SummaryTable, interval_headings

ALPHA = 0.05
"""Error of all intervals of a sweep together."""
MOST_NAMED = 3
"""Networks of one kind that a sentence names."""
Place = Literal["best", "equivalent", "possible", "ruled out"]
"""The best in the test; surely within the margin of the best; perhaps the best; surely not the best."""


@dataclass(frozen=True)
class Network:
    """An arm at a budget, as its trials left it.

    Attributes:
        arm: Name of the arm.
        budget: Its budget, or None.
        parameters: Its trainable parameters.
        flops: FLOPs of a forward pass of one sample, or None where they are not known.
        ended: Trials that ended: done, failed or diverged.
        values: Test metric of those that are done.
        validated: Their mean in validation, or None.
        images: Variance of the mean of `values` that comes from the test images, and its degrees of freedom; None where
            the trials do not tell which images they got right.
        latency: Seconds of one image, the median; None where they were not measured.
    """

    arm: str
    budget: Limits | None
    parameters: int
    flops: int | None
    ended: int
    values: tuple[float, ...]
    validated: float | None
    images: tuple[float, float] | None = None
    latency: float | None = None

    @property
    def known(self) -> bool:
        """Whether enough seeds trained to judge it: two, and half of those that ended."""
        return len(self.values) > 1 and 2 * len(self.values) >= self.ended


@dataclass(frozen=True)
class Candidate:
    """A network that might be taken, beside the best of the others.

    Attributes:
        sweep: Name of its sweep; empty where several sweeps are pooled.
        data: What it was trained on; empty where several sweeps are pooled.
        arm: Name of the arm.
        budget: Its budget, or None.
        parameters: Its trainable parameters; None where several sweeps are pooled.
        flops: FLOPs of a forward pass of one sample, or None.
        latency: Seconds of one image, or None.
        n: Seeds that trained.
        ended: Seeds that ended: trained, failed or diverged.
        mean: Mean of the test metric.
        interval: Its interval for new seeds. The intervals of all candidates hold together.
        interval_images: The same for new seeds and new test images; without ends where the trials do not tell which
            images they got right.
        loss: How much worse its mean is than the best one's; 0 for the best.
        most_loss: How much worse than the best network it is at most. These bounds hold together too.
        place: Where that puts it.
    """

    sweep: str
    data: str
    arm: str
    budget: Limits | None
    parameters: int | None
    flops: int | None
    latency: float | None
    n: int
    ended: int
    mean: float
    interval: Bounds
    interval_images: Bounds
    loss: float
    most_loss: float
    place: Place


@dataclass(frozen=True)
class Choice:
    """Which network to take.

    Attributes:
        metric: What networks are judged by.
        margin: Difference of the metric that is as good as none; None if nobody said.
        sweeps: The candidates of each sweep, the best first.
        pooled: The arms that are candidates in all of several sweeps, the best first; else empty.
        unknown: A sentence on each network within the limits that could not be judged.
        checkpoints: Of the first network of each sweep, the weights of the seed that is best in validation; None where
            the sweep's folder does not hold them.
    """

    metric: Metric
    margin: float | None
    sweeps: tuple[tuple[Candidate, ...], ...]
    pooled: tuple[Candidate, ...]
    unknown: tuple[str, ...]
    checkpoints: tuple[Path | None, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """What to take: over all sweeps first, where they are pooled, then one a sweep."""
        parts = [part for part in (self.pooled, *self.sweeps) if part]
        return tuple(self._sentence(part) for part in parts)

    def _sentence(self, candidates: Sequence[Candidate]) -> str:
        best, *others = candidates
        metric = self.metric
        wide = best.interval_images.low is not None
        (low, high), covered = (best.interval_images, NEW_SEEDS_AND_IMAGES) if wide else (best.interval, NEW_SEEDS)
        seeds = (
            f"{best.n} seeds" if best.n == best.ended else f"{best.n} of {best.ended} seeds, the others did not train"
        )
        where = ""
        if best.parameters is None:
            where = f"over {len(self.sweeps)} sweeps together "
        elif len(self.sweeps) > 1:
            where = f"on {_title(best)} "
        size = "" if best.parameters is None else f", {best.parameters:,} parameters"
        size += "" if best.latency is None else f", {shown(best.latency)} an image"
        interval = "" if low is None else f", {metric.bare(low)} to {metric.shown(high)} {covered}"
        start = f"{where}take {best.arm}{size}: test {metric.name} {metric.shown(best.mean)}{interval} ({seeds})"
        return "; ".join([start[0].upper() + start[1:], *self._beside(others)]) + "."

    def _beside(self, others: Sequence[Candidate]) -> list[str]:
        """A clause on each kind of others, which names the first of them."""
        metric, clauses = self.metric, []
        if equal := [c for c in others if c.place == "equivalent"]:
            within = f"equivalent within {metric.margin(self.margin or 0.0)}"
            clauses.append(f"{_listed([_sized(c) for c in equal])} {'is' if len(equal) == 1 else 'are'} {within}")
        for place, ending in (("possible", "not ruled out: "), ("ruled out", "")):
            some = [c for c in others if c.place == place]
            losses = [
                f"{_sized(c)} loses {metric.gap(c.loss)}{metric.unit} (at most {metric.gap(c.most_loss)})" for c in some
            ]
            clauses += [ending + _listed(losses)] if some else []
        return clauses

    @property
    def table(self) -> SummaryTable:
        """The candidates that are not ruled out; of several sweeps, a row a data set and one for all together."""
        return self._several() if len(self.sweeps) > 1 else self._single(self.sweeps[0])

    def _single(self, candidates: Sequence[Candidate]) -> SummaryTable:
        metric = self.metric
        columns = ("Arm", *self._sizes(), "Seeds that trained", f"Test {metric.name}")
        columns += (*self._intervals(), "Loses", "At most", "Claim")
        rows = tuple(
            (c.arm, *self._facts(c), metric.gap(c.loss), metric.gap(c.most_loss), self._claim(c))
            for c in candidates
            if c.place != "ruled out"
        )
        return SummaryTable("Not ruled out", columns, rows)

    def _several(self) -> SummaryTable:
        metric = self.metric
        columns = ("Data", "Take", *self._sizes(), "Seeds that trained", f"Test {metric.name}")
        columns += (*self._intervals(), "Not ruled out beside it")
        rows = []
        for part in (*self.sweeps, self.pooled):
            if part:
                best, *others = part
                left = ", ".join(f"{c.arm} ({self._claim(c)})" for c in others if c.place != "ruled out")
                rows.append((_title(best), best.arm, *self._facts(best), left or "none"))
        return SummaryTable("What to take, a data set a row", columns, tuple(rows))

    def _facts(self, c: Candidate) -> tuple[str, ...]:
        intervals = (c.interval, c.interval_images)[: len(self._intervals())]
        means = (self.metric.shown(c.mean), *(" to ".join(map(self.metric.bare, each)) for each in intervals))
        latency = (NONE if c.latency is None else milliseconds(c.latency),) * self._timed
        return count(c.parameters), count(c.flops), *latency, f"{c.n} of {c.ended}", *means

    @property
    def _timed(self) -> bool:
        return any(c.latency is not None for part in self.sweeps for c in part)

    def _sizes(self) -> tuple[str, ...]:
        return ("Parameters", "FLOPs", *("Latency, ms",) * self._timed)

    def _intervals(self) -> tuple[str, ...]:
        """Headings of the intervals, which say what they cover."""
        images = any(c.interval_images.low is not None for part in (*self.sweeps, self.pooled) for c in part)
        return interval_headings(1 - ALPHA, images)

    def _claim(self, c: Candidate) -> str:
        if c.place == "equivalent":
            return f"within {self.metric.margin(self.margin or 0.0)}"
        return "not ruled out" if c.place == "possible" else c.place


def networks_of(results: pa.Table, metric: Metric, runtime: Runtime = "onnx") -> list[Network]:
    """The networks of a results table.

    Args:
        results: One row per trial, with the columns of `results.parquet`.
        metric: What they are judged by.
        runtime: Whose latency they have.
    """
    latency = f"{runtime}_latency"
    columns = ["arm", "parameters", "flops", "status", "test_metric", "val_metric"]
    columns += [name for name in (latency,) if name in results.column_names]
    columns += [name for name in COLUMNS if name in results.column_names]
    found: dict[tuple[str, Limits | None], list[dict[str, Any]]] = {}
    for row, budget in zip(results.select(columns).to_pylist(), budgets_of(results), strict=True):
        found.setdefault((row["arm"], budget), []).append(row)
    networks = []
    for (arm, budget), rows in found.items():
        done = [row for row in rows if row["status"] == "done"]

        def numbers(name: str, of: Sequence[dict[str, object]]) -> list[float]:
            return [float(v) for row in of if isinstance(v := row.get(name), (int, float)) and np.isfinite(v)]

        parameters, flops, validated = numbers("parameters", rows), numbers("flops", rows), numbers("val_metric", done)
        if parameters:
            networks.append(
                Network(
                    arm,
                    budget,
                    int(max(parameters)),
                    int(max(flops)) if flops else None,
                    sum(row["status"] in ("done", "failed", "diverged") for row in rows),
                    tuple(numbers("test_metric", done)),
                    metric.sign * float(np.mean(validated)) if validated else None,
                    _images(done),
                    max(numbers(latency, rows), default=None),
                )
            )
    return networks


def _images(done: Sequence[Mapping[str, Any]]) -> tuple[float, float] | None:
    rows = [row for row in done if row["test_metric"] is not None and np.isfinite(row["test_metric"])]
    bits, images, labels = COLUMNS
    shares = image_shares([(row.get(bits), row.get(images), row.get(labels), row["test_metric"]) for row in rows])
    return None if shares is None else (shares.variance, shares.freedom)


def choose(
    sweeps: Sequence[tuple[str, str, Sequence[Network]]],
    metric: Metric,
    *,
    at_most: int | None = None,
    flops: int | None = None,
    latency: float | None = None,
    margin: float | None = None,
) -> Choice:
    """Choose a network of each sweep and, of several sweeps, an arm for all.

    Each arm takes part with that network within the limits whose mean in validation is the best, so that the test only
    judges. Then the arms are compared with the best of the others by simultaneous intervals (see
    `verdict.power.against_best`), over the seeds. Pooled, a data set counts as much as any other.

    Args:
        sweeps: Name, data and networks of each.
        metric: What the networks are judged by.
        at_most: Most parameters that the network may have.
        flops: Most FLOPs of a forward pass of one sample that it may take.
        latency: Most seconds that one image may take.
        margin: Difference of the metric that is as good as none.

    Raises:
        UserError: A limit is out of range, a sweep has no trial or no network within the limits, or none of those can
            be judged.
    """
    for name, limit in (("at_most", at_most), ("flops", flops)):
        if limit is not None and limit < 1:
            raise UserError(f"{name} must be at least 1, got {limit}")
    if margin is not None and not 0 < margin < np.inf:
        raise UserError(f"margin must be above 0, got {metric.scale * margin:g}")
    parts: list[tuple[Candidate, ...]] = []
    unknown: list[str] = []
    taken: list[dict[str, Network]] = []
    for name, data, networks in sweeps:
        within = _within(name, networks, at_most, flops, latency)
        if latency is not None:
            untimed = [_named(network) for network in networks if network.latency is None]
            unknown += [f"{each} of {name} was left out: its latency is not known." for each in untimed]
        found: dict[str, Network] = {}
        for network in sorted(within, key=lambda n: n.parameters):
            if not network.known:
                unknown.append(f"{_named(network)} of {name} can't be judged: {_trained(network)}.")
            elif network.arm not in found or _better(network, found[network.arm]):
                found[network.arm] = network
        if not found:
            first = within[0]
            raise UserError(
                f"{name}: no network within the limits can be judged, which takes two seeds that trained and half of "
                f"all: of {_named(first)}, {_trained(first)}"
            )
        taken.append(found)
        means, sds, ns = (np.array(x) for x in zip(*(_moments(n) for n in found.values()), strict=True))
        own = [[network] for network in found.values()]
        parts.append(_judged(name, data, list(found.values()), metric, (means, sds, ns), margin, own))
    common = [arm for arm in taken[0] if all(arm in found for found in taken)] if len(taken) > 1 else []
    pooled: tuple[Candidate, ...] = ()
    if common:
        networks = [
            Network(arm, None, 0, None, sum(f[arm].ended for f in taken), sum((f[arm].values for f in taken), ()), None)
            for arm in common
        ]
        moments = [_pooled([_moments(found[arm]) for found in taken]) for arm in common]
        means, sds, ns = (np.array(x) for x in zip(*moments, strict=True))
        own = [[found[arm] for found in taken] for arm in common]
        pooled = _judged("", "", networks, metric, (means, sds, ns), margin, own)
    return Choice(metric, margin, tuple(parts), pooled, tuple(unknown))


def _within(
    name: str, networks: Sequence[Network], at_most: int | None, flops: int | None, latency: float | None
) -> list[Network]:
    if not networks:
        raise UserError(f"{name} has no trial yet")
    known = list(networks)
    if flops is not None and not (known := [n for n in known if n.flops is not None]):
        raise UserError(f"{name}: the FLOPs of its networks are not known; leave that limit out")
    if latency is not None and not (known := [n for n in known if n.latency is not None]):
        raise UserError(f"{name}: its networks have no latency in this runtime: `adaptconv latency` measures it")
    fitting = [
        n
        for n in known
        if (at_most is None or n.parameters <= at_most)
        and (flops is None or (n.flops or 0) <= flops)
        and (latency is None or (n.latency or 0) <= latency)
    ]
    if fitting:
        return fitting
    limits = [f"{limit:,} {what}" for limit, what in ((at_most, "parameters"), (flops, "FLOPs")) if limit is not None]
    limits += [] if latency is None else [f"{shown(latency)} an image"]
    few = min(known, key=lambda n: (n.parameters, n.flops or 0))
    smallest = f"the smallest is {_named(few)}"
    if flops is not None:
        cheap = min(known, key=lambda n: (n.flops or 0, n.parameters))
        smallest += f", the one of the fewest FLOPs {cheap.arm} with {cheap.flops:,}"
    if latency is not None:
        fast = min(known, key=lambda n: (n.latency or 0, n.parameters))
        smallest += f", the fastest {_named(fast)} and {shown(fast.latency or 0.0)}"
    raise UserError(f"{name} has no network of at most {' and '.join(limits)}: {smallest}")


def _named(network: Network) -> str:
    return f"{network.arm} with {network.parameters:,} parameters"


def _trained(network: Network) -> str:
    return f"{len(network.values)} of {network.ended} seeds trained"


def _better(network: Network, than: Network) -> bool:
    """Whether validation prefers it; where a network has none, the larger one, which comes later."""
    return network.validated is None or than.validated is None or network.validated > than.validated


def _moments(network: Network) -> tuple[float, float, float]:
    values = np.array(network.values)
    return float(values.mean()), float(spread(values[None])[0]), float(len(values))


def _pooled(moments: Sequence[tuple[float, float, float]]) -> tuple[float, float, float]:
    """Mean of several means, as that of one sample: with n − 1 by Welch and Satterthwaite, and the sd for that n."""
    mean = float(np.mean([m for m, _, _ in moments]))
    variances = np.array([sd**2 / n for _, sd, n in moments])
    freedoms = np.array([n - 1 for _, _, n in moments])
    total = float(variances.sum())
    freedom = total**2 / float((variances**2 / freedoms).sum()) if total else float(freedoms.sum())
    return mean, float(np.sqrt(total / len(moments) ** 2 * (freedom + 1))), freedom + 1


def _judged(
    name: str,
    data: str,
    networks: Sequence[Network],
    metric: Metric,
    moments: tuple[Array, Array, Array],
    margin: float | None,
    own: Sequence[Sequence[Network]],
) -> tuple[Candidate, ...]:
    """Judge networks by the moments of their means; `own` are the networks that each mean is of."""
    means, sds, ns = moments
    worth = metric.sign * means
    low, high = against_best(worth, sds, ns, ALPHA)
    reach = -special.stdtrit(ns - 1, ALPHA / 2 / len(means)) * sds / np.sqrt(ns)
    order = np.lexsort((np.array([n.parameters for n in networks]), -worth))
    best = int(order[0])
    made = []
    for i in map(int, order):
        network, most = networks[i], float(max(0.0, -low[i]))
        place: Place = "possible"
        if i == best:
            place = "best"
        elif margin is not None and most <= margin + 1e-12:
            place = "equivalent"
        elif high[i] <= 0 and worth[i] < worth[best]:
            place = "ruled out"
        interval = Bounds(float(means[i] - reach[i]), float(means[i] + reach[i])) if sds[i] > 0 else Bounds(None, None)
        wide = Bounds(None, None)
        if sds[i] > 0 and (sides := _reaches(own[i], ALPHA / 2 / len(means))) is not None:
            ends = widened(means[i], means[i] - reach[i], means[i] + reach[i], *sides)
            wide = Bounds(float(ends[0]), float(ends[1]))
        made.append(
            Candidate(
                name,
                data,
                network.arm,
                network.budget,
                network.parameters or None,
                network.flops,
                network.latency,
                len(network.values),
                network.ended,
                float(means[i]),
                interval,
                wide,
                float(worth[best] - worth[i]),
                most,
                place,
            )
        )
    return tuple(made)


def _reaches(networks: Sequence[Network], tail: float) -> tuple[Array, Array] | None:
    """How far the test images let the mean of some networks' means be; each was tested on images of its own."""
    known = [network.images for network in networks if network.images is not None]
    if len(known) < len(networks):
        return None
    means = np.array([np.mean(network.values) for network in networks])
    variances, freedoms = (np.array(x) for x in zip(*known, strict=True))
    down, up = (np.sqrt((side**2).sum()) / len(networks) for side in reaches(means, variances, freedoms, tail))
    return down, up


def _sized(candidate: Candidate) -> str:
    return candidate.arm + ("" if candidate.parameters is None else f" ({candidate.parameters:,} parameters)")


def _listed(parts: Sequence[str]) -> str:
    """The first parts, and how many more there are."""
    named = [*parts[:MOST_NAMED], *([f"{len(parts) - MOST_NAMED} more"] if len(parts) > MOST_NAMED else [])]
    return " and ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named)


def _title(candidate: Candidate) -> str:
    return f"{candidate.data} ({candidate.sweep})" if candidate.sweep else "all together"
