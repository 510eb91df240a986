"""Every documented command runs, in the form in which it stands there, made short by the tool's own options."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import yaml
from adaptconv_cli.main import main
from documented import ROOT, Command, documented
from PIL import Image
from report_cases import latencies, made_up_sweep
from torchvision_sets import svhn

from lit_adaptconv.errors import UserError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FEW = [f"--trainer.limit_{part}_batches=2" for part in ("train", "val", "test")]
SHORT = {
    "adaptconv bench": ["--rounds", "1", "--image_size", "8", "--batch_size", "2"],
    "adaptconv compare": ["--min_test_accuracy", "0"],  # of a network that was hardly trained
    "adaptconv export": ["--seconds", "0.01", "--test_images", "5"],
    "adaptconv fit": ["--trainer.max_epochs", "1", *FEW, "--data.batch_size", "8", "--run.wandb", "false"],
    "adaptconv latency": ["--rounds", "1", "--batch_size", "2"],
    "adaptconv profile": ["--seconds", "0.01"],
    "adaptconv sweep": ["--dry-run"],  # the tutorial's and the example's are trained in tests of their own
    "python -m benchmarks.image_simulation": ["--sweeps", "5"],
    "python -m benchmarks.simulation": ["--sweeps", "5"],
    "python -m pytest": ["--collect-only", "-q", "tests/test_text.py"],
    "python -m venv": ["--without-pip"],
    "python benchmarks/device_formats.py": [
        *("--seconds", "0.01", "--kinds", "standard"),
        *("--epochs", "1", "--images", "5"),
    ],
    "python benchmarks/fit_overhead.py": ["--image-size", "8", "--rounds", "1", "--epochs", "1"],
    "python benchmarks/kills.py": ["--fit", "0", "--checkpoint", "0", "--others", "0"],  # tests/cli/test_kills.py
    "python benchmarks/latency_order.py": ["--rounds", "1", "--busy", "0", "--networks", "2"],
    "python benchmarks/memory_layout.py": ["--rounds", "1"],
    "python benchmarks/overhead.py": ["--epochs", "1", "--rounds", "1"],
    "python benchmarks/streaming.py": ["--images", "60", "--rounds", "1"],
    "python benchmarks/stacked.py": ["--members", "2", "--epochs", "1", "--rounds", "1", "--kinds", "standard"],
    "python benchmarks/sweep_kill.py": ["--plan", "tiny.yaml", "--kills", "0"],  # tests/sweep/test_kill.py
    "python benchmarks/sweep_scale.py": ["--plan", "tiny.yaml", "--seeds", "1"],
    "python benchmarks/sweep_workers.py": ["--plan", "tiny.yaml", "--seeds", "1", "--rounds", "1", "--epochs", "1"],
}
"""What is appended to a command that would take long; of an option that is given twice the last counts."""

TINY = """
name: tiny
data: {class_path: Digits, init_args: {image_size: 8}}
backbone: {class_path: ConvNet, init_args: {channels: [3, 4], pool_after: [0]}}
arms: {standard: {kind: standard}}
budgets: [200]
seeds: 1
targets: [0.3]
trainer: {max_epochs: 1, accelerator: cpu}
wandb: false
"""
"""A plan for the benchmarks of sweeps."""

FILLED = {
    "<folder that holds MNIST/raw>": "data",
    "<folder with train/ and test/>": "pictures",
    "FILE": "kinds.yaml",
    "LONGEST": "2",
    "NAME": "digits/lenet5_adaptive",
    "SHORTEST": "1",
}
"""What stands for a reader's own, and is not merely a name."""

WHOLE = ("kinds", "configs", "--help")
"""A command with these needs no value; others that stand there without one are spoken of, not called."""

SLOW = ("bench", "export", "latency", "plan", "python")
"""Commands that measure, simulate or start processes."""

PEAKS: dict[str, tuple[str, Callable[..., list[Any]]]] = {
    "bench": ("lit_adaptconv.measure.benchmark.peak_of_steps", lambda candidates, *_: [None] * len(candidates)),
    "latency": ("lit_adaptconv.export.latency.peaks_of_inference", lambda files, *_: [(1, 2)] * len(files)),
}
"""What commands measure in processes of their own, which one command of each name starts, and a stand-in for it."""

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def is_spoken_of(command: Command) -> bool:
    program, name, *rest = command.words
    without_value = all(word.startswith("-") or word == "…" for word in rest)
    return program in ("adaptconv", "wandb") and without_value and "=" not in name and not {*WHOLE} & {name, *rest}


SPOKEN_OF = [command for command in documented() if is_spoken_of(command)]
CALLED = [command for command in documented() if not is_spoken_of(command)]


def called(program: str) -> list[object]:
    """The commands of a program as parameters; one that another merely gives options to runs with them alone."""
    return [
        pytest.param(
            command,
            id=str(command),
            marks=[pytest.mark.slow] * (bool({*SLOW} & {*command.words[:2]}) or is_of_a_page(command)),
        )
        for command in CALLED
        if command.words[0] == program and not any(map(partial(gives_options_to, command), CALLED))
    ]


def is_of_a_page(command: Command) -> bool:
    """Whether it trains, and stands on a page that is not the first that one reads."""
    trains = command.words[:2] in (("adaptconv", "fit"), ("adaptconv", "sweep"))
    return trains and command.source.is_relative_to(ROOT / "docs")


def gives_options_to(command: Command, other: Command) -> bool:
    """Whether a script that is called with nothing is called with options, too, and not for a GPU."""
    more = other.words[len(command.words) :]
    same = command.words[0] == "python" and other.words[: len(command.words)] == command.words
    return same and bool(more) and more[0].lstrip("[").startswith("-") and "cuda]" not in more


def typed(command: Command) -> list[str]:
    """What someone types who wants all that stands there, options in brackets too, and wants it short."""
    words = list(command.words)
    if command.words[0] == "python":
        words = [word.strip("[]") if word[:1] == "[" or word.count("]") > word.count("[") else word for word in words]
    words = words[: next((i for i, word in enumerate(words) if word in ("|", ">")), None)]
    words = [FILLED.get(word, re.sub(r"<([^<>]+)>", lambda name: name[1].replace(" ", "_"), word)) for word in words]
    return words + next((more for key, more in SHORT.items() if " ".join(words).startswith(key)), [])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of an adaptive network."""
    root = tmp_path_factory.mktemp("trained")
    network = ["--model.kind", "adaptive_low_rank", "--model.width", "0.5"]
    assert main(["fit", *network, *SHORT["adaptconv fit"], "--run.root", str(root), "--run.name", "a"]) == 0
    os.environ.pop("PL_GLOBAL_SEED", None)
    return next(root.glob("a/*"))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reader's own folder, with images, the network of docs/sweeps.md and the data of docs/howto/own_data.md."""
    folder = tmp_path_factory.mktemp("own")
    random = np.random.default_rng(0)
    for root, classes, size in (
        ("photos", 2, 40),
        ("photographs", 3, 64),
        ("path/to/images", 2, 64),
        ("pictures/train", 10, 32),
        ("pictures/test", 10, 32),
    ):
        for number in range(classes):
            for image in range(12):
                path = folder / root / f"class{number}" / f"{image}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(random.integers(0, 256, (size, size, 3), np.uint8)).save(path)
    for image in range(3):
        path = folder / "new_photos" / f"{image}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 256, (50, 40, 3), np.uint8)).save(path)
    (folder / "shards").mkdir()
    for number, part in enumerate(("train-000", "train-001", "test-000")):
        with tarfile.open(folder / "shards" / f"{part}.tar", "w") as shard:
            for image in range(12):
                shard.add(folder / "photos" / f"class{image % 2}" / f"{image}.png", f"{number}{image}.png")
                label = tarfile.TarInfo(f"{number}{image}.cls")
                label.size = 1
                shard.addfile(label, io.BytesIO(b"01"[image % 2 :][:1]))
    raw = folder / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, images in (("train", 5_200), ("t10k", 100)):
        for kind, shape in (("images-idx3", (images, 28, 28)), ("labels-idx1", (images,))):
            header = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()
            content = random.integers(0, 256 if len(shape) > 1 else 10, shape, np.uint8)
            (raw / f"{name}-{kind}-ubyte").write_bytes(header + content.tobytes())
    for page, file in (("sweeps.md", "my_network.py"), ("howto/own_data.md", "stripes.py")):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        (code,) = re.findall(rf"`{file}`:\s+```python\n(.*?)```", text, flags=re.DOTALL)
        (folder / file).write_text(code)
    (folder / "tiny.yaml").write_text(TINY)
    (folder / "kinds.yaml").symlink_to(ROOT / "configs" / "wandb" / "digits_kinds.yaml")
    (folder / "digits_grid.yaml").symlink_to(ROOT / "configs" / "wandb" / "digits_kinds.yaml")
    return folder


@pytest.fixture(scope="module")
def run_on_photos(own: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was trained on `photos`."""
    root = tmp_path_factory.mktemp("trained_on_photos")
    data = ["--data", "ImageFolder", "--data.root", str(own / "photos"), "--data.image_size", "32"]
    network = ["--model.backbone", "ConvNet", "--model.width", "0.5"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        command = ["fit", *data, *network, *SHORT["adaptconv fit"], "--run.root", str(root / "runs")]
        assert main([*command, "--run.name", "a"]) == 0
    os.environ.pop("PL_GLOBAL_SEED", None)
    return next(root.glob("runs/a/*"))


@pytest.fixture
def folder(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same beside what comes with the package, with runs of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    examples = [path for path in (ROOT / "examples").iterdir() if path.suffix in (".py", ".yaml")]
    for file in (*own.iterdir(), ROOT / "configs", *examples):
        (tmp_path / file.name).symlink_to(file)
    return tmp_path


def make_runs(words: list[str], run: Path) -> None:
    """Make the runs and the sweeps in `runs/` that a command names or, with `last` or `best`, means."""
    for word in words:
        parts = Path(word).parts
        if parts[:1] != ("runs",) or len(parts) < 2:
            continue
        if words[1] in ("choose", "plan", "report", "status", "sweep") or words[:2] == ["python", "-m"]:
            name = "other" if words[0] == "python" else "digits"  # of which no page asks anything
            made_up_sweep(Path(word), seeds=2, budgets=(300,), failures=False, name=name, latency=True)
        elif "checkpoints" in parts:
            shutil.copytree(run, Path(*parts[:-2]))
        elif word.endswith("config.yaml"):
            shutil.copytree(run, Path(word).parent)
        elif words[0] == "adaptconv":
            shutil.copytree(run, Path(word) / "1")
            if "--max_latency" in words:
                latencies([SimpleNamespace(arm="a", budget=None, kind="", parameters=1, flops=1)]).write(
                    Path(word) / "1"
                )
    if {"last", "best"} & {*words}:
        copy = Path("runs", words[words.index("--run.name") + 1], "1")
        shutil.copytree(run, copy)
        config = copy / "config.yaml"
        config.write_text(
            re.sub(r"(?m)^  root: .*", "  root: runs", config.read_text(encoding="utf-8")), encoding="utf-8"
        )


def write_tables(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write `tables`, a set in Parquet."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
    images = [{"bytes": path.read_bytes(), "path": None} for path in sorted((folder / "photos").glob("*/*.png"))]
    made = datasets.Dataset.from_dict({"image": images, "label": [0] * 12 + [1] * 12})
    (folder / "tables").mkdir()
    made.cast_column("image", datasets.Image()).to_parquet(folder / "tables" / "train.parquet")


@pytest.mark.sampled(3)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("command", called("adaptconv"))
def test_a_command_of_ours_runs(
    command: Command,
    folder: Path,
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    without_browser = Mock(side_effect=UserError("no browser"))
    monkeypatch.setattr("adaptconv_cli.report.write_pictures", without_browser)
    monkeypatch.setattr("adaptconv_cli.kernels.write_picture", lambda figure, path: "no browser")
    monkeypatch.setattr("webbrowser.open", lambda address: True)
    monkeypatch.setattr("lit_adaptconv.data.published.PublishedImages.prepare_data", lambda self: None)  # downloads
    words = typed(command)
    if "--format" in words:
        needed = {"onnx": "onnxruntime", "executorch": "executorch", "litert": "litert_torch"}
        pytest.importorskip(needed.get(words[words.index("--format") + 1], "torch"))
    if "HuggingFace" in words:
        write_tables(folder, monkeypatch)
    if "SVHN" in words:
        svhn(folder / "data", "SVHN", monkeypatch)  # what is there is not downloaded
    if command != next(first for first in CALLED if first.words[:2] == command.words[:2]) and words[1] in PEAKS:
        monkeypatch.setattr(*PEAKS[words[1]])
    monkeypatch.setattr("lit_adaptconv.sweep.estimate.PROBE_SECONDS", 0.0)  # nobody looks at what is estimated
    make_runs(words, request.getfixturevalue("run_on_photos") if "new_photos" in words else run)
    assert main(words[1:]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("command", SPOKEN_OF, ids=str)
def test_a_command_that_is_spoken_of_has_the_options_that_are_named(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    program, name, *options = command.words
    if program == "wandb":
        from wandb.cli.cli import cli

        assert name in cli.commands
        return
    assert main([name, "--help", "all"]) == 0
    help = capsys.readouterr().out
    assert all(option == "|" or option in help for option in options)


@pytest.mark.parametrize("command", called("wandb"))
def test_a_command_of_weights_and_biases_has_its_arguments(command: Command, folder: Path) -> None:
    from wandb.cli.cli import cli

    _, name, *arguments = typed(command)
    cli.commands[name].make_context(name, arguments)
    assert all(yaml.safe_load(Path(file).read_text())["method"] == "grid" for file in arguments)


@pytest.mark.parametrize("command", called("pip"))
def test_what_is_to_be_installed_is_declared(command: Command) -> None:
    """Nothing is installed here: the extra's name is what can be wrong."""
    _, install, *words = command.words
    project, extra = re.fullmatch(r"([\w.-]+)\[(\w+)\]", words[-1]).groups()  # type: ignore[union-attr]
    assert (install, words[:-1], project) in (("install", ["-e"], "."), ("install", [], PROJECT["name"]))
    assert extra in PROJECT["optional-dependencies"]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("command", called("make"))
def test_a_target_of_the_makefile_exists(command: Command) -> None:
    done = subprocess.run([*command.words, "--dry-run"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", called("python"))
def test_a_script_runs_from_the_projects_root(command: Command, folder: Path, run: Path) -> None:
    """As a process: only there has it the import path, and the modules, of a script."""
    for name in ("README.md", "CONTRIBUTING.md", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    words = typed(command)
    for name in ("benchmarks", "docs", "examples", "tests"):
        if name == "docs" and any(word.startswith(("docs/", "benchmarks.results")) for word in words):  # writes there
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (folder / name).symlink_to(ROOT / name)
    make_runs(words, run)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, *words[1:]], env=environment, capture_output=True, text=True, timeout=300)
    if "needs a GPU" in done.stderr and not torch.accelerator.is_available():
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        pytest.skip(done.stderr)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_every_benchmark_that_runs_says_how() -> None:
    scripts = {path for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text(encoding="utf-8")}
    assert scripts == {command.source for command in CALLED if command.source.parent.name == "benchmarks"}


def test_no_script_has_the_name_of_a_module_of_pythons() -> None:
    """Beside a script that is run, it would be imported instead of that module."""
    for room in ("benchmarks", "docs", "docs/images", "examples"):
        assert not {path.stem for path in (ROOT / room).glob("*.py")} & sys.stdlib_module_names


def test_commands_are_found_wherever_they_stand(tmp_path: Path) -> None:
    from documented import commands

    page, module, config = (tmp_path / name for name in ("page.md", "module.py", "config.yaml"))
    page.write_text(
        "Say `make it`, or `A=1 adaptconv fit\n--x 1`:\n\n"
        "```sh\n$ B=2 adaptconv sweep <a b> \\\n  --y '[1, 2]'  # no\n```\n"
    )
    module.write_text('"""What.\n\n    python a.py [--x 1]\n        [--y]\n    python -m b     says what\n"""\n')
    config.write_text("# So:\n#     wandb sweep x.yaml\na: 1  # as `pip install x`\n")
    found = [" ".join(command.words) for path in (page, module, config) for command in commands(path)]
    assert sorted(found) == sorted(
        [
            "make it",
            "adaptconv fit --x 1",
            "adaptconv sweep <a b> --y [1, 2]",
            "python a.py [--x 1] [--y]",
            "python -m b",
            "wandb sweep x.yaml",
            "pip install x",
        ]
    )
