"""Reads configurations and command lines; an error is one line that says what would be right."""

from __future__ import annotations

import contextlib
import copy
import difflib
import inspect
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any, NoReturn

from jsonargparse import Namespace, set_parsing_settings
from lightning.pytorch.cli import LightningArgumentParser

from lit_adaptconv import data
from lit_adaptconv.errors import UsageError, UserError, cause_of
from lit_adaptconv.measure.budget import UNITS
from lit_adaptconv.models import backbones
from lit_adaptconv.train import moved as moved  # configurations may have the names that classes had
from lit_adaptconv.train.parser_message import plain_message

os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # lightning 2.6 calls what is deprecated

# A configuration may come from someone else: what stands where any value is taken is not called, and jsonargparse's
# list of functions that run programs or code is in force.
set_parsing_settings(instantiate_subclass_spec_in_any=False, import_path_denylist=[])

UNKNOWN = r'Parser key "([\w.]+)".*Expected a dot import path string: (?!Given |- )([\w.]+)'
OF_ANOTHER_KIND = r'Parser key "([\w.]+)".*path ?([\w.]*) does not correspond to a subclass of (\w+)(?:.*value: (.*))?'
NOT_ACCEPTED = r"""Parser key "([\w.]+)".*?Option ('[\w.]+' is not accepted(?:; did you mean '[\w.]+'\?)?)"""
LIMIT = re.compile(rf"(--(?:[\w.]+\.)?budget)\.(?:{'|'.join((*UNITS, 'dtype'))})(?=$|=)")
"""An option that sets one limit of a budget, or its type of numbers."""


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except (UserError, OSError):
        raise
    except Exception as error:
        raise UsageError(f"the settings cannot be read: {cause_of(error)}") from error


def without_nul(config: Any) -> Any:
    """The settings, if no text in them has the character NUL, which no name of a file or a class can have.

    Raises:
        UsageError: One has.
    """
    items: Iterable[tuple[str, Any]] = config.items() if isinstance(config, (dict, Namespace)) else []
    for name, value in items:
        if isinstance(value, str) and "\0" in value:
            raise UsageError(f"--{name} holds the character NUL, got {value!r}: leave it out")
        without_nul(value)
    return config


class OneLineParser(LightningArgumentParser):
    """Lightning's parser; an error is a `UsageError` of one line. Options are not abbreviated."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def parse_args(self, args: Any = None, *further: Any, **options: Any) -> Any:
        """Parse a command line; whatever goes wrong is a `UsageError` or another `UserError`."""
        given = list(sys.argv[1:] if args is None else args)
        with _reading():
            return without_nul(super().parse_args(self._all_limits(given), *further, **options))

    def _all_limits(self, args: list[str]) -> list[str]:
        """The arguments, where a number of parameters stands beside the limits that they name one by one.

        The parser alone would forget a plain budget, of the command line or a configuration, for
        `--model.budget.flops`.
        """
        named = [i for i, arg in enumerate(args) if LIMIT.match(arg)]
        if not named:
            return args
        alone = {i for i in named if "=" in args[i] or args[i + 1 : i + 2] == [] or args[i + 1].startswith("--")}
        takes = {j for i in named for j in ((i,) if i in alone else (i, i + 1))}
        others = [arg for i, arg in enumerate(args) if i not in takes]
        found = super().parse_args([arg for arg in others if not arg.startswith("--print_config")])
        inner = found.get(found.get("subcommand") or "") or found
        budgets = dict.fromkeys(match[1] for i in named if (match := LIMIT.match(args[i])))
        plain = {budget: inner.get(budget.removeprefix("--")) for budget in budgets}
        numbers = [f"{budget}.parameters={value}" for budget, value in plain.items() if isinstance(value, int)]
        return [*others, *numbers, *(arg for i, arg in enumerate(args) if i in takes)]

    def parse_object(self, content: Any, *further: Any, **options: Any) -> Any:
        """Parse a mapping, which stays as it is; whatever goes wrong is a `UsageError` or another `UserError`."""
        with _reading():
            return without_nul(super().parse_object(copy.deepcopy(content), *further, **options))

    def format_help(self, *args: Any, **options: Any) -> str:
        """Return the help, where the list of known networks ends before all the modules of PyTorch."""
        return re.sub(
            r",\s+torch\.nn\.Module,[^()]*\)", ", and any torch.nn.Module)", super().format_help(*args, **options)
        )

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the error, with the nearest known name."""
        line = re.sub(r"\s*\n\s*", " ", message).strip()
        values = "Expected a <class 'float'>" in line or "measure.budget.Budget'>" in line  # are meant, and no class
        if not values and (unknown := re.search(UNKNOWN, line)):
            known = known_classes(unknown[1])
            line = f"unknown class {unknown[2]!r} for --{unknown[1]}" + (
                f"; known: {', '.join(known)}" if known else ""
            )
        elif foreign := re.search(OF_ANOTHER_KIND, line):
            line = f"--{foreign[1]}: {foreign[2] or foreign[4]} is no {foreign[3]}"
        elif unaccepted := re.search(NOT_ACCEPTED, line):
            line = f"--{unaccepted[1]}: option {unaccepted[2]}"
        elif bad := re.search(r'Parser key "([\w.]+)".*Problem with given class_path .*?: (.*?)( Given value|$)', line):
            reason = re.sub(r"( - Expected a <class '[\w.]+'>)+$", "", bad[2])
            line = f"--{bad[1]}: {reason}"
        elif unexpected := re.match(r"Unexpected config: ?(.*)", line):
            line = f"a configuration holds settings, such as {{model: {{kind: adaptive}}}}, got {unexpected[1][:80]!r}"
        else:
            line = plain_message(line)
        raise UsageError(f"{line}{self._suggestion(line)}") from ex

    def _suggestion(self, line: str) -> str:
        wrong = (
            re.search(r"unrecognized arguments: --([\w.]+)", line)
            or re.search(r"does not accept option '([\w.]+)'", line)
            or re.search(r"[Oo]ption '([\w.]+)' is not accepted", line)
            or re.search(r"Key '([\w.]+)' is not expected", line)
        )
        if not wrong:
            return ""
        names = self._names(line)
        near = difflib.get_close_matches(wrong[1], names, n=1)
        if not near:  # the last part of a dotted name is what is usually misspelt
            near = difflib.get_close_matches(wrong[1].rsplit(".", 1)[-1], names, n=1)
        return f"; did you mean {near[0]!r}?" if near and near[0] != wrong[1] else ""

    def _names(self, line: str) -> list[str]:
        names = []
        for action in self._actions:
            names += [action.dest, action.dest.rsplit(".", 1)[-1]]
            if isinstance(action.choices, dict):  # subcommands
                names += [name for parser in action.choices.values() for name in parser._names(line)]
        classes = re.findall(r"class_path='([\w.]+)'", line)
        for path in classes:
            module, _, name = path.rpartition(".")
            names += list(inspect.signature(getattr(sys.modules[module], name)).parameters)
        return names


def _classes(room: ModuleType, base: type) -> dict[str, type]:
    """The classes of a room, which this imports: jsonargparse knows the short name of what is imported alone."""
    named = {name: getattr(room, name) for name in room.__all__}
    return {n: v for n, v in named.items() if inspect.isclass(v) and issubclass(v, base) and v is not base}


_KNOWN = {"data": _classes(data, data.ImageData), "backbone": _classes(backbones, backbones.Backbone)}


def known_classes(option: str) -> dict[str, type]:
    """The classes that may be named for an option by their short names, in place of a dotted path."""
    return _KNOWN.get(option.removeprefix("model."), {})


def options_of(args: Sequence[str]) -> list[tuple[str, str]]:
    """The options of a command line and their values, in order."""
    found = []
    for i, arg in enumerate(args):
        option, equals, value = arg.partition("=")
        if equals:
            found.append((option, value))
        elif i + 1 < len(args):
            found.append((arg, args[i + 1]))
    return found
