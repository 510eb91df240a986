"""Draw a picture of each kind that `docs/operators.md` shows one of: what makes its kernel, and what meets the image.

python docs/images/draw_kinds.py
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

FOLDER = Path(__file__).parent / "kinds"
BOX, GAP, LEFT = 150, 30, 60
GENERATOR, VALUE = "#e5f3f5", "#faf0dc"


@dataclass(frozen=True)
class Picture:
    """The upper row generates from the image x; the lower row is what x itself passes; both meet in the last box.

    Attributes:
        generator: Steps of the upper row, each of one or two lines.
        value: Steps of the lower row.
        joined: What is done with both.
    """

    generator: tuple[str, ...]
    value: tuple[str, ...]
    joined: str


PICTURES = {
    "fdconv": Picture(
        ("mean of\neach channel", "linear layers,\n2 σ: gates", "K = gates ⊙ kernels\nof own frequencies"),
        ("bands of\nfrequencies x_b", "Σ_b A_b(p) x_b(p)\nA from x, 3×3"),
        "K ⋆ z",
    ),
    "squeeze_excitation": Picture(
        ("u = W ⋆ x", "mean of\neach channel of u", "linear, relu, linear,\nsigmoid: s"),
        ("u = W ⋆ x",),
        "s ⊙ u",
    ),
    "kernel_warehouse": Picture(
        ("mean of\neach channel", "linear layers: z,\nα = z / Σ|z|", "mixtures of cells\nthat layers share"),
        (),
        "K of m mixtures,\nK ⋆ x",
    ),
    "dcnv4": Picture(
        ("1×1 of the\npixel at the centre", "Δ(p) moves, m(p)\nweighs each tap"),
        ("1×1: v", "v between pixels,\nat p + t + Δ"),
        "Σ_t m(p) v,\nthen 1×1",
    ),
    "pac": Picture(
        ("pixels under the\nkernel − centre", "K = exp(−½ |s ·|²)"),
        (),
        "(W ⊙ K(p)) · pixels\nunder it",
    ),
    "lsconv": Picture(
        ("1×1, then a\n7×7 depthwise", "1×1, 1×1,\nnormalised", "K(p), one for\n8 channels"),
        (),
        "K(p) · pixels\nunder it",
    ),
    "dcd": Picture(
        ("mean of\neach channel", "gated\nlinear layer", "Λ, one per filter\nΦ, a small matrix"),
        (),
        "K = Λ W + P Φ Qᵀ\nK ⋆ x",
    ),
}


def draw(name: str, picture: Picture) -> str:
    """The picture as SVG."""
    columns = max(len(picture.generator), len(picture.value))
    end = LEFT + columns * (BOX + GAP)
    width = end + BOX + 60
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} 190" font-family="system-ui, sans-serif" '
        f'font-size="14" text-anchor="middle" role="img" aria-label="What {name} computes">',
        f'<rect width="{width}" height="190" fill="#ffffff" rx="8"/>',
        '<defs><marker id="end" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#555"/></marker></defs>',
        '<text x="20" y="100" font-style="italic" fill="#222">x</text>',
        *_row(picture.generator, 50, end, GENERATOR),
        *_row(picture.value, 140, end, VALUE),
        *_box(end, 95, picture.joined, "#ffffff"),
        _arrow(f"M{end + BOX} 95H{width - 32}"),
        f'<text x="{width - 20}" y="100" font-style="italic" fill="#222">y</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _row(steps: tuple[str, ...], y: int, end: int, colour: str) -> list[str]:
    parts, x = [], LEFT
    start = f"M30 95V{y}"
    for step in steps:
        parts += [_arrow(f"{start}H{x}"), *_box(x, y, step, colour)]
        start, x = f"M{x + BOX} {y}", x + BOX + GAP
    return [*parts, _arrow(f"{start}H{end + BOX // 2}V{y + (22 if y < 95 else -22)}")]


def _box(x: int, y: int, text: str, colour: str) -> list[str]:
    lines = text.split("\n")
    box = f'<rect x="{x}" y="{y - 23}" width="{BOX}" height="46" rx="6" fill="{colour}" stroke="#555"/>'
    first = y + 5 - 9 * (len(lines) - 1)
    return [box] + [
        f'<text x="{x + BOX // 2}" y="{first + 18 * i}" fill="#222">{escape(line)}</text>'
        for i, line in enumerate(lines)
    ]


def _arrow(path: str) -> str:
    return f'<path d="{path}" fill="none" stroke="#555" marker-end="url(#end)"/>'


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, picture in PICTURES.items():
        (FOLDER / f"{name}.svg").write_text(draw(name, picture), encoding="utf-8")
