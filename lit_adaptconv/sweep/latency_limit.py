"""Networks within a plan's limit on latency: the width is chosen once, by bisection on the measured time."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lit_adaptconv.errors import UserError
from lit_adaptconv.export.latency import Timed, measure_latency
from lit_adaptconv.export.onnx import check_onnx
from lit_adaptconv.files import read_text, write_text
from lit_adaptconv.measure.budget import Budget, Limits
from lit_adaptconv.measure.latency import RUNTIMES, shown
from lit_adaptconv.measure.timing import Spread
from lit_adaptconv.records import record
from lit_adaptconv.sweep.plan import ArmBudget, LatencyLimit
from lit_adaptconv.sweep.sizing import Network, NetworkSize
from lit_adaptconv.train.loading import Trained
from lit_adaptconv.verdict.budget_share import budget_share

WIDTHS = "widths.json"
CLOSE = 0.02
"""Bisection ends where the networks on both sides of the limit differ by less, as a share of what a budget limits."""
MOST_TRIED = 12
"""Networks that are timed for an arm at a budget."""

Time = Callable[[NetworkSize], Spread]


@dataclass(frozen=True)
class LimitedSize:
    """The network of an arm at a budget.

    Attributes:
        arm: Name of the arm.
        budget: Its budget, or None.
        size: The widest network within budget and limit.
        latency: Seconds of one image; None where there is no network.
        widest: The widest network within the budget alone, by which an arm that has changed since is known; None in
            files of earlier versions.
    """

    arm: str
    budget: Limits | None
    size: NetworkSize
    latency: Spread | None
    widest: NetworkSize | None = None


@dataclass(frozen=True)
class LimitedSizes:
    """What was chosen, and on what the times were measured.

    Attributes:
        limit: The limit.
        device: The device.
        sizes: One an arm and budget.
    """

    limit: LatencyLimit
    device: str
    sizes: tuple[LimitedSize, ...]

    def at(self, at: ArmBudget) -> LimitedSize | None:
        """The network of an arm at a budget."""
        return next((one for one in self.sizes if (one.arm, one.budget) == at), None)

    def write(self, folder: Path) -> None:
        """Write them into a sweep's folder."""
        write_text(folder / WIDTHS, json.dumps(asdict(self), indent=2) + "\n")


def read_limited(folder: Path) -> LimitedSizes | None:
    """Read those of a sweep's folder; None where there are none.

    Raises:
        UserError: They can't be read: to choose the widths again would start other trials.
    """
    path = folder / WIDTHS
    try:
        return record(LimitedSizes, json.loads(read_text(path)))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} can't be read: {error}") from None


def within_limit(
    limit: LatencyLimit,
    networks: Mapping[str, Network],
    sizes: Mapping[ArmBudget, NetworkSize],
    before: LimitedSizes | None = None,
) -> LimitedSizes:
    """Choose the networks, but for those that were chosen before under the same limit for the same arm.

    Args:
        limit: The limit.
        networks: What each arm trains.
        sizes: The widest network of each arm within each budget.
        before: What the sweep's folder holds.

    Raises:
        UserError: onnxruntime is not installed, or no network of any arm meets the limit.
    """
    known = before if before is not None and before.limit == limit else None
    device, found = "" if known is None else known.device, []
    for at, size in sizes.items():
        chosen = None if known is None else known.at(at)
        if chosen is None or chosen.widest not in (None, size):
            if limit.runtime == "onnx":
                check_onnx()
            time = _Timer(limit, at.arm, networks[at.arm])
            chosen = replace(_chosen(limit, at, size, networks[at.arm], time), widest=size)
            device = device or time.device
        found.append(chosen)
    if all(one.size.impossible for one in found) and not all(size.impossible for size in sizes.values()):
        raise UserError(f"latency: {'; '.join(dict.fromkeys(str(one.size.impossible) for one in found))}")
    return LimitedSizes(limit, device, tuple(found))


class _Timer:
    """Times networks of an arm, each once."""

    def __init__(self, limit: LatencyLimit, arm: str, network: Network) -> None:
        self._limit, self._arm, self._network = limit, arm, network
        self.device = ""

    def __call__(self, size: NetworkSize) -> Spread:
        trained = Trained(self._network.build(size.settings).eval(), None, None, {})
        timed = Timed(trained.network, trained.image_shape, self._arm, None, "", size.parameters)
        in_torch = self._limit.runtime == "torch"
        measured = measure_latency(
            [timed], batch_size=1, threads=self._limit.threads, torch_only=in_torch, memory=False
        )
        (one,) = measured.networks
        self.device = measured.device
        if (runtime := one.of(self._limit.runtime)) is None:
            raise UserError(one.reason)
        return runtime.image


def _chosen(limit: LatencyLimit, at: ArmBudget, widest: NetworkSize, network: Network, time: Time) -> LimitedSize:
    """The widest network within the limit: by bisection on the share of its budget that it may have, of each limit."""
    if widest.impossible is not None:
        return LimitedSize(*at, widest, None)
    budget = Budget.of(widest.parameters if at.budget is None else at.budget)
    try:
        latency = time(widest)
        if latency.median <= limit.seconds:
            return LimitedSize(*at, widest, latency)
        best: tuple[NetworkSize, Spread] | None = None
        fastest = (widest, latency)
        low, high, least = 0.0, _share(budget, widest), 1 / max(budget.limits.values())
        for _ in range(MOST_TRIED):
            if high - low <= max(least, CLOSE * high):
                break
            middle = math.sqrt(low * high) if low else high / 4
            size = network.size(budget.scaled(middle))
            share = _share(budget, size)
            if share <= low:  # there is none between, or none so small
                low = middle
                continue
            latency = time(size)
            fastest = min(fastest, (size, latency), key=lambda each: each[1].median)
            if latency.median <= limit.seconds:
                best, low = (size, latency), max(middle, share)
            else:
                high = share
    except UserError as error:
        return LimitedSize(*at, NetworkSize(impossible=str(error)), None)
    if best is not None:
        return LimitedSize(*at, *best)
    smallest, latency = fastest
    said = (
        f"no network of {at.arm} takes at most {shown(limit.seconds)} an image in {RUNTIMES[limit.runtime]}: the "
        f"fastest that was tried, of {smallest.parameters:,} parameters, takes {shown(latency.median)}"
    )
    return LimitedSize(*at, NetworkSize(impossible=said), None)


def _share(budget: Budget, size: NetworkSize) -> float:
    """How much of a budget a network uses; 0 where there is none."""
    return budget_share(budget, size.sizes) or 0.0
