"""The exceptions that mean: the input is wrong, and here is what would be right."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


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
    except (UserError, MemoryError):
        raise
    except Exception as error:
        raise UserError(f"{doing}: {cause_of(error)}") from error


def cause_of(error: BaseException) -> str:
    """What went wrong, in one line, as the exception says it that was the first of a chain.

    A `UserError` in the chain has the word; one that says nothing is named by its class.
    """
    chain = [error]
    while (before := chain[-1].__cause__ or chain[-1].__context__) is not None and before not in chain:
        chain.append(before)
    told = next((one for one in chain if isinstance(one, UserError)), chain[-1])
    if isinstance(told, KeyError) and len(chain) > 1:  # a lookup that failed within the answer to another failure
        told = chain[0]
    line = " ".join(str(told).split())
    return line[:500] or type(told).__name__


class UsageError(UserError):
    """Arguments or a configuration that cannot be read; the command exits with status 2."""


class DivergedError(UserError):
    """The training loss stopped being a finite number."""
