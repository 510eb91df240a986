"""Configurations by name, from a file or an address, the same for every command that takes one."""

from __future__ import annotations

import io
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from adaptconv_cli.main import main

from lit_adaptconv.train.configs import packaged_configs

from .test_bad_input import one_line

ROOT = Path(__file__).parents[2] / "configs"
pytestmark = pytest.mark.usefixtures("folder")


def printed(capsys: pytest.CaptureFixture[str], *args: str) -> Any:
    assert main([*args, "--print_config"]) == 0
    return yaml.safe_load(capsys.readouterr().out)


def test_every_configuration_is_listed_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["configs"]) == 0
    listed = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.partition("\n\n")[0].splitlines())
    assert sorted(listed) == sorted(p.relative_to(ROOT).with_suffix("").as_posix() for p in ROOT.rglob("*.yaml"))
    for name, line in listed.items():
        assert 10 < len(line) <= 88, name
        assert line[-1] in ".?", name


def test_one_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["configs", "digits/lenet5_adaptive"]) == 0
    assert capsys.readouterr().out == (ROOT / "digits" / "lenet5_adaptive.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("command", "given"),
    [
        *(
            (command, ["--config", "digits/lenet5_adaptive"])
            for command in ("fit", "validate", "test", "predict", "profile", "export", "kernels")
        ),
        *((command, ["-c=digits/lenet5_adaptive.yaml"]) for command in ("fit", "profile")),  # of each kind of parser
    ],
)
def test_a_name_serves_every_command_on_a_network(
    command: str, given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    config = printed(capsys, command, *given)
    assert config["model"]["kind_options"] == {"generator_size": 3}


def test_a_name_serves_sweeps(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "sweep", "--config", "sweeps/digits")["budgets"] == [500, 1000]


def test_several_are_put_on_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    config = printed(capsys, "fit", "--config=digits/convnet_standard", "--config", "loggers/wandb_off")
    assert config["run"]["wandb"] is False
    assert config["model"]["backbone"]["class_path"].endswith("ConvNet")


RECIPES = {
    "quick": ("digits/convnet_adaptive_low_rank", "cifar10/resnet20_adaptive", "mnist/lenet5_standard"),
    "cifar-strong": ("cifar10/resnet20_standard", "cifar10/resnet18_adaptive", "cifar10/mobilenetv2_standard"),
    "imagenet-rsb": ("imagenet/resnet18_standard", "imagenet/resnet18_adaptive"),
}
"""Each recipe, and configurations that it is put on."""


def completes(found: Any, given: Any) -> bool:
    """Whether settings are the given ones, with the defaults of classes filled in."""
    if isinstance(given, dict):
        return all(name in found and completes(found[name], value) for name, value in given.items())
    if isinstance(given, list):
        return len(found) == len(given) and all(map(completes, found, given))
    return bool(found == given)


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(name, marks=[] if name == "quick" else pytest.mark.slow)
        for name in sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml"))
    ],
)
def test_a_recipe_says_how_to_train_and_leaves_network_and_data_as_they_are(
    recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    own = yaml.safe_load((ROOT / "recipes" / f"{recipe}.yaml").read_text(encoding="utf-8"))
    for below in RECIPES[recipe]:
        before = printed(capsys, "fit", "--config", below)
        after = printed(capsys, "fit", "--config", below, "--config", f"recipes/{recipe}")
        for name in ("backbone", "kind", "kind_options", "width", "budget", "convert"):
            assert after["model"][name] == before["model"][name]
        given = own.get("data", {}).get("init_args", {})
        assert completes(after["data"]["init_args"], {**before["data"]["init_args"], **given})
        assert after["data"]["class_path"] == before["data"]["class_path"]
        for name in ("optimizer", "scheduler"):
            given = own["model"].get(name, before["model"][name])
            assert after["model"][name]["class_path"] == given["class_path"]
            assert given.get("init_args", {}).items() <= after["model"][name]["init_args"].items()
        assert after["trainer"]["max_epochs"] == own["trainer"]["max_epochs"]


@pytest.mark.parametrize("file", ["digits/lenet5_adaptive", "digits/lenet5_adaptive.yaml"])
def test_a_name_never_hides_a_file(file: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "digits").mkdir()
    (folder / file).write_text("model:\n  kind: involution\n")
    assert printed(capsys, "fit", "--config", "digits/lenet5_adaptive")["model"]["kind"] == "involution"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("digits/lenet5_adaptiv", "digits/lenet5_adaptive"),
        ("configs/sweeps/digit.yaml", "sweeps/digits"),
        ("digts/convnet_standard", "digits/convnet_standard"),
    ],
)
@pytest.mark.parametrize("command", ["fit", "sweep", "profile"])
def test_an_unknown_name_is_answered_with_the_nearest(
    command: str, given: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--config", given]) == 2
    line = one_line(capsys)
    assert f"no configuration {given!r}, as a file or by name; did you mean {meant!r}?" in line
    assert "adaptconv configs" in line


def test_an_address_is_read(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[str] = []

    def answer(address: str, timeout: float) -> io.BytesIO:
        asked.append(address)
        return io.BytesIO(b"model:\n  kind: involution\n")

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    assert printed(capsys, "fit", "--config", "https://example.org/a.yaml")["model"]["kind"] == "involution"
    assert asked == ["https://example.org/a.yaml"]


def test_an_address_that_does_not_answer_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(address: str, timeout: float) -> io.BytesIO:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    assert main(["fit", "--config", "https://example.org/a.yaml"]) == 2
    assert "https://example.org/a.yaml could not be read: " in one_line(capsys)


def test_the_names_are_those_of_files_that_are_there() -> None:
    assert all(path.is_file() for path in packaged_configs().values())
