"""A run can be repeated from its `config.yaml`: the same is read from it, and it says what was trained with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from adaptconv_cli.main import main
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jsonargparse import Namespace

from lit_adaptconv.errors import UserError
from lit_adaptconv.train.config_file import config_text, dump_yaml, plain
from lit_adaptconv.train.parser import OneLineParser
from lit_adaptconv.train.result import RunResult
from lit_adaptconv.train.training import Training

FAST = ["--run.wandb", "false", "--trainer.enable_progress_bar", "false", "--run.name", "a", "--run.id", "1"]
SMALL = ["--data.image_size", "12"]
TEXT_OPTIONS = [
    "run.name",
    "run.root",
    "run.id",
    "run.title",
    "run.wandb_id",
    "run.group",
    "run.job_type",
    "run.project",
    "run.test_metric",
    "model.kind",
    "convergence.monitor",
    "trainer.default_root_dir",
    "trainer.profiler",
    "trainer.max_time",
]
ODD = ["25921e05", "1e3", "0o17", "0x1f", "yes", "null", "2024-01-01", "1_000", "1:30", "~", "", "-.inf", ".nan", "+1"]


class Parsed(Training):
    """A training that goes no further than its configuration."""

    def _run_subcommand(self, subcommand: str) -> None:
        pass

    def before_instantiate_classes(self) -> None:
        pass

    def instantiate_classes(self) -> None:
        pass


@pytest.fixture(scope="module")
def parser() -> OneLineParser:
    return Parsed({"subcommand": "fit", "fit": {}})._parser("fit")  # type: ignore[return-value]


def written(parser: OneLineParser, section: dict[str, Any]) -> tuple[Namespace, Namespace]:
    """A configuration, and what is read from its file."""
    config = parser.parse_object(section)
    return config, parser.parse_string(config_text(parser, config, plain(parser, config)))


def nested(values: Mapping[str, str]) -> dict[str, Any]:
    """Values by the dotted names of their options as sections."""
    sections: dict[str, Any] = {}
    for option, value in values.items():
        section, _, name = option.partition(".")
        sections.setdefault(section, {})[name] = value
    return sections


def assert_read_again(parser: OneLineParser, texts: dict[str, str]) -> None:
    """Each text is read again as it was, or refused before anything is written."""
    try:
        config = parser.parse_object(nested(texts))
    except UserError:
        for option in texts if len(texts) > 1 else ():
            assert_read_again(parser, {option: texts[option]})
        return
    assert parser.parse_string(config_text(parser, config, plain(parser, config))) == config


@settings(deadline=None, max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(TEXT_OPTIONS),
        st.one_of(st.sampled_from(ODD), st.text(st.characters(exclude_categories=["Cs"]))),
        min_size=5,
        max_size=8,
    )
)
@example({"run.group": "25921e05"})
@example({"model.kind": "1e3"})
def test_every_text_is_read_again_as_it_was(parser: OneLineParser, texts: dict[str, str]) -> None:
    assert_read_again(parser, texts)


@settings(max_examples=300)
@given(
    st.recursive(
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(allow_nan=False),
            st.sampled_from(ODD),
            st.text(st.characters(exclude_categories=["Cs"])),
        ),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.text("ab1e.", max_size=4), inner, max_size=3)
        ),
        max_leaves=6,
    )
)
def test_yaml_is_read_the_same_by_another_reader(data: Any) -> None:
    assert yaml.safe_load(dump_yaml(data)) == data


def test_odd_names_survive_in_lists_and_mappings(parser: OneLineParser) -> None:
    texts = {f"a{number}": text for number, text in enumerate(ODD)}
    options = {**texts, "b": [1e3], "c": {"d": 1e3}}  # where anything may stand, jsonargparse reads text as YAML
    config, read = written(parser, {"run": {"tags": [*ODD, "b"]}, "model": {"kind_options": options}})
    given, found = config.model.kind_options, read.model.kind_options
    assert read == config, [name for name in options if found.get(name) != given.get(name)]
    assert read.run.tags == [*ODD, "b"]


def test_what_would_be_read_as_another_value_is_refused(parser: OneLineParser) -> None:
    section = {"model": {"kind_options": {"a": ["25921e05"]}}}  # jsonargparse takes such a text for a number
    with pytest.raises(UserError, match=r"model\.kind_options\.a\.0 is '25921e05'"):
        written(parser, section)


CALLBACKS: list[dict[str, Any]] = [
    {"class_path": "StochasticWeightAveraging", "init_args": {"swa_lrs": 0.01}},
    {"class_path": "ModelPruning", "init_args": {"pruning_fn": "l1_unstructured"}},
    {"class_path": "Timer", "init_args": {"duration": "00:01:00:00"}},
    {"class_path": "GradientAccumulationScheduler", "init_args": {"scheduling": {0: 1, 4: 2}}},
    {"class_path": "LambdaCallback"},
    {"class_path": "BackboneFinetuning"},
    {"class_path": "WeightAveraging"},
    {"class_path": "RichProgressBar"},
    {"class_path": "lit_adaptconv.train.ConvertConvolutions", "init_args": {"kind": "adaptive", "where": "1e3"}},
]


def test_callbacks_are_read_again(parser: OneLineParser) -> None:
    config, read = written(parser, {"trainer": {"callbacks": CALLBACKS}})
    for one, other in zip(read.trainer.callbacks, config.trainer.callbacks, strict=True):
        assert one == other
    assert read.trainer == config.trainer
    assert len(config.trainer.callbacks) == len(CALLBACKS)
    assert "Unable" not in config_text(parser, config, plain(parser, config))


def test_what_cannot_be_written_is_refused(parser: OneLineParser) -> None:
    config = parser.parse_object({})
    config.model.kind_options = {"gate": object()}
    with pytest.raises(UserError, match=r"model\.kind_options\.gate .* cannot be written"):
        config_text(parser, config, plain(parser, config))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    return tmp_path


def config_and_result(id: str) -> tuple[dict[str, Any], RunResult]:
    os.environ.pop("PL_GLOBAL_SEED", None)
    run = Path("runs", "a", id)
    return yaml.safe_load((run / "config.yaml").read_text()), RunResult.read(run / "result.json")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "options",
    [
        ["--run.group", "25921e05", "--run.title", "1e3", "--trainer.limit_train_batches", "3"],
        *(
            pytest.param(["--trainer.callbacks", *callback], marks=pytest.mark.slow)
            for callback in (
                ("StochasticWeightAveraging", "--trainer.callbacks.swa_lrs", "0.01"),
                ("ModelPruning", "--trainer.callbacks.pruning_fn", "l1_unstructured"),
                ("BatchSizeFinder", "--trainer.callbacks.max_val", "64"),
                ("LearningRateFinder", "--trainer.callbacks.num_training_steps", "30"),
            )
        ),
    ],
    ids=lambda options: options[1],
)
def test_a_run_is_continued_and_repeated_from_its_folder(options: list[str]) -> None:
    assert main(["fit", *FAST, "--trainer.max_epochs", "2", *SMALL, *options]) == 0
    config, first = config_and_result("1")
    assert "Finder" not in str(config)
    assert main(["fit", *FAST[:4], "--ckpt_path", "last"]) == 0
    os.environ.pop("PL_GLOBAL_SEED", None)
    assert main(["fit", *FAST[:4], "--config", "runs/a/1/config.yaml", "--run.id", "2"]) == 0
    repeated, second = config_and_result("2")
    assert [(e.step, e.value) for e in second.curve] == [(e.step, e.value) for e in first.curve]
    assert repeated["model"] == config["model"]
    assert repeated["data"] == config["data"]


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_the_config_and_the_schedule_have_what_the_finder_found() -> None:
    finder = ["--trainer.callbacks", "BatchSizeFinder", "--trainer.callbacks.max_val", "64"]
    assert main(["fit", *FAST, "--trainer.max_epochs", "1", *SMALL, *finder, "--data.batch_size", "256"]) == 0
    config, result = config_and_result("1")
    assert config["data"]["init_args"]["batch_size"] == 64
    assert result.steps == -(-1221 // 64)  # as many as the schedule was made for: it ends with an error before


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "options",
    [
        ["torch.optim.lr_scheduler.ReduceLROnPlateau"],
        pytest.param(
            ["torch.optim.lr_scheduler.ReduceLROnPlateau", "--trainer.check_val_every_n_epoch", "2"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["lightning.pytorch.cli.ReduceLROnPlateau", "--model.scheduler.monitor", "val/loss"],
            marks=pytest.mark.slow,
        ),
        [
            *("lightning.pytorch.cli.ReduceLROnPlateau", "--model.scheduler.monitor", "val/accuracy"),
            *(
                "--trainer.val_check_interval",
                "0.5",
                "--model.scheduler.mode",
                "min",
                "--model.scheduler.patience",
                "0",
            ),
        ],
    ],
    ids=["default", "every other epoch", "by name", "within an epoch"],
)
def test_a_schedule_follows_its_own_monitor(options: list[str]) -> None:
    rates = ["--trainer.callbacks", "LearningRateMonitor"]
    assert main(["fit", *FAST, "--trainer.max_epochs", "4", *SMALL, "--model.scheduler", *options, *rates]) == 0
    rows = Path("runs/a/1/metrics.csv").read_text()
    fell = "0.0003" in rows
    assert fell == ("val/accuracy" in options)  # which rises, where a fall is wished for
