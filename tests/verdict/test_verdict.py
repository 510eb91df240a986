import math
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_adaptconv.errors import UserError
from lit_adaptconv.verdict.metric import ACCURACY, Metric
from lit_adaptconv.verdict.sentences import sentences
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


def verdict(rows: list[Row], **options: Any) -> Verdict:
    return summarise(pa.Table.from_pylist(rows), [0.98], "standard", **options)


def found(
    result: Verdict, measure: str | Metric = "steps", budget: int | None = 1000, arm: str = "adaptive"
) -> Comparison:
    (comparison,) = [c for c in result.comparisons if (c.measure, c.budget, c.arm) == (measure, budget, arm)]
    return comparison


SLOW: list[float | None] = [400, 420, 380, 500, 450, 410, 390, 470, 430, 440]
FAST: list[float | None] = [200, 240, 180, 260, 220, 190, 230, 210, 250, 205]


def test_an_arm_that_needs_half_the_steps_is_better_and_the_sentence_says_how_much() -> None:
    result = verdict(pairs(SLOW, FAST))
    c = found(result)
    logs = np.log(np.array(FAST, float) / np.array(SLOW, float))
    assert c.estimate == pytest.approx(np.exp(logs.mean()))
    assert (c.claim, c.n_pairs, c.n_cut, c.wins, c.ties, c.probability) == ("better", 10, 0, 10, 0, 1.0)
    assert c.p == 2 / 2**10
    assert c.interval is not None
    assert c.interval.low < c.estimate < c.interval.high < 1
    assert result.sentences[0].startswith(
        f"At 1,000 parameters, adaptive reaches 98 % in {c.estimate:.3f} times the steps of standard (95 % interval "
    )
    assert "n = 10 pairs, p = 0.002)" in result.sentences[0]


def test_the_roles_of_the_arms_can_be_swapped() -> None:
    rows = pairs(SLOW, [*FAST[:-1], 600])
    forward, back = (
        found(verdict(rows)),
        found(summarise(pa.Table.from_pylist(rows), [0.98], "adaptive"), arm="standard"),
    )
    assert (forward.claim, back.claim) == ("better", "worse")
    assert forward.p == back.p
    assert forward.estimate is not None
    assert back.estimate == pytest.approx(1 / forward.estimate)
    assert forward.wins + back.wins == 10


def test_a_difference_in_accuracy_has_its_own_claim() -> None:
    rng = np.random.default_rng(0)
    rows = [trial("standard", i, 100, float(rng.normal(0.96, 0.001))) for i in range(10)]
    rows += [trial("adaptive", i, 100, float(rng.normal(0.97, 0.001))) for i in range(10)]
    c = found(verdict(rows), ACCURACY)
    assert (c.claim, c.target) == ("better", None)
    assert c.estimate is not None
    assert c.estimate == pytest.approx(0.01, abs=0.001)
    sentence = verdict(rows).sentences[0]
    assert "adaptive: no claim on steps to 98 %: 10 pairs, all tied" in sentence
    assert f"adaptive's test accuracy is {100 * c.estimate:.2f} percentage points above standard's" in sentence


def test_flops_can_speak_against_an_arm_that_needs_fewer_steps() -> None:
    rows = [trial("standard", i, s, total=2000) for i, s in enumerate(SLOW)]
    rows += [trial("adaptive", i, s, flops_per_step=40) for i, s in enumerate(FAST)]
    result = verdict(rows)
    assert [found(result, m).claim for m in ("steps", "epochs", "flops", "seconds")] == ["better"] * 2 + [
        "worse",
        "better",
    ]


def test_a_target_that_one_arm_never_reaches_still_tells_which_is_faster() -> None:
    c = found(verdict(pairs([None] * 10, FAST)))
    logs = np.log(np.array(FAST, float) / 1000)
    assert c.estimate == pytest.approx(np.exp(logs.mean()))  # cut off at 1,000 steps: the true ratio is below
    assert (c.claim, c.n_cut) == ("better", 10)


def test_the_successes_alone_are_never_compared() -> None:
    # Where both reached it adaptive took half the steps, but it reached it in 4 of 10.
    c = found(verdict(pairs(SLOW, [*FAST[:4], *[None] * 6])))
    assert c.n_pairs == 10
    assert c.estimate is not None
    assert c.estimate > 1
    assert c.claim == "no claim"


def test_holms_correction_is_over_the_budgets() -> None:
    rows = pairs(SLOW, FAST) + pairs(SLOW, [*FAST[:-1], 600], budget=2000) + pairs(SLOW, SLOW[::-1], budget=3000)
    result = verdict(rows)
    p = [found(result, budget=b).p for b in (1000, 2000, 3000)]
    adjusted = [found(result, budget=b).p_holm for b in (1000, 2000, 3000)]
    assert None not in p
    assert adjusted == pytest.approx([3 * p[0], 2 * p[1], p[2]])  # type: ignore[operator]
    assert len([s for s in result.sentences if s.startswith("At ")]) == 3


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


def test_the_ratio_of_the_smallest_networks_is_that_of_their_parameters() -> None:
    rows = [
        trial("standard", i, 100, 0.97 + 0.004 * (b == 660) * 3, budget=b) for b in (10, 100, 660) for i in range(3)
    ]
    rows += [trial("adaptive", i, 100, 0.98, budget=b) for b in (10, 100, 660) for i in range(3)]
    result = verdict(rows)
    standard, adaptive = result.smallest_budgets
    assert standard.at is not None
    assert adaptive.at is not None
    assert (standard.at.parameters, adaptive.at.parameters) == (655, 5)
    assert (standard.ratio, adaptive.ratio) == (None, pytest.approx(5 / 655))
    assert result.sentences[-1] == (
        "Of the budgets tried, adaptive needs 5 parameters for a mean test accuracy of 98 %, standard 655: "
        "131 times fewer."
    )


@pytest.mark.parametrize(
    ("ratio", "times"),
    [
        (1.0, "as many"),
        (0.996, "about as many"),
        (1.004, "about as many"),
        (0.5, "2.00 times fewer"),
        (3.0, "3.00 times as many"),
    ],
)
def test_a_ratio_of_networks_in_words(ratio: float, times: str) -> None:
    rows = [trial(arm, i, 100, 0.99) for arm in ("standard", "adaptive") for i in range(3)]
    standard, adaptive = verdict(rows).smallest_budgets
    spoken = sentences((), (standard, replace(adaptive, ratio=ratio)), "standard", 0.98, 0.95, ACCURACY)
    assert spoken[-1].endswith(f": {times}.")


def test_there_is_no_ratio_of_networks_where_trials_are_unfinished_or_none_is_enough() -> None:
    rows = [trial("standard", i, 100, 0.97) for i in range(3)] + [trial("adaptive", i, 100, 0.99) for i in range(3)]
    assert verdict(rows).smallest_budgets[1].reason == "standard reaches it at no budget that was tried"
    rows = [r | {"test_metric": 0.99} for r in rows]
    rows[5] |= {"status": "failed", "test_metric": None}
    smallest = verdict(rows).smallest_budgets[1]
    assert (smallest.ratio, smallest.reason) == (None, "1 of adaptive's trials did not finish")


def test_there_is_no_ratio_of_networks_where_one_was_not_tried_at_a_smaller_budget() -> None:
    def rows(arm: str, *budgets: int) -> list[dict[str, Any]]:
        return [trial(arm, i, 100, 0.97 + 0.01 * (b >= 100), budget=b) for b in budgets for i in range(3)]

    def ratio_and_reason(standard: tuple[int, ...], adaptive: tuple[int, ...]) -> tuple[float | None, str]:
        found = verdict(rows("standard", *standard) + rows("adaptive", *adaptive)).smallest_budgets[1]
        return found.ratio, found.reason

    assert ratio_and_reason((10, 100, 660), (10, 660)) == (None, "adaptive was not tried at 100 parameters")
    assert ratio_and_reason((10, 660), (10, 100, 660)) == (None, "standard was not tried at 100 parameters")
    # One that is too small at 90 is so at 10.
    assert ratio_and_reason((10, 100), (90, 110)) == (None, "adaptive was not tried at 100 parameters")
    assert ratio_and_reason((10, 110), (90, 110)) == (None, "standard was not tried at 90 parameters")
    assert ratio_and_reason((10, 90, 110), (90, 110)) == (1.0, "")
    assert ratio_and_reason((90, 110), (10, 90, 110)) == (1.0, "")
    ratio, reason = ratio_and_reason((10, 100, 660), (10, 100))
    assert (ratio, reason) == (1.0, "")  # a larger one would change nothing


FAILED = {"status": "failed", "steps": 50} | {f"{m}_to_0.98": None for m in ("steps", "epochs", "flops", "seconds")}
DEGENERATE = {
    "one seed": (pairs(SLOW[:1], FAST[:1]), "with 1 pair p cannot be below 1; run more seeds"),
    "five seeds": (pairs(SLOW[:5], FAST[:5]), "with 5 pairs p cannot be below 0.0625; run more seeds"),
    "nothing reached": (pairs([None] * 8, [None] * 8), "in none of 8 pairs is it known which arm reaches the target"),
    "all tied": (pairs(SLOW, SLOW), "10 pairs, all tied"),
    "most tied": (pairs(SLOW, [*FAST[:5], *SLOW[5:]]), "of 10 pairs 5 are tied, which leaves too few"),
    "no variance": (pairs([400] * 8, [200] * 8), "8 pairs, all with the same difference, so there is no interval"),
    "no effect": (pairs(SLOW, SLOW[::-1]), "p = 1 is above 0.05"),
    "missing pairs": (
        [r for r in pairs(SLOW, FAST) if not (r["arm"] == "adaptive" and r["pair"] in (2, 5))],
        "adaptive is ahead, but 2 of its trials did not finish or never ran",
    ),
    "failed on one side": (
        [r | (FAILED if r["trial"] == "adaptive-1000-3" else {}) for r in pairs(SLOW, FAST)],
        "adaptive is ahead, but 1 of its trials did not finish or never ran",
    ),
    "no pair": ([trial("standard", i, 10 + i) for i in range(6)] + [trial("adaptive", i, 9) for i in range(6, 12)],
                "no pair of trials of adaptive and standard to compare"),
    "pairs unknown": ([r | {"pair": None} for r in pairs(SLOW, FAST)],
                      "no pair of trials of adaptive and standard to compare"),
    "everything failed at once": (
        pairs([None] * 8, [None] * 8, status="failed", total=None, accuracy=None),
        "no pair of trials of adaptive and standard to compare",
    ),
    "everything diverged": (
        pairs([None] * 8, [None] * 8, status="diverged", accuracy=math.nan),
        "in none of 8 pairs is it known which arm reaches the target first",
    ),
    "reached at once": (pairs([0] * 8, [0] * 8), "no pair of trials of adaptive and standard to compare"),
    "too many budgets": (
        [r for b in range(1000, 31_000, 1000) for r in pairs(SLOW, FAST, budget=b)],
        "10 pairs that all agree, but corrected over 30 budgets p is 0.059; run more seeds",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DEGENERATE)
def test_degenerate_results_give_a_stated_no_claim(case: str) -> None:
    rows, reason = DEGENERATE[case]
    result = verdict(rows)
    c = found(result)
    assert c.claim == "no claim"
    assert c.reason.startswith(reason)
    assert reason in result.sentences[0]
    assert_finite(result)


def test_a_claim_needs_the_interval_as_well_as_p() -> None:
    # Nine pairs of ten agree, and the tenth is far off on the other side.
    c = found(verdict(pairs(SLOW, [*FAST[:3], None, *FAST[4:]])))
    assert c.p_holm is not None
    assert c.p_holm < 0.05
    assert (c.claim, c.reason) == ("no claim", "p is small enough, but the interval includes 1")


def test_failures_of_the_loser_do_not_forbid_the_claim() -> None:
    rows = pairs(SLOW, FAST)
    rows[3] |= FAILED
    assert found(verdict(rows)).claim == "better"


def test_a_diverged_trial_loses_to_one_that_reached_the_target() -> None:
    rows = pairs(SLOW, FAST)
    for row in rows[10:14]:
        row |= {"status": "diverged", "steps": 30}
    c = found(verdict(rows))
    assert (c.wins, c.n_pairs) == (6, 10)


def test_a_single_arm_has_nothing_to_be_compared_with() -> None:
    result = verdict([trial("standard", i, 100 + i) for i in range(6)])
    assert result.comparisons == ()
    assert result.sentences == ("No claim: standard is the only arm, so there is nothing to compare it with.",)
    assert_finite(result)


def test_arms_without_a_budget_are_compared_as_well() -> None:
    result = verdict(pairs(SLOW, FAST, budget=None))
    assert found(result, budget=None).claim == "better"
    assert result.sentences[0].startswith("Without a budget, adaptive reaches")


def test_an_arm_at_a_budget_of_its_own_is_named_and_compared_with_nothing() -> None:
    result = verdict(pairs(SLOW, FAST) + [trial("adaptive", i, 100, budget=5000) for i in range(6)])
    assert found(result, budget=5000).reason == "there is no trial of standard at this budget"
    assert "At 5,000 parameters, adaptive: no claim: there is no trial of standard at this budget." in result.sentences
    assert found(result).p_holm == found(result).p  # a budget without a test is none to correct for


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
    assert [len(t.rows) for t in tables] == [2, 4, 4, 10, 2]
    assert all(len(row) == len(t.columns) for t in tables for row in t.rows)
    assert tables[0].rows[0][:4] == ("1,000", "adaptive", "10", f"× {found(result).estimate:.3f}")
    assert tables[0].rows[0][7] == "better"
    assert tables[0].rows[1][3:8] == ("× 1.00", "–", "1", "0.50", "no claim")


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


@settings(max_examples=60)
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
def test_whatever_the_results_the_verdict_is_finite_and_every_no_claim_has_a_reason(rows: list[Row]) -> None:
    result = verdict([trial("standard", 99, 70), *rows])
    assert_finite(result)
    for c in result.comparisons:
        assert (c.claim == "no claim") == bool(c.reason)


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
        claimed = {c.measure for c in verdict(no_effect(rng, 3, 10)).comparisons if c.claim != "no claim"}
        for measure in wrong:
            wrong[measure] += measure in claimed
    return {measure: count / sweeps for measure, count in wrong.items()}


def test_under_no_effect_claims_over_all_budgets_are_rare() -> None:
    rates = false_claims(150)
    assert max(rates.values()) <= 0.05 + 2.5 * math.sqrt(0.05 * 0.95 / 150)


@pytest.mark.slow
def test_under_no_effect_a_claim_over_all_budgets_is_made_at_most_5_times_of_100() -> None:
    rates = false_claims(2_000)
    assert max(rates.values()) <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 2_000)  # two standard errors of the simulation


def test_the_interval_of_the_steps_covers_a_known_ratio_in_two_thousand_budgets() -> None:
    rng = np.random.default_rng(0)
    ratio, n = 0.7, 10
    rows = []
    for budget in range(2_000):
        log_steps = 10 + rng.normal(0, 0.2, (2, n))  # some 20,000 steps, so that whole steps do not matter
        for arm, steps in zip(("standard", "adaptive"), np.exp(log_steps) * [[1.0], [ratio]], strict=True):
            rows += [trial(arm, i, int(s), budget=budget + 1, total=10**6) for i, s in enumerate(steps)]
    intervals = [c.interval for c in verdict(rows).comparisons if c.measure == "steps"]
    covered = [i is not None and i.low <= ratio <= i.high for i in intervals]
    assert len(covered) == 2_000
    assert 0.93 <= np.mean(covered) <= 0.97


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
