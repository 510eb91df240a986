"""What is known of the options of the commands that take a configuration, before their parsers can be made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from lit_adaptconv.errors import UsageError
from lit_adaptconv.train.plain_parser import unknown_option, without_value

OPTIONS = Path(__file__).with_name("options.json")
CONFIGURED = ("--config", "-c", "--ckpt_path")
"""Options that bring a configuration, which may name other classes."""
Takes = Literal["nothing", "value", "optional"]


@dataclass(frozen=True)
class Options:
    """The options of a command.

    Attributes:
        options: By the name of each, whether a value follows.
        open: Those whose parts have options of their own, such as the arguments of a class.
    """

    options: dict[str, Takes]
    open: list[str]


@dataclass(frozen=True)
class KnownOptions:
    """The options of the commands that take a configuration.

    Attributes:
        lightning: The version of Lightning whose trainer has these options.
        commands: By the name of a command.
        classes: By "data" and "backbone", the classes with a short name and the arguments of each.
    """

    lightning: str
    commands: dict[str, Options]
    classes: dict[str, dict[str, list[str]]]

    def json(self) -> str:
        """It as JSON."""
        return json.dumps(asdict(self), indent=1) + "\n"


def read_known() -> KnownOptions:
    """What `python -m adaptconv_cli.known_options` wrote."""
    content = json.loads(OPTIONS.read_text(encoding="utf-8"))
    commands = {name: Options(**options) for name, options in content.pop("commands").items()}
    return KnownOptions(commands=commands, **content)


def check_options(command: str, args: Sequence[str]) -> None:
    """Check the names of the options of a command line as far as that can be done before classes are imported.

    Args:
        command: Name of a command that takes a configuration.
        args: Its arguments.

    Raises:
        UsageError: An option is unknown, or lacks its value.
    """
    known = read_known()
    options = known.commands[command].options
    given = [arg.partition("=")[0] for arg in args if _is_option(arg)]
    open_ = [*known.commands[command].open]
    if any(option in (*CONFIGURED, "--model", "--model.class_path") for option in given):
        open_.append("--model")
    if not _is_lightning(known.lightning):
        open_.append("--trainer")
    for i, arg in enumerate(args):
        if arg in ("--", "--help"):
            return
        if not _is_option(arg):
            continue
        option, equals, _ = arg.partition("=")
        if option not in options:
            if any(option.startswith(f"{prefix}.") for prefix in open_):
                continue
            raise UsageError(unknown_option(option, options))
        followed = i + 1 < len(args) and not _is_option(args[i + 1])
        if options[option] == "value" and not equals and not followed:
            raise UsageError(without_value(option))


def _is_option(arg: str) -> bool:
    return arg in CONFIGURED or (arg.startswith("--") and len(arg) > 2 and " " not in arg)


def _is_lightning(expected: str) -> bool:
    try:
        return version("lightning") == expected
    except PackageNotFoundError:
        return False
