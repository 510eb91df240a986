"""The operator: its schema for PyTorch, its definition in plain PyTorch, and its fused implementations."""
