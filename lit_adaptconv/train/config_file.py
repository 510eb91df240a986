"""A run's configuration as a file, from which the same is read again."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from copy import deepcopy
from enum import Enum
from typing import Any

import yaml
from jsonargparse import Namespace, set_dumper
from lightning.pytorch.cli import LightningArgumentParser

from lit_adaptconv.errors import UserError, told_in_one_line

_UNWRITTEN = "Unable to serialize instance"
"""What jsonargparse writes in the place of what it cannot write."""
_LIKE_A_NUMBER = re.compile(r"[-+.\d][-+.:\w]*")


class _Dumper(yaml.SafeDumper):
    """Puts quotes around each text that any reader of YAML may take for a number, such as 25921e05."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "'" if _LIKE_A_NUMBER.fullmatch(value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)
_Dumper.add_multi_representer(Enum, lambda dumper, value: dumper.represent_data(value.value))
_Dumper.add_multi_representer(object, lambda dumper, value: dumper.represent_data(f"{_UNWRITTEN} {value!r}"))


def dump_yaml(data: Any) -> str:
    """Data as YAML, in which text stays text for every reader."""
    text: str = yaml.dump(data, Dumper=_Dumper, default_flow_style=False, allow_unicode=True, sort_keys=False)
    return text


set_dumper("yaml", dump_yaml)


def read_yaml(text: str) -> Any:
    """Data from YAML, by the library in C where there is one: it takes a tenth of the time."""
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def plain(parser: LightningArgumentParser, config: Namespace) -> dict[str, Any]:
    """A configuration as mappings, lists and plain values; what cannot be written is a text that says so.

    The values are not checked again: they were when they were read, and are when `config_text` reads them.

    Args:
        parser: The parser that has read the configuration.
        config: What it read.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=f"(?s).*{_UNWRITTEN}")
        content: dict[str, Any] = read_yaml(parser.dump(config, skip_none=False, skip_validation=True))
    return content


def config_text(parser: LightningArgumentParser, config: Namespace, written: Mapping[str, Any]) -> str:
    """The configuration as YAML, once the parser has read the same from it.

    What cannot be written is left out where it is a class's own default, such as a device or a function.

    Args:
        parser: The parser that has read the configuration.
        config: What it read.
        written: The same as `plain` makes it.

    Raises:
        UserError: A value cannot be written, or would be read as another.
    """
    content, given = deepcopy(dict(written)), _flat(config)
    unwritten = _leave_out(content, given)
    text = dump_yaml(content)
    with told_in_one_line(
        "the configuration cannot be written to the run's config.yaml, as it would not be read again"
    ):
        read = _flat(parser.parse_string(text))
    for name in [*unwritten, *(name for name in given if name in read)]:
        value = given.get(name)
        if read.get(name) != value and value == value:  # not a number is no other number
            raise UserError(
                f"{name} is {value!r}, which cannot be written to the run's config.yaml: it would be read as "
                f"{read.get(name)!r}; give another value"
            )
    return text


def _leave_out(content: Any, given: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Take out of mappings what could not be written, unless it is plain, and return the dotted names."""
    found = []
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for name, value in list(items):
        path = f"{prefix}{name}"
        if isinstance(value, str) and value.startswith(_UNWRITTEN):
            found.append(path)
            if isinstance(given.get(path), (str, int, float)):  # jsonargparse expected a function
                content[name] = given[path]
            elif isinstance(content, dict):
                del content[name]
        found += _leave_out(value, given, f"{path}.")
    return found


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """The values of nested settings by their dotted names."""
    if isinstance(value, Namespace):
        value = vars(value)
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    if not items:
        return {prefix.removesuffix("."): value}
    found = {}
    for name, inner in items:
        if not str(name).startswith("__"):  # where jsonargparse notes what it has read
            found.update(_flat(inner, f"{prefix}{name}."))
    return found
