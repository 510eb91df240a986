"""The commands of `examples/README.md`, with its files in a folder of their own."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from adaptconv_cli.main import main

from lit_adaptconv.measure.count import count_parameters
from lit_adaptconv.models.conversion import convert
from lit_adaptconv.sweep.reading import read_plan
from lit_adaptconv.sweep.run import prepare
from lit_adaptconv.sweep.store import read_results
from lit_adaptconv.train.result import RunResult

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The files alone, away from the package's tree."""
    for file in EXAMPLES.iterdir():
        if file.is_file():
            shutil.copy(file, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    for module in ("shapes", "gated"):
        sys.modules.pop(module, None)
    yield tmp_path
    for module in ("shapes", "gated"):
        sys.modules.pop(module, None)
    os.environ.pop("PL_GLOBAL_SEED", None)


def commands() -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", (EXAMPLES / "README.md").read_text(), flags=re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.replace("\\\n", "").splitlines()]


def test_the_networks_of_the_sweep_are_the_widest_within_their_budgets(folder: Path) -> None:
    import shapes

    sizes = prepare(read_plan(Path("sweep.yaml"))).maker.sizes
    assert len(sizes) == 4
    for (arm, budget), size in sizes.items():
        counts = []
        for channels in (size.widths[0], size.widths[0] + 1):
            module = shapes.Segmenter(channels)
            if arm == "gated":
                convert(module, "gated.GatedConv2d", where="body")
            counts.append(count_parameters(module))
        assert counts[0] == size.parameters <= budget < counts[1]
        assert size.flops


def test_a_dry_run_says_what_would_be_trained(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "--config", "sweep.yaml", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "12 trials, 0 of them done" in out
    assert "a probe of 4 networks" in out
    assert not Path("runs").exists()


@pytest.mark.slow
def test_every_command_of_the_readme_works(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first in a process of its own, which finds modules where it was started."""
    first, *others = commands()
    assert {command[0] for command in commands()} == {"adaptconv"}
    program = [sys.executable, "-c", "import sys; from adaptconv_cli.main import main; sys.exit(main())"]
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent)}
    done = subprocess.run([*program, *first[1:]], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{shlex.join(first)}\n{done.stdout}{done.stderr}"
    for command in others:
        assert main(command[1:]) == 0, f"{shlex.join(command)}\n{capsys.readouterr().err}"
    fitted = [RunResult.read(path) for path in sorted(folder.glob("runs/*/*/result.json"))]
    runs = [result for result in fitted if result.group is None]
    assert sorted((run.model, run.kind) for run in runs) == [
        ("ImageClassifier", "gated.GatedConv2d"),
        ("Segmenter", ""),
        ("Segmenter", "gated.GatedConv2d"),
    ]
    rows = read_results(Path("runs/shapes")).to_pylist()
    assert [row["status"] for row in rows] == ["done"] * 12
    sizes = {(at.arm, at.budget): size for at, size in prepare(read_plan(Path("sweep.yaml"))).maker.sizes.items()}
    for row in rows:
        size = sizes[row["arm"], row["budget"]]
        assert (row["parameters"], row["flops"], row["widths"]) == (size.parameters, size.flops, str(size.widths[0]))
        assert row["kind"] == ("gated.GatedConv2d" if row["arm"] == "gated" else "")
        assert row["test_metric"] > 0.4
        config = yaml.safe_load((folder / "runs" / "shapes" / "trials" / row["trial"] / "config.yaml").read_text())
        assert config["model"]["init_args"]["channels"] == size.widths[0]
    assert "iou" in (folder / "runs" / "shapes" / "report" / "index.html").read_text()


NOTEBOOK = json.loads((EXAMPLES / "colab.ipynb").read_text(encoding="utf-8"))
CELLS = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def test_the_notebook_holds_no_output_and_installs_first() -> None:
    code = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert len({cell["id"] for cell in NOTEBOOK["cells"]}) == len(NOTEBOOK["cells"])
    assert CELLS[0].startswith('%pip install --quiet "lit-adaptconv[report]"')


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("unchecked")
def test_the_notebook_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With fewer and shorter trainings."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in CELLS[1:]:
        for long, short in (('"max_epochs": 8', '"max_epochs": 1'), ('"seeds": 3', '"seeds": 2')):
            cell = cell.replace(long, short)
        exec(cell, names)
    assert len(names["tables"].results) == 12
    assert set(names["tables"].summary.arm) == {"standard", "separable", "low_rank"}
    assert {type(figure).__name__ for figure in names["figures"].values()} == {"Figure"}
    assert "torch.Size([8, 4, 28, 28])" in capsys.readouterr().out
