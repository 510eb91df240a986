"""Dataclasses from JSON: what is read has the fields, and the types, that it should have; what is written is JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Record = TypeVar("Record")
Reader = Callable[[Any], Any]


def record(kind: type[Record], content: object) -> Record:
    """Make a dataclass of what `json.loads` returned, lists as the tuples and dataclasses that its fields ask for.

    JSON has no number that is not finite: null stands for it, so that a field of type `float` reads it as NaN.

    Raises:
        ValueError: A field is unknown, missing or of another type; the message names it.
    """
    hint: Any = kind
    made: Record = _reader(hint)(content)
    return made


def finite(value: Any) -> Any:
    """The value with null in the place of numbers that are not finite, of which JSON has none."""
    if isinstance(value, dict):
        return {name: finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@cache
def _reader(hint: Any) -> Reader:
    """What reads a value of this type."""
    if is_dataclass(hint):
        return _of_record(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return _checked(lambda value: isinstance(value, str) and value in arguments, " or ".join(map(str, arguments)))
    if origin in (Union, UnionType):
        return _of_union([_reader(argument) for argument in arguments if argument is not NoneType])
    if origin in (list, tuple):
        return _of_list(origin, _reader(arguments[0]))
    if origin is dict:
        return _of_dict(_reader(arguments[1]))
    if hint is float:
        return _number
    if hint is int:
        return _checked(_whole, "a whole number")
    if hint in (str, bool):
        return _checked(lambda value: isinstance(value, hint), "text" if hint is str else "true or false")
    return lambda value: value


def _checked(right: Callable[[Any], bool], what: str) -> Reader:
    def read(value: Any) -> Any:
        if not right(value):
            raise ValueError(f"{value!r:.40} is not {what}")
        return value

    return read


def _whole(value: Any) -> bool:
    return type(value) is int and abs(value) < 2**63


def _number(value: Any) -> float:
    if value is None:
        return math.nan
    if type(value) is not float and not _whole(value):
        raise ValueError(f"{value!r:.40} is not a number")
    return float(value)


def _of_union(readers: list[Reader]) -> Reader:
    """What reads a value that one of these reads, or null: a union of a record's field has it."""

    def read(value: Any) -> Any:
        if value is None:
            return None
        for reader in readers[:-1]:
            with suppress(ValueError):
                return reader(value)
        return readers[-1](value)

    return read


def _of_list(kind: Callable[[Any], Any], item: Reader) -> Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, list):
            raise ValueError(f"{value!r:.40} is not a list")
        return kind(map(item, value))

    return read


def _of_dict(item: Reader) -> Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ValueError(f"{value!r:.40} is not an object")
        return {key: item(each) for key, each in value.items()}

    return read


def _of_record(kind: Any) -> Reader:
    hints = get_type_hints(kind)
    readers = {field.name: _reader(hints[field.name]) for field in fields(kind)}
    needed = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]

    def read(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ValueError(f"{value!r:.40} is not an object")
        for name in needed:
            if name not in value:
                raise ValueError(f"{name} is missing")
        arguments = {}
        for name, each in value.items():
            if name not in readers:
                raise ValueError(f"{name!r} is no field of it")
            try:
                arguments[name] = readers[name](each)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return kind(**arguments)

    return read
