"""The wheel, installed into an empty folder's environment, brings all that the commands need."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow
FORMATS = ("onnx", "torch-export")
PROGRAM = """
import contextlib, io, json, sys
from adaptconv_cli.main import main
printed = []
for command in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        status = main(command)
    assert status == 0, (command, status, out.getvalue())
    printed.append(out.getvalue())
print(json.dumps(printed))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("lit_adaptconv", "cli", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(built)]
    made = subprocess.run([*pip, str(source)], capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """Runs installed commands in an empty folder, where Python sees the packages of the tests' environment."""
    folder, work = tmp_path_factory.mktemp("environment"), tmp_path_factory.mktemp("work")
    venv.create(folder, with_pip=False)
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / ("python.exe" if os.name == "nt" else "python")
    places = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    Path(places, "packages.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            python,
            "install",
            "--no-deps",
            "--no-index",
            "--force-reinstall",
            wheel,
        ],
        capture_output=True,
        check=True,
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PL_GLOBAL_SEED")}
    environment |= {"WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1", "HOME": str(work)}

    def run(*command: object) -> str:
        done = subprocess.run([*map(str, command)], cwd=work, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def installed(*commands: list[str]) -> list[str]:
        """What commands print: the first in a process of its own, the others in one after the other."""
        rest = json.loads(run(python, "-c", PROGRAM, json.dumps(commands[1:])).splitlines()[-1])
        return [run(scripts / "adaptconv", *commands[0]), *rest]

    return installed


def test_the_wheel_holds_the_packages_and_their_files_and_nothing_else(wheel: Path) -> None:
    files = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {name.partition("/")[0] for name in files} == {"lit_adaptconv", "adaptconv_cli", "adaptconv_configs"}
    for folder, package in (
        ("lit_adaptconv", "lit_adaptconv"),
        ("cli", "adaptconv_cli"),
        ("configs", "adaptconv_configs"),
    ):
        there = {p.relative_to(ROOT / folder).as_posix() for p in (ROOT / folder).rglob("*") if p.is_file()}
        expected = {f"{package}/{name}" for name in there if "__pycache__" not in name}
        assert {name for name in files if name.startswith(f"{package}/")} == expected


def test_every_command_runs_from_an_empty_folder(installed: Callable[..., list[str]]) -> None:
    fast = ["--trainer.enable_progress_bar", "false"]
    network = ["--ckpt_path", "last"]
    short = ["--model.kind", "adaptive", "--run.name", "a", "--trainer.max_epochs", "1"]
    export = ["export", *network, "--seconds", "0.01"]
    tiny = ["--budgets", "[500]", "--seeds", "2", "--trainer.max_epochs", "1", "--wandb", "false"]
    expected = {
        "adaptive_low_rank": ["kinds"],
        "digits/lenet5_adaptive": ["configs"],
        "Test accuracy": ["fit", "--config", "smoke", *short, *fast],
        **{name: [name, *network, *fast] for name in ("validate", "test")},
        "predictions.csv": ["predict", *network, *fast],
        "adaptive": ["compare", "runs/a"],
        "FLOPs": ["profile", *network, "--seconds", "0.01"],
        "kernels": ["kernels", *network],
        **{f"network.{format}": [*export, "--format", format, "--output", f"network.{format}"] for format in FORMATS},
        "nn.Conv2d": ["bench", "adaptive", "--image_size", "8", "--batch_size", "1", "--rounds", "1"],
        "6 trials": ["sweep", "--config", "sweeps/digits", *tiny, "--dry-run"],
        "": ["sweep", "--config", "sweeps/digits", *tiny],
        "6 of 6 trials done": ["status", "runs/digits"],
        "Report: ": ["report", "runs/digits", "--no-pictures"],
    }
    for said, printed in zip(expected, installed(*expected.values()), strict=True):
        assert said.lower() in printed.lower(), (said, printed)
