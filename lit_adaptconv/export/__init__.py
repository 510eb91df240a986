"""Take a trained network away: ONNX, ExecuTorch, LiteRT, `torch.export`, all compared with PyTorch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
