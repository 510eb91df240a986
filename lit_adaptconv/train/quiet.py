"""Silence what is no news to who trains from the command or in a sweep."""

from __future__ import annotations

import logging
import sys
import warnings


def quieten() -> None:
    """Silence what is no news to the user of a command; what the command needs has been imported."""
    warnings.formatwarning = lambda message, *args, **kwargs: f"adaptconv: warning: {message}\n"
    if "lightning.pytorch" in sys.modules:  # it sets the levels of its loggers when it is imported
        for name in ("lightning.pytorch", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it misses a GPU where a CUDA toolkit is
    for message in (
        ".*LeafSpec.*",
        "(?s).*Unable to serialize instance",  # what a run's config cannot hold is said where that is written
        ".*smaller than the logging interval.*",
        "Checkpoint directory .* is not empty",  # that of a run that continues
        "Be aware that when using `ckpt_path`, callbacks used to create the checkpoint",
    ):
        warnings.filterwarnings("ignore", message=message)
