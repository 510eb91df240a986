"""Entry point of the command `adaptconv`: errors of its user end in one line, its own in a traceback."""

from __future__ import annotations

import difflib
import gc
import importlib
import inspect
import sys
from collections.abc import Callable
from typing import Any

from lit_adaptconv.errors import UsageError, UserError

INTERRUPTED = 130
TERMINATED = 143
TRAINING = ("fit", "validate", "test", "predict")
"""LightningCLI's commands."""

COMMANDS = {
    "bench": "adaptconv_cli.bench:bench",
    "compare": "adaptconv_cli.compare:compare",
    "export": "adaptconv_cli.export:export",
    "kernels": "adaptconv_cli.kernels:kernels",
    "kinds": "adaptconv_cli.kinds:kinds",
    "profile": "adaptconv_cli.profile:profile",
    "report": "adaptconv_cli.report:report",
    "status": "adaptconv_cli.status:status",
    "sweep": "adaptconv_cli.sweep:sweep",
}
"""The other commands: name -> module:function, imported when called."""


def main(args: list[str] | None = None) -> int:
    """Run the command.

    Args:
        args: Command-line arguments; None takes those of the process.

    Returns:
        Exit status: 0, 1 for bad data or a failed run, 2 for bad arguments, 130 if interrupted, 143 if terminated.
    """
    args = list(sys.argv[1:] if args is None else args)
    from lit_adaptconv.train.quiet import quieten

    quieten()
    from lightning.fabric.utilities.exceptions import MisconfigurationException
    from lightning.pytorch.utilities.exceptions import SIGTERMException

    try:
        _check_command(args)
        return _command(args) if args and args[0] in COMMANDS else _train(args)
    except UsageError as error:
        return _fail(error, status=2)
    except (UserError, MisconfigurationException, OSError) as error:
        return _fail(error)
    except ValueError as error:  # jsonargparse's own, around what a class said of its arguments
        if not isinstance(error.__cause__, UserError):
            raise
        return _fail(error.__cause__)
    except KeyboardInterrupt:
        return INTERRUPTED
    except SIGTERMException:
        return TERMINATED
    except SystemExit as exit:
        if isinstance(exit.__context__, KeyboardInterrupt):  # Lightning's own answer to Ctrl-C
            return INTERRUPTED
        return exit.code if isinstance(exit.code, int) else 1


def _fail(error: object, status: int = 1) -> int:
    sys.stderr.write(f"adaptconv: error: {' '.join(str(error).split())}\n")
    return status


def _check_command(args: list[str]) -> None:
    known = (*TRAINING, *COMMANDS)
    if not args or (not args[0].startswith("-") and args[0] not in known):
        near = difflib.get_close_matches(args[0], known, n=1) if args else []
        wrong = f"unknown command {args[0]!r}" if args else "no command given"
        meant = f"did you mean {near[0]!r}? " if near else ""
        sys.exit(_fail(f"{wrong}; {meant}commands: {', '.join(known)}", status=2))


def _command(args: list[str]) -> int:
    import docstring_parser

    from lit_adaptconv.train.parser import OneLineParser

    module, _, name = COMMANDS[args[0]].partition(":")
    function: Callable[..., int] = getattr(importlib.import_module(module), name)
    if not gc.get_freeze_count():  # else the collector looks through all that was imported again and again
        gc.freeze()
    if list(inspect.signature(function).parameters) == ["args"]:  # it has a parser of its own
        return function(args[1:])
    text = docstring_parser.parse(function.__doc__ or "")
    parser = OneLineParser(prog=f"adaptconv {args[0]}", description=text.short_description)
    several = next((p for p in inspect.signature(function).parameters.values() if p.kind is p.VAR_POSITIONAL), None)
    if several is not None:
        help = next((p.description for p in text.params if p.arg_name == several.name), None)
        parser.add_argument(several.name, nargs="+", type=several.annotation, help=help)
    parser.add_function_arguments(function, as_positional=False)
    given: dict[str, Any] = parser.instantiate_classes(parser.parse_args(args[1:])).as_dict()
    return function(*(given.pop(several.name) if several else ()), **given)


def _train(args: list[str]) -> int:
    from lit_adaptconv.train.runs import with_config_of_run

    from .training import TrainingCLI

    TrainingCLI(with_config_of_run(args), tuple(COMMANDS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
