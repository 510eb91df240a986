"""What a network may have at most: parameters, FLOPs, bytes of its weights."""

from __future__ import annotations

from collections.abc import Mapping
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


@dataclass(frozen=True)
class Budget:
    """The largest size of a network; it is within its budget if it is within every limit.

    Args:
        parameters: Largest number of trainable parameters.
        flops: Largest number of FLOPs of a forward pass of one sample.
        bytes: Most bytes that the weights take in an exported file, as `count_bytes` counts them.
        dtype: Type of the numbers in that file: float64, float32, float16 or bfloat16.
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
        if not value.limits:
            raise UserError(f"a budget has at least one limit: {', '.join(UNITS)}")
        if value.dtype not in get_args(FloatType):
            raise UserError(f"budget.dtype must be one of {', '.join(get_args(FloatType))}, got {value.dtype!r}")
        return value

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
        """Return all limits, as people read them."""
        return " and ".join(map(self.text, self.limits))

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

    @property
    def torch_dtype(self) -> torch.dtype:
        """The type of the numbers in the file."""
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype


def _whole(name: str, value: Any) -> int:
    is_number = isinstance(value, Real) and not isinstance(value, bool)  # also one of NumPy's
    if not is_number or not 1 <= value < 2**63 or value % 1:
        raise UserError(f"the budget of {UNITS[name]} must be a whole number from 1 on, got {value!r}")
    return int(value)
