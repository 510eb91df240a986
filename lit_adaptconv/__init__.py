"""Convolutions whose kernels are computed from the image under them, as layers, networks and a fair benchmark.

Nothing is imported before it is used, so that `import lit_adaptconv` costs nothing; `__init__.pyi` lists the names.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.1.0"
