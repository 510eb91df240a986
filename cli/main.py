"""Entry point of the command `adaptconv`: errors of its user end in one line, its own in a traceback."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import logging
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lit_adaptconv.errors import UserError

from .runs import newest_run, run_of_checkpoint

INTERRUPTED = 130

COMMANDS = {
    "compare": "adaptconv_cli.compare:compare",
    "sweep": "adaptconv_cli.sweep:sweep",
}
"""Commands beside LightningCLI's fit, validate, test and predict: name -> module:function, imported when called."""


def main(args: list[str] | None = None) -> int:
    """Run the command.

    Args:
        args: Command-line arguments; None takes those of the process.

    Returns:
        Exit status: 0, 1 for bad data or a failed run, 2 for bad arguments, 130 if interrupted.
    """
    args = list(sys.argv[1:] if args is None else args)
    quieten()
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    try:
        return _command(args) if args and args[0] in COMMANDS else _train(args)
    except (UserError, MisconfigurationException, FileNotFoundError) as error:
        sys.stderr.write(f"adaptconv: error: {' '.join(str(error).split())}\n")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as exit:
        if isinstance(exit.__context__, KeyboardInterrupt):  # Lightning's own answer to Ctrl-C
            return INTERRUPTED
        return exit.code if isinstance(exit.code, int) else 1


def _command(args: list[str]) -> int:
    from .parser import OneLineParser

    module, _, name = COMMANDS[args[0]].partition(":")
    function: Callable[..., int] = getattr(importlib.import_module(module), name)
    if list(inspect.signature(function).parameters) == ["args"]:  # it has a parser of its own
        return function(args[1:])
    parser = OneLineParser(prog=f"adaptconv {args[0]}", description=function.__doc__ or "")
    several = next((p for p in inspect.signature(function).parameters.values() if p.kind is p.VAR_POSITIONAL), None)
    if several is not None:
        parser.add_argument(several.name, nargs="+", type=several.annotation)
    parser.add_function_arguments(function, as_positional=False)
    given: dict[str, Any] = parser.instantiate_classes(parser.parse_args(args[1:])).as_dict()
    return function(*(given.pop(several.name) if several else ()), **given)


def _train(args: list[str]) -> int:
    from .training import TrainingCLI

    saved, sys.argv = sys.argv, sys.argv[:1]  # LightningCLI warns about arguments beside those that it is given
    try:
        TrainingCLI(_with_config_of_run(args), importlib.metadata.version("lit-adaptconv"))
    finally:
        sys.argv = saved
    return 0


def _with_config_of_run(args: list[str]) -> list[str]:
    """Take the configuration of the run that `--ckpt_path` names, unless one is given."""
    given = _value(args, "--ckpt_path")
    if given is None or _value(args, "--config") or _value(args, "-c"):
        return args
    run = newest_run(_value(args, "--run.root") or "runs", _value(args, "--run.name")) if given == "last" else None
    run = run or run_of_checkpoint(Path(given))
    return args if run is None else [args[0], "--config", str(run / "config.yaml"), *args[1:]]


def _value(args: list[str], option: str) -> str | None:
    for i, arg in enumerate(args):
        if arg == option and i + 1 < len(args):
            return args[i + 1]
        if arg.startswith(f"{option}="):
            return arg.split("=", 1)[1]
    return None


def quieten() -> None:
    """Silence what is no news to the user of a command."""
    import lightning.pytorch  # noqa: F401 (it sets the levels of its loggers when imported)

    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")


if __name__ == "__main__":
    sys.exit(main())
