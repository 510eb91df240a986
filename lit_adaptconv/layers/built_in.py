"""Our conv kinds: where the layer of each is, what it computes, and what it costs. Nothing is imported to read it."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal

from lit_adaptconv.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    Conv = Callable[..., nn.Module]
else:
    Conv = Callable[..., Any]

Dependence = Literal["static", "per sample", "per pixel", "per pixel and sample"]


@dataclass(frozen=True)
class Kind:
    """A conv kind: where its layer is, and what to know of it.

    Attributes:
        name: By which it is asked for.
        conv: The class or function, or where it is, as "package.module:Class".
        equation: The output y of an input x, without the bias.
        kernel: What the kernel depends on beside the weights: nothing, the pixels around, or the whole image.
        source: Paper, or who offers it.
        parameters: Of one layer from 16 to 16 channels, 3×3, with a bias and its own options; None if not counted.
        flops: Of that layer's forward pass of one 32×32 image, padded by 1, as `measure.count` counts.
        preset: Arguments that the kind settles; a text with a colon stands for a class, as in `conv`.
        caution: What to know before building a network of this kind alone; empty if nothing.

    Examples:
        >>> from lit_adaptconv.layers.kinds import kinds
        >>> kind = kinds()["involution"]
        >>> kind.name, kind.kernel
        ('involution', 'per pixel')
    """

    name: str
    conv: str | Conv
    equation: str = ""
    kernel: Dependence | None = None
    source: str = ""
    parameters: int | None = None
    flops: int | None = None
    preset: Mapping[str, Any] = field(default_factory=dict)
    caution: str = ""

    @cached_property
    def layer(self) -> Conv:
        """The class or function, with its preset arguments.

        Raises:
            UserError: It cannot be imported, or is neither a class nor a function.
        """
        preset = {name: self._found(value) if ":" in str(value) else value for name, value in self.preset.items()}
        conv = self._found(self.conv)
        return partial(conv, **preset) if preset else conv

    def _found(self, conv: str | Conv) -> Conv:
        try:
            found: Conv = resolve(conv) if isinstance(conv, str) else conv
        except (ImportError, AttributeError, ValueError) as error:
            raise UserError(f"conv kind {self.name!r} cannot be imported: {error}") from error
        if not callable(found):
            raise UserError(f"conv kind {self.name!r} must be a class or a function, got a {type(found).__name__}")
        return found


def resolve(path: str) -> Any:
    """The class or function of a dotted name, `package.module.Name` or `package.module:Name`.

    Also where a module has the name of the class, as `torchvision.models.alexnet` has.

    Raises:
        ValueError: It is no dotted name.
        ImportError: There is no such module.
        AttributeError: The module has nothing of this name.
    """
    module, _, name = path.rpartition(".")
    return pkgutil.resolve_name(path if ":" in path else f"{module}:{name}")


_LAYERS = "lit_adaptconv.layers"
_ADAPTIVE, _LOW_RANK = f"{_LAYERS}.adaptive:AdaptiveConv2d", f"{_LAYERS}.low_rank:LowRankAdaptiveConv2d"
_SEPARABLE = f"{_LAYERS}.separable:SeparableConv2d"
_PAPER = "Zamora Esquivel et al., ICCV Workshops 2019"
_UNMIXED = "mixes channels only where their number changes: set pointwise without 1×1 around"

BUILT_IN = (
    Kind(
        "standard",
        "torch.nn:Conv2d",
        "y = W ⋆ x",
        "static",
        "LeCun et al., Neural Computation 1989",
        parameters=2_320,
        flops=4_718_592,
    ),
    Kind(
        "separable",
        _SEPARABLE,
        "y = P ⋆ (W ⋆ x), W depthwise, P 1×1",
        "static",
        "Howard et al., MobileNets, 2017",
        parameters=416,
        flops=819_200,
        preset={"depthwise": "torch.nn:Conv2d"},
    ),
    Kind(
        "squeeze_excitation",
        f"{_LAYERS}.squeeze_excitation:SqueezeExcitationConv2d",
        "y = s ⊙ u, u = W ⋆ x, s = sigmoid(E relu(S · mean(u)))",
        "per sample",
        "Hu et al., CVPR 2018",
        parameters=2_468,
        flops=4_751_636,
    ),
    Kind(
        "adaptive",
        _ADAPTIVE,
        "y(p) = tanh(B + Q ⋆ x)(p) · x(p + ·)",
        "per pixel",
        _PAPER,
        parameters=23_056,
        flops=49_545_216,
    ),
    Kind(
        "adaptive_separable",
        _SEPARABLE,
        "y = P ⋆ adaptive(x), depthwise, P 1×1",
        "per pixel",
        _PAPER,
        parameters=1_712,
        flops=3_620_864,
        preset={"depthwise": _ADAPTIVE},
    ),
    Kind(
        "adaptive_low_rank",
        _LOW_RANK,
        "y = Σ_r tanh(a_r + G_r ⋆ x) ⊙ (W_r ⋆ x)",
        "per pixel",
        "after Dauphin et al., ICML 2017",
        parameters=4_640,
        flops=9_486_336,
    ),
    Kind(
        "adaptive_low_rank_separable",
        _SEPARABLE,
        "y = P ⋆ low_rank(x), depthwise, P 1×1",
        "per pixel",
        "after Dauphin et al., ICML 2017",
        parameters=576,
        flops=1_163_264,
        preset={"depthwise": _LOW_RANK},
    ),
    Kind(
        "adaptive_bilinear",
        _LOW_RANK,
        "y = Σ_r (a_r + G_r ⋆ x) ⊙ (W_r ⋆ x)",
        "per pixel",
        "Dauphin et al., ICML 2017",
        parameters=4_640,
        flops=9_469_952,
        preset={"gate_activation": "identity"},
    ),
    Kind(
        "adaptive_residual",
        f"{_LAYERS}.residual:ResidualAdaptiveConv2d",
        "y = W ⋆ x + Σ_r tanh(a_r + G_r ⋆ x) ⊙ (V_r ⋆ x)",
        "per pixel",
        "after Dauphin et al., ICML 2017",
        parameters=6_944,
        flops=14_221_312,
    ),
    Kind(
        "dynamic_filter",
        f"{_LAYERS}.dynamic_filter:DynamicFilter2d",
        "y = (W_0 + Σ_j h_j W_j) ⋆ x, h = relu(A · mean(x))",
        "per sample",
        "De Brabandere et al., NeurIPS 2016",
        parameters=11_604,
        flops=4_753_540,
    ),
    Kind(
        "dynamic_filter_local",
        f"{_LAYERS}.dynamic_filter_local:LocalDynamicFilter2d",
        "y(p) = (W_0 + Σ_j h_j(p) W_j) · x(p + ·), h = relu(A ⋆ x)",
        "per pixel",
        "De Brabandere et al., NeurIPS 2016",
        parameters=12_116,
        flops=24_907_776,
    ),
    Kind(
        "condconv",
        f"{_LAYERS}.condconv:CondConv2d",
        "y = (Σ_e α_e W_e) ⋆ x, α = sigmoid(R · mean(x))",
        "per sample",
        "Yang et al., NeurIPS 2019",
        parameters=18_576,
        flops=4_772_104,
        caution="8 experts make a network within a small budget very narrow: set num_experts",
    ),
    Kind(
        "dynamic_conv",
        f"{_LAYERS}.dynamic_conv:DynamicConv2d",
        "y = (Σ_k π_k W_k) ⋆ x, π = softmax(A₂ relu(A₁ · mean(x)) / τ)",
        "per sample",
        "Chen et al., CVPR 2020",
        parameters=9_368,
        flops=4_753_708,
    ),
    Kind(
        "odconv",
        f"{_LAYERS}.odconv:ODConv2d",
        "y = (α_f ⊙ α_c ⊙ α_s ⊙ Σ_i α_wi W_i) ⋆ x, α = gates of mean(x)",
        "per sample",
        "Li et al., ICLR 2022",
        parameters=2_593,
        flops=4_742_389,
    ),
    Kind(
        "dcd",
        f"{_LAYERS}.dcd:DCDConv2d",
        "y = (Λ W + P Φ Qᵀ) ⋆ x, Λ and Φ = gates of mean(x)",
        "per sample",
        "Li et al., ICLR 2021",
        parameters=2_656,
        flops=4_740_576,
    ),
    Kind(
        "kernel_warehouse",
        f"{_LAYERS}.kernel_warehouse:KernelWarehouseConv2d",
        "y = K ⋆ x, cell i of K = Σ_j α_ij E_j, α from mean(x), E shared by layers",
        "per sample",
        "Li, Yao, ICML 2024",
        parameters=2_838,
        flops=4_777_570,
        caution="attention takes most of a small network's parameters: set by_tap to false",
    ),
    Kind(
        "fdconv",
        f"{_LAYERS}.fdconv:FDConv2d",
        "y = K ⋆ Σ_b A_b(p) x_b, K = gates ⊙ Σ_i α_i W_i, of frequencies of their own",
        "per pixel and sample",
        "Chen et al., CVPR 2025",
        parameters=3_812,
        flops=12_164_881,
    ),
    Kind(
        "involution",
        f"{_LAYERS}.involution:Involution2d",
        "y[c](p) = H[group of c](p) · x[c](p + ·), H = S relu(norm(R x))",
        "per pixel",
        "Li et al., CVPR 2021",
        parameters=133,
        flops=512_000,
        caution=_UNMIXED,
    ),
    Kind(
        "lsconv",
        f"{_LAYERS}.lsconv:LSConv2d",
        "y[c](p) = K[group of c](p) · x[c](p + ·), K from a 7×7 window",
        "per pixel and sample",
        "Wang et al., CVPR 2025",
        parameters=846,
        flops=1_888_256,
        caution=_UNMIXED,
    ),
    Kind(
        "decoupled_dynamic",
        f"{_LAYERS}.decoupled_dynamic:DecoupledDynamicFilter2d",
        "y[c](p) = (S(p) ⊙ D[c]) · x[c](p + ·), S from x(p), D from mean(x)",
        "per pixel and sample",
        "Zhou et al., CVPR 2021",
        parameters=991,
        flops=773_668,
        caution=_UNMIXED,
    ),
    Kind(
        "deformable",
        f"{_LAYERS}.deformable:DeformableConv2d",
        "y(p) = Σ_t W[t] m_t(p) x(p + t + Δ_t(p)), Δ and m from x",
        "per pixel",
        "Dai et al., ICCV 2017; Zhu et al., CVPR 2019",
        parameters=6_235,
        flops=14_017_536,
    ),
    Kind(
        "dcnv4",
        f"{_LAYERS}.dcnv4:DCNv4Conv2d",
        "y(p) = P Σ_t m_t(p) v(p + t + Δ_t(p)), v = V x, Δ and m from x(p)",
        "per pixel",
        "Xiong et al., CVPR 2024",
        parameters=1_003,
        flops=3_407_872,
    ),
    Kind(
        "pac",
        f"{_LAYERS}.pac:PixelAdaptiveConv2d",
        "y(p) = Σ_t W[t] K_t(p) x(p + t), K_t = exp(-½ ‖s ⊙ (x(p + t) - x(p))‖²)",
        "per pixel",
        "Su et al., CVPR 2019",
        parameters=2_336,
        flops=5_474_304,
    ),
)
