"""Data modules: one file for each data set, and what reads, splits, orders and changes their images."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
