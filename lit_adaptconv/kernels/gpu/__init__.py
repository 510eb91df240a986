"""The adaptive convolution on the GPU, fused: forward and backward in Triton."""

from lit_adaptconv.kernels.gpu.passes import backward as backward
from lit_adaptconv.kernels.gpu.passes import forward as forward
