"""A plan's limit on latency: the widest network within it, chosen once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from adaptconv_cli.main import main
from sweep_cases import plan, untrained

from lit_adaptconv.errors import UserError
from lit_adaptconv.measure.budget import Budget
from lit_adaptconv.measure.count import count_parameters
from lit_adaptconv.measure.timing import Spread
from lit_adaptconv.sweep.folder import SweepFolder
from lit_adaptconv.sweep.latency_limit import WIDTHS, _Timer, read_limited
from lit_adaptconv.sweep.plan import Arm, ArmBudget, LatencyLimit, Plan
from lit_adaptconv.sweep.reading import read_plan
from lit_adaptconv.sweep.run import Prepared, prepare
from lit_adaptconv.sweep.sizing import NetworkSize
from lit_adaptconv.sweep.store import Store


class Clock:
    """A network takes so many nanoseconds a parameter."""

    def __init__(self) -> None:
        self.nanoseconds, self.calls = 1000.0, 0

    def __call__(self, timer: _Timer, size: NetworkSize) -> Spread:
        self.calls += 1
        timer.device = "cpu (a chip)"
        seconds = 1e-9 * self.nanoseconds * size.parameters
        return Spread(seconds, 0.9 * seconds, 1.2 * seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(_Timer, "__call__", lambda timer, size: made(timer, size))
    return made


def limited(at_most: str, **changes: Any) -> Plan:
    return read_plan(plan(latency=LatencyLimit(at_most, "torch"), **changes))


@pytest.fixture(scope="module")
def first() -> Prepared:
    """A plan that was prepared under a limit of 250 µs."""
    made = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Timer, "__call__", lambda timer, size: made(timer, size))
        return prepare(limited("250us"))


def sizes_of(prepared: Prepared) -> dict[ArmBudget, NetworkSize]:
    return dict(prepared.maker.sizes)


@pytest.mark.parametrize(
    ("parameters", "budgets"),
    [
        (299, [300, 600]),
        *(pytest.param(parameters, [300, 600], marks=pytest.mark.slow) for parameters in (60, 450, 601)),
        *(pytest.param(parameters, [], marks=pytest.mark.slow) for parameters in (137, 450)),
    ],
)
def test_the_network_is_the_widest_within_the_limit(clock: Clock, parameters: int, budgets: list[int]) -> None:
    usual = sizes_of(prepare(read_plan(plan(budgets=budgets))))
    found = prepare(limited(f"{parameters}us", budgets=budgets))
    assert clock.calls <= 13 * len(usual)
    for at, size in sizes_of(found).items():
        if usual[at].parameters <= parameters:
            assert size == usual[at]
            continue
        network = found.networks[at.arm]
        if size.impossible is not None:
            assert network.size(parameters).impossible
        else:
            best = max(
                (network.size(budget) for budget in range(int(0.95 * parameters), parameters + 1)),
                key=lambda each: each.parameters,
            )
            assert 0.95 * best.parameters <= size.parameters <= parameters
    assert found.limited is not None
    for one in found.limited.sizes:
        assert (one.latency is None) == (one.size.impossible is not None)
        if one.latency is not None:
            assert one.latency.median == pytest.approx(1e-6 * one.size.parameters)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("budget", "by", "share"),
    [
        ({"flops": 200_000}, "flops", 0.97),
        ({"flops": 200_000}, "parameters", 0.45),
        ({"bytes": 2_000, "dtype": "float16"}, "width", 0.8),
        ({"parameters": 2_000, "flops": 250_000}, "parameters", 0.2),
        ({"parameters": 700, "flops": 10_000_000, "bytes": 4_000}, "flops", 0.6),
        ({"parameters": 700, "flops": 10_000_000, "bytes": 4_000}, "width", 0.9),
    ],
)
def test_the_network_is_the_widest_within_all_limits(
    budget: dict[str, Any], by: str, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever decides the time: none that is a little wider is within the limit too."""

    def seconds(size: NetworkSize) -> float:
        return 1e-6 * {"parameters": size.parameters, "flops": size.flops, "width": 10 + max(size.widths)}[by]

    def spread(timer: _Timer, size: NetworkSize) -> Spread:
        return Spread(seconds(size), seconds(size), seconds(size))

    monkeypatch.setattr(_Timer, "__call__", spread)
    arms = {"low_rank": plan().arms["low_rank"]}
    usual = prepare(read_plan(plan(budgets=[budget], arms=arms)))
    (at,) = usual.maker.sizes
    limits, widest, network = Budget.of(budget), usual.maker.sizes[at], usual.networks[at.arm]

    def used(size: NetworkSize) -> float:
        return max((size.sizes[name] or 0) / limit for name, limit in limits.limits.items())

    at_most = share * seconds(widest)
    found = sizes_of(prepare(limited(f"{at_most:.9f}s", budgets=[budget], arms=arms)))[at]
    assert seconds(found) <= at_most + 1e-9
    assert used(found) <= 1
    assert count_parameters(network.build(found.settings, meta=True)) == found.parameters
    for percent in range(100, 1000):
        wider = network.size(limits.scaled(min(1, percent / 100 * used(found) + 1e-9)))
        if used(wider) > used(found):
            assert percent <= 105 or seconds(wider) > at_most
        if wider.sizes == widest.sizes or seconds(wider) > at_most:
            assert seconds(wider) > at_most
            return


@pytest.mark.slow
def test_a_sweep_that_continues_never_measures_anew(clock: Clock, tmp_path: Path) -> None:
    first = prepare(limited("250us", budgets=[300]), tmp_path)
    assert first.limited is not None
    first.limited.write(tmp_path)
    before, clock.calls, clock.nanoseconds = clock.calls, 0, 2000.0
    again = prepare(limited("250us", budgets=[300]), tmp_path)
    assert before > 0
    assert clock.calls == 0
    assert sizes_of(again) == sizes_of(first)
    assert [t.id for t in again.maker.all()] == [t.id for t in first.maker.all()]
    more = prepare(limited("250us", budgets=[300, 600]), tmp_path)
    assert clock.calls > 0
    assert {t.id for t in first.maker.all()} < {t.id for t in more.maker.all()}
    other = prepare(limited("240us", budgets=[300]), tmp_path)
    assert not {t.id for t in other.maker.all()} & {t.id for t in first.maker.all()}


def test_an_arm_that_has_changed_has_its_own_width(clock: Clock, first: Prepared, tmp_path: Path) -> None:
    assert first.limited is not None
    first.limited.write(tmp_path)
    arms = {**plan().arms, "low_rank": Arm("adaptive_low_rank", {"rank": 2}, {"activation": "identity"})}
    again = prepare(limited("250us", arms=arms), tmp_path)
    assert 0 < clock.calls <= 13 * 2
    for at, size in sizes_of(again).items():
        if at.arm == "standard":
            assert size == sizes_of(first)[at]
        else:
            made = again.networks[at.arm].build(size.settings, meta=True)
            assert count_parameters(made) == size.parameters


def test_widths_of_an_earlier_version_are_kept(clock: Clock, first: Prepared, tmp_path: Path) -> None:
    assert first.limited is not None
    first.limited.write(tmp_path)
    content = json.loads((tmp_path / WIDTHS).read_text())
    for one in content["sizes"]:
        del one["widest"]
    (tmp_path / WIDTHS).write_text(json.dumps(content))
    assert sizes_of(prepare(limited("250us"), tmp_path)) == sizes_of(first)
    assert clock.calls == 0


ONE: dict[str, Any] = {"budgets": [300], "arms": {"standard": Arm()}}


@pytest.mark.parametrize(("threads", "changes"), [(1025, {}), (10**7, ONE), (2**40, ONE)])
def test_more_threads_than_there_can_be_are_one_line(threads: int, changes: dict[str, Any]) -> None:
    """However many networks that concerns."""
    with pytest.raises(UserError, match=f"^latency: threads must be at least 1, and at most 1024, got {threads}$"):
        prepare(read_plan(plan(latency=LatencyLimit("2ms", "torch", threads), **changes)))


def test_a_limit_changes_no_trial_of_a_plan_without_one(clock: Clock) -> None:
    without = [trial.id for trial in prepare(read_plan(plan(budgets=[300]))).maker.all()]
    assert clock.calls == 0
    assert not {*without} & {trial.id for trial in prepare(limited("1s", budgets=[300])).maker.all()}


def test_widths_that_cannot_be_read_are_not_chosen_again(clock: Clock, tmp_path: Path) -> None:
    (tmp_path / WIDTHS).write_text("{")
    with pytest.raises(UserError, match=r"widths\.json can't be read"):
        prepare(limited("250us"), tmp_path)
    assert clock.calls == 0


def test_a_limit_that_nothing_meets_names_the_fastest(clock: Clock) -> None:
    clock.nanoseconds = 1e6
    with pytest.raises(UserError) as told:
        prepare(limited("1us", budgets=[300]))
    line = str(told.value)
    assert "\n" not in line
    assert line.startswith("latency: no network of standard takes at most 0.001 ms an image in PyTorch: the fastest")
    assert "parameters, takes " in line


def test_an_arm_that_alone_does_not_meet_it_fails_alone(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Clock()
    slow.nanoseconds = 1e9
    monkeypatch.setattr(_Timer, "__call__", lambda t, size: (slow if t._arm == "low_rank" else clock)(t, size))
    found = sizes_of(prepare(limited("250us", budgets=[300])))
    assert found[ArmBudget("standard", 300)].impossible is None
    assert "no network of low_rank takes at most" in str(found[ArmBudget("low_rank", 300)].impossible)


def test_dry_run_and_results_have_what_was_measured_beside_the_limit(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("adaptconv_cli.sweep.estimate", lambda *args: None)
    chosen = prepare(limited("250us", budgets=[300]))
    store = untrained(tmp_path / "runs" / "small", chosen)
    assert chosen.limited is not None
    chosen.limited.write(tmp_path / "runs" / "small")
    rows = Store(SweepFolder(tmp_path / "runs" / "small"), store.sweep).results().to_pylist()
    assert {row["latency_limit"] for row in rows} == {2.5e-4}
    for row in rows:
        assert row["sized_latency"] == pytest.approx(1e-6 * row["parameters"])
        assert row["sized_latency_lower"] < row["sized_latency"] < row["sized_latency_upper"] <= 3e-4
    clock.calls = 0
    data = ["--data", "Digits", "--data.batch_size", "64", "--backbone", "ConvNet", "--backbone.kernel_size", "3"]
    options = '"kind_options": {"rank": 1}, "backbone_options": {"activation": "identity"}'
    arms = f'{{"standard": {{}}, "low_rank": {{"kind": "adaptive_low_rank", {options}}}}}'
    limit = '{"at_most": "250us", "runtime": "torch"}'
    given = ["--name", "small", "--arms", arms, "--budgets", "[300]", "--latency", limit]
    assert main(["sweep", *given, *data, "--dry-run"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "(at most" in out
    assert f" {chosen.limited.sizes[0].size.parameters / 1000:g} " in out
    assert clock.calls == 0
    assert read_limited(tmp_path / "runs" / "small") == chosen.limited


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ({"at_most": "2"}, "latency.at_most is a time above 0 with its unit, s, ms, us or µs, such as 2ms; got '2'"),
        ({"at_most": "2 minutes"}, "latency.at_most is a time above 0"),
        ({"at_most": "2ms", "threads": 0}, "latency.threads must be at least 1, got 0"),
        ({"at_most": "2ms", "runtime": "tflite"}, "latency"),
        ({"runtime": "onnx"}, "latency"),
        ("2ms", "latency"),
    ],
)
def test_a_limit_that_is_none_is_one_line(limit: Any, words: str) -> None:
    with pytest.raises(UserError) as told:
        read_plan({"name": "a", "arms": {"standard": {}}, "latency": limit})
    assert words in str(told.value)
    assert len(str(told.value).splitlines()) == 1


def test_the_network_is_not_tuned_under_a_limit() -> None:
    tuning = {"space": {"backbone.kernel_size": {"choices": [3, 5]}}}
    with pytest.raises(UserError, match="whose width latency has decided"):
        read_plan({"name": "a", "arms": {"standard": {}}, "latency": {"at_most": "2ms"}, "tuning": tuning})


def test_without_onnxruntime_a_limit_in_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"ONNX needs .*pip install 'lit-adaptconv\[onnx\]'"):
        prepare(read_plan(plan(latency=LatencyLimit("2ms"))))


def test_the_time_is_that_of_the_network_which_a_trial_trains() -> None:
    found = prepare(limited("1s", budgets=[300], arms={"standard": Arm()}))
    assert found.limited is not None
    (one,) = found.limited.sizes
    assert one.latency is not None
    assert 0 < one.latency.lower <= one.latency.median < 1
    assert found.limited.device.startswith("cpu")
