"""`adaptconv compare`: gates, the baseline, JSON and Markdown."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from adaptconv_cli.gates import Compared, Limits
from adaptconv_cli.main import main
from hypothesis import given
from hypothesis import strategies as st

from lit_adaptconv.errors import UserError
from lit_adaptconv.measure.latency import Latencies, NetworkLatency, RuntimeLatency
from lit_adaptconv.measure.timing import Spread
from lit_adaptconv.text import visible
from lit_adaptconv.train.result import RunResult

from .conftest import Command

pytestmark = pytest.mark.usefixtures("folder")


def result(name: str = "a", accuracy: float | None = 0.96, **changes: Any) -> RunResult:
    known: dict[str, Any] = {"status": "done", "kind": "adaptive", "parameters": 1234, "weight_bytes": 4936}
    return RunResult(name, test_value=accuracy, **{"id": "1", **known, **changes})


def regression(name: str) -> RunResult:
    return result(name, 0.2, monitor="val/rmse", mode="min", test_metric="test/rmse")


def written(*results: RunResult) -> list[str]:
    """Write runs; their folders."""
    for each in results:
        each.write(Path("runs", each.name, each.id, "result.json"))
    return [f"runs/{each.name}/{each.id}" for each in results]


def baseline(*results: RunResult) -> str:
    Path("baseline.json").write_text(Compared.of(results).json())
    return "baseline.json"


def errors(capsys: pytest.CaptureFixture[str]) -> list[str]:
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("adaptconv: error: ") for line in lines)
    return [line.removeprefix("adaptconv: error: ") for line in lines]


def test_a_compared_run_has_what_its_result_has() -> None:
    budget: dict[str, Any] = {"budget": 5000, "budget_flops": 10**6, "budget_bytes": 20_000, "budget_dtype": "float16"}
    recorded = result(**budget, file_bytes=19_000, widths=[3, 4], seed=7)
    (run,) = Compared.of([recorded]).runs
    had = {name: value for name, value in vars(run).items() if not name.endswith("_latency")}
    assert had == {name: getattr(recorded, name) for name in had}
    assert {**budget, "file_bytes": 19_000}.items() <= had.items()


def test_every_gate_that_is_not_met_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    runs = written(result("a"), result("b", 0.999, parameters=2000, weight_bytes=8000), regression("c"))
    limits = ["--min_test_accuracy", "0.97", "--max_test_accuracy", "0.99", "--max_parameters", "1999"]
    assert main(["compare", *runs, *limits, "--max_bytes", "7999"]) == 1
    assert errors(capsys) == [
        "a has a test accuracy of 96.00 %, less than 97.00 %",
        "b has a test accuracy of 99.90 %, more than 99.00 %",
        "b has 2,000 parameters, more than 1,999",
        "b has weights of 8,000 bytes, more than 7,999",
        "c was tested by test/rmse: leave out --min_test_accuracy",
        "c was tested by test/rmse: leave out --max_test_accuracy",
    ]
    assert main(["compare", *runs[:2], "--max_parameters", "2000", "--max_bytes", "8000"]) == 0
    assert errors(capsys) == []


@pytest.mark.parametrize("gate", ["--min_test_accuracy=0.1", "--max_test_accuracy=0.9", "--baseline=baseline.json"])
@pytest.mark.parametrize("accuracy", [None, float("nan")])
def test_an_accuracy_that_is_not_known_meets_no_gate(
    gate: str, accuracy: float | None, capsys: pytest.CaptureFixture[str]
) -> None:
    baseline(result())
    assert main(["compare", *written(result(accuracy=accuracy)), gate]) == 1
    (line,) = errors(capsys)
    assert line.startswith("a has a test accuracy of –, ")


def test_a_size_that_is_not_known_meets_no_gate(capsys: pytest.CaptureFixture[str]) -> None:
    runs = written(result(parameters=None, weight_bytes=None))
    assert main(["compare", *runs, "--max_parameters", "1", "--max_bytes", "1"]) == 1
    assert [re.search(r"--\w+", line)[0] for line in errors(capsys)] == ["--max_parameters", "--max_bytes"]  # type: ignore[index]


@given(
    st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(0, n))),
    st.sampled_from(["min_test_accuracy", "max_test_accuracy"]),
)
def test_a_limit_is_met_exactly_by_an_accuracy_of_as_many_images(found: tuple[int, int, int], gate: str) -> None:
    """An accuracy is a mean in float32, and a limit a decimal number: equal counts are equal."""
    images, right, wanted = found
    accuracy = float(torch.tensor(right / images, dtype=torch.float32))
    limit: dict[str, Any] = {gate: wanted / images}
    compared = Compared.of([result(accuracy=accuracy)]).checked(Limits(**limit))
    met = right >= wanted if gate.startswith("min") else right <= wanted
    assert all(each.met == met for each in compared.gates)
    assert compared.gates or wanted == (0 if gate.startswith("min") else images)
    for each in compared.gates:
        numbers = re.findall(r"[\d.]+ %", each.reason)
        assert each.met or numbers[0] != numbers[1]


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 100))
def test_a_run_may_lose_so_much_and_no_more(now: int, before: int, most: int) -> None:
    accuracies = [float(torch.tensor(value / 1000, dtype=torch.float32)) for value in (now, before)]
    compared, base = (Compared.of([result(accuracy=value)]) for value in accuracies)
    (gate,) = compared.checked(Limits(max_drop=most / 1000), base).gates
    assert gate.met == (before - now <= most)


def test_a_drop_below_the_baseline_is_told_in_points(capsys: pytest.CaptureFixture[str]) -> None:
    base = baseline(result("a", 0.975), result("b", 0.96), result("c", 0.9))
    runs = written(result("a"), result("b", 0.9499), result("c", 0.99))
    assert main(["compare", *runs, "--baseline", base]) == 1
    assert errors(capsys) == [
        "a has a test accuracy of 96.00 %, 1.50 points less than the baseline's 97.50 %; at most 1.00 are allowed",
        "b has a test accuracy of 94.99 %, 1.01 points less than the baseline's 96.00 %; at most 1.00 are allowed",
    ]
    assert main(["compare", *runs, "--baseline", base, "--max_drop", "0.015"]) == 0


def test_runs_of_one_name_are_compared_with_the_baselines_mean(capsys: pytest.CaptureFixture[str]) -> None:
    base = baseline(result(accuracy=0.95), result(accuracy=0.97, id="2"), result(accuracy=None, id="3"))
    runs = written(result(accuracy=0.94), result(accuracy=0.951, id="2"))
    assert main(["compare", *runs, "--baseline", base]) == 1
    (line,) = errors(capsys)
    assert line.startswith("a/1 has a test accuracy of 94.00 %, 2.00 points less than the baseline's 96.00 %")


def test_what_cannot_be_compared_with_the_baseline_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    base = baseline(result("b", None), result("gone"), regression("c"))
    assert main(["compare", *written(result("a"), result("b"), regression("c")), "--baseline", base]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for sentence in (
        "The baseline does not have a.",
        "The baseline knows no test accuracy of b.",
        "The baseline knows no test accuracy of c.",
        "gone of the baseline was not compared.",
    ):
        assert sentence in out


def test_the_json_is_the_next_ones_baseline_and_stands_alone_on_standard_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs = written(result("a", test_images=None), result("b", float("nan"), weight_bytes=None))
    assert main(["compare", *runs, "--json", "new/out.json", "--max_parameters", "1000"]) == 1
    assert "1,234" in capsys.readouterr().out
    content = json.loads(Path("new/out.json").read_text())
    assert [run["test_value"] for run in content["runs"]] == [0.96, None]
    assert content["runs"][0].items() >= {"name": "a", "parameters": 1234, "weight_bytes": 4936}.items()
    assert [(gate["gate"], gate["limit"], gate["value"], gate["met"]) for gate in content["gates"]] == [
        ("max_parameters", 1000, 1234, False),
        ("max_parameters", 1000, 1234, False),
    ]
    assert main(["compare", *runs, "--json", "-", "--baseline", "new/out.json"]) == 0
    out = capsys.readouterr().out
    assert json.loads(out)["notes"] == ["The baseline knows no test accuracy of b."]


def test_the_table_is_markdown_that_says_which_gates_are_not_met(capsys: pytest.CaptureFixture[str]) -> None:
    runs = written(result("a|b_c"), result("d"))
    assert main(["compare", *runs, "--markdown", "--min_test_accuracy", "0.97"]) == 1
    lines = capsys.readouterr().out.splitlines()
    blank = lines.index("")
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines[:blank]} == {4}
    assert lines[1] == "| --- | ---: | ---: |"
    assert r"| Run | a\|b\_c | d |" in lines
    assert lines[blank + 1 :] == [
        rf"- Not met: {name} has a test accuracy of 96.00 %, less than 97.00 %." for name in (r"a\|b\_c", "d")
    ]


@pytest.mark.parametrize("options", [[], ["--markdown"]])
@pytest.mark.parametrize("name", ["a\x1b[31mb", "[/red]", ":warning:", "a\nb", "\u202ea", "\udcff", "=1"])
def test_a_name_is_text_wherever_it_is_told(name: str, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    result(name).write(Path("runs/x/1/result.json"))
    base = baseline(result(f"{name} before"))
    limits = ["--max_parameters", "1", "--baseline", base]
    assert main(["compare", "runs/x/1", "runs/x/1", *limits, *options, "--json", "out.json"]) == 1
    out, err = capsys.readouterr()
    assert not set(out + err) & {*"\x1b\u202e\udcff"}
    assert err.count(visible(" ".join(name.split()))) == 2
    if options:
        plain = re.sub(r"\\([^\w\\])", r"\1", out).replace(r"\\", "\\")
        assert visible(name) in plain
    else:
        assert visible(name) in out
    assert Compared.read(Path("out.json")).runs[0].name == name


NO_BASELINE: dict[str, tuple[str | bytes | None, str]] = {
    "missing": (None, "no baseline at b.json"),
    "empty": ("", "b.json is no baseline"),
    "no JSON": ("a: 1", "b.json is no baseline"),
    "no text": (b"\xff", "b.json is no baseline"),
    "deep": ("[" * 100_000, "b.json is no baseline"),
    "a list": ("[]", "not an object"),
    "a number": ("1", "not an object"),
    "nothing in it": ("{}", "runs is missing"),
    "a result": ('{"name": "a", "schema": 2}', "runs is missing"),
    "no run": ('{"runs": []}', "it holds no run"),
    "a run that is none": ('{"runs": [1]}', "runs: 1 is not an object"),
    "another schema": ('{"runs": [], "schema": 9}', "schema 9"),
    "percent": (Compared.of([result(accuracy=96.0)]).json(), "no share between 0 and 1: 96.0"),
    "below 0": (Compared.of([result(accuracy=-0.1)]).json(), "no share between 0 and 1: -0.1"),
}


@pytest.mark.parametrize("case", NO_BASELINE)
def test_what_is_no_baseline_is_told_in_one_line(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    content, words = NO_BASELINE[case]
    if content is not None:
        Path("b.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(["compare", *written(result()), "--baseline", "b.json"]) == 1
    (line,) = errors(capsys)
    assert words in line


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--min_test_accuracy", "90"], "min_test_accuracy is a share between 0 and 1, such as 0.9 for 90 %, got 90"),
        (["--min_test_accuracy", "-0.1"], "min_test_accuracy is a share"),
        (["--min_test_accuracy", "nan"], "--min_test_accuracy takes a number, got nan"),
        (["--min_test_accuracy", "ninety"], "--min_test_accuracy takes a number, got ninety"),
        (["--max_test_accuracy", "99"], "max_test_accuracy is a share"),
        (["--min_test_accuracy", "0.9", "--max_test_accuracy", "0.8"], "above max_test_accuracy"),
        (["--baseline", "baseline.json", "--max_drop", "1.5"], "max_drop is a share between 0 and 1, such as 0.02"),
        (["--baseline", "baseline.json", "--max_drop", "-0.01"], "max_drop is a share"),
        (["--max_drop", "0.01"], "max_drop needs a baseline"),
        (["--max_parameters", "0"], "max_parameters must be at least 1, got 0"),
        (["--max_parameters", "1.5"], "--max_parameters takes a whole number"),
        (["--max_bytes", "-5"], "max_bytes must be at least 1, got -5"),
        (["--max_bytes", "20kB"], "--max_bytes takes a whole number"),
        (["--json", "runs"], "runs is a folder"),
        (["--json", ""], "is a folder"),
        (["--json", "-", "--markdown"], "--json a file"),
        (["--baseline", "runs"], "no baseline"),
        (["--baseline", "baseline.json", "--json", "./baseline.json"], "overwrite the baseline"),
        (["--max_latency", "2"], "max_latency is a time above 0 with its unit, s, ms, us or µs, such as 2ms; got '2'"),
        (["--max_latency", "2ms", "--runtime", "tflite"], "--runtime"),
    ],
)
def test_an_option_that_makes_no_sense_is_one_line(
    options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    baseline(result())
    assert main(["compare", *written(result()), *options]) in (1, 2)
    (line,) = errors(capsys)
    assert words in line


def test_without_a_run_there_is_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--min_test_accuracy", "0.9"]) == 2
    (line,) = errors(capsys)
    assert "runs" in line


def test_limits_are_checked_from_python_too() -> None:
    with pytest.raises(UserError, match="min_test_accuracy"):
        Limits(min_test_accuracy=90)


@pytest.mark.parametrize("precision", ["32-true", "bf16-true", "64-true"])
def test_the_bytes_are_those_of_the_checkpoints_weights(fit: Command, precision: str) -> None:
    network = ["--model.backbone", "ResNet8", "--model.width", "0.25", "--data.image_size", "16"]
    short = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1", "--trainer.limit_val_batches", "1"]
    run = ["--run.name", "a", "--run.id", "1", "--run.test", "false", "--trainer.precision", precision]
    assert fit(*network, *short, *run) == 0
    state = torch.load("runs/a/1/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    stored = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    assert RunResult.read(Path("runs/a/1/result.json")).weight_bytes == stored


@pytest.fixture
def timed() -> list[str]:
    """A run of 2 ms an image in onnxruntime and 4 ms in PyTorch, one that only PyTorch runs, and one not timed."""
    runs = written(result("a"), result("b"), result("c"))
    spread = Spread(2e-3, 1e-3, 3e-3), Spread(2e-2, 1e-2, 3e-2)
    fast, slow = RuntimeLatency(*spread, None), RuntimeLatency(Spread(4e-3, 3e-3, 5e-3), spread[1], None)
    network = NetworkLatency("a", None, "adaptive", 1234, fast, slow, 9000, "")
    made = Latencies("cpu (a chip)", 1, 32, 20, 0.5, {"torch": "2"}, (network,))
    made.write(Path(runs[0]))
    replace(made, networks=(replace(network, onnx=None, reason="it can't"),)).write(Path(runs[1]))
    return runs


def test_latency_is_a_ceiling_in_either_runtime(timed: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *timed[:2], "--max_latency", "4ms", "--runtime", "torch"]) == 0
    assert "Latency, onnxruntime" in capsys.readouterr().out
    assert main(["compare", timed[0], "--max_latency", "2ms"]) == 0
    assert main(["compare", *timed, "--max_latency", "1.9999ms"]) == 1
    unknown = "the latency of {} in onnxruntime is not known: run `adaptconv latency` on it"
    assert errors(capsys) == [
        "a takes 2 ms an image in onnxruntime, more than 1.9999 ms",
        *(unknown.format(name) for name in "bc"),
    ]


def test_latencies_are_in_the_json_and_those_of_other_machines_are_told(
    timed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *timed, "--json", "-"]) == 0
    read = json.loads(capsys.readouterr().out)
    assert [run["onnx_latency"] for run in read["runs"]] == [2e-3, None, None]
    assert [run["torch_latency"] for run in read["runs"]] == [4e-3, 4e-3, None]
    assert read["notes"] == []
    file = Path(timed[1], "latency.json")
    file.write_text(file.read_text().replace("a chip", "another"))
    assert main(["compare", *timed, "--json", "compared.json"]) == 0
    assert "were not measured alike" in capsys.readouterr().out
    Compared.read(Path("compared.json"))


def test_a_baseline_of_an_earlier_version_has_no_latency() -> None:
    runs = written(result("a"))
    content = json.loads(Path(baseline(result("a"))).read_text())
    for run in content["runs"]:
        del run["onnx_latency"], run["torch_latency"]
    Path("baseline.json").write_text(json.dumps(content))
    assert main(["compare", *runs, "--baseline", "baseline.json"]) == 0
