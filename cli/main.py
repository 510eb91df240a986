"""Entry point of the command `adaptconv`: errors of its user end in one line, its own in a traceback.

PyTorch is imported by the commands that need it, when they are called.
"""

from __future__ import annotations

import argparse
import difflib
import gc
import importlib
import inspect
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import lit_adaptconv
from lit_adaptconv.errors import UsageError, UserError, told_in_one_line

from .extras import missing_extra
from .output import check_written, print_error, survive_closed_output

INTERRUPTED = 130
TERMINATED = 143

TRAINING = {
    "fit": "Train a network, and test it.",
    "validate": "Evaluate a trained network on the validation data.",
    "test": "Evaluate a trained network on the test data.",
    "predict": "Write what a trained network predicts for every sample.",
}
"""LightningCLI's commands: name -> what it does."""

COMMANDS = {
    "bench": ("adaptconv_cli.bench:bench", "Time layers, and measure their memory, beside nn.Conv2d."),
    "choose": ("adaptconv_cli.choose:choose", "Say which network of a sweep to take within limits of size and time."),
    "compare": (
        "adaptconv_cli.compare:compare",
        "Print the results of runs in one table, and check gates on them.",
    ),
    "configs": ("adaptconv_cli.configs:configs", "List the configurations that come with the package, or print one."),
    "export": ("adaptconv_cli.export:export", "Write a trained network to a file that runs without this package."),
    "kernels": ("adaptconv_cli.kernels:kernels", "Draw the kernels that an adaptive layer makes for an image."),
    "kinds": ("adaptconv_cli.kinds:kinds", "List the conv kinds, what each computes and what it costs."),
    "latency": (
        "adaptconv_cli.latency:latency",
        "Time the networks of sweeps and runs by turns, in onnxruntime and in PyTorch.",
    ),
    "plan": ("adaptconv_cli.plan:plan", "Tell how many seeds a plan takes to find an effect, and what they cost."),
    "profile": ("adaptconv_cli.profile:profile", "Tell what a network costs, layer by layer: FLOPs, memory and time."),
    "report": ("adaptconv_cli.report:report", "Write what sweeps have shown as a page, a summary, pictures and CSV."),
    "status": ("adaptconv_cli.status:status", "Show how far sweeps are, and what they have shown."),
    "sweep": ("adaptconv_cli.sweep:sweep", "Train arms × budgets × seeds under equal conditions, and compare them."),
}
"""The other commands: name -> (module:function, imported when it is called; what it does)."""


class Parser(argparse.ArgumentParser):
    """Python's own parser, for commands that start without PyTorch; an error is one line."""

    def __init__(self, command: str, description: str) -> None:
        super().__init__(f"adaptconv {command}", description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise the error."""
        raise UsageError(message)


def main(args: list[str] | None = None) -> int:
    """Run the command.

    Args:
        args: Command-line arguments; None takes those of the process.

    Returns:
        Exit status: 0, 1 for bad data or a failed run, 2 for bad arguments, 130 if interrupted, 143 if terminated.
    """
    if args is None:
        args = sys.argv[1:]
        sys.path.append(os.getcwd())  # where a class of one's own may be, which is asked for by its dotted path
        survive_closed_output()
    try:
        status = _run(list(args))
        check_written()
        return status
    except UsageError as error:
        return _fail(error, status=2)
    except (UserError, OSError) as error:
        return _fail(error)
    except ModuleNotFoundError as error:
        if (line := missing_extra(error)) is None:
            raise
        return _fail(line)
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as exit:
        return _status(exit)
    except Exception as error:
        from lightning.fabric.utilities.exceptions import MisconfigurationException

        if not isinstance(error, MisconfigurationException):
            raise
        return _fail(error)


def _run(args: list[str]) -> int:
    name = args[0] if args else ""
    if name in ("-h", "--help"):
        print(_help())
        return 0
    if name == "--version":
        print(f"adaptconv {lit_adaptconv.__version__}")
        return 0
    if name not in (*TRAINING, *COMMANDS) and not name.startswith("-"):
        near = difflib.get_close_matches(name, (*TRAINING, *COMMANDS), n=1)
        meant = f"did you mean {near[0]!r}? " if near else ""
        wrong = f"unknown command {name!r}" if args else "no command given"
        raise UsageError(f"{wrong}; {meant}commands: {', '.join((*TRAINING, *COMMANDS))}")
    from lit_adaptconv.train.configs import with_found_configs

    args = with_found_configs(args)
    return _command(name, args[1:]) if name in COMMANDS else _train(args)


def _help() -> str:
    described = {**TRAINING, **{name: line for name, (_, line) in COMMANDS.items()}}
    width = max(map(len, described))
    return "\n".join(
        [
            "usage: adaptconv COMMAND [options]",
            "",
            "Train, test and compare networks with standard and adaptive convolutions.",
            "",
            *(f"  {name:<{width}}  {line}" for name, line in described.items()),
            "",
            "adaptconv COMMAND --help lists the options of a command, --version says the version, and",
            "--print_completion=bash (or zsh, tcsh) prints the script that completes them in a shell.",
        ]
    )


def _fail(error: object, status: int = 1) -> int:
    print_error(error)
    return status


def _status(exit: SystemExit) -> int:
    """The status of a process that is asked to end: by a parser, by Ctrl-C or by SIGTERM."""
    if isinstance(exit.__context__, KeyboardInterrupt):  # Lightning's own answer to Ctrl-C
        return INTERRUPTED
    if type(exit).__name__ == "SIGTERMException":  # Lightning's, which may not have been imported
        return TERMINATED
    return exit.code if isinstance(exit.code, int) else 1


def _ready() -> None:
    """What is left to do when all that a command needs has been imported."""
    from lit_adaptconv.train.quiet import quieten

    quieten()
    if not gc.get_freeze_count():  # else the collector looks through all that was imported again and again
        gc.freeze()


def _command(name: str, args: list[str]) -> int:
    module, _, attribute = COMMANDS[name][0].partition(":")
    function: Callable[..., int] = getattr(importlib.import_module(module), attribute)
    if list(inspect.signature(function).parameters) == ["args"]:  # it has a parser of its own
        _ready()
        return function(args)
    import docstring_parser

    from lit_adaptconv.train.parser import OneLineParser

    _ready()
    text = docstring_parser.parse(function.__doc__ or "")
    parser = OneLineParser(prog=f"adaptconv {name}", description=text.short_description)
    several = next((p for p in inspect.signature(function).parameters.values() if p.kind is p.VAR_POSITIONAL), None)
    if several is not None:
        help = next((p.description for p in text.params if p.arg_name == several.name), None)
        parser.add_argument(several.name, nargs="+", type=several.annotation, help=help)
    parser.add_function_arguments(function, as_positional=False)
    with told_in_one_line("building what the options name"):
        given: dict[str, Any] = parser.instantiate_classes(parser.parse_args(args)).as_dict()
    return function(*(given.pop(several.name) if several else ()), **given)


def _train(args: list[str]) -> int:
    from lit_adaptconv.train.runs import with_config_of_run

    from .training import TrainingCLI

    _ready()
    TrainingCLI(with_config_of_run(args), tuple(COMMANDS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
