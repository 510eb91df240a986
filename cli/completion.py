"""Shell completion: `--print_completion bash` prints a script that completes commands, options and names."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

import shtab

from lit_adaptconv.errors import UsageError

from .arguments import ARGUMENTS, parser_of
from .known import read_known

SHELLS = ("bash", "zsh", "tcsh")


def completion_script(shell: str | None, commands: Iterable[str]) -> str:
    """Return a script that completes the commands, their options, and the classes that these may name.

    jsonargparse's own script follows every argument of every class that any option may name: 78 MB of it.

    Raises:
        UsageError: The shell is none of `SHELLS`.
    """
    if shell not in SHELLS:
        raise UsageError(f"--print_completion takes one of {', '.join(SHELLS)}, got {shell or 'nothing'}")
    known = read_known()
    plain = argparse.ArgumentParser("adaptconv")
    subparsers = plain.add_subparsers()
    for name in commands:
        command = subparsers.add_parser(name, help=name)
        if name in ARGUMENTS:
            strings = [action.option_strings for action in parser_of(name)._actions]
            options = [option for found in strings for option in found if option not in ("-h", "--help")]
        else:
            options = [*known.commands[name].options]
        for option in options:
            classes = known.classes.get(option.removeprefix("--").removeprefix("model."), {})
            command.add_argument(option, choices=list(classes) or None)
            for argument in sorted({argument for arguments in classes.values() for argument in arguments}):
                command.add_argument(f"{option}.{argument}")
    script: str = shtab.complete(plain, shell)
    return script
