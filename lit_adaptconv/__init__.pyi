from . import data as data
from . import models as models
from .functional import adaptive_conv2d as adaptive_conv2d
from .layers.adaptive import AdaptiveConv2d as AdaptiveConv2d
from .layers.condconv import CondConv2d as CondConv2d
from .layers.decoupled_dynamic import DecoupledDynamicFilter2d as DecoupledDynamicFilter2d
from .layers.deformable import DeformableConv2d as DeformableConv2d
from .layers.dynamic_conv import DynamicConv2d as DynamicConv2d
from .layers.dynamic_filter import DynamicFilter2d as DynamicFilter2d
from .layers.dynamic_filter_local import LocalDynamicFilter2d as LocalDynamicFilter2d
from .layers.involution import Involution2d as Involution2d
from .layers.kinds import kinds as kinds
from .layers.kinds import register_kind as register_kind
from .layers.low_rank import LowRankAdaptiveConv2d as LowRankAdaptiveConv2d
from .layers.odconv import ODConv2d as ODConv2d
from .layers.residual import ResidualAdaptiveConv2d as ResidualAdaptiveConv2d
from .layers.separable import SeparableConv2d as SeparableConv2d
from .measure.count import count_parameters as count_parameters
from .models.budget import fit_budget as fit_budget
from .models.conversion import convert as convert
from .sweep.frames import compare as compare
from .sweep.frames import sweep as sweep
from .train.classifier import ImageClassifier as ImageClassifier
from .train.convergence import ConvergenceCallback as ConvergenceCallback
from .train.convert_callback import ConvertConvolutions as ConvertConvolutions
from .train.loading import load_run as load_run

__version__: str
