"""The adaptive convolution on the GPU, fused: forward and backward in Triton.

Forward and the weights' gradients need no memory beside their results (the latter: partial sums, added in one order);
the input's gradient needs a bounded amount of scratch memory. Kernels are generated again for backward, so that nothing
is kept for it but input and parameters. float16 and bfloat16 are read as they are, computed in float32 and rounded
once; float64 is computed in float64. No operation is atomic, so the same input gives the same bits.

What was verified, and what was not: output and all gradients agree with the reference under Triton's interpreter on a
CPU (`tests/ops/gpu_kernel.py`, which runs on a GPU as well). All kernels compile for NVIDIA GPUs of compute
capability 7.5 to 9.0 and for AMD's gfx942; for 9.0, no tile that Triton chooses from spills registers with windows up
to 7×7 pixels. Nothing was run on a GPU: no speed was measured, that all tiles give the same bits was seen in the
interpreter only, and the tiles, `passes.SCRATCH`, `passes.PROGRAMS` and `passes.TILES_EACH` are
chosen by arithmetic. Products are made by ordinary arithmetic, not by tensor cores: a window of k² pixels is a matrix
too small for them, except where k² is near 16 or 32.
"""

from lit_adaptconv.ops.gpu.passes import backward as backward
from lit_adaptconv.ops.gpu.passes import forward as forward
