from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import inspect
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from adaptconv_cli import known_options
from adaptconv_cli.arguments import ARGUMENTS, parser_of
from adaptconv_cli.known import check_options, read_known
from adaptconv_cli.main import COMMANDS, TRAINING, main
from adaptconv_cli.short_help import HELP

from lit_adaptconv.errors import UsageError
from lit_adaptconv.export.latency import BATCH_SIZE, ROUNDS
from lit_adaptconv.layers.built_in import resolve

pytestmark = pytest.mark.usefixtures("folder")


def test_it_says_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"adaptconv {importlib.metadata.version('lit-adaptconv')}\n"


def test_help_lists_every_command_with_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    listed = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert listed == [*map(list, TRAINING.items()), *([name, line] for name, (_, line) in COMMANDS.items())]


@pytest.mark.parametrize("name", [*TRAINING, *COMMANDS])
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: adaptconv ")
    assert "Args:" not in out


def test_the_printed_configuration_can_be_given_back(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--data", "FashionMNIST", "--data.shift", "2", "--model.backbone", "ConvNet", "--model.kind", "adaptive"]
    assert main(["fit", *options, "--print_config"]) == 0
    first = capsys.readouterr().out
    config = yaml.safe_load(first)
    assert config["data"]["class_path"] == "lit_adaptconv.data.FashionMNIST"
    assert config["data"]["init_args"]["shift"] == 2
    assert config["model"]["backbone"]["init_args"]["channels"] == [6, 8, 8]
    Path("config.yaml").write_text(first)
    assert main(["fit", "--config", "config.yaml", "--print_config"]) == 0
    assert capsys.readouterr().out == first


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["co"], ["compare", "configs"]),
        (["fit", "--trainer.max"], ["--trainer.max_epochs", "--trainer.max_steps", "--trainer.max_time"]),
        (["fit", "--data", "F"], ["FashionMNIST"]),
        (["test", "--data.sh"], ["--data.shift"]),
        (["fit", "--model.backbone", "Conv"], ["ConvNet"]),
        (["fit", "--model.backbone.pool"], ["--model.backbone.pool_after"]),
        (["fit", "--out"], []),
        (["compare", "--max_p"], ["--max_parameters"]),
        (["sweep", "--backbone", "Lenet"], []),
        (["sweep", "--seed"], ["--seeds"]),
        (["predict", "--out"], ["--output"]),
    ],
)
@pytest.mark.skipif(shutil.which("bash") is None or sys.platform == "win32", reason="needs bash")
def test_bash_completes_commands_options_and_names(
    typed: list[str], offered: list[str], completion: str, folder: Path
) -> None:
    (folder / "complete.sh").write_text(
        f"{completion}\nCOMP_WORDS=(adaptconv {' '.join(typed)})\nCOMP_CWORD={len(typed)}\n"
        'name=$(complete -p adaptconv | sed "s/.*-F \\([^ ]*\\) .*/\\1/")\n'
        '"$name" adaptconv "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"\n'
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(["bash", "complete.sh"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == offered


@pytest.fixture(scope="module")
def completion() -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(["--print_completion=bash"]) == 0
    return out.getvalue()


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_have_a_script_too(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--print_completion", shell]) == 0
    assert "compare" in capsys.readouterr().out


def test_options_are_not_abbreviated(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--trainer.max_epoch", "3"]) == 2
    assert "did you mean --trainer.max_epochs?" in capsys.readouterr().err


def screens() -> list[str]:
    return sorted(path.stem for path in HELP.glob("*.txt"))


def test_each_command_that_takes_a_configuration_has_a_screen_of_its_own() -> None:
    assert screens() == sorted({*TRAINING, *COMMANDS} - {*ARGUMENTS}) == sorted(read_known().commands)


@pytest.mark.parametrize("name", [*TRAINING, *COMMANDS])
def test_help_fits_one_screen_and_says_nothing_of_types(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for asking in ("--help", "-h"):
        assert main([name, asking]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert len(lines) / 2 <= (40 if name in screens() else 60)
    assert not re.search(r"type:|class '|subclass|:\w+:`|default: null", "\n".join(lines))
    assert name not in screens() or "  --help all " in "\n".join(lines)


@pytest.fixture(scope="module")
def real() -> dict[str, argparse.ArgumentParser]:
    return known_options.parsers()


@pytest.mark.parametrize("name", screens())
def test_the_screen_tells_of_options_that_exist_with_the_defaults_that_they_have(
    name: str, real: dict[str, argparse.ArgumentParser]
) -> None:
    text = (HELP / f"{name}.txt").read_text()
    actions = {option: action for action in real[name]._actions for option in action.option_strings}
    told = dict(re.findall(r"^  (?:-\w, )?(--[\w.-]+)([^\n]*(?:\n {31}[^\n]*)*)", text, flags=re.MULTILINE))
    assert len(told) >= 7
    for option, said in told.items():
        owner = option.rpartition(".")[0]
        assert option in (*actions, "--print_config") or owner in known_options.known_options_of(real[name]).open
        default = re.search(r"\[([^][]*|\[.*\])\]$", said.strip())
        value = default_of(actions, option, owner)
        if default is None:
            assert not value or name not in ("fit", "sweep"), option  # elsewhere the run's counts
        elif value is not None:
            assert " ".join(default[1].split()) == str(value).lower().strip("[]") or default[1] == str(value), option


def default_of(actions: dict[str, argparse.Action], option: str, owner: str) -> object:
    """The default as the screen writes it: of a class its name, of its argument the value."""
    default = actions[option if option in actions else owner].default if {option, owner} & {*actions} else None
    default = None if default == argparse.SUPPRESS else default
    if not hasattr(default, "get"):
        return default
    path, given = default["class_path"], default.get("init_args") or {}
    name = option.rpartition(".")[2]
    if option in actions:
        return path.rpartition(".")[2]
    return given.get(name, inspect.signature(resolve(path)).parameters[name].default)


@pytest.mark.parametrize("name", ["fit", "test"])
def test_all_of_the_help_is_the_parsers_own_without_sphinx_markup(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--help", "all"]) == 0
    out = capsys.readouterr().out
    assert "--trainer.gradient_clip_val" in out
    assert f"\n{TRAINING[name]}\n" in out
    headings = re.findall(r"^\S.*:$", out, flags=re.MULTILINE)
    assert not any(heading.endswith(("is:", "on your:")) for heading in headings)
    assert not re.search(r":\w+:`|<class", out)


def test_the_known_options_are_those_of_the_parsers() -> None:
    """If not: `python -m adaptconv_cli.known_options` writes them."""
    now, written = known_options.known_options(), read_known()
    if now.lightning != written.lightning:
        pytest.skip("another Lightning: its trainer has other options, of which nothing is said then")
    assert now == written


WRONG = ["--trainer.max_epoch", "--max_epochs", "--modle.kind", "--run.nme", "--trainer.precison", "--data.help.x.y"]


@pytest.mark.parametrize("option", WRONG)
@pytest.mark.parametrize("name", ["fit", "predict"])
def test_what_is_said_early_is_what_the_parser_says(
    name: str, option: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([name, option, "3"]) == 2
    early = capsys.readouterr().err
    monkeypatch.setattr("adaptconv_cli.main.check_options", lambda *given: None)
    assert main([name, option, "3"]) == 2
    assert capsys.readouterr().err.partition(";")[0].strip() == early.partition(";")[0].strip()


@pytest.mark.parametrize(
    "args",
    [
        ["--data", "my.Data", "--data.depth", "3"],
        ["--model", "my.Model", "--model.depth", "3", "--optimizer", "Adam", "--optimizer.lr", "1"],
        ["--model.class_path", "my.Model", "--model.init_args.depth", "3"],
        ["--config", "own.yaml", "--model.depth", "3"],
        ["--ckpt_path", "last", "--model.depth", "3"],
        ["--model.backbone", "my.Net", "--model.backbone.depth", "3", "--model.kind_options.rank", "2"],
        ["--trainer.callbacks", "Mine", "--trainer.callbacks.depth", "3", "--trainer.callbacks+=Other"],
        ["--trainer.logger=Mine", "--trainer.logger.depth=3", "--trainer.devices+=1"],
        ["--run.tags+=a", "--run.title", "--a title with dashes", "--model.budget.flops", "2e6"],
        ["--model.optimizer.lr", "-1", "--run.title", "-"],
    ],
)
def test_options_of_anyone_s_classes_are_left_to_the_parser(args: list[str]) -> None:
    check_options("fit", args)


def test_with_another_lightning_its_trainer_is_left_to_the_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adaptconv_cli.known.version", lambda package: "99")
    check_options("fit", ["--trainer.something_new", "3"])
    with pytest.raises(UsageError, match="unknown option --run.something_new"):
        check_options("fit", ["--run.something_new", "3"])


def test_the_known_defaults_of_latency_are_the_functions() -> None:
    given = parser_of("latency").parse_args(["folder"])
    assert (given.batch_size, given.rounds) == (BATCH_SIZE, ROUNDS)


def test_without_a_command_it_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "no command given; commands: fit, validate, test, predict, bench, choose, compare" in capsys.readouterr().err
