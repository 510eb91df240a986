"""Entry point of the command `adaptconv`: errors of its user end in one line, its own in a traceback.

PyTorch is imported by the commands that need it, when they are called.
"""

from __future__ import annotations

import difflib
import gc
import importlib
import os
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

from jsonargparse import Namespace

import lit_adaptconv
from lit_adaptconv.errors import UsageError, UserError
from lit_adaptconv.train.configs import with_found_configs

from .arguments import ARGUMENTS, parser_of
from .extras import missing_extra
from .known import check_options
from .output import check_written, print_error, survive_closed_output
from .short_help import short_help, without_all

INTERRUPTED = 130
SOME_FAILED = 3
TERMINATED = 143

TRAINING = {
    "fit": "Train a network and test it.",
    "validate": "Evaluate a trained network on the validation data.",
    "test": "Evaluate a trained network on the test data.",
    "predict": "Write a trained network's prediction for every sample.",
}
"""LightningCLI's commands: name -> what it does."""

COMMANDS = {
    "bench": ("adaptconv_cli.bench:bench", "Time layers and measure their memory, beside nn.Conv2d."),
    "choose": ("adaptconv_cli.choose:choose", "Say which network to take within limits of size and time."),
    "compare": ("adaptconv_cli.compare:compare", "Print runs in one table and check them against gates."),
    "configs": ("adaptconv_cli.configs:configs", "List the configurations that come with the package."),
    "export": ("adaptconv_cli.export:export", "Write a trained network to a file that runs elsewhere."),
    "kernels": ("adaptconv_cli.kernels:kernels", "Draw the kernels that an adaptive layer makes for an image."),
    "kinds": ("adaptconv_cli.kinds:kinds", "List the conv kinds: what each computes and what it costs."),
    "latency": ("adaptconv_cli.latency:latency", "Time the networks of sweeps and runs, one image at a time."),
    "plan": ("adaptconv_cli.plan:plan", "Say how many seeds a sweep needs to find an effect."),
    "profile": ("adaptconv_cli.profile:profile", "Show a network's FLOPs, memory and time, layer by layer."),
    "report": ("adaptconv_cli.report:report", "Write a page with tables and figures about sweeps."),
    "status": ("adaptconv_cli.status:status", "Show how far sweeps are and what they have shown."),
    "sweep": ("adaptconv_cli.sweep:sweep", "Train every arm at every budget with every seed; compare them."),
}
"""The other commands: name -> (module:function, imported when it is called; what it does)."""


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
    name, *rest = args or [""]
    option, _, value = name.partition("=")
    if option in ("-h", "--help"):
        print(_help())
        return 0
    if option == "--version":
        print(f"adaptconv {lit_adaptconv.__version__}")
        return 0
    if option == "--print_completion":
        from .completion import completion_script

        print(completion_script(value or next(iter(rest), None), (*TRAINING, *COMMANDS)))
        return 0
    if name not in (*TRAINING, *COMMANDS) and not any(arg in TRAINING for arg in rest if name.startswith("-")):
        near = difflib.get_close_matches(name, (*TRAINING, *COMMANDS), n=1)
        meant = f"did you mean {near[0]!r}? " if near else ""
        wrong = f"unknown {'option' if name.startswith('-') else 'command'} {name!r}" if args else "no command given"
        raise UsageError(f"{wrong}; {meant}commands: {', '.join((*TRAINING, *COMMANDS))}")
    if name in ARGUMENTS:
        return _command(name, parser_of(name).parse_args(with_found_configs(rest)))
    if (help := short_help(name, rest)) is not None:
        print(help, end="")
        return 0
    rest = without_all(rest)
    if name in (*TRAINING, *COMMANDS):
        check_options(name, rest)
    rest = with_found_configs(rest)
    return _command(name, rest) if name in COMMANDS else _train([name, *rest])


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
            "adaptconv COMMAND --help shows the options of a command.",
            "adaptconv --version prints the version.",
            "adaptconv --print_completion bash prints a completion script; zsh and tcsh work too.",
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
    _freeze()


@cache
def _freeze() -> None:
    """Keep what has been imported out of the garbage collector's rounds."""
    gc.freeze()


def _command(name: str, given: list[str] | Namespace) -> int:
    module, _, attribute = COMMANDS[name][0].partition(":")
    function: Callable[[Any], int] = getattr(importlib.import_module(module), attribute)
    _ready()
    return function(given)


def _train(args: list[str]) -> int:
    from lit_adaptconv.train.runs import with_config_of_run

    from .training import TrainingCLI

    _ready()
    TrainingCLI(with_config_of_run(args))
    return 0


if __name__ == "__main__":
    sys.exit(main())
