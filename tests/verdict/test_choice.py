"""Which network to take: within the limits, the best, and never ruled out without evidence."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lit_adaptconv.errors import UserError
from lit_adaptconv.verdict.choice import Choice, Network, choose
from lit_adaptconv.verdict.metric import ACCURACY, Metric

RMSE = Metric("val/rmse", "min", "test/rmse")


def network(
    arm: str,
    parameters: int,
    values: list[float],
    ended: int | None = None,
    sign: float = 1.0,
    latency: float | None = None,
) -> Network:
    validated = sign * float(np.mean(values)) if values else None
    ended = len(values) if ended is None else ended
    return Network(arm, parameters, parameters, 100 * parameters, ended, tuple(values), validated, latency=latency)


def made_up(random: np.random.Generator) -> list[Network]:
    networks = []
    for arm in [f"arm {k}" for k in range(random.integers(1, 6))]:
        for parameters in random.choice(np.arange(100, 5000), random.integers(1, 5), False):
            mean, n = random.uniform(0.9, 0.99), int(random.integers(0, 9))
            values = np.round(random.normal(mean, random.choice([0.0, 0.002, 0.02]), n), random.choice([2, 6]))
            latency = None if random.random() < 0.2 else float(random.choice([1e-4, 1e-3, 2e-3, 0.1]))
            ended = n + int(random.integers(0, 4))
            networks.append(network(arm, int(parameters), values.tolist(), ended, latency=latency))
    return networks


@pytest.mark.parametrize("seed", range(200))
@pytest.mark.parametrize("metric", [ACCURACY, RMSE], ids=["accuracy", "rmse"])
def test_what_is_taken_is_within_the_limits_and_the_best_of_them(seed: int, metric: Metric) -> None:
    random = np.random.default_rng(seed)
    networks = made_up(random)
    at_most, flops = int(random.integers(100, 6000)), int(random.integers(10_000, 600_000))
    most = None if seed % 2 else float(random.choice([1e-3, 2e-3, 1.0]))  # 1e-3 and 2e-3 are latencies, too
    fitting = [n for n in networks if n.parameters <= at_most and (n.flops or 0) <= flops]
    fitting = [n for n in fitting if most is None or (n.latency is not None and n.latency <= most)]
    try:
        choice = choose([("a", "Digits", networks)], metric, at_most=at_most, flops=flops, latency=most, margin=0.01)
    except UserError:
        assert not any(n.known for n in fitting)
        return
    (candidates,) = choice.sweeps
    assert {c.arm for c in candidates} == {n.arm for n in fitting if n.known}
    for c in candidates:
        (mine,) = [n for n in fitting if n.known and (n.arm, n.parameters) == (c.arm, c.parameters)]
        rivals = [n.validated for n in fitting if n.known and n.arm == c.arm]
        assert mine.validated == max(v for v in rivals if v is not None)
        assert c.mean == pytest.approx(np.mean(mine.values))
        assert (c.n, c.ended, c.latency) == (len(mine.values), mine.ended, mine.latency)
        assert 0 <= c.loss <= c.most_loss + 1e-12 or c.place == "best"
        assert (c.place != "equivalent") or c.most_loss <= 0.01 + 1e-9
    best = candidates[0]
    assert [c.place for c in candidates].count("best") == 1
    assert best.place == "best"
    assert best.loss == 0
    assert all(metric.sign * c.mean <= metric.sign * best.mean for c in candidates)
    shown = [row[0] for row in choice.table.rows]
    assert shown == [c.arm for c in candidates if c.place != "ruled out"]
    assert choice.sentences[0].startswith(f"Take {best.arm}, {best.parameters:,} parameters")
    assert (candidates == choose([("a", "Digits", fitting)], metric, margin=0.01).sweeps[0]) is True


def test_the_interval_is_students_for_all_arms_together() -> None:
    values = {arm: np.random.default_rng(k).normal(0.9, 0.01, 6) for k, arm in enumerate("abc")}
    (candidates,) = choose([("x", "y", [network(arm, 10, v.tolist()) for arm, v in values.items()])], ACCURACY).sweeps
    for c in candidates:
        of = values[c.arm]
        theirs = stats.t.interval(1 - 0.05 / 3, len(of) - 1, of.mean(), stats.sem(of))
        assert c.interval == pytest.approx(theirs)


def test_the_best_is_ruled_out_seldom_and_the_worse_often() -> None:
    random, missed, found = np.random.default_rng(1), 0, 0
    for _ in range(500):
        networks = [
            network(arm, 10, random.normal(mean, 0.003, 8).tolist()) for arm, mean in (("a", 0.99), ("b", 0.98))
        ]
        places = {c.arm: c.place for c in choose([("x", "y", networks)], ACCURACY).sweeps[0]}
        missed += places["a"] == "ruled out"
        found += places["b"] == "ruled out"
    assert missed <= 25
    assert found >= 490


def test_pooled_sweeps_find_what_each_alone_does_not() -> None:
    random = np.random.default_rng(2)

    def sweep(name: str, level: float) -> tuple[str, str, list[Network]]:
        arms = (("a", 0.006), ("b", 0.0), ("only " + name, 0.0))
        return name, name, [network(arm, 10, random.normal(level + more, 0.005, 6).tolist()) for arm, more in arms]

    choice = choose([sweep(str(k), 0.7 + k / 50) for k in range(8)], ACCURACY, margin=0.002)
    assert {c.arm for c in choice.pooled} == {"a", "b"}
    assert [c.place for c in choice.pooled] == ["best", "ruled out"]
    assert any(c.arm == "b" and c.place != "ruled out" for part in choice.sweeps for c in part)
    means = [[c.mean for part in choice.sweeps for c in part if c.arm == arm] for arm in ("a", "b")]
    assert choice.pooled[1].loss == pytest.approx(np.mean(means[0]) - np.mean(means[1]))
    assert len(choice.table.rows) == 9
    assert choice.sentences[0].startswith("Over 8 sweeps together take a: ")
    assert len(choice.sentences) == 9


def test_one_sweep_pooled_is_that_sweep() -> None:
    networks = [network(arm, 10, np.random.default_rng(k).normal(0.9, 0.01, 6).tolist()) for k, arm in enumerate("ab")]
    twice = choose([("x", "y", networks), ("z", "y", networks)], ACCURACY)
    for alone, pooled in zip(twice.sweeps[0], twice.pooled, strict=True):
        assert pooled.mean == pytest.approx(alone.mean)
        assert pooled.n == 2 * alone.n
        assert pooled.most_loss <= alone.most_loss


def test_a_network_whose_seeds_seldom_train_is_not_taken_but_told() -> None:
    networks = [network("shaky", 10, [0.99, 0.99], 10), network("sure", 10, [0.9, 0.91, 0.9], 4)]
    choice = choose([("x", "y", networks)], ACCURACY)
    assert [c.arm for c in choice.sweeps[0]] == ["sure"]
    assert "3 of 4 seeds, the others did not train" in choice.sentences[0]
    assert choice.unknown == ("shaky with 10 parameters of x can't be judged: 2 of 10 seeds trained.",)


def test_equal_networks_are_equivalent_and_the_smaller_is_taken() -> None:
    networks = [network(arm, size, [0.9, 0.9, 0.9]) for arm, size in (("large", 20), ("small", 10))]
    first, second = choose([("x", "y", networks)], ACCURACY, margin=0.002).sweeps[0]
    assert (first.arm, first.place, second.place) == ("small", "best", "equivalent")
    assert [c.place for c in choose([("x", "y", networks)], ACCURACY).sweeps[0]] == ["best", "possible"]


def fails(networks: list[Network], **limits: float | None) -> str:
    with pytest.raises(UserError) as told:
        choose([("x", "y", networks)], ACCURACY, **limits)  # type: ignore[arg-type]
    assert "\n" not in str(told.value)
    return str(told.value)


def test_what_cannot_be_chosen_is_told() -> None:
    networks = [network("a", 700, [0.9, 0.9]), network("b", 600, [0.9, 0.9])]
    assert fails([]) == "x has no trial yet"
    assert fails(networks, at_most=500) == (
        "x has no network of at most 500 parameters: the smallest is b with 600 parameters"
    )
    assert "the one of the fewest FLOPs b with 60,000" in fails(networks, flops=10)
    assert "can be judged" in fails([network("a", 700, [0.9])])
    assert fails(networks, at_most=0) == "at_most must be at least 1, got 0"
    assert fails(networks, margin=float("nan")).startswith("margin must be above 0")
    unknown = [Network("a", None, 10, None, 2, (0.9, 0.9), None)]
    assert "the FLOPs of its networks are not known" in fails(unknown, flops=10)
    assert isinstance(choose([("x", "y", unknown)], ACCURACY), Choice)
