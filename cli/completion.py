"""Shell completion: `--print_completion bash` prints a script that completes commands, options and names."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import shtab

from lit_adaptconv.models.backbones import Backbone
from lit_adaptconv.train.parser import known_classes

SHELLS = ("bash", "zsh", "tcsh")


class PrintCompletion(argparse.Action):
    """Prints the script for a shell, and exits.

    jsonargparse's own script follows every argument of every class that any option may name: 78 MB of it.
    """

    def __init__(self, further_commands: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dest": argparse.SUPPRESS, "default": argparse.SUPPRESS})
        self.choices = SHELLS
        self.further_commands = further_commands
        self.help = "Print the script that completes commands and options in a shell and exit."

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """Print and exit."""
        print(completion_script(parser, values, self.further_commands))
        parser.exit()


def completion_script(parser: argparse.ArgumentParser, shell: str, further_commands: Sequence[str] = ()) -> str:
    """Return a script that completes the parser's commands, their options, and the classes that these may name."""
    plain = argparse.ArgumentParser(parser.prog)
    commands = plain.add_subparsers()
    for name, command in _commands(parser):
        _copy_options(command, commands.add_parser(name, help=name))
    for name in further_commands:
        commands.add_parser(name, help=name)
    script: str = shtab.complete(plain, shell)
    return script


def _commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action.choices, dict):
            yield from action.choices.items()


def _copy_options(command: argparse.ArgumentParser, plain: argparse.ArgumentParser) -> None:
    for action in command._actions:
        options = [option for option in action.option_strings if option not in ("-h", "--help")]
        if not options or action.help == argparse.SUPPRESS:
            continue
        classes = known_classes(action.dest)
        plain.add_argument(*options, choices=list(classes) or None)
        for name in sorted({name for value in classes.values() for name in _arguments(value)}):
            plain.add_argument(f"--{action.dest}.{name}")


def _arguments(value: type) -> list[str]:
    """Arguments of a class that the command line may set; the data and the model settle the rest of a backbone's."""
    parameters = inspect.signature(value).parameters.values()
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY or not issubclass(value, Backbone)]
