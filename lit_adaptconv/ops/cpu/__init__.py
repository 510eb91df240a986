"""The adaptive convolution on the CPU, fused: one pass over the input, forward and backward, in Numba."""

from lit_adaptconv.ops.cpu.passes import backward as backward
from lit_adaptconv.ops.cpu.passes import forward as forward
