"""A configuration or a checkpoint of someone else's runs no code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from adaptconv_cli.main import main

from .conftest import FAST, Command

pytestmark = pytest.mark.usefixtures("folder")
TOUCH = {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", "was_here"]}}


class Bomb:
    """Creates a file when it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("was_here"),)


def test_a_checkpoint_that_runs_code_is_refused_whatever_its_configuration_says(
    fit: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit("--trainer.max_epochs", "1", "--run.name", "a", "--run.id", "1") == 0
    config = Path("runs/a/1/config.yaml")
    written = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump({**written, "weights_only": False}))
    last = Path("runs/a/1/checkpoints/last.ckpt")
    state = torch.load(last, weights_only=True)
    torch.save({**state, "bomb": Bomb()}, last, pickle_module=pickle)
    commands = [["fit"], ["test"], ["validate"], ["predict"]]
    for command in commands:
        capsys.readouterr()
        assert main([*command, "--ckpt_path", str(last), "--trainer.enable_progress_bar", "false"]) == 1
        assert "only the command line may" in capsys.readouterr().err
    for command in (["profile"], ["export", "--output", "a.onnx"]):
        capsys.readouterr()
        assert main([*command, "--ckpt_path", str(last)]) == 1
        assert "is not a checkpoint" in capsys.readouterr().err
    assert not Path("was_here").exists()


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "section",
    [
        {"model": {"kind_options": {"rank": TOUCH}}},
        {"model": {"optimizer": TOUCH}},
        {"model": {"scheduler": TOUCH}},
        {"model": {"backbone": TOUCH}},
        {"model": {"kind": "subprocess.Popen"}},
        {"model": TOUCH},
        {"data": TOUCH},
        {"trainer": {"callbacks": [TOUCH]}},
        {"trainer": {"logger": TOUCH}},
        {"trainer": {"strategy": TOUCH}},
        {"trainer": {"plugins": [TOUCH]}},
        {"run": {"tags": [TOUCH]}},
        {"convergence": {"targets": [TOUCH]}},
    ],
    ids=lambda section: str(section)[:50],
)
def test_a_class_of_another_kind_is_refused_before_it_is_called(
    section: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("config.yaml").write_text(yaml.safe_dump(section))
    assert main(["fit", *FAST, "--config", "config.yaml", "--trainer.max_epochs", "1"]) in (1, 2)
    assert capsys.readouterr().err.splitlines()[-1].startswith("adaptconv: error: ")
    assert main(["profile", "--config", "config.yaml", "--seconds", "0.01"]) in (
        0,
        1,
        2,
    )  # it ignores what is training's
    assert not Path("was_here").exists()
