"""Whether Triton interprets its kernels on the CPU instead of compiling them."""

from __future__ import annotations

import os

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
