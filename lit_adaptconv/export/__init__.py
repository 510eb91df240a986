"""Take a trained network away: ONNX, int8, and `torch.export`, each compared with PyTorch before it is written."""
