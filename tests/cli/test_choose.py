"""`adaptconv choose` and `la.choose`, on folders of sweeps."""

from __future__ import annotations

from pathlib import Path

import pytest
from adaptconv_cli.main import main
from report_cases import made_up_sweep

import lit_adaptconv as la
from lit_adaptconv.verdict.metric import ACCURACY, Metric


def test_a_sentence_comes_first_then_the_networks_that_are_not_ruled_out(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_up_sweep(folder / "runs" / "a")
    assert main(["choose", "runs/a", "--at-most", "700", "--margin", "1.5"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    choice = la.choose(folder / "runs" / "a", at_most=700, margin=1.5)
    assert out.startswith(choice.sentences[0])
    assert out.startswith("Take low_rank, 596 parameters: test accuracy ")
    assert out.index("Not ruled out") > len(choice.sentences[0])
    assert choice.margin == pytest.approx(0.015)
    results = la.compare(folder / "runs" / "a").results
    mine = results[(results["arm"] == "low_rank") & (results["budget"] == 600)]
    assert choice.sweeps[0][0].mean == pytest.approx(mine["test_metric"].mean())


@pytest.mark.parametrize("metric", [ACCURACY, Metric("val/error", "min", "test/error")])
def test_the_weights_of_the_seed_that_is_best_in_validation_are_named(
    folder: Path, capsys: pytest.CaptureFixture[str], metric: Metric
) -> None:
    store = made_up_sweep(folder / "a", metric=metric)
    if metric.mode == "min":
        next(r for trial, r in store.begun() if (trial.arm, trial.budget) == ("low_rank", 600)).val_value = 0.0
        store.write()
    assert main(["choose", "a", "--at-most", "700"]) == 0
    assert "Weights" not in capsys.readouterr().out  # the folder has none
    for trial, result in store.begun():
        file = store.folder.trial(trial) / "checkpoints" / "last.ckpt"
        file.parent.mkdir(parents=True)
        file.touch()
        result.write(store.folder.trial(trial) / "result.json")
    assert main(["choose", "a", "--at-most", "700"]) == 0
    *_, last = capsys.readouterr().out.splitlines()
    results = store.results().to_pandas()
    mine = results[(results["arm"] == "low_rank") & (results["budget"] == 600)].set_index("trial")["val_metric"]
    best = mine.idxmin() if metric.mode == "min" else mine.idxmax()
    assert last.endswith(f"best in validation: a/trials/{best}/checkpoints/last.ckpt")
    assert last.startswith("Weights of low_rank, ")


def test_of_several_sweeps_each_has_a_row_and_all_together_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        made_up_sweep(folder / name, name=name)
    assert main(["choose", "a", "b"]) == 0
    out = capsys.readouterr().out
    table = out[out.index("What to take, a data set a row") :]
    assert table.count("Digits (") == 2
    assert "together" in table


def test_a_metric_of_which_less_is_better_is_chosen_alike(folder: Path) -> None:
    made_up_sweep(folder / "a")
    made_up_sweep(folder / "b", metric=Metric("val/error", "min", "test/error"))
    assert [c.arm for c in la.choose(folder / "a").sweeps[0]] == [c.arm for c in la.choose(folder / "b").sweeps[0]]


def test_latency_limits_what_is_taken_and_stands_in_sentence_and_table(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A budget of 600 takes 60,000 FLOPs, so 0.06 ms in onnxruntime and 0.18 in PyTorch."""
    made_up_sweep(folder / "a", latency=True)
    assert main(["choose", "a", "--latency", "61us"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert out.startswith("Take low_rank, 596 parameters, 0.06 ms an image: test accuracy ")
    assert "adaptive with 293 parameters of made-up was left out: its latency is not known." in out
    choice = la.choose(folder / "a", latency="0.181 ms", runtime="torch")
    assert {c.arm: c.latency for c in choice.sweeps[0]}["low_rank"] == pytest.approx(1.8e-4)
    assert {c.arm for c in choice.sweeps[0]} == {"standard", "low_rank", "adaptive"}
    assert "Latency, ms" in choice.table.columns


def test_sweeps_that_were_timed_on_different_machines_are_told(folder: Path) -> None:
    for name in ("a", "b"):
        made_up_sweep(folder / name, name=name, latency=True)
    assert la.choose(folder / "a", folder / "b", latency="1s").unknown[-1].startswith("adaptive with 1,193")
    file = folder / "b" / "latency.json"
    file.write_text(file.read_text().replace("a chip", "another"))
    assert "were not measured alike" in la.choose(folder / "a", folder / "b", latency="1s").unknown[-1]


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sweeps of which nothing can be chosen, or nothing with certain limits."""
    root = tmp_path_factory.mktemp("sweeps")
    made_up_sweep(root / "a", seeds=2)
    made_up_sweep(root / "timed", seeds=2, latency=True)
    made_up_sweep(root / "loss", seeds=2, metric=Metric("val/error", "min", "test/error"))
    (root / "empty").mkdir()
    begun = made_up_sweep(root / "begun", seeds=2)
    begun.results_of.clear()
    begun.write()
    return root


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["timed", "--latency", "2"], "latency is a time above 0 with its unit, s, ms, us or µs, such as 2ms; got '2'"),
        (["timed", "--latency", "1us"], "has no network of at most 0.001 ms an image: the smallest is "),
        (["timed", "--latency", "1us"], "the fastest low_rank with 296 parameters and 0.03 ms"),
        (["a", "--latency", "2ms"], "its networks have no latency in this runtime: `adaptconv latency` measures it"),
        (["a", "--at-most", "100"], "has no network of at most 100 parameters: the smallest is adaptive with 293"),
        (["nowhere"], "nowhere is not the folder of a sweep"),
        (["empty"], "is not the folder of a sweep: it has no sweep.json"),
        (["a", "--margin", "0"], "margin must be above 0"),
        (["a", "loss"], "choose from sweeps of one metric"),
        (["begun"], "has no trial yet"),
    ],
)
def test_what_cannot_be_chosen_is_one_line(
    args: list[str],
    message: str,
    sweeps: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(sweeps)
    assert main(["choose", *args]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line
