"""How often does a verdict claim what is not there, and how often does it find what is? Simulated sweeps of two arms.

    python -m benchmarks.simulation                 every case, 5,000 sweeps each: half an hour
    python -m benchmarks.simulation --sweeps 200    a quick look

**Worlds.** A sweep has an arm and a primary arm, at one or three budgets, n seeds each. Accuracy: standard deviation
0.33 points. Steps to a target: lognormal, the logarithm's standard deviation 0.12, trials of one seed correlated by
0.2. The noise is normal, skewed (gamma with shape 2), heavy-tailed (Student's t, 3 degrees of freedom), or normal with
one bad seed in ten (8 standard deviations worse). "Coarse" accuracies are multiples of 0.2 points; "coarse" steps have
five evaluations up to the median; "cut" is the share of trials that training ends before. Without an effect both arms
are drawn alike. With one: +0.5 points, or 15 % fewer steps.

**Procedures.** *Before*: paired sign-flip test, Holm over budgets, times cut off where a pair is incomplete. *Paired
t*, *Welch's t*, *permutation* (unpaired, of the difference of means; for steps the log-rank test): Holm over budgets.
*Verdict*: what `lit_adaptconv.verdict` claims by budget; *together*: what it claims over all budgets. *Any claim*, by
either, is its error.

**Coverage.** Share of the intervals that hold the true effect, each at the level of a single comparison (95 %); the
exact ones of a permutation test on a coarse grid, and those of few times, hold it more often.
"""

from __future__ import annotations

import argparse
import math
import zlib
from collections.abc import Iterator
from dataclasses import astuple, dataclass

import numpy as np
from scipy import special

from lit_adaptconv.verdict.evidence import paired, permuted, smallest_p
from lit_adaptconv.verdict.family import Judgement, Part, judge
from lit_adaptconv.verdict.speed import Times, compare_times
from lit_adaptconv.verdict.statistics import Array, log_ratios

ALPHA = 0.05
POINTS, POINTS_SD = 0.5, 0.33
RATIO, LOG_SD, CORRELATION = 0.85, 0.12, 0.2
NOISES = ("normal", "skewed", "heavy-tailed", "one bad seed in ten")
_WIDE = 5_000
_AT_ONCE = 500  # the permutations of more would not fit into the memory


@dataclass(frozen=True)
class Case:
    """A world.

    Attributes:
        measure: "accuracy" or "steps".
        noise: How seeds differ.
        n: Seeds.
        budgets: Budgets.
        coarse: Whether values are on a coarse grid.
        cut: Share of the trials that do not reach the target.
        effect: Whether there is an effect.
    """

    measure: str
    noise: str
    n: int
    budgets: int
    coarse: bool = False
    cut: float = 0.0
    effect: bool = False

    @property
    def name(self) -> str:
        """As the table shows it."""
        grid, cut = ", coarse" if self.coarse else "", f", {100 * self.cut:.0f} % cut" if self.cut else ""
        return f"{self.measure}, {self.noise}{grid}{cut}"


@dataclass(frozen=True)
class Rates:
    """Shares of the sweeps, or of the comparisons where there is an effect, in which each procedure makes a claim."""

    before: float
    paired_t: float
    welch_t: float
    permutation: float
    verdict: float
    together: float
    any_claim: float
    coverage: float


def simulate(case: Case, sweeps: int, seed: int = 0) -> Rates:
    """Run a case.

    Args:
        case: The world.
        sweeps: Number of sweeps.
        seed: Seed of the random numbers.
    """
    random = np.random.default_rng([seed, zlib.crc32(repr(case).encode())])
    one = _accuracy if case.measure == "accuracy" else _steps
    sizes = [min(_AT_ONCE, sweeps - start) for start in range(0, sweeps, _AT_ONCE)]
    found = [astuple(one(case, random, (size, case.budgets, case.n))) for size in sizes]
    return Rates(*np.average(found, axis=0, weights=sizes).tolist())


def _noise(case: Case, random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """With a standard deviation of 1, but for the bad seeds."""
    if case.noise == "skewed":
        return random.gamma(2, 1, shape) / np.sqrt(2) - np.sqrt(2)
    if case.noise == "heavy-tailed":
        return random.standard_t(3, shape) / np.sqrt(3)
    bad = 8.0 * (random.random(shape) < 0.1) if case.noise == "one bad seed in ten" else 0.0
    return random.normal(size=shape) + bad


def _accuracy(case: Case, random: np.random.Generator, shape: tuple[int, int, int]) -> Rates:
    true = POINTS if case.effect else 0.0
    x, y = (97 + effect - POINTS_SD * _noise(case, random, shape) for effect in (true, 0.0))
    if case.coarse:
        x, y = (np.round(v / 0.2) * 0.2 for v in (x, y))
    flat, others = x.reshape(-1, case.n), y.reshape(-1, case.n)
    evidence = permuted(flat, others)
    p = evidence.p(np.zeros(len(flat))).reshape(shape[:2])
    smallest = np.full((shape[0], 1, shape[1]), smallest_p(case.n))
    found = _judged([(evidence, np.arange(len(flat)))], shape, smallest)
    low, high = evidence.ends(np.full(len(flat), ALPHA / 2))
    return _rates(case, x - y, x, y, p, found, np.mean((low <= true + 1e-9) & (true - 1e-9 <= high)))


def _steps(case: Case, random: np.random.Generator, shape: tuple[int, int, int]) -> Rates:
    true = np.log(RATIO) if case.effect else 0.0

    def logs(size: tuple[int, ...], common: Array, effect: float = 0.0) -> Array:
        own = np.sqrt(1 - CORRELATION) * _noise(case, random, size)
        return 6 + effect + LOG_SD * (np.sqrt(CORRELATION) * common + own)

    usual = np.exp(logs((_WIDE,), random.normal(size=_WIDE)))
    common = random.normal(size=shape)
    x, y = np.exp(logs(shape, common, true)), np.exp(logs(shape, common))
    gap = np.median(usual) / (5 if case.coarse else 200)
    x, y = (gap * np.ceil(v / gap) for v in (x, y))
    end = gap * np.ceil(np.quantile(usual, 1 - case.cut) / gap) if case.cut else np.inf
    last = end if case.cut else 10 * max(x.max(), y.max())
    mine, theirs = (_times(v.reshape(-1, case.n), last, gap) for v in (x, y))
    speed = compare_times(mine, theirs)
    found = _judged(list(speed.parts), shape, speed.smallest.reshape(shape[0], 1, shape[1]))
    ratios, _ = log_ratios(mine.time, mine.end, theirs.time, theirs.end)
    covered = []
    for evidence, rows in speed.parts:
        low, high = evidence.ends(np.full(len(rows), ALPHA / 2))
        covered += list((low <= true + 1e-9) & (true - 1e-9 <= high))
    rank = _log_rank(x, y, last, random) if case.effect or case.n <= 10 else np.full(shape[:2], np.nan)
    a, b = (np.log(np.minimum(v, last + gap)) for v in (x, y))
    return _rates(case, ratios.reshape(shape), a, b, rank, found, float(np.mean(covered)))


def _times(steps: Array, end: float, gap: float) -> Times:
    reached = steps <= end * (1 + 1e-9)
    time = np.where(reached, steps, np.inf)
    before = np.where(reached, np.maximum(steps - gap, 0), 0.0)
    return Times(time, before, np.full(steps.shape, end))


def _judged(parts: list[Part], shape: tuple[int, int, int], smallest: Array) -> Judgement:
    return judge(parts, (shape[0], 1, shape[1]), smallest, ALPHA, np.full(shape[0], 1e-9))


def _rates(
    case: Case, differences: Array, x: Array, y: Array, permutation: Array, found: Judgement, coverage: float
) -> Rates:
    shape = x.shape[:2]
    flat = differences.reshape(-1, case.n)
    welch = _welch(x, y)
    ps = (_sign_flips(flat).reshape(shape), paired(flat).p(np.zeros(len(flat))).reshape(shape), welch, permutation)
    rates = [_claimed(p, case.effect) for p in ps]
    mine = np.nan_to_num(found.budgets.adjusted[:, 0], nan=1.0) <= ALPHA + 1e-9
    over = np.nan_to_num(found.together.adjusted[:, 0], nan=1.0) <= ALPHA + 1e-9
    verdict = mine.mean() if case.effect else mine.any(1).mean()
    either = (mine.any(1) | over).mean()
    return Rates(*rates, float(verdict), float(over.mean()), float(either), float(coverage))


def _claimed(p: Array, effect: bool) -> float:
    """Share of sweeps with a claim after Holm's correction, or of the comparisons where there is an effect."""
    if np.isnan(p).all():
        return math.nan
    p = np.nan_to_num(p, nan=1.0)
    order = np.sort(p, 1) * (p.shape[1] - np.arange(p.shape[1]))
    claimed = np.maximum.accumulate(order, 1) <= ALPHA + 1e-12
    return float(claimed.mean() if effect else claimed.any(1).mean())


def _welch(x: Array, y: Array) -> Array:
    """Two-sided p of Welch's t test."""
    a, b = (v.var(2, ddof=1) / v.shape[2] for v in (x, y))
    with np.errstate(invalid="ignore", divide="ignore"):
        t = (x.mean(2) - y.mean(2)) / np.sqrt(a + b)
        freedom = (a + b) ** 2 * (x.shape[2] - 1) / (a**2 + b**2)
    return np.asarray(2 * special.stdtr(freedom, -np.abs(t)))


def _sign_flips(differences: Array) -> Array:
    """Two-sided p of the sign-flip test; up to ten pairs exact, beyond from 4,999 flips."""
    n = differences.shape[1]
    if n <= 10:
        signs = 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    else:
        flips = np.random.default_rng(0).random((4_999, n)) < 0.5
        signs = np.concatenate([np.ones((1, n)), np.where(flips, -1.0, 1.0)])
    p = np.empty(len(differences))
    for start in range(0, len(differences), 500):
        block = differences[start : start + 500]
        observed = np.abs(block.sum(1)) * (1 - 1e-12) - 1e-15
        p[start : start + 500] = (np.abs(block @ signs.T) >= observed[:, None]).mean(1)
    return p


def _log_rank(x: Array, y: Array, end: float, random: np.random.Generator, permutations: int = 999) -> Array:
    """Two-sided p of the permutation log-rank test."""
    n = x.shape[2]
    both = np.concatenate([x, y], 2).reshape(-1, 2 * n)
    event = both <= end * (1 + 1e-9)
    both = np.minimum(both, end * 1.001)
    # The log-rank statistic is a sum of scores: 1 for an event, less the cumulative hazard at its time.
    at_risk = (both[:, None, :] >= both[:, :, None] - 1e-9).sum(2)
    hazard = np.where(event, 1 / at_risk, 0.0)
    scores = event - ((both[:, None, :] <= both[:, :, None] + 1e-9) * hazard[:, None, :]).sum(2)
    first = np.concatenate([np.arange(2 * n)[None] < n, random.random((permutations, 2 * n)).argsort(1) < n])
    statistic = np.abs((scores - scores.mean(1, keepdims=True)) @ first.T.astype(np.float64))
    return (statistic >= statistic[:, :1] - 1e-9).mean(1).reshape(x.shape[:2])


def nulls() -> Iterator[Case]:
    """The worlds without an effect."""
    for n in (5, 7, 10, 20):
        for budgets in (1, 3):
            for noise in NOISES:
                yield Case("accuracy", noise, n, budgets)
            yield Case("accuracy", "normal", n, budgets, coarse=True)
            for noise in NOISES:
                yield Case("steps", noise, n, budgets)
            for cut in (0.1, 0.3, 0.6):
                yield Case("steps", "normal", n, budgets, cut=cut)
                yield Case("steps", "skewed", n, budgets, coarse=True, cut=cut)
            yield Case("steps", "normal", n, budgets, coarse=True)


def alternatives() -> Iterator[Case]:
    """The worlds with one."""
    for n in (7, 10):
        for budgets in (1, 3):
            yield Case("accuracy", "normal", n, budgets, effect=True)
            yield Case("steps", "normal", n, budgets, effect=True)
            yield Case("steps", "normal", n, budgets, cut=0.3, effect=True)


def row(case: Case, rates: Rates) -> str:
    """A row of the table."""
    ps = (rates.before, rates.paired_t, rates.welch_t, rates.permutation, rates.verdict, rates.together)
    shown = ["–" if np.isnan(p) or (i == 5 and case.budgets == 1) else f"{100 * p:.1f}" for i, p in enumerate(ps)]
    last = "–" if case.effect else f"{100 * rates.any_claim:.1f}"
    return f"| {case.name} | {case.n} | {case.budgets} | {' | '.join(shown)} | {last} | {100 * rates.coverage:.1f} |"


HEAD = (
    "| world | n | budgets | before | paired t | Welch's t | permutation | verdict | together | any claim | "
    "coverage |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)


def main() -> None:
    """Run all cases."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulation", description="Simulate sweeps.")
    parser.add_argument("--sweeps", type=int, default=5_000)
    sweeps = parser.parse_args().sweeps
    for title, cases in (("With an effect: power", alternatives()), ("Without an effect: error", nulls())):
        print(f"\n{title}, in percent ({sweeps:,} sweeps)\n\n{HEAD}")
        for case in cases:
            print(row(case, simulate(case, sweeps)), flush=True)


if __name__ == "__main__":
    main()
