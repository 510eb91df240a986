"""The wheel, installed into an empty folder's environment, brings all that the commands need."""

from __future__ import annotations

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
Command = Callable[..., subprocess.CompletedProcess[str]]


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
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Runs the installed command in an empty folder, where Python sees the packages of the tests' environment."""
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

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([scripts / "adaptconv", *args], cwd=work, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, (args, done.stdout, done.stderr)
        return done

    return run


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


def test_every_command_runs_from_an_empty_folder(installed: Command) -> None:
    fast = ["--trainer.enable_progress_bar", "false"]
    network = ["--ckpt_path", "last"]
    assert "digits/lenet5_adaptive" in installed("configs").stdout
    assert "adaptive_low_rank" in installed("kinds").stdout
    installed(
        "fit", "--config", "smoke", "--model.kind", "adaptive", "--run.name", "a", "--trainer.max_epochs", "1", *fast
    )
    for command in ("validate", "test", "predict"):
        installed(command, *network, *fast)
    assert "adaptive" in installed("compare", "runs/a").stdout
    installed("profile", *network, "--seconds", "0.01")
    installed("kernels", *network)
    for format in ("onnx", "torch-export"):
        installed("export", *network, "--format", format, "--output", f"network.{format}", "--seconds", "0.01")
    installed("bench", "adaptive", "--image_size", "8", "--batch_size", "1", "--rounds", "1")
    tiny = [
        "--config",
        "sweeps/digits",
        "--budgets",
        "[500]",
        "--seeds",
        "2",
        "--trainer.max_epochs",
        "1",
        "--wandb",
        "false",
    ]
    assert "6 trials" in installed("sweep", *tiny, "--dry-run").stdout
    installed("sweep", *tiny)
    assert "6 of 6 trials done" in installed("status", "runs/digits").stdout
    assert "Report: " in installed("report", "runs/digits", "--no-pictures").stdout
