"""The rooms of the package: imports between them go one way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_imports_between_rooms_go_one_way() -> None:
    """The contract stands in pyproject.toml."""
    lint = "from importlinter.cli import lint_imports_command as lint; lint(['--no-cache'])"
    checked = subprocess.run([sys.executable, "-c", lint], cwd=ROOT, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "2 kept, 0 broken" in checked.stdout
