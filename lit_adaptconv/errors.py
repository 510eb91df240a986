"""The exceptions that mean: the input is wrong, and here is what would be right."""

from __future__ import annotations

import contextlib
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path


class UserError(ValueError):
    """Bad input that a person can mend; the command prints it as one line, without a traceback."""


@contextlib.contextmanager
def told_in_one_line(doing: str) -> Iterator[None]:
    """Turn whatever goes wrong inside into a `UserError` of one line that says what was being done.

    For what is built from a user's settings by the code of others, which may raise anything. The exception itself is
    the cause of the error.

    Args:
        doing: What is being done, as in "building the network".
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{doing}: {cause_of(error)}") from error


def cause_of(error: BaseException) -> str:
    """What went wrong, in one line, as the exception says it that was the first of a chain.

    A `UserError` in the chain has the word. One whose text alone says little is named by its class, and one of a
    user's own code by the place.
    """
    chain = [error]
    while (before := chain[-1].__cause__ or chain[-1].__context__) is not None and before not in chain:
        chain.append(before)
    told = next((one for one in chain if isinstance(one, UserError)), chain[-1])
    if isinstance(told, (KeyError, AttributeError)) and len(chain) > 1 and str(chain[0]):
        told = chain[0]  # a lookup that failed before another answer was given
    line = " ".join(str(told).split())[:500]
    if isinstance(told, UserError):
        return line
    if isinstance(told, MemoryError) or "OutOfMemory" in type(told).__name__ or "can't allocate memory" in line:
        return f"not enough memory, take a smaller network, image or batch: {line}"
    says_enough = isinstance(told, (ValueError, RuntimeError, TypeError, OSError)) or "Misconfig" in type(told).__name__
    if not line or not says_enough:
        line = f"{type(told).__name__}: {line}" if line else type(told).__name__
    return line + _place(told)


def _place(error: BaseException) -> str:
    """Where in a user's own code an exception came from; empty where only installed packages had a part in it."""
    ours, standard = Path(__file__).parent, sysconfig.get_paths()["stdlib"]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if file.is_relative_to(ours):
            break  # it called all that comes before
        if "site-packages" not in file.parts and not file.is_relative_to(standard) and file.is_file():
            return f" ({file.name}, line {frame.lineno})"
    return ""


class UsageError(UserError):
    """Arguments or a configuration that cannot be read; the command exits with status 2."""


class DivergedError(UserError):
    """The training loss stopped being a finite number."""
