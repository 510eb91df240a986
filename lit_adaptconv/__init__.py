"""Convolutions whose kernels are computed from the image under them, as layers, networks and a benchmark."""

from lit_adaptconv.layers import AdaptiveConv2d as AdaptiveConv2d
from lit_adaptconv.layers import LowRankAdaptiveConv2d as LowRankAdaptiveConv2d
