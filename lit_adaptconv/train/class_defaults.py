"""A class that is chosen instead of the default one starts from its own defaults."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from lit_adaptconv.layers.built_in import resolve
from lit_adaptconv.train.plain_parser import options_of


def parse_args(
    parser: LightningArgumentParser,
    args: Sequence[str],
    names: Sequence[str],
    subcommands: dict[str, LightningArgumentParser] | None = None,
) -> Namespace:
    """Parse and, where a class is not the default one, parse again with it as the default.

    jsonargparse alone would give the chosen class what the default one has for arguments of the same name
    (https://github.com/mauvilsa/jsonargparse/issues/460): SGD the weight decay of AdamW, MNIST the validation split of
    the bundled digits.

    Args:
        parser: The parser.
        args: The command line.
        names: Options that take a class.
        subcommands: The parsers that have these options, where `parser` has subcommands.

    Raises:
        UsageError: A bad argument.
    """
    args = _with_keywords(args, names)
    unprinted = [arg for arg in args if not arg.startswith("--print_config")]
    first: Namespace = parser.parse_args(unprinted)
    inner, given = parser, first
    if subcommands is not None:
        inner, given = subcommands[first["subcommand"]], first[first["subcommand"]]
    changed = {}
    for name in names:
        default, chosen = inner.get_default(name), given.get(name)
        before = default.get("class_path") if hasattr(default, "get") else None
        after = chosen.get("class_path") if hasattr(chosen, "get") else None
        if before is not None and after is not None and before != after:
            changed[name] = {"class_path": after, "init_args": _required(chosen)}
    if not changed and len(unprinted) == len(args):
        return first
    inner.set_defaults(changed)
    return parser.parse_args(list(args))


def _required(chosen: Namespace) -> dict[str, Any]:
    """The given arguments that the class itself has no value for: without them it can be no default."""
    parameters = inspect.signature(resolve(chosen.class_path)).parameters
    given: Any = chosen.get("init_args") or {}
    return {
        name: given[name]
        for name, parameter in parameters.items()
        if parameter.default is inspect.Parameter.empty and name in given
    }


def _with_keywords(args: Sequence[str], names: Sequence[str]) -> list[str]:
    """Pass on what a function such as `timm.create_model` takes as `**kwargs`, which jsonargparse wants to be told."""
    found = list(args)
    for name in names:
        values = [value for option, value in options_of(args) if option == f"--{name}"]
        known = _keywords(values[-1]) if values else None
        if known is None:
            continue
        prefix = f"--{name}."
        for i, arg in enumerate(found):
            option = arg.removeprefix(prefix).partition("=")[0]
            if arg.startswith(prefix) and option.partition(".")[0] not in (*known, "help", "init_args", "dict_kwargs"):
                found[i] = f"{prefix}dict_kwargs.{arg.removeprefix(prefix)}"
    return found


def _keywords(path: str) -> list[str] | None:
    """Names of the arguments of a function that takes further ones as `**kwargs`; None for anything else."""
    try:
        function = resolve(path)
    except (ValueError, ImportError, AttributeError):
        return None
    if not inspect.isfunction(function):
        return None
    parameters = inspect.signature(function).parameters.values()
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return [p.name for p in parameters]
