"""What a network may have at most: parameters, FLOPs, bytes of its weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any, Literal, get_args

import torch
from torch import nn

from lit_adaptconv.errors import UserError
from lit_adaptconv.measure.count import count_bytes, count_parameters, forward_flops

FloatType = Literal["float64", "float32", "float16", "bfloat16"]
UNITS = {"parameters": "parameters", "flops": "FLOPs", "bytes": "bytes"}
"""What can be limited, and how people write it."""
COLUMNS = {"parameters": "budget", "flops": "budget_flops", "bytes": "budget_bytes", "dtype": "budget_dtype"}
"""Where results and tables hold a budget: the limit of parameters, as ever, is "budget"."""


@dataclass(frozen=True)
class Budget:
    """The largest size of a network; it is within its budget if it is within every limit.

    Args:
        parameters: Largest number of trainable parameters.
        flops: Largest number of FLOPs of a forward pass of one sample.
        bytes: Most bytes that the weights take in an exported file, as `count_bytes` counts them.
        dtype: Type of the numbers in that file: float64, float32, float16 or bfloat16.

    Examples:
        >>> Budget(parameters=5000, flops=2e6).flops
        2000000.0
    """

    parameters: float | None = None
    flops: float | None = None
    bytes: float | None = None
    dtype: FloatType = "float32"

    @classmethod
    def of(cls, value: int | Mapping[str, Any] | Budget) -> Budget:
        """Make a budget of a number of parameters or of a mapping of limits, and check it.

        Raises:
            UserError: It has no limit or an unknown one, one is no whole number from 1 on, or the type is unknown.
        """
        if not isinstance(value, (Budget, Mapping)):
            value = {"parameters": value}
        if isinstance(value, Mapping):
            names = [field.name for field in fields(cls)]
            if unknown := [name for name in value if name not in names]:
                raise UserError(f"a budget has no limit {unknown[0]!r}: it has {', '.join(names)}")
            value = cls(**value)
        limits = value.limits
        if not limits:
            raise UserError(f"a budget has at least one limit: {', '.join(UNITS)}")
        if value.dtype not in get_args(FloatType):
            raise UserError(f"budget.dtype must be one of {', '.join(get_args(FloatType))}, got {value.dtype!r}")
        return cls(**limits, dtype=value.dtype if "bytes" in limits else "float32")

    @property
    def limits(self) -> dict[str, int]:
        """The limits that are set, as whole numbers, by the name of what they limit."""
        given = {name: getattr(self, name) for name in UNITS}
        return {name: _whole(name, value) for name, value in given.items() if value is not None}

    @property
    def plain(self) -> int | dict[str, Any]:
        """The budget in plain values, of which `of` makes it again: a number where parameters alone are limited."""
        limits = self.limits
        if [*limits] == ["parameters"]:
            return limits["parameters"]
        return {**limits, **({"dtype": self.dtype} if "bytes" in limits else {})}

    def text(self, name: str) -> str:
        """One of the limits, as people read it."""
        within = f" in {self.dtype}" if name == "bytes" and self.dtype != "float32" else ""
        return f"{self.limits[name]:,} {UNITS[name]}{within}"

    def __str__(self) -> str:
        """Return all limits as people read them, in thousands, millions and so on where that leaves nothing out."""
        within = f" in {self.dtype}" if "bytes" in self.limits and self.dtype != "float32" else ""
        *others, last = (_short(limit, name) for name, limit in self.limits.items())
        return f"{', '.join(others)}{' and ' if others else ''}{last}{within}"

    @property
    def key(self) -> str:
        """All limits, as a file's name can hold them; a number where parameters alone are limited."""
        limits = self.limits
        if [*limits] == ["parameters"]:
            return str(limits["parameters"])
        parts = [f"{limit}-{name}" for name, limit in limits.items()]
        return "-".join([*parts, self.dtype] if self.dtype != "float32" else parts)

    def sizes(self, network: nn.Module, image_shape: tuple[int, ...] | None) -> dict[str, int]:
        """Count what is limited.

        Args:
            network: On any device, also "meta".
            image_shape: Shape `(C, H, W)` of a sample, for FLOPs.

        Raises:
            UserError: FLOPs are limited, and there is no shape.
        """
        found = {}
        for name in self.limits:
            if name == "parameters":
                found[name] = count_parameters(network)
            elif name == "bytes":
                found[name] = count_bytes(network, self.torch_dtype)
            elif image_shape is None:
                raise UserError("FLOPs depend on the image: give a budget of FLOPs with the shape of an image")
            else:
                found[name] = forward_flops(network, image_shape)
        return found

    def scaled(self, share: float) -> Budget:
        """This share of each limit, rounded down; 1 at the least."""
        limits = {name: max(1, int(share * limit)) for name, limit in self.limits.items()}
        return Budget(**limits, dtype=self.dtype)

    def file_bytes(self, network: nn.Module) -> int | None:
        """Bytes of a network's weights in numbers of `dtype`; None where no bytes are limited."""
        return count_bytes(network, self.torch_dtype) if "bytes" in self.limits else None

    @property
    def torch_dtype(self) -> torch.dtype:
        """The type of the numbers in the file."""
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype


Limits = int | Budget
"""A budget as plans and results hold it: a number where parameters alone are limited."""


def limits_of(value: int | Mapping[str, Any] | Budget) -> Limits:
    """A budget in its simplest form, so that equal ones are equal.

    Raises:
        UserError: It is none, see `Budget.of`.
    """
    budget = Budget.of(value)
    return budget.plain if isinstance(budget.plain, int) else budget


def plain_limits(budget: Limits | None) -> int | dict[str, Any] | None:
    """A budget in plain values, as files hold it."""
    return budget.plain if isinstance(budget, Budget) else budget


def limits_text(budget: Limits | None) -> str:
    """A budget in a table: a number of parameters alone, or all limits with their units."""
    return "–" if budget is None else f"{budget:,}" if isinstance(budget, int) else str(budget)


def with_budget(arm: str, budget: Limits | None) -> str:
    """An arm as people name it, with its budget if it has one."""
    return arm if budget is None else f"{arm} {limits_text(budget)}"


def in_order(budgets: Iterable[Limits | None]) -> tuple[Limits | None, ...]:
    """The different budgets, ascending by parameters, then FLOPs, then bytes; what is not limited comes last."""

    def order(budget: Limits | None) -> tuple[float | str, ...]:
        made = Budget() if budget is None else Budget.of(budget)
        return *(made.limits.get(name, math.inf) for name in UNITS), made.dtype

    return tuple(sorted(set(budgets), key=order))


def to_columns(budget: Limits | None) -> dict[str, Any]:
    """A budget as columns of a table, or fields of a result."""
    made = Budget() if budget is None else Budget.of(budget)
    values = {**made.limits, **({"dtype": made.dtype} if "bytes" in made.limits else {})}
    return {column: values.get(name) for name, column in COLUMNS.items()}


def from_columns(row: Mapping[str, Any]) -> Limits | None:
    """The budget of a row, which may lack columns as those of earlier versions do; None where nothing is limited."""
    given = {name: row[column] for name, column in COLUMNS.items() if row.get(column) is not None}
    return limits_of(given) if given.keys() & UNITS.keys() else None


def _short(limit: int, name: str) -> str:
    """A limit with its unit; FLOPs and bytes with a prefix where two decimals say all."""
    units = ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))
    for size, prefix in units if name != "parameters" else ():
        if size <= limit < 1000 * size and limit % (size // 100) == 0:
            return f"{limit / size:g} {prefix}{'B' if name == 'bytes' else UNITS[name]}"
    return f"{limit:,} {UNITS[name]}"


def _whole(name: str, value: Any) -> int:
    is_number = isinstance(value, Real) and not isinstance(value, bool)  # also one of NumPy's
    if not is_number or not 1 <= value < 2**63 or value % 1:
        raise UserError(f"the budget of {UNITS[name]} must be a whole number from 1 on, got {value!r}")
    return int(value)
