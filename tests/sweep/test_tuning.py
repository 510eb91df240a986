from __future__ import annotations

import dataclasses
import json
import math
import random
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pyarrow as pa
import pytest
import yaml
from adaptconv_cli.main import main
from hypothesis import given, settings
from hypothesis import strategies as st
from sweep_cases import maker, plan, result

from lit_adaptconv.data import Digits, ImageData
from lit_adaptconv.errors import UserError
from lit_adaptconv.report.content import read_content
from lit_adaptconv.report.page import page
from lit_adaptconv.report.summary import summary
from lit_adaptconv.sweep.drawing import draw
from lit_adaptconv.sweep.engines import Engine, Job, Outcome
from lit_adaptconv.sweep.engines.local import Slots
from lit_adaptconv.sweep.folder import Sweep, SweepFolder
from lit_adaptconv.sweep.frames import compare, sweep
from lit_adaptconv.sweep.interrupt import Interruption
from lit_adaptconv.sweep.plan import Arm, ArmBudget, Plan, Search, Tuning
from lit_adaptconv.sweep.progress import Listener
from lit_adaptconv.sweep.reading import build_data, read_plan
from lit_adaptconv.sweep.run import Prepared, SweepOutcome, _Run
from lit_adaptconv.sweep.sizing import NetworkSize
from lit_adaptconv.sweep.step_costs import StepCost, StepCosts, read_step_costs
from lit_adaptconv.sweep.trial import Trial, TrialMaker
from lit_adaptconv.sweep.tuning import Tuner, foreseen
from lit_adaptconv.sweep.tuning_table import SCHEMA, TUNING, read_tuning
from lit_adaptconv.verdict.question import Question

SPACE = {"optimizer.lr": Search(0.001, 1.0, log=True), "optimizer.weight_decay": Search(choices=[0.0, 0.1])}


def tuned_plan(trials: int | None = 5, seeds: int = 2, space: dict[str, Search] = SPACE, **changes: Any) -> Plan:
    return plan(tuning=Tuning(trials, space, seeds), wandb=False, **changes)


def tuner(of: Plan) -> Tuner:
    assert of.tuning is not None
    return Tuner(maker(of), of.tuning)


def near(trial: Trial, best: float = 0.1) -> list[float]:
    """The nearer the learning rate is to the best, the better; the seed adds a little."""
    assert trial.tuned is not None
    return [1 / (1 + abs(math.log(trial.tuned["optimizer.lr"] / best))) + 1e-3 * trial.pair]


class Made:
    """An engine that ends what it is given at once, as a function of the trial says, until its power is cut."""

    def __init__(self, trials: Mapping[str, Trial], slots: int, ends: Callable[[Trial], Any], lasts: int) -> None:
        self.slots = slots
        self._trials, self._ends, self._lasts = trials, ends, lasts
        self._jobs: deque[Job] = deque()
        self.ran: list[str] = []

    def submit(self, job: Job) -> None:
        self._jobs.append(job)

    def wait(self, timeout: float) -> list[tuple[Job, Outcome]]:
        if len(self.ran) == self._lasts:
            raise KeyboardInterrupt
        job = self._jobs.popleft()
        trial, config = self._trials[job.id], yaml.safe_load((job.folder / "config.yaml").read_text())
        assert config["seed_everything"] == trial.seed
        ended = self._ends(trial)
        status = ended if isinstance(ended, str) else "done"
        result(trial, [0.5] if status == ended else ended, status=status).write(job.folder / "result.json")
        self.ran.append(job.id)
        return [(job, Outcome(status, None if status == "done" else "so it is", seconds=1.0))]  # type: ignore[arg-type]

    def interrupt(self) -> None:
        pass

    def close(self) -> None:
        pass


class Nothing(pl.LightningDataModule):
    def prepare_data(self) -> None:
        pass


def every(of: Plan) -> dict[str, Trial]:
    """All trials that there may be, by their ids."""
    made = maker(of)
    if of.tuning is None:
        return {trial.id: trial for trial in made.all()}
    tuning = tuner(of).trials
    values = [None, *draw(of.tuning.space, of.tuning.trials)]
    compared = [trial for at in of.arm_budgets for one in values for trial in made.comparison(at, one)]
    return {trial.id: trial for trial in (*tuning, *compared)}


def run(
    of: Plan,
    folder: Path,
    ends: Callable[[Trial], Any] = near,
    *,
    slots: int = 2,
    lasts: int = -1,
    made: TrialMaker | None = None,
    accept_old: bool = False,
) -> tuple[SweepOutcome, list[Trial], list[str]]:
    """A sweep on such an engine: what came out, the trials that it ran, and what it said."""
    said: list[str] = []
    trials = every(of)
    engine = Made(trials, slots, ends if callable(ends) else near, lasts)
    prepared = Prepared(made or maker(of), Nothing(), {})
    running = _Run(prepared, SweepFolder(folder), accept_old, Listener(say=said.append), Interruption())
    make: Callable[[], Engine] = lambda: engine  # noqa: E731
    outcome = running.run(make, None, 1)
    return outcome, [trials[id] for id in engine.ran], said


def judged(trial: Trial) -> Any:
    """As `near`, and whatever the comparison ends with."""
    return [0.9] if trial.tuning is None else near(trial)


def what(sweep: Sweep) -> list[tuple[str, str]]:
    return [(trial.id, str(trial.tuned)) for trial in sweep.trials]


spaces = st.dictionaries(
    st.sampled_from(["optimizer.lr", "optimizer.weight_decay", "data.batch_size", "trainer.gradient_clip_val"]),
    st.builds(lambda low, more, log: Search(low, low + more, log), st.floats(1e-4, 1), st.floats(0.1, 1), st.booleans())
    | st.lists(st.integers(1, 99), min_size=1, max_size=4, unique=True).map(lambda c: Search(choices=c)),
    min_size=1,
    max_size=3,
)


@settings(max_examples=50, deadline=None)
@given(
    space=spaces,
    trials=st.integers(1, 9),
    seeds=st.integers(1, 3),
    arms=st.integers(1, 3),
    budgets=st.lists(st.integers(1, 999), max_size=3, unique=True),
)
def test_all_arms_and_budgets_try_the_same_values_with_the_same_seeds_side_by_side(
    space: dict[str, Search], trials: int, seeds: int, arms: int, budgets: list[int]
) -> None:
    named = {f"arm{rank}": Arm("adaptive_low_rank", {"rank": rank + 1}) for rank in range(arms)}
    of = tuned_plan(trials, seeds, space, arms=named, budgets=budgets)
    made, cells = tuner(of).trials, of.arm_budgets
    values = draw(space, trials)
    assert len(made) == len({trial.id for trial in made}) == len(values) * seeds * len(cells)
    of_cell = {at: [(t.tuned, t.seed) for t in made if (t.arm, t.budget) == at] for at in cells}
    assert all(tried == of_cell[cells[0]] for tried in of_cell.values())
    assert [tuned for tuned, _ in of_cell[cells[0]][::seeds]] == values
    assert Counter(seed for _, seed in of_cell[cells[0]]) == dict.fromkeys({t.seed for t in made}, len(values))
    assert not {t.seed for t in made} & {t.seed for t in maker(of).all()}
    for first in range(0, len(made), len(cells)):  # a busy moment of the machine meets all arms
        turn = made[first : first + len(cells)]
        assert [(t.arm, t.budget) for t in turn] == cells
        assert len({(t.tuning, t.seed) for t in turn}) == 1


@settings(max_examples=50, deadline=None)
@given(trials=st.integers(1, 6), more=st.integers(1, 4), seeds=st.integers(1, 3), name=st.text("ab", min_size=1))
def test_a_longer_tuning_or_another_name_keeps_the_trials(trials: int, more: int, seeds: int, name: str) -> None:
    first = [trial.id for trial in tuner(tuned_plan(trials, seeds)).trials]
    assert [trial.id for trial in tuner(tuned_plan(trials + more, seeds, name=name)).trials][: len(first)] == first
    assert set(first) < {trial.id for trial in tuner(tuned_plan(trials, seeds + 1)).trials}


STATUS = st.floats(0, 1) | st.sampled_from(["failed", "diverged"])


@settings(max_examples=60, deadline=None)
@given(data=st.data(), seeds=st.integers(1, 3), mode=st.sampled_from(["max", "min"]))
def test_the_best_mean_of_the_seeds_is_chosen_and_what_failed_comes_last(
    data: st.DataObject, seeds: int, mode: str
) -> None:
    of = tuned_plan(4, seeds, mode=mode, monitor="val/loss" if mode == "min" else "val/accuracy", budgets=[300])
    tuning = tuner(of)
    table: dict[tuple[ArmBudget, int], list[float | str]] = {}
    compared: Sequence[Trial] = []
    for trial in tuning.trials:
        assert not compared
        assert trial.tuning is not None
        ended = data.draw(STATUS)
        table.setdefault((ArmBudget(trial.arm, trial.budget), trial.tuning), []).append(ended)
        status = ended if isinstance(ended, str) else "done"
        compared = tuning.follow(trial, result(trial, [0.7 if ended == status else ended], status=status))  # type: ignore[list-item]
    values = draw(SPACE, 4)
    rows = pa.Table.from_pylist(tuning.rows, SCHEMA).to_pylist()
    assert [json.loads(row["values"]) for row in rows] == [values[row["number"]] for row in rows]
    assert len({row["trial"] for row in rows}) == len(rows) == len(tuning.trials)
    for at in of.arm_budgets:
        # An oracle in other words: sort what ended well, by the number of seeds and then by their mean.
        found = []
        for number in range(4):
            mine = [row for row in rows if (row["arm"], row["budget"], row["number"]) == (*at, number)]
            ended_so = [row["val_metric"] if row["status"] == "done" else row["status"] for row in mine]
            assert ended_so == table[at, number]
            well = [value for value in table[at, number] if not isinstance(value, str)]
            if well:
                mean = sum(map(float, sorted(well))) / len(well)
                found.append((-len(well), -mean if mode == "max" else mean, number))
        chosen = {str(trial.tuned) for trial in compared if (trial.arm, trial.budget) == at}
        best = min(found, default=None)
        near_ties = [f for f in found if best and f[0] == best[0] and abs(f[1] - best[1]) < 1e-12]
        assert len(chosen) == 1
        assert chosen <= ({str(values[f[2]]) for f in near_ties} or {"None"})
    assert [(t.arm, t.budget, t.pair) for t in compared] == [(t.arm, t.budget, t.pair) for t in maker(of).all()]


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@given(
    slots=st.integers(1, 7),
    kills=st.lists(st.integers(0, 9), max_size=4),
    fates=st.lists(st.sampled_from(["failed", "diverged", "", "", "", ""]), min_size=1, max_size=20),
)
def test_a_sweep_that_is_killed_anywhere_ends_as_it_would_have(slots: int, kills: list[int], fates: list[str]) -> None:
    of = tuned_plan(4, 2, budgets=[300])
    places = {trial.id: i for i, trial in enumerate(tuner(of).trials)}

    def ends(trial: Trial) -> Any:
        return fates[places[trial.id] % len(fates)] or near(trial) if trial.tuning is not None else [0.9]

    with tempfile.TemporaryDirectory() as place:
        whole, ran, _ = run(of, Path(place) / "whole", ends, slots=1)
        for kill in kills:
            try:
                run(of, Path(place) / "cut", ends, slots=slots, lasts=kill)
            except KeyboardInterrupt:
                continue
        cut, _, _ = run(of, Path(place) / "cut", ends, slots=slots)
        assert what(cut.sweep) == what(whole.sweep)
        assert cut.sweep.notes == whole.sweep.notes
        numbers = ["trial", "arm", "budget", "seed", "pair", "status", "val_metric", "test_metric", "tuned"]
        assert cut.results.select(numbers) == whole.results.select(numbers)
        assert len(ran) == len(every_one_of(whole, of))
        assert read_tuning(Path(place) / "cut") == read_tuning(Path(place) / "whole")
        _, more, _ = run(of, Path(place) / "cut", ends)
        assert more == []  # also what failed or diverged in tuning is not tried again


def every_one_of(outcome: SweepOutcome, of: Plan) -> list[Trial]:
    return [*tuner(of).trials, *outcome.sweep.trials]


def test_the_comparison_begins_when_all_have_been_judged_all_arms_side_by_side(tmp_path: Path) -> None:
    of = tuned_plan()
    outcome, ran, _ = run(of, tmp_path, judged, slots=1)
    tuning = [trial.tuning is not None for trial in ran]
    assert tuning == [True] * 5 * 2 * 4 + [False] * 3 * 4
    assert [trial.id for trial in ran] == [trial.id for trial in every_one_of(outcome, of)]
    assert [(t.pair, t.arm, t.budget) for t in outcome.sweep.trials] == [
        (t.pair, t.arm, t.budget) for t in maker(of).all()
    ]
    assert outcome.sweep.tuning == 40
    assert all(row["status"] == "done" for row in outcome.results.to_pylist())


def test_a_finished_sweep_that_is_run_again_has_its_trials_from_the_start(tmp_path: Path) -> None:
    of = tuned_plan()
    before, _, _ = run(of, tmp_path, judged)
    with pytest.raises(KeyboardInterrupt):
        run(dataclasses.replace(of, seeds=4), tmp_path, judged, lasts=0)
    assert {trial.id for trial in before.sweep.trials} < {trial.id for trial in SweepFolder(tmp_path).read().trials}


@pytest.mark.parametrize(
    ("change", "stays"),
    [
        ({}, True),
        ({"seeds": 4}, True),
        ({"arms": {**plan().arms, "separable": Arm("separable")}}, True),
        ({"arms": {"standard": Arm(), "low_rank": Arm("separable")}}, False),
        ({"trainer": {"max_epochs": 3}}, False),
        ({"tuning": Tuning(2, SPACE, 1)}, False),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_steps_cost_is_that_of_the_network_that_was_timed(
    tmp_path: Path, change: dict[str, Any], stays: bool
) -> None:
    of = plan(wandb=False)
    run(of, tmp_path, judged)
    costs = tuple(StepCost(at.arm, at.budget, 0.01) for at in of.arm_budgets)
    StepCosts("cpu", 1, {}, 3, costs).write(tmp_path)
    run(dataclasses.replace(of, **change), tmp_path, judged)
    assert (read_step_costs(tmp_path) is not None) == stays


@pytest.mark.parametrize("lasts", [*(pytest.param(lasts, marks=pytest.mark.slow) for lasts in (0, 1, 23)), 19, 20])
def test_a_sweep_that_gets_another_arm_keeps_its_results_while_that_is_tuned(tmp_path: Path, lasts: int) -> None:
    of = tuned_plan()
    more = dataclasses.replace(of, arms={"separable": Arm("separable"), **of.arms})
    before, _, _ = run(of, tmp_path / "folder", judged)
    with pytest.raises(KeyboardInterrupt):
        run(more, tmp_path / "folder", judged, lasts=lasts)
    kept, told = compare(tmp_path / "folder").results, SweepFolder(tmp_path / "folder").read().notes
    assert {*before.sweep.notes} <= {*told}
    tried = read_tuning(tmp_path / "folder")
    assert tried is not None
    assert {"standard", "low_rank"} <= {*tried["arm"].to_pylist()}
    assert {*before.results["trial"].to_pylist()} <= {*kept["trial"]}
    assert (kept["arm"] == "separable").sum() == max(0, lasts - 20)
    trials, done = foreseen(maker(more), SweepFolder(tmp_path / "folder"))
    after, ran, _ = run(more, tmp_path / "folder", judged)
    assert len(ran) == len(trials) - len(done) == 26 - lasts
    fresh, _, _ = run(more, tmp_path / "fresh", judged)
    assert what(after.sweep) == what(fresh.sweep)
    assert after.results["trial"] == fresh.results["trial"]


def test_what_has_failed_in_tuning_is_said_once_and_counts_from_the_start(tmp_path: Path) -> None:
    of = tuned_plan()
    fails = tuner(of).trials[7]

    def ends(trial: Trial) -> Any:
        return "failed" if trial.id == fails.id else judged(trial)

    with pytest.raises(KeyboardInterrupt):
        run(of, tmp_path, ends, lasts=20, slots=1)
    _, ran, said = run(of, tmp_path, ends, slots=1)
    assert not any("failed" in line for line in said)
    assert next(line for line in said if ": done" in line).startswith("21/52 ")
    assert len(ran) == 32


def test_trials_that_a_new_tuning_leaves_behind_are_told(tmp_path: Path) -> None:
    run(tuned_plan(), tmp_path, judged)
    _, _, said = run(tuned_plan(space={"optimizer.lr": Search(choices=[0.3, 0.5])}, trials=None), tmp_path, judged)
    assert "12 trials in this folder are not of this plan: they stay, and are in no table." in said


def test_a_stack_of_no_seeds_is_refused_and_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    of = plan(wandb=False)
    run(of, tmp_path, judged)
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    changed = Prepared(maker(dataclasses.replace(of, targets=[0.6])), Nothing(), {})
    with pytest.raises(UserError, match="--stack must be a number of trials from 1 on, or auto, got 0"):
        _Run(changed, SweepFolder(tmp_path), False, Listener(), Interruption()).run(NotImplemented, Slots(1, 1), 0)
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


CHANGES: dict[str, dict[str, Any]] = {
    "the targets, from 0.5, 0.9 to 0.6.": {"targets": [0.6]},
    "the question, from measure accuracy, steps_margin 0.1 to measure steps, target 0.5, steps_margin 0.1.": {
        "question": Question("steps", 0.5)
    },
    "the question, from measure accuracy, steps_margin 0.1 to measure accuracy, margin 0.01, steps_margin 0.1.": {
        "question": Question(margin=0.01)
    },
    "the primary arm, from standard to low_rank.": {"primary_arm": "low_rank"},
    "the number of seeds, from 3 to 4.": {"seeds": 4},
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("tuned", [pytest.param(False, marks=pytest.mark.slow), True])
def test_what_is_changed_after_results_were_there_is_noted_for_good(tmp_path: Path, change: str, tuned: bool) -> None:
    of = tuned_plan() if tuned else plan(wandb=False)
    other = dataclasses.replace(of, **CHANGES[change])
    run(of, tmp_path, judged)
    outcome, _, said = run(other, tmp_path, judged)
    note = f"Changed after results were there: {change}"
    assert [line for line in outcome.sweep.notes if line.startswith("Changed")] == [note]
    assert any(line.startswith(note) for line in said)
    again, _, said = run(other, tmp_path, judged)
    assert again.sweep.notes == outcome.sweep.notes == SweepFolder(tmp_path).read().notes
    assert not any(line.startswith(note) for line in said)
    fresh, _, _ = run(other, tmp_path / "fresh", judged)
    assert not any(line.startswith("Changed") for line in fresh.sweep.notes)


def test_what_was_tried_is_that_of_the_plan_and_goes_with_it(tmp_path: Path) -> None:
    of = tuned_plan()
    run(of, tmp_path, judged)
    tried = read_tuning(tmp_path)
    assert tried is not None
    assert Counter(tried["trial"].to_pylist()) == Counter(trial.id for trial in tuner(of).trials)
    with pytest.raises(KeyboardInterrupt):
        run(tuned_plan(6), tmp_path, judged, lasts=3)
    assert read_tuning(tmp_path) is None
    run(of, tmp_path, judged)
    assert read_tuning(tmp_path) == tried


def test_a_full_disk_costs_the_table_of_what_was_tried_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("lit_adaptconv.sweep.run.write_tuning", full)
        outcome, _, said = run(tuned_plan(), tmp_path, judged)
    assert outcome.complete
    assert any("tuning.parquet could not be written: " in line and "No space left" in line for line in said)
    assert read_tuning(tmp_path) is None
    run(tuned_plan(), tmp_path, judged)
    assert read_tuning(tmp_path) is not None


def test_a_damaged_result_of_a_tuning_trial_is_made_anew(tmp_path: Path) -> None:
    of = tuned_plan()
    before, _, _ = run(of, tmp_path, judged)
    victims = random.Random(0).sample(list(tuner(of).trials), 3)
    for victim in victims:
        (SweepFolder(tmp_path).trial(victim) / "result.json").write_text("{")
    after, ran, _ = run(of, tmp_path, judged)
    assert {trial.id for trial in ran} == {trial.id for trial in victims}
    assert what(after.sweep) == what(before.sweep)


def test_trials_of_other_code_are_taken_if_that_is_wished_and_else_tuned_again(tmp_path: Path) -> None:
    of = tuned_plan()
    before, _, _ = run(of, tmp_path, judged)
    other = maker(of, code="0.2.0+0123abcd")
    after, ran, _ = run(of, tmp_path, judged, made=other, accept_old=True)
    assert ran == []
    assert what(after.sweep) == what(before.sweep)
    trials, done = foreseen(other, SweepFolder(tmp_path))
    assert (len(trials), len(done)) == (52, 0)
    trials, done = foreseen(other, SweepFolder(tmp_path), accept_old=True)
    assert {trial.id for trial in trials} == done
    assert len(done) == 52


def test_a_choice_at_the_edge_is_told_of_that_arm_and_budget_alone(tmp_path: Path) -> None:
    rates = sorted(values["optimizer.lr"] for values in draw(SPACE, 5))
    best = {("standard", 300): rates[-1], ("standard", 600): rates[2], ("low_rank", 300): rates[0]}
    outcome, _, said = run(
        tuned_plan(),
        tmp_path,
        lambda t: [0.9] if t.tuning is None else near(t, best.get((t.arm, t.budget or 0), rates[1])),
    )
    notes = [note for note in outcome.sweep.notes if "optimizer.lr" in note]
    tried = "tried from 0.001 to 1; what lies beyond may be better."
    assert notes == [
        f"standard at 300: tuning chose optimizer.lr {rates[-1]:g}, the largest {tried}",
        f"low_rank at 300: tuning chose optimizer.lr {rates[0]:g}, the smallest {tried}",
    ]
    assert [line for line in said if line in outcome.sweep.notes] == [*outcome.sweep.notes]
    assert SweepFolder(tmp_path).read().notes == outcome.sweep.notes


def test_the_edge_stands_on_the_screen_the_page_and_in_the_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome, _, _ = run(tuned_plan(arms={"a<b>": Arm(), "b": Arm("adaptive")}), tmp_path, lambda t: judged(t))
    assert len(outcome.sweep.notes) > 1  # one of the two decays is always at an edge
    content = read_content(tmp_path)
    shown, written = page([content]), summary([content], [[]])
    assert main(["status", str(tmp_path)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for note in outcome.sweep.notes:
        assert note in out
        assert note.replace("<", "&lt;").replace(">", "&gt;") in shown
        assert note.replace("_", "\\_").replace("<", "\\<").replace(">", "\\>") in written


def test_where_all_tuning_failed_the_plans_own_values_are_used_and_it_is_told(tmp_path: Path) -> None:
    outcome, _, _ = run(
        tuned_plan(), tmp_path, lambda t: "failed" if t.tuning is not None and t.arm == "low_rank" else judged(t)
    )
    assert {trial.tuned is None for trial in outcome.sweep.trials if trial.arm == "low_rank"} == {True}
    assert {trial.tuned is None for trial in outcome.sweep.trials if trial.arm == "standard"} == {False}
    assert [n for n in outcome.sweep.notes if "failed" in n] == [
        f"low_rank at {budget}: every tuning trial failed, so the plan's own values are used." for budget in (300, 600)
    ]


def test_a_network_that_there_is_not_is_not_tuned(tmp_path: Path) -> None:
    of = tuned_plan()
    made = maker(of)
    sizes = {
        at: s if at.budget == 600 else NetworkSize(0, 0, (), impossible="too small") for at, s in made.sizes.items()
    }
    outcome, ran, _ = run(of, tmp_path, judged, made=dataclasses.replace(made, sizes=sizes))
    assert {trial.budget for trial in ran} == {600}
    assert outcome.results["status"].to_pylist().count("failed") == 6
    assert outcome.sweep.notes == tuple(note for note in outcome.sweep.notes if "at 600" in note)


def test_values_that_an_arm_replaces_are_tried_once(tmp_path: Path) -> None:
    arms = {"free": Arm(), "fixed": Arm("adaptive", model={"optimizer.lr": 0.5})}
    space = {"optimizer.lr": SPACE["optimizer.lr"]}
    of = tuned_plan(5, 2, space, arms=arms, budgets=[300])
    assert Counter(trial.arm for trial in tuner(of).trials) == {"free": 10, "fixed": 2}
    outcome, _, _ = run(of, tmp_path, judged)
    assert outcome.complete
    tried = read_tuning(tmp_path)
    assert tried is not None
    assert Counter(tried["arm"].to_pylist()) == {"free": 10, "fixed": 2}


def data_of(of: Plan, trial: Trial) -> Any:
    """The data module of a trial, as its process makes it, with the split that it would have; and its config."""
    config = maker(of).config(trial, "uid")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PL_GLOBAL_SEED", str(config["seed_everything"]))
        made = build_data(dataclasses.replace(of, data=config["data"]))
        made.setup("fit")
        batches = next(iter(made.train_dataloader()))
    return made, batches


@pytest.mark.parametrize("first_seed", [0, 7])
def test_all_tuning_trials_validate_on_the_same_images_and_their_batches_differ_by_seed(first_seed: int) -> None:
    small = {"class_path": "lit_adaptconv.data.Digits", "init_args": {"image_size": 8}}
    of = read_plan_of(tuned_plan(2, 3, first_seed=first_seed, budgets=[300], data=small))
    made = [data_of(of, trial) for trial in tuner(of).trials]
    splits = {tuple(sorted(data._val.indices.tolist())) for data, _ in made}
    assert len(splits) == 1
    orders = {trial.seed: tuple(batch[1].tolist()) for trial, (_, batch) in zip(tuner(of).trials, made, strict=True)}
    assert len(set(orders.values())) == 3
    compared = [data_of(of, trial)[0] for trial in maker(of).comparison(of.arm_budgets[0])]
    others = {tuple(sorted(data._val.indices.tolist())) for data in compared}
    assert len(others) == 3
    assert not splits & others


def read_plan_of(of: Plan) -> Plan:
    """The plan as its file gives it, with all arguments of its classes."""
    return read_plan(of)


class SeededAlone(Digits):
    """Data whose split, as those of many, is drawn from a seed of their own."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(seed=seed)


class Unseeded(Digits):
    def __init__(self, image_size: int = 8) -> None:
        super().__init__(image_size=image_size, seed=0)


class Passes(Digits):
    """Data that pass on what they are given."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("data", "arguments", "given"),
    [
        (SeededAlone, {}, {"seed": 1_000_000}),
        (SeededAlone, {"seed": 5}, {"seed": 5}),
        (Unseeded, {}, {}),
        (Digits, {}, {"split_seed": 1_000_000, "seed": None}),
        (Digits, {"seed": 3}, {"split_seed": None, "seed": 3}),
        (Digits, {"split_seed": 3}, {"split_seed": 3, "seed": None}),
        (Passes, {}, {"split_seed": 1_000_000}),
    ],
)
def test_a_data_module_is_given_one_split_by_the_argument_that_it_has(
    monkeypatch: pytest.MonkeyPatch, data: type[ImageData], arguments: dict[str, Any], given: dict[str, Any]
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "data_of_my_own", sys.modules[__name__])
    module = data.__module__ if data is Digits else "data_of_my_own"
    monkeypatch.setattr(data, "__module__", module)
    of = read_plan_of(tuned_plan(2, data={"class_path": f"{module}.{data.__name__}", "init_args": arguments}))
    for trial in tuner(of).trials:
        init = maker(of).config(trial, "uid")["data"]["init_args"]
        assert {name: init.get(name) for name in given} == given
        assert "split_seed" not in init or data in (Digits, Passes)


def test_what_is_foreseen_is_what_runs(tmp_path: Path) -> None:
    of = tuned_plan()
    made, folder = maker(of), SweepFolder(tmp_path)
    trials, done = foreseen(made, folder)
    assert (len(trials), done) == (52, set())
    with pytest.raises(KeyboardInterrupt):
        run(of, tmp_path, judged, lasts=11)
    trials, done = foreseen(made, folder)
    assert (len(trials), len(done)) == (52, 11)
    with pytest.raises(KeyboardInterrupt):
        run(of, tmp_path, judged, lasts=32)
    trials, done = foreseen(made, folder)
    assert (len(trials), len(done)) == (52, 43)
    outcome, ran, _ = run(of, tmp_path, judged)
    assert {trial.id for trial in ran} == {trial.id for trial in trials} - done
    trials, done = foreseen(made, folder)
    assert done == {trial.id for trial in trials} == {trial.id for trial in every_one_of(outcome, of)}


PLAN = {
    "name": "tiny",
    "data": {"class_path": "Digits", "init_args": {"image_size": 8}},
    "backbone": {"class_path": "ConvNet", "init_args": {"channels": [3, 4], "pool_after": [0]}},
    "arms": {"standard": {"kind": "standard"}, "adaptive": {"kind": "adaptive"}},
    "budgets": [300, 600],
    "seeds": 3,
    "targets": [0.9],
    "trainer": {"max_epochs": 2, "accelerator": "cpu"},
    "wandb": False,
}


def dry(tmp_path: Path, tuning: dict[str, Any], *more: str) -> int:
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump({**PLAN, "tuning": tuning}))
    return main(
        ["sweep", "--config", str(tmp_path / "plan.yaml"), "--output", str(tmp_path / "out"), "--dry-run", *more]
    )


def test_a_dry_run_counts_the_tuning_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("adaptconv_cli.sweep.estimate", lambda *given: None)
    decays = {"optimizer.lr": {"choices": [0.01, 0.02, 0.04]}, "optimizer.init_args.weight_decay": {"choices": [0, 1]}}
    assert dry(tmp_path, {"space": decays, "seeds": 2}) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "48 of the trials tune, before the comparison begins. 60 trials, 0 of them done" in out


@pytest.mark.parametrize(
    ("tuning", "says"),
    [
        ({"space": {"optimizer.lr": {"low": 0.1, "high": 1.0}}}, "tuning.trials is needed"),
        ({"trials": 2, "seeds": 0, "space": {"optimizer.lr": {"choices": [0.1]}}}, "tuning.seeds must be at least 1"),
        ({"space": {"optimizer.lr": {"choices": [0.1, 0.1]}}}, "a choice twice"),
        ({"space": {"optimizer.lr": {"choices": [0.1, "fast"]}}}, "optimizer.lr takes a number, got fast"),
        ({"trials": 2, "space": {"optimizer.lr": {"low": 0.1, "high": math.inf}}}, "needs low < high"),
    ],
)
def test_a_tuning_that_can_not_be_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tuning: dict[str, Any], says: str
) -> None:
    assert dry(tmp_path, tuning) in (1, 2)
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_a_real_sweep_tunes_rate_and_decay_and_continues_to_the_same_end(tmp_path: Path) -> None:
    space = {
        "optimizer.lr": {"low": 0.001, "high": 0.1, "log": True},
        "optimizer.weight_decay": {"choices": [0.0, 0.1]},
    }
    tuned = {**PLAN, "budgets": [300], "seeds": 2, "tuning": {"trials": 3, "space": space}}
    first = sweep(tuned, tmp_path / "whole", workers=2)
    assert first.results["status"].tolist() == ["done"] * 4
    assert len(list((tmp_path / "whole" / "tuning").iterdir())) == 3 * 2 * 2
    tuning = read_tuning(tmp_path / "whole")
    assert tuning is not None
    assert set(tuning["trial"].to_pylist()) == {path.name for path in (tmp_path / "whole" / "tuning").iterdir()}
    (tmp_path / "whole" / TUNING).unlink()  # an earlier version wrote none
    again = sweep(tmp_path / "whole", workers=1)
    assert again.results["trial"].tolist() == first.results["trial"].tolist()
    assert tuning == read_tuning(tmp_path / "whole")
    for path in (tmp_path / "whole" / "tuning").glob("*/config.yaml"):
        config = yaml.safe_load(path.read_text())
        assert config["data"]["init_args"]["split_seed"] == 1_000_000
        assert config["seed_everything"] in (1_000_000, 1_000_001)
