from __future__ import annotations

import contextlib
import importlib.metadata
import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from adaptconv_cli.main import COMMANDS, TRAINING, main

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
    assert "did you mean 'trainer.max_epochs'?" in capsys.readouterr().err


def test_without_a_command_it_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "no command given; commands: fit, validate, test, predict, bench, choose, compare" in capsys.readouterr().err
