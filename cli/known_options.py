"""`python -m adaptconv_cli.known_options` writes options.json: the options of the commands that take a configuration.

Their parsers need PyTorch and Lightning. With the file the command knows a misspelt option, and completes options,
without them.
"""

from __future__ import annotations

import argparse
import inspect
import types
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from lit_adaptconv.models.backbones import Backbone
from lit_adaptconv.train.parser import known_classes

from .export import export_parser
from .kernels import kernels_parser
from .known import OPTIONS, KnownOptions, Options
from .main import TRAINING
from .profile import profile_parser
from .sweep import sweep_parser
from .training import TrainingCLI

PLAIN = (str, int, float, bool, type(None), Path)
SEVERAL = (Union, types.UnionType, list, tuple, Sequence, Iterable)
OWN_MODEL = ["--model", "a.model.of.ones.own"]
NETWORK_COMMANDS: dict[str, Callable[[list[str]], argparse.ArgumentParser]] = {
    "export": export_parser,
    "kernels": kernels_parser,
    "profile": profile_parser,
}


class _Parsers(BaseException):
    """The parsers of the training's commands, taken out before they parse anything."""


class _Taken(TrainingCLI):
    def parse_arguments(self, parser: Any, args: Any) -> None:
        raise _Parsers(self._subcommand_parsers)


def parsers(own_model: bool = False) -> dict[str, argparse.ArgumentParser]:
    """The parser of each command that takes a configuration, with `ImageClassifier` or for a model of one's own."""
    args = OWN_MODEL if own_model else []
    found: dict[str, argparse.ArgumentParser] = {}
    for name in TRAINING:
        try:
            _Taken([name, *args])
        except _Parsers as taken:
            found[name] = taken.args[0][name]
    return {**found, **{name: make(args) for name, make in NETWORK_COMMANDS.items()}, "sweep": sweep_parser()}


def known_options() -> KnownOptions:
    """What the file holds."""
    usual, others = parsers(), parsers(own_model=True)
    commands = {name: known_options_of(parser) for name, parser in usual.items()}
    for name, parser in others.items():
        further = known_options_of(parser)
        for option, takes in further.options.items():
            commands[name].options.setdefault(option, takes)
        commands[name].open[:] = sorted({*commands[name].open, *(o for o in further.open if o != "--model")})
    classes = {
        option: {name: _arguments(value) for name, value in known_classes(option).items()}
        for option in ("data", "backbone")
    }
    return KnownOptions(version("lightning"), commands, classes)


def known_options_of(parser: argparse.ArgumentParser) -> Options:
    """What the file holds of a parser."""
    options, open_ = {}, []
    for action in parser._actions:
        if action.dest == "help" or not action.option_strings:
            continue
        takes: Literal["nothing", "value", "optional"] = "value" if action.nargs is None else "optional"
        if action.nargs == 0:
            takes = "nothing"
        options.update(dict.fromkeys(action.option_strings, takes))
        if (hint := getattr(action, "_typehint", None)) is not None and not _is_plain(hint):
            open_.append(action.option_strings[0])
    return Options(dict(sorted(options.items())), sorted(open_))


def _is_plain(hint: Any) -> bool:
    """Whether a value of the type has no parts that an option could name."""
    origin = get_origin(hint)
    if origin is Literal:
        return True
    if origin in SEVERAL:
        return all(_is_plain(part) for part in get_args(hint) if part is not Ellipsis)
    return hint in PLAIN


def _arguments(value: type) -> list[str]:
    """Arguments of a class that the command line may set; the data and the model settle the rest of a backbone's."""
    parameters = inspect.signature(value).parameters.values()
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY or not issubclass(value, Backbone)]


if __name__ == "__main__":
    OPTIONS.write_text(known_options().json(), encoding="utf-8")
