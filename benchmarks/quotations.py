"""Single numbers of a finished sweep, in words that a sentence can quote."""

from __future__ import annotations

import re

import numpy as np

from benchmarks.lookup import Lookup
from lit_adaptconv.verdict.evidence import permuted
from lit_adaptconv.verdict.metric import Metric
from lit_adaptconv.verdict.numbers import NONE, p_value
from lit_adaptconv.verdict.summaries import Comparison, Measure


class Numbers(Lookup):
    """A sweep's numbers, by arm and budget as a document writes them."""

    def accuracy(self, arm: str, budget: str) -> str:
        """Mean test accuracy ± standard deviation of the finished networks, and how many diverged."""
        found = self._accuracy(arm, budget)
        assert found.mean is not None
        spread = "" if found.sd is None else f" ± {self._metric.gap(found.sd)}"
        diverged = f" ({found.at.n - found.n} of {found.at.n} diverged)" if found.n < found.at.n else ""
        return f"{self._metric.shown(found.mean)}{spread}{diverged}"

    def mean(self, arm: str, budget: str) -> str:
        """Mean test accuracy with its interval."""
        found = self._accuracy(arm, budget)
        if found.mean is None or found.interval is None:
            raise KeyError(f"{arm} has too few finished trials at {budget} for an interval")
        interval = " to ".join(map(self._metric.bare, found.interval))
        return f"{self._metric.shown(found.mean)} ({interval}, n = {found.n})"

    def parameters(self, arm: str, budget: str) -> str:
        """Trainable parameters."""
        return f"{self._accuracy(arm, budget).at.parameters:,}"

    def flops(self, arm: str, budget: str) -> str:
        """FLOPs of a forward pass of one image."""
        return f"{self._accuracy(arm, budget).at.flops:,}"

    def median(self, arm: str, budget: str, target: str, measure: Measure = "steps") -> str:
        """What half of the seeds took to reach a validation accuracy."""
        found = self._convergence(arm, budget, target, measure).median
        return NONE if found is None else f"{found:,.0f}"

    def number(self, fact: str, *words: str) -> str:
        """The number of another fact, such as `accuracy`, without what supports it."""
        return re.split(r" [±(]", str(getattr(self, fact)(*words)))[0]

    def choosing(self, arm: str, budget: str) -> str:
        """What the best of all evaluations has more than the last, in validation: the worth of choosing it there."""
        rows = self._content.results.select(["trial", "arm", "budget", "status"]).to_pylist()
        mine = [
            row["trial"] for row in rows if (row["arm"], str(row["budget"]), row["status"]) == (arm, budget, "done")
        ]
        curves = self._content.curves.to_pandas().sort_values("step").groupby("trial")["val_metric"]
        gains = (curves.max() - curves.last()).loc[mine]
        return f"{self._metric.difference(gains.mean())}{self._metric.unit} ± {self._metric.gap(gains.std())}"

    def share(self, arm: str, budget: str, target: str) -> str:
        """How many of the seeds reach a target in the test; one that diverged does not."""
        reached = [self._metric.reaches(value, float(target)) for value in self._tested(arm, budget)]
        return f"{sum(reached)} of {self._accuracy(arm, budget).at.n}"

    def speed(self, arm: str, budget: str, target: str, measure: Measure, against: str = "") -> str:
        """Ratio to the primary arm's, or that of the arm `against`, with its evidence."""
        return _evidence(self._comparison(arm, budget, measure, float(target), against))

    def difference(self, arm: str, budget: str, against: str = "") -> str:
        """Difference of test accuracy to the primary arm, or the arm `against`, with its evidence."""
        return _evidence(self._comparison(arm, budget, self._metric, None, against))

    def across(self, arm: str, budget: str, other: str, other_budget: str) -> str:
        """Difference of test accuracy between two arms at two budgets, with interval, n and p."""
        samples = [x[np.isfinite(x)] for x in (self._tested(arm, budget), self._tested(other, other_budget))]
        evidence = permuted(samples[0][None], samples[1][None])
        low, high = (float(end[0]) for end in evidence.ends(np.array([0.025])))
        p = float(evidence.p(np.zeros(1))[0])
        interval = f"{self._metric.difference(low)} to {self._metric.difference(high)}, " if np.isfinite(low) else ""
        n = " and ".join(dict.fromkeys(str(len(x)) for x in samples))
        mean = self._metric.difference(float(evidence.estimate[0]))
        return f"{mean}{self._metric.unit} ({interval}n = {n}, p = {p_value(p)})"


def _evidence(c: Comparison) -> str:
    if c.p is None:
        return NONE if not c.n_cut else "not reached"
    unit = c.measure.unit if isinstance(c.measure, Metric) else ""
    known = f"{c.interval_text}, " if c.interval_text != NONE else ""
    cut = f", {c.n_cut} cut off" if c.n_cut else ""
    return f"{c.estimate_text}{unit} ({known}n = {c.n_text}{cut}, p = {c.p_text}; {c.answer})"
