from __future__ import annotations

import contextlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from adaptconv_cli.main import main
from sweep_cases import maker, plan, result, sweep

from lit_adaptconv.errors import UserError
from lit_adaptconv.sweep.engines import Outcome
from lit_adaptconv.sweep.folder import SweepFolder
from lit_adaptconv.sweep.schema import CURVES_SCHEMA, results_schema
from lit_adaptconv.sweep.store import Store, read_curves, read_results
from lit_adaptconv.sweep.trial import Trial
from lit_adaptconv.train.convergence import Evaluation
from lit_adaptconv.train.result import RunResult
from lit_adaptconv.verdict.metric import ACCURACY, Metric

OLD = Path(__file__).parents[2] / "docs" / "results" / "mnist_small_2500"
"""A sweep that the version before wrote."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    of = plan()
    folder = SweepFolder(tmp_path)
    folder.write(sweep(of, list(maker(of).all())))
    return Store(folder, folder.read())


def put(store: Store, trial: Trial, accuracies: list[float], **how: str) -> None:
    result(trial, accuracies, **how).write(store.folder.trial(trial) / "result.json")


def test_what_is_written_about_a_sweep_is_read_back_the_same(store: Store) -> None:
    of = plan()
    assert store.sweep == sweep(of, list(maker(of).all()))


def test_a_row_tells_when_each_target_was_reached_and_null_where_it_was_not(store: Store) -> None:
    put(store, store.sweep.trials[0], [0.3, 0.5, 0.8, 0.7])
    store.write()
    (row,) = read_results(store.folder.path).to_pylist()
    assert [row[f"{m}_to_0.5"] for m in ("steps", "epochs", "flops", "seconds")] == [20, 1.0, 6000, 3.0]
    assert [row[f"{m}_to_0.9"] for m in ("steps", "epochs", "flops", "seconds")] == [None] * 4
    # What a trial that did not reach a target is censored at.
    assert [row[name] for name in ("steps", "epochs", "training_flops", "training_seconds")] == [40, 2.0, 12000, 6.0]
    assert (row["val_metric"], row["best_val_metric"], row["test_metric"]) == (0.7, 0.8, 0.7)
    assert (row["arm"], row["budget"], row["pair"], row["seed"], row["widths"]) == ("standard", 300, 0, 0, "3-4")
    assert json.loads(row["versions"]) == {"lit-adaptconv": "0.1.0"}
    assert row["code_version"] == "0.1.0+c0dec0de"
    assert row["tuned"] is None


def test_curves_have_a_row_for_every_evaluation(store: Store) -> None:
    put(store, store.sweep.trials[0], [0.3, 0.5])
    put(store, store.sweep.trials[1], [0.4])
    store.write()
    curves = read_curves(store.folder.path)
    assert curves["val_metric"].to_pylist() == [0.3, 0.5, 0.4]
    assert curves["step"].to_pylist() == [10, 20, 10]
    assert curves["arm"].to_pylist() == ["standard", "standard", "low_rank"]


@pytest.mark.parametrize("status", ["failed", "diverged", "interrupted"])
def test_a_trial_that_did_not_end_well_keeps_its_row_its_reason_and_its_curve(store: Store, status: str) -> None:
    put(store, store.sweep.trials[0], [0.6], status=status, reason="because")
    store.write()
    (row,) = read_results(store.folder.path).to_pylist()
    assert (row["status"], row["reason"], row["test_metric"]) == (status, "because", None)
    assert row["steps_to_0.5"] == 10


@pytest.mark.parametrize("before", ["failed", "diverged", "interrupted", "running"])
def test_a_trial_that_goes_on_shows_what_it_has_written_last(store: Store, before: str) -> None:
    trial = store.sweep.trials[0]
    put(store, trial, [0.3], status=before, reason="because")
    seen = [len(store.begun()[0][1].curve)]
    store.begin(trial)
    seen += [len(store.begun()[0][1].curve)]  # it has not written anything yet
    for accuracies in ([0.3], [0.3, 0.5], [0.3, 0.5, 0.6]):
        put(store, trial, accuracies, status="running")
        seen += [len(store.begun()[0][1].curve), store.curves().num_rows]
    assert seen == [1, 1, 1, 1, 2, 2, 3, 3]
    put(store, trial, [0.3, 0.5, 0.6, 0.7])
    assert (store.finish(trial, Outcome("done")).status, store.results().num_rows) == ("done", 1)


@pytest.mark.parametrize("status", ["interrupted", "failed", "lost"])
def test_a_trial_that_wrote_that_it_is_done_stays_so_whatever_ends_its_process(store: Store, status: Any) -> None:
    trial = store.sweep.trials[0]
    store.begin(trial)
    put(store, trial, [0.3, 0.5])
    assert store.finish(trial, Outcome(status, "its process ended")).status == "done"
    store.write()
    (row,) = read_results(store.folder.path).to_pylist()
    assert (row["status"], row["reason"], row["test_metric"]) == ("done", None, 0.5)


def test_a_trial_that_was_killed_has_a_row_and_one_that_never_began_has_none(store: Store) -> None:
    put(store, store.sweep.trials[0], [0.6], status="running")
    store.write()
    (row,) = read_results(store.folder.path).to_pylist()
    assert row["status"] == "interrupted"


def test_tables_are_rebuilt_from_the_trials_alone(store: Store) -> None:
    for i, trial in enumerate(store.sweep.trials):
        put(store, trial, [0.1 * i, 0.05 * i])
    store.write()
    path = store.folder.path
    before = read_results(path), read_curves(path)
    for name in ("results.parquet", "curves.parquet"):
        (path / name).unlink()
    Store(store.folder, store.folder.read()).write()
    assert before[0].equals(read_results(path))
    assert before[1].equals(read_curves(path))


def test_an_outcome_that_the_trial_could_not_write_is_written_for_it(store: Store) -> None:
    first, second = store.sweep.trials[:2]
    put(store, first, [0.6], status="running")
    store.finish(first, Outcome("lost", "killed by the system"))
    store.finish(second, Outcome("failed", "it never began"))
    again = Store(store.folder, store.sweep).results().to_pylist()
    assert [(row["status"], row["reason"]) for row in again] == [
        ("failed", "killed by the system"),
        ("failed", "it never began"),
    ]
    assert again[0]["steps_to_0.5"] == 10  # what it had recorded stays


def test_what_the_trial_wrote_itself_is_kept(store: Store) -> None:
    put(store, store.sweep.trials[0], [0.6], status="diverged", reason="the loss is nan")
    finished = store.finish(store.sweep.trials[0], Outcome("diverged", "DivergedError: the loss is nan"))
    assert finished.reason == "the loss is nan"


def test_a_full_disk_does_not_hide_an_outcome(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lit_adaptconv.train.result.write_text", full)
    store.finish(store.sweep.trials[0], Outcome("failed", "out of luck"))
    (row,) = store.results().to_pylist()
    assert row["status"] == "failed"
    assert "out of luck" in row["reason"]
    assert "No space left" in row["reason"]


def test_another_reader_finds_the_documented_types(store: Store) -> None:
    pandas = pytest.importorskip("pandas")
    put(store, store.sweep.trials[0], [0.6])
    store.write()
    frame = pandas.read_parquet(store.folder.path / "results.parquet")
    assert frame["test_metric"].dtype == "float64"
    assert frame["budget"].iloc[0] == 300
    types = {field.name: str(field.type) for field in read_results(store.folder.path).schema}
    assert types["steps_to_0.5"] == types["budget"] == types["training_flops"] == "int64"
    assert types["epochs_to_0.5"] == types["seconds_to_0.5"] == "double"
    assert types["kind_options"] == "string"


def test_a_damaged_result_costs_its_row_which_says_so_and_no_other(store: Store) -> None:
    first, second = store.sweep.trials[:2]
    put(store, first, [0.6])
    put(store, second, [0.6])
    path = store.folder.trial(first) / "result.json"
    path.write_text(path.read_text().replace('"steps": 10', '"steps": "abc"', 1))
    rows = store.results().to_pylist()
    assert [row["status"] for row in rows] == ["failed", "done"]
    assert "is not a result that this version reads: " in rows[0]["reason"]
    assert rows[0]["steps_to_0.5"] is None
    assert store.folder.done(store.sweep.trials) == {second.id}


def test_an_error_is_reached_from_above_and_the_test_metric_is_the_plans(store: Store) -> None:
    sweep = replace(store.sweep, metric=Metric("val/rmse", "min", "test/rmse"), targets=(0.5, 0.2), model="Mine")
    store.folder.write(sweep)
    assert store.folder.read() == sweep
    store = Store(store.folder, store.folder.read())
    made = result(store.sweep.trials[0], [0.9, 0.5, 0.7])
    made.test_metrics = {"test/rmse": 0.65, "test/mae": 0.4, "test/loss": 0.42}
    made.write(store.folder.trial(store.sweep.trials[0]) / "result.json")
    (row,) = store.results().to_pylist()
    assert (row["steps_to_0.5"], row["steps_to_0.2"]) == (20, None)
    assert (row["test_metric"], row["test_loss"]) == (0.65, 0.42)


def test_what_a_module_of_others_does_not_know_is_null(store: Store) -> None:
    trial = store.sweep.trials[0]
    made = RunResult("trials", trial.id, "done", model="Mine", curve=[Evaluation(5, 1.0, None, 0.5, 0.8)])
    made.write(store.folder.trial(trial) / "result.json")
    store.write()
    (row,) = read_results(store.folder.path).to_pylist()
    unknown = ("backbone", "parameters", "flops", "training_flops", "flops_to_0.5", "device", "test_metric")
    assert [row[name] for name in unknown] == [None] * len(unknown)
    assert row["steps_to_0.5"] == 5
    assert read_curves(store.folder.path)["flops"].to_pylist() == [None]


def test_a_name_or_reason_with_codes_of_a_terminal_is_seen_and_stored(store: Store) -> None:
    put(store, store.sweep.trials[0], [], status="failed", reason="\x1b[31mred\x07 \udcff")
    store.write()
    (row,) = read_results(store.folder.path).to_pylist()
    assert row["reason"] == r"\x1b[31mred\x07 \udcff"


def test_tables_and_sweeps_of_the_version_before_are_read_under_todays_names(tmp_path: Path) -> None:
    for name in ("sweep.json", "results.parquet", "curves.parquet"):
        shutil.copy(OLD / name, tmp_path)
    assert pq.read_schema(OLD / "results.parquet").metadata[b"lit_adaptconv_schema"] == b"1"
    results, curves = read_results(tmp_path), read_curves(tmp_path)
    assert results.schema.metadata[b"lit_adaptconv_schema"] == b"2"
    raw = pq.read_table(OLD / "results.parquet")
    assert results["test_metric"].equals(raw["test_accuracy"])
    assert results["best_val_metric"].equals(raw["best_val_accuracy"])
    assert curves.schema.names == CURVES_SCHEMA.names
    sweep = SweepFolder(tmp_path).read()
    assert (sweep.model, sweep.metric, sweep.network) == ("ImageClassifier", ACCURACY, "ConvNet")
    assert results.schema.names == results_schema(sweep.targets).names


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", "7", '{"schema": 2}', '{"schema": 2, "name": 3}', '{"schema": [], "name": "a"}'],
)
def test_a_damaged_list_of_trials_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(UserError, match=r"sweep\.json"):
        SweepFolder(tmp_path).read()


def test_a_file_of_another_schema_is_refused(store: Store) -> None:
    store.write()
    path = store.folder.path / "results.parquet"
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({b"lit_adaptconv_schema": b"999"}), path)
    with pytest.raises(UserError, match="rebuild it"):
        read_results(store.folder.path)
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(UserError, match="rebuild it"):
        read_results(store.folder.path)


def test_a_folder_that_is_no_sweep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no sweep\.json"):
        SweepFolder(tmp_path).read()
    with pytest.raises(UserError, match=r"no results\.parquet"):
        read_results(tmp_path)


def test_two_sweeps_do_not_run_in_one_folder(tmp_path: Path) -> None:
    with SweepFolder(tmp_path).locked():
        assert SweepFolder(tmp_path).busy
        with pytest.raises(UserError, match="is running"), SweepFolder(tmp_path).locked():
            pass
    assert not SweepFolder(tmp_path).busy


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("begun", [True, False])
def test_the_folder_of_a_sweep_that_fails_to_start_is_removed_where_it_is_new(
    tmp_path: Path, store: Store, before: bool, begun: bool
) -> None:
    folder = SweepFolder(tmp_path / "new")
    if before:
        folder.path.mkdir()
    with contextlib.suppress(UserError), folder.locked():
        if begun:
            folder.write(store.sweep)
        raise UserError("there is no SLURM here")
    assert folder.path.exists() == (before or begun)


def test_trials_that_other_code_finished_are_found_and_only_those(store: Store) -> None:
    done, failed, both, *_ = store.sweep.trials
    old = {trial: maker(plan(), code="0.0.9+01dc0de0") for trial in (done.id, failed.id, both.id)}
    before = list(next(iter(old.values())).all())
    put(store, before[0], [0.6])
    put(store, before[1], [0.6], status="failed")
    put(store, before[2], [0.6])
    put(store, both, [0.7])
    found = store.folder.finished_before(store.sweep.trials)
    assert set(found) == {done.id}
    assert found[done.id].id == before[0].id
    assert found[done.id].code == "0.1.0+01dc0de0"  # the version is the one that the result names


@pytest.mark.parametrize("last", [0, 1, 2])
def test_of_several_other_codes_the_one_that_ran_last_is_taken(store: Store, last: int) -> None:
    trial = store.sweep.trials[0]
    codes = ["01dc0de0", "ffdc0de0", "7fdc0de0"]
    for number, code in enumerate(codes):
        other = next(maker(plan(), code=f"0.0.9+{code}").all())
        started = f"2026-01-0{2 if number == last else 1}T00:00:00+00:00"
        replace(result(other, [0.6]), started=started).write(store.folder.trial(other) / "result.json")
    assert store.folder.finished_before([trial])[trial.id].id.endswith(codes[last])


def test_the_status_of_a_sweep_that_is_kept_without_its_trials_leaves_its_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = Path(__file__).parents[2] / "docs" / "results" / "mnist_small_2500"
    before = {name: (kept / name).read_bytes() for name in ("sweep.json", "results.parquet", "curves.parquet")}
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)
    assert main(["status", str(tmp_path)]) == 0
    assert "finished, 80 of 80 trials done" in capsys.readouterr().out
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def counted(trial: Trial, per_sample: int | None) -> RunResult:
    made = result(trial, [0.5, 0.8])
    made.flops, made.training_flops_per_sample = 7, per_sample
    return made


@pytest.mark.parametrize("order", [(None, 21), (21, None)])
def test_flops_of_an_earlier_version_and_of_this_one_never_stand_in_one_table(
    store: Store, order: tuple[int | None, int | None]
) -> None:
    for trial, per_sample in zip(store.sweep.trials, order, strict=False):
        counted(trial, per_sample).write(store.folder.trial(trial) / "result.json")
        store.results()  # the first row is kept in memory before the second comes
    store.write()
    rows, curves = read_results(store.folder.path).to_pylist(), read_curves(store.folder.path).to_pylist()
    for trial, row, per_sample in zip(store.sweep.trials, rows, order, strict=False):
        numbers = [row[name] for name in ("flops", "training_flops", "flops_to_0.5")]
        numbers += [curve["flops"] for curve in curves if curve["trial"] == trial.id]
        assert all((number is None) == (per_sample is None) for number in numbers)
        assert row["steps_to_0.5"] == 10
        assert row["training_flops_per_sample"] == per_sample


@pytest.mark.parametrize("per_sample", [None, 21])
def test_flops_that_are_all_counted_alike_stay(store: Store, per_sample: int | None) -> None:
    for trial in store.sweep.trials[:2]:
        counted(trial, per_sample).write(store.folder.trial(trial) / "result.json")
    store.write()
    assert read_results(store.folder.path)["flops"].to_pylist() == [7, 7]
    assert read_curves(store.folder.path)["flops"].null_count == 0
