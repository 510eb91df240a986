"""Training a network: the LightningModule, its schedules, the log of a run, its checkpoints, and tracking."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
