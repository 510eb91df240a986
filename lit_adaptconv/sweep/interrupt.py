"""Ctrl-C once: stop cleanly. Twice: stop at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Interruption:
    """A context in which the first Ctrl-C (or a terminal that closes) sets `asked`, and the second raises.

    A signal that is ignored at the start stays ignored, as `nohup` and a shell's background jobs wish.
    """

    def __init__(self) -> None:
        self.asked = False
        self.announce: Callable[[str], None] = lambda line: None
        self._before: dict[int, Any] = {}
        self._heeded: list[int] = []

    def __enter__(self) -> Interruption:
        self._before = {number: signal.getsignal(number) for number in SIGNALS}
        self._heeded = [number for number, handler in self._before.items() if handler is not signal.SIG_IGN]
        self.listen()
        return self

    def listen(self) -> None:
        """Handle the signals, again if a library has taken them over meanwhile."""
        if threading.current_thread() is threading.main_thread():
            for number in self._heeded:
                signal.signal(number, self._handle)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._before.items():
                if handler is not None:  # None: it was not set from Python, and cannot be
                    signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self.announce("Stopping: trials under way write what they have. Ctrl-C again stops at once.")
