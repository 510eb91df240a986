import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lit_adaptconv.errors import UserError
from lit_adaptconv.verdict.metric import ACCURACY, Metric
from lit_adaptconv.verdict.observations import observe
from lit_adaptconv.verdict.question import Question
from lit_adaptconv.verdict.summaries import Comparison
from lit_adaptconv.verdict.verdict import Verdict, summarise

STEPS_PER_EPOCH = 100
Row = dict[str, Any]


def trial(
    arm: str,
    pair: int | None,
    steps: float | None,
    accuracy: float | None = 0.97,
    *,
    budget: int | None = 1000,
    total: int | None = 1000,
    status: str = "done",
    flops_per_step: int = 10,
    target: float = 0.98,
) -> Row:
    """A row of the results: what a trial took to the target, None if it did not reach it."""
    measured = {"steps": 1.0, "epochs": 1 / STEPS_PER_EPOCH, "flops": flops_per_step, "seconds": 0.01}
    row: Row = {"trial": f"{arm}-{budget}-{pair}", "sweep": "test", "arm": arm, "kind": arm, "budget": budget}
    row |= {"parameters": (budget or 500) - 5, "flops": 7, "seed": pair, "pair": pair, "status": status, "reason": None}
    row |= {"val_metric": accuracy, "best_val_metric": accuracy, "test_metric": accuracy}
    ends = {"steps": "steps", "epochs": "epochs", "flops": "training_flops", "seconds": "training_seconds"}
    row |= {ends[m]: None if total is None else total * unit for m, unit in measured.items()}
    return row | {f"{m}_to_{target:g}": None if steps is None else steps * unit for m, unit in measured.items()}


def pairs(standard: list[float | None], adaptive: list[float | None], **options: Any) -> list[Row]:
    rows = [trial("standard", i, s, **options) for i, s in enumerate(standard)]
    return rows + [trial("adaptive", i, s, **options) for i, s in enumerate(adaptive)]


def verdict(rows: list[Row], targets: Sequence[float] = (0.98,), **options: Any) -> Verdict:
    table = pa.Table.from_pylist(rows)
    for target in targets:  # whatever was recorded, it was recorded for every target
        for measure in ("steps", "epochs", "flops", "seconds"):
            if f"{measure}_to_{target:g}" not in table.column_names:
                table = table.append_column(f"{measure}_to_{target:g}", table[f"{measure}_to_0.98"])
    return summarise(table, targets, "standard", **options)


def found(
    result: Verdict, measure: str | Metric = "steps", budget: int | None = 1000, arm: str = "adaptive"
) -> Comparison:
    (comparison,) = [c for c in result.comparisons if (c.measure, c.budget, c.arm, c.over) == (measure, budget, arm, 1)]
    return comparison


SLOW: list[float | None] = [400, 420, 380, 500, 450, 410, 390, 470, 430, 440]
FAST: list[float | None] = [200, 240, 180, 260, 220, 190, 230, 210, 250, 205]


def together(result: Verdict, measure: str | Metric = "steps", arm: str = "adaptive") -> Comparison:
    (comparison,) = [c for c in result.comparisons if (c.measure, c.arm) == (measure, arm) and c.over > 1]
    return comparison


def test_a_ratio_in_seconds_is_that_of_the_steps_times_that_of_a_step_timed_by_turns() -> None:
    rows = pairs(SLOW, FAST)
    for number, row in enumerate(rows):  # a machine that was busy now and then
        row["training_seconds"] *= 1 + number % 5
        row["step_seconds"] = 0.03 if row["arm"] == "adaptive" else 0.02
    result = verdict(rows)
    steps, seconds = found(result), found(result, "seconds")
    assert seconds.estimate == pytest.approx(1.5 * (steps.estimate or 0.0))
    assert seconds.p == pytest.approx(stats.ttest_1samp(np.log(np.divide(FAST, SLOW)) + np.log(1.5), 0).pvalue)  # type: ignore[arg-type]
    rows[3]["step_seconds"] = None  # of another version, perhaps: then nobody's is taken
    mixed = verdict(rows)
    for row in rows:
        del row["step_seconds"]
    assert mixed.comparisons == verdict(rows).comparisons
    assert (seconds.step_cost, found(mixed, "seconds").step_cost, steps.step_cost) == ("by turns", "trials' own", None)
    for made, words in ((result, "pairs; step's cost: by turns"), (mixed, "pairs; step's cost: trials' own")):
        (table,) = [table for table in made.tables() if table.title == "All comparisons"]
        assert [row[7] for row in table.rows if row[3] == "seconds"] == [words]


def test_an_arm_that_needs_half_the_steps_is_better_and_the_sentence_says_how_much() -> None:
    result = verdict(pairs(SLOW, FAST))
    c = found(result)
    logs = np.log(np.array(FAST, float) / np.array(SLOW, float))
    assert c.estimate == pytest.approx(np.exp(logs.mean()))
    assert (c.answer, c.method, c.n, c.n_cut, c.wins, c.ties, c.probability) == ("better", "pairs", 10, 0, 10, 0, 1.0)
    expected = stats.ttest_1samp(logs, 0)
    assert c.p == pytest.approx(expected.pvalue)
    assert c.p_adjusted == c.p
    assert c.bounds == pytest.approx(tuple(np.exp(expected.confidence_interval(0.95))))
    assert result.sentences[0].startswith(
        f"At 1,000 parameters, adaptive against standard: fewer steps to 98 %, × {c.estimate:.3f} (95 % interval "
    )
    assert f"n = 10, p = {c.p:.2g}, exploratory)" in result.sentences[0]


def test_the_roles_of_the_arms_can_be_swapped() -> None:
    rows = pairs(SLOW, [*FAST[:-1], 600])
    forward, back = (
        found(verdict(rows)),
        found(summarise(pa.Table.from_pylist(rows), [0.98], "adaptive"), arm="standard"),
    )
    assert (forward.answer, back.answer) == ("better", "worse")
    assert forward.p == pytest.approx(back.p)
    assert forward.estimate is not None
    assert back.estimate == pytest.approx(1 / forward.estimate)
    assert forward.wins + back.wins == 10


def test_a_difference_in_accuracy_has_its_own_claim() -> None:
    rng = np.random.default_rng(0)
    rows = [trial("standard", i, 100, float(rng.normal(0.96, 0.001))) for i in range(10)]
    rows += [trial("adaptive", i, 100, float(rng.normal(0.97, 0.001))) for i in range(10)]
    c = found(verdict(rows), ACCURACY)
    assert (c.answer, c.target, c.exploratory, c.method) == ("better", None, False, "permutation")
    assert c.estimate is not None
    assert c.estimate == pytest.approx(0.01, abs=0.001)
    sentence = verdict(rows).sentences[0]
    assert "adaptive against standard: undecided on steps to 98 %: 10 pairs, all tied" in sentence
    assert f"more accurate, {100 * c.estimate:+.2f} points (95 % interval " in sentence


def test_flops_can_speak_against_an_arm_that_needs_fewer_steps() -> None:
    rows = [trial("standard", i, s, total=2000) for i, s in enumerate(SLOW)]
    rows += [trial("adaptive", i, s, flops_per_step=40) for i, s in enumerate(FAST)]
    result = verdict(rows)
    assert [found(result, m).answer for m in ("steps", "epochs", "flops", "seconds")] == ["better"] * 2 + [
        "worse",
        "better",
    ]


def test_the_ratio_in_another_measure_is_that_of_the_steps_times_the_cost_of_a_step() -> None:
    rows = [trial("standard", i, s) for i, s in enumerate(SLOW)]
    rows += [trial("adaptive", i, s, flops_per_step=25) for i, s in enumerate([*FAST[:-1], None])]
    result = verdict(rows)
    steps, flops, epochs = (found(result, m) for m in ("steps", "flops", "epochs"))
    assert (steps.method, steps.n_cut) == ("model", 1)
    assert steps.bounds is not None
    assert flops.bounds is not None
    for mine, theirs in ((flops.estimate, steps.estimate), *zip(flops.bounds, steps.bounds, strict=True)):
        assert mine == pytest.approx(2.5 * (theirs or 0.0))
    assert epochs.estimate == pytest.approx(steps.estimate)
    assert epochs.p == pytest.approx(steps.p)


def test_a_target_that_one_arm_never_reaches_gives_a_bound() -> None:
    c = found(verdict(pairs([None] * 10, FAST)))
    assert (c.answer, c.n_cut, c.method, c.estimate) == ("better", 10, "shares", None)
    assert c.bounds is not None
    assert c.bounds.low is None
    assert c.bounds.high == pytest.approx(sorted(FAST, key=lambda s: s or 0)[4] / 1000)  # type: ignore[operator]
    assert c.estimate_text == f"at most × {c.bounds.high:.3f}"
    back = found(summarise(pa.Table.from_pylist(pairs([None] * 10, FAST)), [0.98], "adaptive"), arm="standard")
    assert back.estimate_text.startswith("at least × ")
    assert back.answer == "worse"


def test_one_that_arrives_in_the_last_evaluation_is_ahead_of_one_that_never_does() -> None:
    c = found(verdict(pairs([None] * 8, [430.0] * 8, total=430)))
    assert (c.answer, c.wins, c.ties) == ("better", 8, 0)


def test_the_successes_alone_are_never_compared() -> None:
    # Where both reached it adaptive took half the steps, but it reached it in 4 of 10.
    c = found(verdict(pairs(SLOW, [*FAST[:4], *[None] * 6])))
    assert (c.n, c.n_cut, c.method) == (10, 6, "model")
    assert c.estimate is not None
    assert c.estimate > 1
    assert c.answer == "undecided"


def test_without_pairs_the_two_samples_are_compared() -> None:
    c = found(verdict([r | {"pair": None} for r in pairs(SLOW, FAST)]))
    assert (c.method, c.n_pairs, c.answer) == ("model", 0, "undecided")  # nobody knows which seeds are missing
    assert c.p_adjusted is not None
    assert c.p_adjusted < 0.001


def test_the_budgets_are_corrected_together_and_count_together_first() -> None:
    rows = pairs(SLOW, FAST) + pairs(SLOW, [*FAST[:-1], 600], budget=2000) + pairs(SLOW, SLOW[::-1], budget=3000)
    result = verdict(rows)
    p = [found(result, budget=b).p for b in (1000, 2000, 3000)]
    adjusted = [found(result, budget=b).p_adjusted for b in (1000, 2000, 3000)]
    assert None not in p
    assert adjusted == pytest.approx([3 * p[0], 2 * p[1], p[2]])  # type: ignore[operator]
    over = together(result)
    assert (over.answer, over.over, over.budget) == ("better", 3, None)
    assert over.p_adjusted == pytest.approx((over.p or 0) / 0.9)
    assert result.comparisons[0].over == 3
    assert result.sentences[0].startswith(
        "Over all budgets together, adaptive against standard: fewer steps to 98 %, ×"
    )
    assert len([s for s in result.sentences if s.startswith("At ")]) == 3


def accuracies(gap: float, sd: float = 0.0005, budgets: int = 1, n: int = 10) -> list[Row]:
    rng = np.random.default_rng(0)
    return [
        trial(arm, i, 100, float(rng.normal(0.96 + more, sd)), budget=1000 * (b + 1))
        for b in range(budgets)
        for arm, more in (("standard", 0.0), ("adaptive", gap))
        for i in range(n)
    ]


def test_arms_that_differ_by_less_than_the_margin_are_equivalent() -> None:
    result = verdict(accuracies(0.0, budgets=2))
    assert [c.answer for c in result.comparisons if c.measure == ACCURACY] == ["equivalent"] * 3
    assert found(result, ACCURACY).answer_text == "equivalent within 0.2 points"
    assert "equivalent test accuracy, within 0.2 points" in result.sentences[0]
    strict = verdict(accuracies(0.0), question=Question(margin=0.0001))
    assert found(strict, ACCURACY).answer == "undecided"
    assert found(verdict(accuracies(0.001)), ACCURACY).answer == "better"  # a difference that is shown is told


def test_an_undecided_comparison_says_what_a_new_plan_would_take() -> None:
    result = verdict(accuracies(0.001, sd=0.004))
    c = found(result, ACCURACY)
    assert c.answer == "undecided"
    assert c.seeds is not None
    assert 30 < c.seeds < 200
    assert f"; a new plan with {c.seeds} seeds would find 0.2 points 4 times out of 5" in result.sentences[0]


def test_only_what_the_plan_asks_is_no_exploration() -> None:
    rows = pairs(SLOW, FAST) + pairs(SLOW, FAST, budget=2000)
    for question, asked in ((None, (ACCURACY, None)), (Question("steps", 0.98), ("steps", 0.98))):
        result = verdict(rows, question=question)
        for c in result.comparisons:
            assert c.exploratory == ((c.measure, c.target) != asked)
    assert found(result).answer_text == "better"
    assert found(result, "flops").answer_text == "better (exploratory)"


def test_budgets_that_contradict_each_other_are_not_equivalent_together() -> None:
    rng = np.random.default_rng(1)
    rows = [
        trial(arm, i, 100, float(rng.normal(0.96 + gap, 0.0003)), budget=b)
        for b, gap in ((1000, 0.004), (2000, -0.004), (3000, 0.0))
        for arm, gap in (("standard", 0.0), ("adaptive", gap))
        for i in range(10)
    ]
    result = verdict(rows)
    assert [found(result, ACCURACY, b).answer for b in (1000, 2000, 3000)] == ["better", "worse", "equivalent"]
    over = together(result, ACCURACY)
    assert over.answer == "undecided"


def curves_of(rows: list[Row], curve: Callable[[Row], list[float]], every: int = 100) -> pa.Table:
    found = [
        {"trial": r["trial"], "step": every * (k + 1), "epoch": float(k + 1), "flops": 1000 * (k + 1)}
        | {"seconds": 1.0 * (k + 1), "val_metric": value}
        for r in rows
        for k, value in enumerate(curve(r))
    ]
    return pa.Table.from_pylist(found)


def test_a_target_is_reached_to_stay_or_twice_running_and_first_reach_is_told_beside_it() -> None:
    shapes = [
        [0.9, 0.99, 0.9, 0.9],  # once
        [0.9, 0.99, 0.99, 0.9],  # twice running
        [0.99, 0.9, 0.9, 0.99],  # to stay, at the end
        [0.9, 0.9, 0.9, 0.9],
        [0.98, 0.98, 0.98, 0.98],
    ]
    rows = [trial("standard", i, 100.0 if max(s) >= 0.98 else None) for i, s in enumerate(shapes)]
    curves = curves_of(rows, lambda r: shapes[r["pair"]])
    (steps,) = [s for s in verdict(rows, curves=curves).convergence if s.measure == "steps"]
    assert (steps.n_reached, steps.n_once) == (3, 4)
    assert steps.median == 400  # 100, 200, 400, and two that were followed for 400
    shown = next(t for t in verdict(rows, curves=curves).tables() if t.title == "Convergence")
    assert [shown.rows[0][shown.columns.index(name)] for name in ("Reached", "Reached once")] == ["3/5", "4/5"]
    without = next(s for s in verdict(rows).convergence if s.measure == "steps")
    assert (without.n_reached, without.n_once) == (4, 4)


def test_all_measures_of_a_trial_end_at_its_last_evaluation() -> None:
    rows = [trial("standard", i, None, total=450) for i in range(6)] + [trial("adaptive", i, 100) for i in range(6)]
    curves = curves_of(rows, lambda r: [0.9] * 4 if r["arm"] == "standard" else [0.99] * 4)
    observations = observe(pa.Table.from_pylist(rows), [0.98], "standard", curves)
    for measure, end in (("steps", 400), ("epochs", 4), ("flops", 4000), ("seconds", 4)):
        assert set(observations.follow_up(0.98, measure)[1].ravel()) == {end}  # type: ignore[arg-type]


def test_a_curve_of_a_metric_of_which_less_is_better_comes_down_to_the_target() -> None:
    rows = [trial("standard", i, 100, target=0.1) for i in range(3)]
    curves = curves_of(rows, lambda r: [0.3, 0.05, 0.2, 0.1])
    metric = Metric("val/rmse", "min", "test/rmse")
    (steps,) = [
        s
        for s in summarise(pa.Table.from_pylist(rows), [0.1], "standard", metric, curves=curves).convergence
        if s.measure == "steps"
    ]
    assert (steps.n_reached, steps.median) == (3, 400)


def test_medians_and_shares_count_every_trial() -> None:
    rows = pairs([100, 200, None, None, 300], [100, 100, 100, None, None])
    rows[4] |= {"status": "diverged"}  # reached the target, then diverged: it counts as one that did not
    rows[9] |= {"status": "failed", "steps": 50}
    by_arm = {s.at.arm: s for s in verdict(rows).convergence if s.measure == "steps"}
    standard, adaptive = by_arm["standard"], by_arm["adaptive"]
    assert (standard.n_reached, standard.at.n, standard.at.n_unfinished) == (2, 5, 1)
    assert standard.median is None
    assert (adaptive.n_reached, adaptive.at.n_unfinished, adaptive.median) == (3, 1, 100)


def test_accuracy_is_summarised_over_the_finished_models() -> None:
    rows = [trial("standard", i, 100, a) for i, a in enumerate([0.95, 0.96, 0.97, 0.98, 0.99])]
    rows += [trial("standard", 5, None, None, status="failed"), trial("standard", 6, 10, 0.1, status="interrupted")]
    (summary,) = verdict(rows).finished
    assert (summary.n, summary.at.n, summary.at.n_unfinished) == (5, 7, 2)
    assert summary.mean == pytest.approx(0.97)
    assert summary.sd == pytest.approx(np.std([0.95, 0.96, 0.97, 0.98, 0.99], ddof=1))
    assert summary.interval is not None
    assert 0.95 < summary.interval.low < 0.97 < summary.interval.high < 0.99


def sized(arm: str, means: dict[int, float], sd: float = 0.001, n: int = 6) -> list[Row]:
    rng = np.random.default_rng(len(arm))
    return [
        trial(arm, i, 100, float(mean + rng.normal(0, sd)), budget=b) for b, mean in means.items() for i in range(n)
    ]


def test_the_fewest_parameters_are_read_from_the_curve_and_their_ratio_has_an_interval() -> None:
    rows = sized("standard", {100: 0.96, 1000: 0.98, 10_000: 0.99}) + sized("adaptive", {100: 0.97, 1000: 0.985})
    standard, adaptive = verdict(rows, targets=[0.975]).smallest_budgets
    # Linear in the logarithm: three quarters of the way from 100 to 1,000, and a third of it.
    assert standard.parameters == pytest.approx(95 * (995 / 95) ** 0.75, rel=0.1)
    assert adaptive.parameters == pytest.approx(95 * (995 / 95) ** (1 / 3), rel=0.1)
    assert adaptive.ratio == pytest.approx((adaptive.parameters or 0) / (standard.parameters or 1))
    for value, (low, high) in ((adaptive.parameters, adaptive.interval), (adaptive.ratio, adaptive.ratio_interval)):
        assert low is not None
        assert high is not None
        assert low < (value or 0) < high < 1.3 * low
    assert adaptive.at is not None
    assert (adaptive.at.parameters, adaptive.mean) == (995, pytest.approx(0.985, abs=0.001))


def test_the_network_is_chosen_in_validation_and_its_mean_is_that_of_the_test() -> None:
    rows = sized("standard", {100: 0.96, 1000: 0.98})
    rows = [r | {"test_metric": 0.5} for r in rows]
    (smallest,) = verdict(rows, targets=[0.975]).smallest_budgets
    assert smallest.at is not None
    assert (smallest.at.parameters, smallest.mean) == (995, 0.5)


def test_an_end_beyond_the_networks_that_were_tried_is_not_known() -> None:
    rows = sized("standard", {100: 0.96, 1000: 0.98}, sd=0.004)
    means = [float(np.mean([r["val_metric"] for r in rows if r["budget"] == b])) for b in (100, 1000)]
    (low,) = verdict(rows, targets=[means[0] + 0.0005]).smallest_budgets
    (high,) = verdict(rows, targets=[means[1] - 0.0005]).smallest_budgets
    assert low.interval.low is None
    assert low.interval.high is not None
    assert high.interval.low is not None
    assert high.interval.high is None


@pytest.mark.parametrize(
    ("standard", "adaptive", "reason"),
    [
        ({100: 0.9, 1000: 0.95}, {100: 0.9, 1000: 0.99}, "standard reaches it at no budget that was tried"),
        ({100: 0.9, 1000: 0.99}, {100: 0.9, 1000: 0.95}, "adaptive reaches it at no budget that was tried"),
        ({100: 0.9, 1000: 0.99}, {100: 0.99}, "adaptive reaches it at the smallest budget that was tried"),
        ({100: 0.99}, {100: 0.9, 1000: 0.99}, "standard reaches it at the smallest budget that was tried"),
    ],
)
def test_a_curve_that_does_not_pass_the_target_has_no_ratio(
    standard: dict[int, float], adaptive: dict[int, float], reason: str
) -> None:
    result = verdict(sized("standard", standard) + sized("adaptive", adaptive), targets=[0.975])
    smallest = result.smallest_budgets[1]
    assert smallest.ratio is None
    assert smallest.reason.startswith(reason)
    assert result.sentences[-1].startswith(
        f"Undecided on the parameters that adaptive needs for a mean accuracy of 97.5 %: {reason}"
    )


@pytest.mark.parametrize("mean", [0.9, 0.975, 0.99])
@pytest.mark.parametrize(
    ("budgets", "parameters"),
    [([None], None), ([None], 500), ([1000], None), ([1000], 505), ([1000, 2000], 505)],
)
def test_with_networks_of_one_size_nothing_is_said_of_the_fewest_parameters(
    mean: float, budgets: list[int | None], parameters: int | None
) -> None:
    rows = [
        trial(arm, i, 100, mean, budget=budget) | {"parameters": parameters and parameters + more}
        for arm, more in (("standard", 0), ("adaptive", 5))
        for budget in budgets
        for i in range(6)
    ]
    result = verdict(rows, targets=[0.975])
    assert result.sentences
    assert not [s for s in result.sentences if "Undecided on the parameters" in s or " needs " in s]


def test_with_networks_of_several_sizes_the_fewest_parameters_are_told() -> None:
    rows = sized("standard", {100: 0.96, 1000: 0.98}) + sized("adaptive", {100: 0.97, 1000: 0.985})
    assert "adaptive needs" in verdict(rows, targets=[0.975]).sentences[-1]


def test_there_is_no_ratio_of_networks_where_trials_are_unfinished() -> None:
    rows = sized("standard", {100: 0.9, 1000: 0.99}) + sized("adaptive", {100: 0.9, 1000: 0.99})
    rows[-1] |= {"status": "failed", "test_metric": None}
    smallest = verdict(rows, targets=[0.975]).smallest_budgets[1]
    assert (smallest.ratio, smallest.reason) == (None, "1 of adaptive's trials did not finish")


FAILED = {"status": "failed", "steps": 50} | {f"{m}_to_0.98": None for m in ("steps", "epochs", "flops", "seconds")}
DEGENERATE = {
    "one seed": (pairs(SLOW[:1], FAST[:1]), "too few trials of adaptive and standard to compare"),
    "nothing reached": (pairs([None] * 8, [None] * 8), "no trial of either arm reaches the target"),
    "all tied": (pairs(SLOW, SLOW), "10 pairs, all tied"),
    "no variance": (pairs([400] * 8, [200] * 8), "8 pairs, all with the same ratio, so its spread is unknown"),
    "no effect": (pairs(SLOW, SLOW[::-1]), "p = 1 is above 0.05"),
    "missing pairs": (
        [r for r in pairs(SLOW, FAST) if not (r["arm"] == "adaptive" and r["pair"] in (2, 5))],
        "adaptive is ahead, but 2 of its trials did not finish or never ran",
    ),
    "failed on one side": (
        [r | (FAILED if r["trial"] == "adaptive-1000-3" else {}) for r in pairs(SLOW, FAST)],
        "adaptive is ahead, but 1 of its trials did not finish or never ran",
    ),
    "two seeds without the target": (
        pairs([None] * 2, FAST[:2]),
        "with 2 seeds p cannot be below 0.33",
    ),
    "everything failed at once": (
        pairs([None] * 8, [None] * 8, status="failed", total=None, accuracy=None),
        "too few trials of adaptive and standard to compare",
    ),
    "everything diverged": (
        pairs([None] * 8, [None] * 8, status="diverged", accuracy=math.nan),
        "no trial of either arm reaches the target",
    ),
    "reached at once": (pairs([0] * 8, [0] * 8), "too few trials of adaptive and standard to compare"),
}  # fmt: skip


@pytest.mark.parametrize("case", DEGENERATE)
def test_degenerate_results_are_undecided_and_say_why(case: str) -> None:
    rows, reason = DEGENERATE[case]
    result = verdict(rows)
    c = found(result)
    assert c.answer == "undecided"
    assert c.reason.startswith(reason)
    assert reason in result.sentences[0]
    assert_finite(result)


@pytest.mark.parametrize(
    "measure", ["steps", *(pytest.param(measure, marks=pytest.mark.slow) for measure in ("flops", ACCURACY))]
)
def test_a_claim_and_its_interval_never_contradict_each_other(measure: str | Metric) -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        shift = rng.normal(0, 0.15)
        slow, fast = np.exp(6 + rng.normal(0, 0.12, (2, 2, 7)))
        rows = [
            trial(arm, i, s if s < 480 else None, float(rng.normal(0.97 + 0.01 * shift, 0.002)), budget=b, total=480)
            for arm, sample in (("standard", slow), ("adaptive", fast * np.exp(shift)))
            for b, times in enumerate(sample, 1)
            for i, s in enumerate(times.tolist())
        ]
        for c in verdict(rows).comparisons:
            if c.measure == measure and c.bounds is not None:
                null = 0.0 if c.target is None else 1.0
                low, high = (
                    (c.bounds.low is not None and c.bounds.low > null),
                    (c.bounds.high is not None and c.bounds.high < null),
                )
                assert (c.p_adjusted is not None and c.p_adjusted <= 0.05) == (low or high)
                better = high if c.target is not None else low
                if low or high:
                    assert c.answer == ("better" if better else "worse")
                else:
                    assert c.answer in ("equivalent", "undecided")


def test_failures_of_the_loser_do_not_forbid_the_claim() -> None:
    rows = pairs(SLOW, FAST)
    rows[3] |= FAILED
    assert found(verdict(rows)).answer == "better"


def test_a_diverged_trial_loses_to_one_that_reached_the_target() -> None:
    rows = pairs(SLOW, FAST)
    for row in rows[10:14]:
        row |= {"status": "diverged", "steps": 30}
    c = found(verdict(rows))
    assert (c.wins, c.n_pairs, c.n_cut) == (6, 10, 4)


def test_a_single_arm_has_nothing_to_be_compared_with() -> None:
    result = verdict([trial("standard", i, 100 + i) for i in range(6)])
    assert result.comparisons == ()
    assert result.sentences == ("Undecided: standard is the only arm, so there is nothing to compare it with.",)
    assert_finite(result)


def test_arms_without_a_budget_are_compared_as_well() -> None:
    result = verdict(pairs(SLOW, FAST, budget=None))
    assert found(result, budget=None).answer == "better"
    assert result.sentences[0].startswith("Without a budget, adaptive against standard: fewer steps")


def test_an_arm_at_a_budget_of_its_own_is_named_and_compared_with_nothing() -> None:
    result = verdict(pairs(SLOW, FAST) + [trial("adaptive", i, 100, budget=5000) for i in range(6)])
    assert found(result, budget=5000).reason == "there is no trial of standard at this budget"
    assert (
        "At 5,000 parameters, adaptive against standard: undecided: there is no trial of standard at this budget."
        in result.sentences
    )
    assert found(result).p_adjusted == found(result).p  # a budget without a test is none to correct for


def test_an_arm_that_was_not_tried_at_a_budget_is_said_to_lack() -> None:
    result = verdict(pairs(SLOW, FAST) + [trial("standard", i, 100, budget=5000) for i in range(6)])
    assert found(result, budget=5000).reason == "there is no trial of adaptive at this budget"


def test_the_main_target_is_the_highest_that_half_of_all_trials_reach() -> None:
    rows = [r | {k.replace("0.98", "0.9"): v for k, v in r.items()} for r in pairs([None] * 8, [None] * 5 + [1] * 3)]
    rows = [r | {f"{m}_to_0.9": 5 + r["pair"] for m in ("steps", "epochs", "flops", "seconds")} for r in rows]
    table = pa.Table.from_pylist(rows)
    assert summarise(table, [0.98, 0.9], "standard").main_target == 0.9
    assert summarise(table, [0.98, 0.9], "standard", main_target=0.98).main_target == 0.98
    assert summarise(table, [0.98], "standard").main_target == 0.98


def test_tables_are_rectangular_and_hold_every_row() -> None:
    result = verdict(pairs(SLOW, FAST) + pairs([None] * 6, [None] * 6, budget=2000))
    tables = result.tables()
    assert [len(t.rows) for t in tables] == [3, 4, 4, 11, 2]
    assert all(len(row) == len(t.columns) for t in tables for row in t.rows)
    assert tables[0].rows[0][:3] == ("together", "adaptive", "10")
    assert tables[0].rows[1][:4] == ("1,000", "adaptive", "10", f"× {found(result).estimate:.3f}")
    assert tables[0].rows[1][7] == "better (exploratory)"
    assert tables[0].rows[2][3:8] == ("–", "–", "–", "0.50", "undecided")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns(["steps_to_0.98"]), "no column steps_to_0.98"),
        (lambda t: pa.concat_tables([t, t]), "same pair"),
        (lambda t: t.slice(0, 0), "no trial of the primary arm 'standard'; arms in the results: none"),
        (lambda t: t.set_column(1, "sweep", pa.array([str(i) for i in range(t.num_rows)])), "several sweeps"),
    ],
)
def test_a_table_that_cannot_be_read_is_one_plain_error(change: Callable[[pa.Table], pa.Table], message: str) -> None:
    with pytest.raises(UserError, match=message):
        summarise(change(pa.Table.from_pylist(pairs([1, 2], [3, 4]))), [0.98], "standard")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targets": []}, "no targets"),
        ({"primary_arm": "nobody"}, "arms in the results: standard, adaptive"),
        ({"confidence": 95}, "confidence must be"),
        ({"main_target": 0.5}, "none of the targets 0.98"),
    ],
)
def test_an_option_that_makes_no_sense_is_one_plain_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        summarise(
            **{"results": pa.Table.from_pylist(pairs([1], [2])), "targets": [0.98], "primary_arm": "standard"} | options
        )


NUMBERS = st.one_of(st.none(), st.sampled_from([0, 1, 50, 100, math.nan, math.inf]), st.integers(1, 200))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.builds(
            trial,
            arm=st.sampled_from(["standard", "adaptive", "other"]),
            pair=st.one_of(st.none(), st.integers(0, 9)),
            steps=NUMBERS,
            accuracy=st.one_of(st.none(), st.sampled_from([0.0, 0.9, 1.0, math.nan])),
            budget=st.sampled_from([None, 100, 1000]),
            total=st.one_of(st.none(), st.integers(0, 200)),
            status=st.sampled_from(["done", "done", "failed", "diverged", "interrupted"]),
        ),
        max_size=60,
        unique_by=lambda r: (r["arm"], r["budget"], r["pair"]),
    )
)
def test_whatever_the_results_the_verdict_is_finite_and_all_that_is_undecided_has_a_reason(rows: list[Row]) -> None:
    result = verdict([trial("standard", 99, 70), *rows])
    assert_finite(result)
    for c in result.comparisons:
        assert (c.answer == "undecided") == bool(c.reason)


def no_effect(rng: np.random.Generator, budgets: int, n: int) -> list[Row]:
    """Two arms alike; a pair's trials are alike too, a fifth is censored, and times come on the grid of evaluations."""
    rows = []
    for budget in range(budgets):
        ease = rng.normal(6, 0.3, (1, n))
        steps = 20 * np.ceil(np.exp(ease + rng.normal(0, 0.3, (2, n))) / 20)
        accuracy = rng.normal(0.97, 0.002, (2, n))
        for arm, times, accuracies in zip(("standard", "adaptive"), steps, accuracy, strict=True):
            rows += [
                trial(arm, i, float(t) if t <= 600 else None, float(a), budget=1000 + budget, total=600)
                for i, (t, a) in enumerate(zip(times, accuracies, strict=True))
            ]
    return rows


def false_claims(sweeps: int) -> dict[str | Metric, float]:
    rng = np.random.default_rng(0)
    wrong: dict[str | Metric, int] = dict.fromkeys(("steps", ACCURACY), 0)
    for _ in range(sweeps):
        claims = verdict(no_effect(rng, 3, 10)).comparisons
        claimed = {c.measure for c in claims if c.answer in ("better", "worse")}
        for measure in wrong:
            wrong[measure] += measure in claimed
    return {measure: count / sweeps for measure, count in wrong.items()}


@pytest.mark.slow
def test_under_no_effect_a_claim_over_all_budgets_is_made_at_most_5_times_of_100() -> None:
    rates = false_claims(400)
    assert max(rates.values()) <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 400)  # two standard errors of the simulation


@pytest.mark.slow
@pytest.mark.parametrize(("budgets", "seeds"), [(333, 10), (2, 1667)])
def test_ten_thousand_trials_take_about_ten_times_as_long_as_a_thousand(budgets: int, seeds: int) -> None:
    def seconds(budgets: int, seeds: int) -> float:
        rng = np.random.default_rng(0)
        rows = []
        for budget in range(1, budgets + 1):
            for arm in ("standard", "adaptive", "other"):
                steps = np.exp(rng.normal(6, 0.2, seeds))
                rows += [
                    trial(
                        arm, i, float(s) if s < 500 else None, float(rng.normal(0.97, 0.002)), budget=budget, total=500
                    )
                    for i, s in enumerate(steps)
                ]
        table = pa.Table.from_pylist(rows)
        start = time.process_time()
        result = summarise(table, [0.98], "standard")
        assert len(result.comparisons) >= 2 * (5 * budgets + 2)
        return time.process_time() - start

    fewer = (budgets // 10, seeds) if budgets > seeds else (budgets, seeds // 10)
    before, many, after = seconds(*fewer), seconds(budgets, seeds), seconds(*fewer)
    assert many < 30 * max(before, after)  # what grows with the square takes a hundred times as long


def assert_finite(result: Verdict) -> None:
    numbers = [x for x in leaves(result) if isinstance(x, float)]
    assert all(math.isfinite(x) for x in numbers)
    text = " ".join([*result.sentences, *(cell for t in result.tables() for row in t.rows for cell in row)])
    assert not {"nan", "inf", "None"} & set(text.replace("(", " ").replace(")", " ").replace(",", " ").split())


def leaves(value: Any) -> Iterator[Any]:
    if is_dataclass(value):
        value = [getattr(value, f.name) for f in fields(value)]
    if isinstance(value, (list, tuple)):
        for element in value:
            yield from leaves(element)
    else:
        yield value


@pytest.mark.parametrize(("unknown", "told"), [(0, False), (3, True), (12, False)])
def test_flops_that_are_left_out_of_the_tables_are_told_of(unknown: int, told: bool) -> None:
    rows = [trial(arm, i, 20 + i) for arm in ("standard", "adaptive") for i in range(6)]
    for k, row in enumerate(rows):
        row["training_flops_per_sample"] = None if k < unknown else 30
    notes = summarise(pa.Table.from_pylist(rows), [0.98], "standard").notes
    assert [note for note in notes if note.startswith("FLOPs of 3 trials are left out")] == list(notes) * told
