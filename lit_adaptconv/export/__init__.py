"""Take a trained network away: ONNX, int8, ExecuTorch, LiteRT and `torch.export`, each compared with PyTorch before it is written."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
