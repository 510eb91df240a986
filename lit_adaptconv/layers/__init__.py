"""Adaptive layers, their rivals, and the kinds by which they are chosen."""

from lit_adaptconv.layers.adaptive import AdaptiveConv2d as AdaptiveConv2d
from lit_adaptconv.layers.condconv import CondConv2d as CondConv2d
from lit_adaptconv.layers.decoupled_dynamic import DecoupledDynamicFilter2d as DecoupledDynamicFilter2d
from lit_adaptconv.layers.deformable import DeformableConv2d as DeformableConv2d
from lit_adaptconv.layers.dynamic_conv import DynamicConv2d as DynamicConv2d
from lit_adaptconv.layers.dynamic_filter import DynamicFilter2d as DynamicFilter2d
from lit_adaptconv.layers.dynamic_filter_local import LocalDynamicFilter2d as LocalDynamicFilter2d
from lit_adaptconv.layers.involution import Involution2d as Involution2d
from lit_adaptconv.layers.kinds import KINDS as KINDS
from lit_adaptconv.layers.kinds import conv_kind as conv_kind
from lit_adaptconv.layers.low_rank import LowRankAdaptiveConv2d as LowRankAdaptiveConv2d
from lit_adaptconv.layers.odconv import ODConv2d as ODConv2d
from lit_adaptconv.layers.residual import ResidualAdaptiveConv2d as ResidualAdaptiveConv2d
from lit_adaptconv.layers.separable import SeparableConv2d as SeparableConv2d
