"""A signal that is ignored when a training starts stays ignored, as whoever started it wished (`nohup`)."""

from __future__ import annotations

import signal
import threading

import lightning.pytorch as pl


class KeepIgnoredSignals(pl.Callback):
    """Ignores again the signals that were ignored when this was made: Lightning takes SIGTERM over in every stage."""

    def __init__(self) -> None:
        self._ignored = [number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN]

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Keep Lightning from taking them over, which it does next."""
        connector = trainer._signal_connector
        register = connector.register_signal_handlers

        def register_others() -> None:
            register()
            if threading.current_thread() is not threading.main_thread():  # where no signal arrives
                return
            for number in self._ignored:
                signal.signal(number, signal.SIG_IGN)

        connector.register_signal_handlers = register_others  # type: ignore[method-assign]
