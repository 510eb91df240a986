"""The tutorial runs from end to end, each command on what those before it have left."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from adaptconv_cli.main import main
from documented import ROOT, commands
from PIL import Image

TINY = {
    "fit": ["--trainer.max_epochs", "2", "--run.wandb", "false", "--trainer.enable_progress_bar", "false"],
    "sweep": [
        "--trainer.max_epochs",
        "1",
        "--seeds",
        "2",  # the fewest by which a network is judged
        "--budgets",
        "[2000]",
        "--tuning",
        "null",
        "--wandb",
        "false",
    ],
    "latency": ["--rounds", "1", "--batch_size", "2"],
    "profile": ["--seconds", "0.01"],
    "export": ["--seconds", "0.01"],
}
"""What makes a command of the tutorial quick."""


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with photos of cats, which have stripes, and dogs, which have spots."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:40, :40]
    for name, pattern in (("cat", np.sin(rows / 2)), ("dog", np.sin(rows / 2) * np.sin(columns / 2))):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(40):
            noisy = 127 + 80 * pattern[..., None] + 30 * rng.standard_normal((40, 40, 3))
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(tmp_path / "photos" / name / f"{number:03}.png")
    (tmp_path / "new_photos").symlink_to(tmp_path / "photos" / "cat")
    yield tmp_path / "photos"
    os.environ.pop("PL_GLOBAL_SEED", None)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("unchecked")
def test_the_tutorial_runs_from_end_to_end(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = photos.parent / "runs"
    for program, *arguments in (command.words for command in commands(ROOT / "docs" / "tutorial.md")):
        if program != "adaptconv":  # what is to be installed
            continue
        if "executorch" in arguments and importlib.util.find_spec("executorch") is None:
            continue
        status = main([*arguments, *TINY.get(arguments[0], [])])
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
