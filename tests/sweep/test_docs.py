"""What `docs/sweeps.md` says is what the code does."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from adaptconv_cli.sweep import SweepOptions
from sweep_cases import maker

from lit_adaptconv.measure.budget import plain_limits
from lit_adaptconv.sweep.drawing import draw
from lit_adaptconv.sweep.plan import Arm, Plan, Search, Tuning
from lit_adaptconv.sweep.reading import read_plan
from lit_adaptconv.sweep.schema import CURVES_SCHEMA, results_schema
from lit_adaptconv.sweep.tuning import Tuner

TEXT = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text()


def table(after: str) -> list[list[str]]:
    """Cells of the first table after a line that begins so."""
    lines = TEXT[TEXT.index(f"\n{after}") :].splitlines()[1:]
    start = next(i for i, line in enumerate(lines) if line.startswith("| ---"))
    end = next(i for i, line in enumerate(lines) if i > start and not line.startswith("|"))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start + 1 : end]]


def names(rows: list[list[str]]) -> list[str]:
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row[0])]


def test_the_documented_columns_of_the_results_are_those_of_the_schema() -> None:
    documented = [(row[0].strip("`").replace("_to_T", "_to_0.95"), row[1]) for row in table("### results.parquet")]
    assert documented == [(field.name, str(field.type)) for field in results_schema([0.95])]


def test_the_documented_columns_of_the_curves_are_those_of_the_schema() -> None:
    documented = [(row[0].strip("`"), row[1]) for row in table("### curves.parquet")]
    assert documented == [(field.name, str(field.type)) for field in CURVES_SCHEMA]


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("| field | meaning", Plan),
        ("| field of an arm", Arm),
        ("| field of `tuning`", Tuning),
        ("| field of a value", Search),
    ],
)
def test_every_field_of_the_plan_is_documented(heading: str, kind: type) -> None:
    assert set(names(table(heading))) == {field.name for field in fields(kind)}


def test_the_budgets_of_the_document_are_those_of_a_plan() -> None:
    (budgets,) = re.findall(r"```yaml\n(budgets.*?)```", TEXT, flags=re.DOTALL)
    content = yaml.safe_load(budgets)
    made = read_plan({"name": "x", "arms": {"a": {}}, **content})
    assert [plain_limits(budget) for budget in made.budgets] == [
        3000,
        {"parameters": 3000, "flops": 400_000},
        {"bytes": 8000, "dtype": "float32"},
        {"bytes": 8000, "dtype": "float16"},
    ]
    assert str(made.budgets[1]) in TEXT


def test_every_option_is_documented() -> None:
    documented = {name.split()[0].strip("-").replace("-", "_") for name in names(table("| option"))} - {"ray", "slurm"}
    assert documented == {field.name for field in fields(SweepOptions)}


def test_the_plan_for_a_module_of_ones_own_is_the_example() -> None:
    (plan,) = re.findall(r"```yaml\n(name.*?)```", TEXT, flags=re.DOTALL)
    example = (Path(__file__).parents[2] / "examples" / "sweep.yaml").read_text()
    assert example == example.partition("\n")[0] + "\n" + plan  # after a comment


def test_the_documented_tuning_is_one_and_makes_as_many_trials_as_the_text_says() -> None:
    (tuning,) = re.findall(r"```yaml\n(tuning.*?)```", TEXT, flags=re.DOTALL)
    plan = read_plan(
        {"name": "a", "arms": {"standard": {}, "separable": {"kind": "separable"}}, **yaml.safe_load(tuning)}
    )
    assert plan.tuning is not None
    values = draw(plan.tuning.space, plan.tuning.trials)
    assert "eight pairs of values" in TEXT
    assert len(values) == 8
    assert f"{len(values) * plan.tuning.seeds} trials per\narm and budget" in TEXT
    made = Tuner(maker(plan), plan.tuning)
    optimizers = {str(maker(plan).config(trial, "uid")["model"]["optimizer"]["init_args"]) for trial in made.trials}
    assert len(optimizers) == 8  # rate and weight decay are searched together


def test_a_network_of_ones_own_meets_a_budget_with_every_kind() -> None:
    from lit_adaptconv.layers.kinds import conv_kind
    from lit_adaptconv.measure.count import count_parameters
    from lit_adaptconv.models.budget import fit_budget

    (code,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    space: dict[str, type] = {}
    exec(code, space)
    for kind in ("standard", "adaptive", "adaptive_low_rank", "separable"):
        found = fit_budget(
            lambda conv, width: space["MyNetwork"](3, 5, (32, 32), conv, width), conv_kind(kind, {}), 3_000
        )
        network = space["MyNetwork"](3, 5, (32, 32), conv_kind(kind, {}), list(found.widths))
        assert 1_500 < count_parameters(network) <= 3_000
