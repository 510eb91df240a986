"""What all exporters need: to be installed, to be quiet, and to say in a line what went wrong."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence

from lit_adaptconv.errors import UserError


def check_installed(what: str, packages: Sequence[str], extra: str) -> None:
    """Check that an extra of this package is installed.

    Raises:
        UserError: It is not.
    """
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise UserError(f"{what} needs {', '.join(missing)}: pip install 'lit-adaptconv[{extra}]'")


def reason(error: BaseException) -> str:
    """What was wrong at first, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{lines[0] if lines else 'no reason given'} ({type(error).__name__})"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence what exporters and runtimes tell of themselves, from C++ too, and leave logging as it was."""
    root, disabled = logging.root, logging.root.manager.disable
    level, handlers = root.level, list(root.handlers)
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        nowhere = os.open(os.devnull, os.O_WRONLY)
        stack.callback(os.close, nowhere)
        for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
            stream.flush()
            kept = os.dup(number)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, number)
            stack.callback(stream.flush)
            os.dup2(nowhere, number)
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))  # C++ may write there by way of Python
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(disabled)
            root.setLevel(level)
            root.handlers[:] = handlers
