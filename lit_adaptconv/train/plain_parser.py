"""The parser of a command line, which starts without PyTorch; an error is one line that says what would be right."""

from __future__ import annotations

import contextlib
import copy
import difflib
import inspect
import os
import re
import sys
from argparse import SUPPRESS, Action
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace, set_parsing_settings

from lit_adaptconv.errors import UsageError, UserError, cause_of
from lit_adaptconv.train.parser_message import plain_message

os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # lightning 2.6 calls what is deprecated

# A configuration may come from someone else: what stands where any value is taken is not called, and jsonargparse's
# list of functions that run programs or code is in force.
set_parsing_settings(instantiate_subclass_spec_in_any=False, import_path_denylist=[])

UNKNOWN = r'Parser key "([\w.]+)".*Expected a dot import path string: (?!Given |- )([\w.]+)'
OF_ANOTHER_KIND = r'Parser key "([\w.]+)".*path ?([\w.]*) does not correspond to a subclass of (\w+)(?:.*value: (.*))?'
NOT_ACCEPTED = r"""Parser key "([\w.]+)".*?Option ('[\w.]+' is not accepted(?:; did you mean '[\w.]+'\?)?)"""


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


class ShortHelp(DefaultHelpFormatter):
    """Help that says what an option does and its default value, without types."""

    def _get_help_string(self, action: Action) -> str:
        said = action.help or ""
        shown = action.option_strings and action.default not in (None, False, SUPPRESS) and "default" not in said
        return f"{said} (default: %(default)s)" if shown else said


class PlainParser(ArgumentParser):
    """jsonargparse's parser; an error is a `UsageError` of one line. Options are not abbreviated."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, "formatter_class": ShortHelp, **kwargs})

    def parse_args(self, args: Any = None, *further: Any, **options: Any) -> Any:
        """Parse a command line; whatever goes wrong is a `UsageError` or another `UserError`."""
        given = list(sys.argv[1:] if args is None else args)
        with _reading():
            return without_nul(super().parse_args(self.completed(given), *further, **options))

    def completed(self, args: list[str]) -> list[str]:
        """The arguments as they are parsed."""
        return args

    def parse_object(self, content: Any, *further: Any, **options: Any) -> Any:
        """Parse a mapping, which stays as it is; whatever goes wrong is a `UsageError` or another `UserError`."""
        with _reading():
            return without_nul(super().parse_object(copy.deepcopy(content), *further, **options))

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the error, with the nearest known name."""
        line = re.sub(r"\s*\n\s*", " ", message).strip()
        values = "Expected a <class 'float'>" in line or "measure.budget.Budget'>" in line  # are meant, and no class
        if not values and (unknown := re.search(UNKNOWN, line)):
            known = self.known(unknown[1])
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
        elif extra := re.match(r"unrecognized arguments: (\S+)", line):
            option = extra[1].partition("=")[0]
            line = f"unexpected argument {extra[1]!r}" if option[0] != "-" else unknown_option(option, self._options())
        elif type(self) is PlainParser and (missing := re.match(r"the following arguments are required: (.*)", line)):
            line = f"{missing[1]} is missing: {self.prog} --help shows what it takes"
        elif lone := re.match(r"argument (?:-\w/)?(\S+?)(?:/\S+)?: expected one argument$", line):
            line = without_value(lone[1])
        else:
            line = plain_message(line)
        raise UsageError(f"{line}{self._suggestion(line)}") from ex

    def known(self, option: str) -> Iterable[str]:
        """The short names of the classes that an option may name."""
        return ()

    def _suggestion(self, line: str) -> str:
        wrong = (
            re.search(r"does not accept option '([\w.]+)'", line)
            or re.search(r"[Oo]ption '([\w.]+)' is not accepted", line)
            or re.search(r"Key '([\w.]+)' is not expected", line)
        )
        if not wrong:
            return ""
        names = self._names(line)
        near = _nearest(wrong[1], names) or _nearest(wrong[1].rsplit(".", 1)[-1], names)
        return f"; did you mean {near!r}?" if near and near != wrong[1] else ""

    def _options(self) -> list[str]:
        found: list[str] = []
        for action in self._actions:
            found += action.option_strings
            if isinstance(action.choices, dict):  # subcommands
                found += [option for parser in action.choices.values() for option in parser._options()]
        return found

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


def unknown_option(option: str, known: Iterable[str]) -> str:
    """What to say of an option that does not exist, with the nearest known one."""
    last = {name: "--" + name.lstrip("-").rsplit(".", 1)[-1] for name in known}
    near = _nearest(option, last)
    if near is None:  # the last part of a dotted name is what is usually misspelt
        end = _nearest("--" + option.lstrip("-").rsplit(".", 1)[-1], last.values())
        near = next((name for name in last if last[name] == end), None)
    return f"unknown option {option}" + (f"; did you mean {near}?" if near else "")


def without_value(option: str) -> str:
    """What to say of an option without its value."""
    return f"{option} needs a value"


def _nearest(wrong: str, known: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(wrong, list(known), n=1)), None)


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
