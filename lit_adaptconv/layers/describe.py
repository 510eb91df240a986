"""What each conv kind computes, in a line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kernel = Literal["static", "per sample", "per pixel", "per pixel and sample"]


@dataclass(frozen=True)
class KindDescription:
    """A conv kind in words.

    Attributes:
        equation: The output y of an input x, without the bias.
        kernel: What the kernel depends on beside the weights: nothing, the pixels around, or the whole image.
        source: Paper.
        caution: What to know before building a network of this kind alone; empty if nothing.
    """

    equation: str
    kernel: Kernel
    source: str
    caution: str = ""


_PAPER = "Zamora Esquivel et al., ICCV Workshops 2019"
_UNMIXED = "mixes channels only where their number changes: set pointwise without 1×1 around"

DESCRIPTIONS: dict[str, KindDescription] = {
    "standard": KindDescription("y = W ⋆ x", "static", "LeCun et al., Neural Computation 1989"),
    "separable": KindDescription("y = P ⋆ (W ⋆ x), W depthwise, P 1×1", "static", "Howard et al., MobileNets, 2017"),
    "adaptive": KindDescription("y(p) = tanh(B + Q ⋆ x)(p) · x(p + ·)", "per pixel", _PAPER),
    "adaptive_separable": KindDescription("y = P ⋆ adaptive(x), depthwise, P 1×1", "per pixel", _PAPER),
    "adaptive_low_rank": KindDescription("y = Σ_r tanh(a_r + G_r ⋆ x) ⊙ (W_r ⋆ x)", "per pixel", "this project"),
    "adaptive_low_rank_separable": KindDescription(
        "y = P ⋆ low_rank(x), depthwise, P 1×1", "per pixel", "this project"
    ),
    "adaptive_bilinear": KindDescription("y = Σ_r (a_r + G_r ⋆ x) ⊙ (W_r ⋆ x)", "per pixel", "this project"),
    "adaptive_residual": KindDescription(
        "y = W ⋆ x + Σ_r tanh(a_r + G_r ⋆ x) ⊙ (V_r ⋆ x)", "per pixel", "this project"
    ),
    "dynamic_filter": KindDescription(
        "y = (W_0 + Σ_j h_j W_j) ⋆ x, h = relu(A · mean(x))", "per sample", "De Brabandere et al., NeurIPS 2016"
    ),
    "dynamic_filter_local": KindDescription(
        "y(p) = (W_0 + Σ_j h_j(p) W_j) · x(p + ·), h = relu(A ⋆ x)", "per pixel", "De Brabandere et al., NeurIPS 2016"
    ),
    "condconv": KindDescription(
        "y = (Σ_e α_e W_e) ⋆ x, α = sigmoid(R · mean(x))",
        "per sample",
        "Yang et al., NeurIPS 2019",
        "8 experts make a network within a small budget very narrow: set num_experts",
    ),
    "dynamic_conv": KindDescription(
        "y = (Σ_k π_k W_k) ⋆ x, π = softmax(A₂ relu(A₁ · mean(x)) / τ)", "per sample", "Chen et al., CVPR 2020"
    ),
    "odconv": KindDescription(
        "y = (α_f ⊙ α_c ⊙ α_s ⊙ Σ_i α_wi W_i) ⋆ x, α = gates of mean(x)", "per sample", "Li et al., ICLR 2022"
    ),
    "involution": KindDescription(
        "y[c](p) = H[group of c](p) · x[c](p + ·), H = S relu(norm(R x))",
        "per pixel",
        "Li et al., CVPR 2021",
        _UNMIXED,
    ),
    "decoupled_dynamic": KindDescription(
        "y[c](p) = (S(p) ⊙ D[c]) · x[c](p + ·), S from x(p), D from mean(x)",
        "per pixel and sample",
        "Zhou et al., CVPR 2021",
        _UNMIXED,
    ),
    "deformable": KindDescription(
        "y(p) = Σ_t W[t] m_t(p) x(p + t + Δ_t(p)), Δ and m from x",
        "per pixel",
        "Dai et al., ICCV 2017; Zhu et al., CVPR 2019",
    ),
}
