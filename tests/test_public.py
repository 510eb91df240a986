"""The public face: what `import lit_adaptconv` and its rooms offer, and what they import before it is used: nothing."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
from adaptconv_cli.main import COMMANDS, TRAINING

import lit_adaptconv as la

ROOT = Path(__file__).parent.parent
ROOMS = sorted(
    ".".join(("lit_adaptconv", *stub.parent.relative_to(Path(la.__file__).parent).parts))
    for stub in Path(la.__file__).parent.rglob("__init__.pyi")
)
PUBLIC = [(room, name) for room in ROOMS for name in importlib.import_module(room).__all__]

HEAVY = (
    "torch",
    "numpy",
    "triton",
    "numba",
    "torch._dynamo",
    "lightning",
    "torchvision",
    "torchmetrics",
    "wandb",
    "scipy",
    "pyarrow",
)


def imported(program: str) -> tuple[int, list[str]]:
    """Exit status of a program in an interpreter of its own, and which of the heavy packages it imported."""
    watched = f"import sys\ntry:\n    {program}\nfinally:\n    sys.stderr.write('@' + ' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", watched], capture_output=True, text=True)
    modules = set(done.stderr.rpartition("@")[2].split())
    return done.returncode, [name for name in HEAVY if name in modules]


@pytest.mark.parametrize(("room", "name"), PUBLIC, ids=[f"{room}.{name}" for room, name in PUBLIC])
def test_every_exported_name_is_there_and_explained(room: str, name: str) -> None:
    value = getattr(importlib.import_module(room), name)
    assert name in dir(importlib.import_module(room))
    if (isinstance(value, type) and not hasattr(value, "__origin__")) or inspect.isfunction(
        value
    ):  # no alias of a type
        assert inspect.getdoc(value)


def test_the_public_face_is_what_is_promised() -> None:
    promised = """adaptive_conv2d AdaptiveConv2d LowRankAdaptiveConv2d convert ConvertConvolutions ConvergenceCallback
        ImageClassifier data models kinds register_kind count_parameters fit_budget load_run sweep compare choose"""
    assert set(promised.split()) <= set(la.__all__)
    assert la.__version__ == importlib.metadata.version("lit-adaptconv")


def test_a_tree_that_is_not_installed_says_that_its_version_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = Mock(side_effect=importlib.metadata.PackageNotFoundError)
    monkeypatch.setattr("importlib.metadata.version", missing)
    assert la.__version__ == "0+unknown"


def test_names_are_the_things_themselves_and_no_modules_of_the_same_name() -> None:
    from lit_adaptconv.layers.adaptive import AdaptiveConv2d
    from lit_adaptconv.models.conversion import convert

    assert la.AdaptiveConv2d is AdaptiveConv2d
    assert la.convert is convert
    assert callable(la.kinds)
    assert callable(la.sweep)  # a room, too
    with pytest.raises(AttributeError, match="nothing"):
        la.nothing  # noqa: B018


def test_rooms_say_what_may_live_in_them() -> None:
    for room in Path(la.__file__).parent.iterdir():
        if (room / "__init__.py").is_file():
            first = (importlib.import_module(f"lit_adaptconv.{room.name}").__doc__ or "").partition("\n")[0]
            assert first.endswith("."), room.name


@pytest.mark.parametrize(
    "program",
    [
        "import lit_adaptconv",
        "import lit_adaptconv as la; la.kinds(); la.__version__",
        "import lit_adaptconv.layers, lit_adaptconv.models.backbones, lit_adaptconv.data, lit_adaptconv.train",
    ],
)
def test_importing_the_package_or_its_rooms_imports_nothing_else(program: str) -> None:
    assert imported(program) == (0, [])


def test_a_layer_needs_nothing_that_trains() -> None:
    status, modules = imported("from lit_adaptconv import AdaptiveConv2d; AdaptiveConv2d(1, 2, 3)")
    assert status == 0
    assert not set(modules) & set(HEAVY[3:])


LOOKS: list[tuple[list[str], int]] = [
    (["--version"], 0),
    (["--help"], 0),
    (["kinds"], 0),
    *(([name, "--help"], 0) for name in (*TRAINING, *COMMANDS)),
    (["--print_completion", "bash"], 0),
    (["fit", "--max_epochs", "3"], 2),
    (["predict", "--ckpt_path"], 2),
    (["sweep", "--config", "sweeps/digit"], 2),
    (["compare", "--max_drp", "0.1"], 2),
    (["bench", "adaptive", "--rounds", "many"], 2),
    (["plan"], 2),
    (["configs"], 0),
    (["configs", "digits/lenet5_adaptive"], 0),
    (["configs", "digits/lenet"], 2),
    (["fitt"], 2),
    ([], 2),
]
"""Command lines that only look around, and the exit status of each."""
LOOK = f"""
import contextlib, io, json, sys
from adaptconv_cli.main import main

found = []
for arguments in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            status = main(arguments)
        except SystemExit as exit:
            status = exit.code
    found.append([arguments, status, [name for name in {HEAVY} if name in sys.modules]])
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def looked() -> dict[str, tuple[int, list[str]]]:
    """Exit status of each of `LOOKS`, and the heavy packages that are imported after it, one after the other."""
    program = [sys.executable, "-c", LOOK, json.dumps([arguments for arguments, _ in LOOKS])]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {repr(arguments): (status, modules) for arguments, status, modules in json.loads(done.stdout)}


@pytest.mark.parametrize(("arguments", "status"), LOOKS, ids=repr)
def test_what_looks_around_starts_without_pytorch(
    looked: dict[str, tuple[int, list[str]]], arguments: list[str], status: int
) -> None:
    assert looked[repr(arguments)] == (status, [])


def test_every_public_name_is_on_one_page_of_the_api() -> None:
    directives = [
        name
        for page in (ROOT / "docs" / "api").glob("*.md")
        for name in re.findall(r"^::: lit_adaptconv\.(.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    ]
    shown = [id(value_of(name)) for name in directives]
    assert len(set(shown)) == len(shown)
    public = {f"{room}.{name}": getattr(importlib.import_module(room), name) for room, name in PUBLIC}
    missing = [name for name, value in public.items() if not inspect.ismodule(value) and id(value) not in shown]
    assert not missing


def value_of(name: str) -> object:
    """What a dotted name within the package means."""
    room, _, last = name.rpartition(".")
    return getattr(importlib.import_module(f"lit_adaptconv.{room}".rstrip(".")), last)
