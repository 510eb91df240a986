"""Every command in the documentation is one that the command understands, and the tutorial runs from end to end."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from adaptconv_cli.main import COMMANDS, TRAINING, main
from PIL import Image

from lit_adaptconv.errors import UserError

ROOT = Path(__file__).parent.parent
SWEEPS = ROOT / "docs" / "sweeps.md"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
WITHOUT_SETTINGS = ("compare", "kinds", "report", "status")
"""Commands that have no configuration to print."""


def commands(page: Path) -> list[list[str]]:
    """The arguments of every `adaptconv` in the page's shell blocks, without comments."""
    blocks = re.findall(r"^```(?:sh|bash|console)\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    split = (shlex.split(re.sub(r"<([^>]+)>", lambda m: m[1].replace(" ", "_"), line), comments=True) for line in lines)
    found = []
    for words in split:
        words = [word for word in words if word != "$"]
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):  # variables before the command
            words = words[1:]
        if words and words[0] == "adaptconv":
            found.append(words[1:])
    return found


DOCUMENTED = [
    pytest.param(arguments, id=f"{page.stem}: {' '.join(arguments)[:60]}")
    for page in PAGES
    for arguments in commands(page)
]


def test_the_documentation_has_commands() -> None:
    assert len(DOCUMENTED) > 20
    assert {parameters.values[0][0] for parameters in DOCUMENTED} >= {"fit", "sweep", "export", "profile", "kernels"}


@pytest.mark.parametrize("arguments", DOCUMENTED)
def test_every_documented_command_is_understood(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in [ROOT / "configs", *(ROOT / "examples").iterdir()]:
        (tmp_path / file.name).symlink_to(file)
    (network,) = re.findall(r"In `my_network.py`:\s+```python\n(.*?)```", SWEEPS.read_text(), flags=re.DOTALL)
    (tmp_path / "my_network.py").write_text(network)
    monkeypatch.syspath_prepend(tmp_path)
    assert arguments[0] in (*TRAINING, *COMMANDS)
    if arguments[0] == "bench":  # it measures what it has understood, which takes a minute
        monkeypatch.setattr("adaptconv_cli.bench.prepare", Mock(side_effect=UserError("understood")))
        assert main(arguments) == 1
        assert capsys.readouterr().err.endswith("error: understood\n")
        return
    if arguments[0] in WITHOUT_SETTINGS:
        assert main(arguments) in (0, 1)  # 2 would be an option that does not exist
        return
    assert main([*arguments, "--print_config"]) == 0, capsys.readouterr().err


TINY = {
    "fit": ["--trainer.max_epochs", "2", "--run.wandb", "false", "--trainer.enable_progress_bar", "false"],
    "sweep": [
        "--trainer.max_epochs",
        "1",
        "--seeds",
        "1",
        "--budgets",
        "[2000]",
        "--tuning",
        "null",
        "--wandb",
        "false",
    ],
    "profile": ["--seconds", "0.01"],
    "export": ["--seconds", "0.01"],
    "kernels": [],
    "compare": [],
    "status": [],
    "report": [],
}
"""What makes a command of the tutorial quick."""


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with photos of cats, which have stripes, and dogs, which have spots."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:40, :40]
    for name, pattern in (("cat", np.sin(rows / 2)), ("dog", np.sin(rows / 2) * np.sin(columns / 2))):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(40):
            noisy = 127 + 80 * pattern[..., None] + 30 * rng.standard_normal((40, 40, 3))
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(tmp_path / "photos" / name / f"{number:03}.png")
    yield tmp_path / "photos"
    os.environ.pop("PL_GLOBAL_SEED", None)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("unchecked")
def test_the_tutorial_runs_from_end_to_end(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = photos.parent / "runs"
    for arguments in commands(ROOT / "docs" / "tutorial.md"):
        arguments = [
            str(max(runs.glob("low_rank/*")) / word.split("/id/")[1]) if "/id/" in word else word for word in arguments
        ]
        status = main([*arguments, *TINY[arguments[0]]])
        assert status == 0, (arguments, capsys.readouterr().err)
    assert {path.name for path in photos.parent.iterdir()} >= {"kernels.html", "network.onnx", "network.int8.onnx"}
    checkpoint = max(runs.glob("low_rank/*")) / "checkpoints" / "best.ckpt"
    assert main(["predict", "--ckpt_path", str(checkpoint), "--output", "predictions.csv"]) == 0
    predictions = pd.read_csv("predictions.csv", dtype=str)
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "deploy.md").read_text(), flags=re.DOTALL)
    for row in predictions.head(4).itertuples():
        Path("image.png").write_bytes((photos / str(row.image)).read_bytes())
        capsys.readouterr()
        exec(program, {})
        assert capsys.readouterr().out.strip() == row.label
