"""How often do intervals for new seeds and images hold the truth? Simulated tests of two arms on the same images.

    python -m benchmarks.image_simulation                 every case: some minutes
    python -m benchmarks.image_simulation --sweeps 100    a quick look

**Worlds.** A network finds an image's label where the sum of three normal numbers is below a limit: one of the seed
(standard deviation 0.1), one of the image, alike for both arms but for a tenth of its variance, and one of chance
(standard deviation 1). How far images differ, the standard deviation of theirs, says how many
errors the seeds have in common: 0 none but by chance, 1 some, 3 most. The arm may be more accurate than the primary
arm by a fifth of its errors.

**Coverage.** Share of the 95 % intervals that hold what seeds and images without end would show: of an arm's mean, for
new seeds alone and for both; and of the difference of two arms for both, at the level of a single comparison.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from lit_adaptconv.verdict.evidence import permuted
from lit_adaptconv.verdict.images import ImageShares, difference_variance, image_shares, reaches, widened
from lit_adaptconv.verdict.statistics import Array, student_interval

TAIL = 0.025
SEED_SD = 0.1
IN_COMMON = 0.9


@dataclass(frozen=True)
class Case:
    """A world: the primary arm's accuracy, the images of the test, the seeds, how far images differ, and the effect."""

    accuracy: float
    images: int
    seeds: int
    differ: float
    effect: bool = False


@dataclass(frozen=True)
class Coverage:
    """Share of the intervals that hold the truth."""

    mean_seeds: float
    mean_both: float
    difference_both: float


def simulate(case: Case, sweeps: int, seed: int = 0) -> Coverage:
    """Run a case.

    Args:
        case: The world.
        sweeps: Number of sweeps.
        seed: Seed of the random numbers.
    """
    random = np.random.default_rng([seed, zlib.crc32(repr(case).encode())])
    true = np.array([case.accuracy + (0.2 * (1 - case.accuracy) if case.effect else 0.0), case.accuracy])
    values, variances = np.empty((2, sweeps, case.seeds)), np.empty((2, sweeps))
    freedoms = np.empty(sweeps)
    for sweep in range(sweeps):
        arms = [_tested(bits) for bits in _draw(case, true, random)]
        for arm, (of, _) in enumerate(arms):
            values[arm, sweep] = of
        shares = [each for _, each in arms]
        variances[0, sweep], freedoms[sweep] = shares[0].variance, shares[0].freedom
        variances[1, sweep] = difference_variance(*shares)
    mean = values[0].mean(1)
    low, high = (np.where(np.isfinite(x), x, mean) for x in student_interval(values[0]))
    wide = widened(mean, low, high, *reaches(mean, variances[0], freedoms, TAIL))
    evidence = permuted(values[0], values[1])
    ends = evidence.ends(np.full(sweeps, TAIL))
    reach = -special.ndtri(TAIL) * np.sqrt(variances[1])
    between = widened(evidence.estimate, *ends, reach, reach)

    def held(low: Array, high: Array, truth: float) -> float:
        return float(np.mean((low <= truth + 1e-12) & (truth - 1e-12 <= high)))

    return Coverage(held(low, high, true[0]), held(*wide, true[0]), held(*between, true[0] - true[1]))


def _draw(case: Case, true: Array, random: np.random.Generator) -> Iterator[Array]:
    """Which images each seed of each arm gets right, shape `(seeds, images)`."""
    limits = stats.norm.ppf(true) * np.sqrt(1 + case.differ**2 + SEED_SD**2)
    common = random.standard_normal(case.images, dtype=np.float32)
    for limit in limits:
        own = random.standard_normal(case.images, dtype=np.float32)
        image = case.differ * (np.sqrt(IN_COMMON) * common + np.sqrt(1 - IN_COMMON) * own)
        of_seed = SEED_SD * random.standard_normal((case.seeds, 1), dtype=np.float32)
        chance = random.standard_normal((case.seeds, case.images), dtype=np.float32)
        yield chance + of_seed + image < limit


def _tested(right: Array) -> tuple[Array, ImageShares]:
    """What the trials of an arm leave."""
    values = right.mean(1)
    shares = image_shares([(np.packbits(row).tobytes(), len(row), "", float(row.mean())) for row in right])
    assert shares is not None
    return values, shares


def cases() -> Iterator[Case]:
    """All worlds."""
    for accuracy in (0.9, 0.99):
        for images in (300, 1_000, 10_000):
            for seeds in (5, 10, 20):
                for differ in (0.0, 1.0, 3.0):
                    yield from (Case(accuracy, images, seeds, differ, effect) for effect in (False, True))


def main() -> None:
    """Run all cases."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.image_simulation", description="Simulate tests.")
    parser.add_argument("--sweeps", type=int, default=1_000)
    sweeps = parser.parse_args().sweeps
    print("| accuracy | images | seeds | images differ | mean, new seeds | mean, both | difference, both |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    found: dict[tuple[float, int, int, float], list[Coverage]] = {}
    for case in cases():
        key = (case.accuracy, case.images, case.seeds, case.differ)
        found.setdefault(key, []).append(simulate(case, sweeps))
        if case.effect:
            mean = [100 * np.mean([getattr(c, name) for c in found[key]]) for name in ("mean_seeds", "mean_both")]
            differences = " and ".join(f"{100 * c.difference_both:.1f}" for c in found[key])
            shown = (f"{100 * case.accuracy:g} %", f"{case.images:,}", str(case.seeds), f"{case.differ:g}")
            print(f"| {' | '.join(shown)} | {mean[0]:.1f} | {mean[1]:.1f} | {differences} |", flush=True)


if __name__ == "__main__":
    main()
