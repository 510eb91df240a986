"""Reads configurations of models, data and trainers, and the command lines that change them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from jsonargparse import DefaultHelpFormatter
from lightning.pytorch.cli import LightningArgumentParser

from lit_adaptconv import data
from lit_adaptconv.measure.budget import UNITS
from lit_adaptconv.models import backbones
from lit_adaptconv.train import moved as moved  # configurations may have the names that classes had
from lit_adaptconv.train.plain_parser import PlainParser

LIMIT = re.compile(rf"(--(?:[\w.]+\.)?budget)\.(?:{'|'.join((*UNITS, 'dtype'))})(?=$|=)")
"""An option that sets one limit of a budget, or its type of numbers."""
ROLE = re.compile(r":\w+:`~?\.?([\w.]+)`")
"""Sphinx's markup for a name."""


class OneLineParser(PlainParser, LightningArgumentParser):
    """Lightning's parser; an error is a `UsageError` of one line. Options are not abbreviated."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"formatter_class": DefaultHelpFormatter, **kwargs})

    def completed(self, args: list[str]) -> list[str]:
        """The arguments, with the number of parameters beside the limits that they name one by one.

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

    def format_help(self, *args: Any, **options: Any) -> str:
        """Return the help without Sphinx markup; the list of known networks ends before all the modules of PyTorch."""
        for action in self._actions:
            if action.help:
                action.help = ROLE.sub(_named_by_role, action.help)
        text = super().format_help(*args, **options)
        text = re.sub(r"<class\s+'(?:\w+\.)*(\w+)'>", r"\1", text)
        return re.sub(r",\s+torch\.nn\.Module,[^()]*\)", ", and any torch.nn.Module)", text)

    def known(self, option: str) -> Iterable[str]:
        """The short names of the classes that an option may name."""
        return known_classes(option)


def _named_by_role(role: re.Match[str]) -> str:
    """The last part of the name that a Sphinx role refers to."""
    return role[1].rsplit(".", 1)[-1]


def _classes(room: ModuleType, base: type) -> dict[str, type]:
    """The classes of a room, which this imports: jsonargparse knows the short name of what is imported alone."""
    named = {name: getattr(room, name) for name in room.__all__}
    return {n: v for n, v in named.items() if inspect.isclass(v) and issubclass(v, base) and v is not base}


_KNOWN = {"data": _classes(data, data.ImageData), "backbone": _classes(backbones, backbones.Backbone)}


def known_classes(option: str) -> dict[str, type]:
    """The classes that may be named for an option by their short names, in place of a dotted path."""
    return _KNOWN.get(option.removeprefix("model."), {})
