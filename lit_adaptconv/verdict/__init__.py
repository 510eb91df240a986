"""From a table of results to what can be claimed: statistics, comparisons, words."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
