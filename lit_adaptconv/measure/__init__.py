"""Counting and timing: parameters, FLOPs, memory and time of any module; it knows no backbone."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
