"""The limits of a budget as options: those of a command line and a configuration hold together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lit_adaptconv.measure.budget import Budget
from lit_adaptconv.train.classifier import ImageClassifier
from lit_adaptconv.train.parser import OneLineParser


@pytest.fixture
def parser() -> OneLineParser:
    made = OneLineParser(default_env=False)
    made.add_argument("--config", action="config")
    made.add_class_arguments(ImageClassifier, "model")
    return made


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "config.yaml"
    path.write_text("model: {budget: 5000, convert: {kind: adaptive, budget: 7000}}\n")
    return str(path)


def limits(parsed: Any, name: str = "model.budget") -> int | dict[str, int]:
    found = parsed.get(name)
    return found if isinstance(found, int) else Budget.of(found.as_dict()).limits


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ("--model.budget 5000", 5_000),
        ("--model.budget.parameters 5000", {"parameters": 5_000}),
        ("--model.budget.flops 1e6", {"flops": 10**6}),
        ("--model.budget 5000 --model.budget.flops 1e6", {"parameters": 5_000, "flops": 10**6}),
        ("--model.budget=5000 --model.budget.flops=1e6", {"parameters": 5_000, "flops": 10**6}),
        ("--model.budget.flops 1e6 --model.budget 5000", {"parameters": 5_000, "flops": 10**6}),
        ("--model.budget 9 --model.budget.parameters 5000", {"parameters": 5_000}),
        ("--model.budget {flops:1e6} --model.budget.bytes 900", {"flops": 10**6, "bytes": 900}),
        ("--model.budget.dtype float16 --model.budget.bytes 9 --model.budget 5", {"parameters": 5, "bytes": 9}),
        ("--model.budget null --model.budget.bytes 900", {"bytes": 900}),
    ],
)
def test_limits_of_a_command_line_hold_together(parser: OneLineParser, arguments: str, wanted: object) -> None:
    given = [arg.replace("{flops:1e6}", "{flops: 1e6}") for arg in arguments.split(" ")]
    parsed = parser.parse_args(given)
    assert limits(parsed) == wanted
    assert ("float16" in arguments) == (getattr(parsed.model.budget, "dtype", None) == "float16")


def test_the_number_of_a_configuration_holds_beside_the_limits_of_a_command_line(
    parser: OneLineParser, config: str
) -> None:
    given = ["--config", config, "--model.budget.bytes", "900", "--model.convert.budget.flops", "2e6"]
    parsed = parser.parse_args(given)
    assert limits(parsed) == {"parameters": 5_000, "bytes": 900}
    assert limits(parsed, "model.convert.budget") == {"parameters": 7_000, "flops": 2_000_000}
    assert parser.parse_args(["--config", config, "--model.budget", "90"]).model.budget == 90
