"""Find a configuration: a file, one that comes with the package, by its name, or one at an https address."""

from __future__ import annotations

import atexit
import difflib
import importlib.resources
import tempfile
import urllib.request
from pathlib import Path

from lit_adaptconv.errors import UsageError

OPTIONS = ("--config", "-c")
SECONDS = 30
"""How long an address may take to answer."""


def packaged_configs() -> dict[str, Path]:
    """Return the configurations that come with the package by name, such as "digits/lenet5_adaptive"."""
    root = Path(str(importlib.resources.files("adaptconv_configs")))
    return {path.relative_to(root).with_suffix("").as_posix(): path for path in sorted(root.rglob("*.yaml"))}


def find_config(given: str) -> Path:
    """Return the file that is meant; a file that is there is meant before a packaged configuration of that name.

    Args:
        given: Path of a file, with its suffix `.yaml` or without, a name (see `packaged_configs`), or an https address.

    Raises:
        UsageError: There is no such file or name (the message has the nearest one), or the address does not answer.
    """
    if given.startswith("https://"):
        return _fetched(given)
    for path in (Path(given), Path(f"{given}.yaml")):
        if path.is_file():
            return path
    name, known = given.removesuffix(".yaml"), packaged_configs()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name.removeprefix("configs/"), known, n=1)
    meant = f"did you mean {near[0]!r}? " if near else ""
    raise UsageError(f"no configuration {given!r}, as a file or by name; {meant}`adaptconv configs` lists the names")


def with_found_configs(args: list[str]) -> list[str]:
    """Return a command's arguments, with the path of a file for every configuration that they name."""
    found = list(args)
    for i, arg in enumerate(args):
        option, equals, value = arg.partition("=")
        if option not in OPTIONS:
            continue
        if equals:
            found[i] = f"{option}={find_config(value)}"
        elif i + 1 < len(args):
            found[i + 1] = str(find_config(args[i + 1]))
    return found


def _fetched(address: str) -> Path:
    """A temporary copy of what stands at an address; it goes when the process ends."""
    try:
        with urllib.request.urlopen(address, timeout=SECONDS) as answer:
            content = answer.read()
    except (OSError, ValueError) as error:
        raise UsageError(f"{address} could not be read: {error}") from error
    with tempfile.NamedTemporaryFile(prefix="adaptconv-", suffix=".yaml", delete=False) as file:
        file.write(content)
    atexit.register(Path(file.name).unlink, missing_ok=True)
    return Path(file.name)
