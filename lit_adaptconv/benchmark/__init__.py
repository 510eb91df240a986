"""What a layer costs: time, memory, parameters and FLOPs, beside `nn.Conv2d` in the same run."""
