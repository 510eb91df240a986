"""Networks: backbones, the widest one within a budget, and the conversion of existing networks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
