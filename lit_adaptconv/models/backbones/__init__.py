"""Networks that take a conv kind and a width: one file for each architecture."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
