"""`adaptconv configs`: the configurations that come with the package."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import Namespace

from lit_adaptconv.train.configs import find_config, packaged_configs


def configs(given: Namespace) -> int:
    """List the configurations, or print one."""
    if given.name is not None:
        print(find_config(given.name).read_text(encoding="utf-8"), end="")
        return 0
    known = packaged_configs()
    width = max(map(len, known))
    for name, path in known.items():
        print(f"{name:<{width}}  {_first_line(path)}")
    print("\n--config takes a name, the path of a file or an https address; `adaptconv configs NAME` prints one.")
    return 0


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.readline().removeprefix("#").strip()
