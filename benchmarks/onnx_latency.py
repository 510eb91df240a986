"""How long one image takes in onnxruntime and in PyTorch: a ratio, from calls timed alternately.

python benchmarks/onnx_latency.py --kind adaptive --rounds 5
"""

from __future__ import annotations

import argparse
import statistics
from functools import partial

import onnxruntime
import torch

from lit_adaptconv.export import onnx
from lit_adaptconv.layers.kinds import conv_kind
from lit_adaptconv.measure.timing import Task, in_turns
from lit_adaptconv.models.backbones import LeNet5

WIDTHS = {"standard": (6, 16, 120, 84), "adaptive": (5, 13, 108, 75)}
"""Those of `configs/digits/lenet5_standard.yaml` and `lenet5_adaptive.yaml`."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=list(WIDTHS), default="adaptive")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    conv = partial(conv_kind("adaptive"), generator_size=3) if options.kind == "adaptive" else conv_kind(options.kind)
    network = LeNet5(1, 10, (28, 28), conv, WIDTHS[options.kind]).eval()
    run, image = onnx.runtime(onnx.to_onnx(network, (1, 28, 28))), torch.randn(1, 1, 28, 28)
    ratios = []
    with torch.inference_mode():
        for _ in range(options.rounds):
            tasks = [Task(partial(network, image)), Task(partial(run, image))]
            eager, exported = in_turns(tasks, seconds=options.seconds)
            ratios.append(exported.over(eager).median)
            print(
                f"PyTorch {1e3 * eager.spread.median:.3f} ms, onnxruntime {1e3 * exported.spread.median:.3f} ms "
                f"(medians, n = {len(eager.seconds)} each): {ratios[-1]:.3f}"
            )
    print(
        f"LeNet-5, {options.kind}, batch 1, {options.threads} thread: onnxruntime / PyTorch = "
        f"{statistics.median(ratios):.3f} (median of {len(ratios)} rounds, {min(ratios):.3f} to {max(ratios):.3f}); "
        f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}"
    )


if __name__ == "__main__":
    main()
