"""Adaptive layers, their rivals, and the kinds by which they are chosen."""

from lit_adaptconv.layers.adaptive import AdaptiveConv2d as AdaptiveConv2d
from lit_adaptconv.layers.conv import KINDS as KINDS
from lit_adaptconv.layers.conv import conv_kind as conv_kind
from lit_adaptconv.layers.low_rank import LowRankAdaptiveConv2d as LowRankAdaptiveConv2d
from lit_adaptconv.layers.separable import SeparableConv2d as SeparableConv2d
