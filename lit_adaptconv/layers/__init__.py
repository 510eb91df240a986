"""One file for each operator: adaptive layers, their rivals, and the kinds by which they are chosen."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
