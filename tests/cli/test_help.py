from __future__ import annotations

import importlib.metadata
import subprocess
from pathlib import Path

import pytest
import yaml
from adaptconv_cli.main import COMMANDS, TRAINING, main

pytestmark = pytest.mark.usefixtures("folder")


def test_it_says_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"adaptconv {importlib.metadata.version('lit-adaptconv')}\n"


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in (*TRAINING, *COMMANDS))


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


def test_a_completion_script_for_bash_is_printed_and_is_bash(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--print_completion=shtab-bash"]) == 0
    script = capsys.readouterr().out
    assert "adaptconv" in script
    assert "--trainer.max_epochs" in script
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_options_are_not_abbreviated(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--trainer.max_epoch", "3"]) == 2
    assert "did you mean 'trainer.max_epochs'?" in capsys.readouterr().err


def test_without_a_command_it_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "no command given; commands: fit, validate, test, predict, compare" in capsys.readouterr().err
