"""Every kind in every format for devices: whether it works, how far from PyTorch, the file's size, one image's time.

python benchmarks/device_formats.py --seconds 1 --kinds standard adaptive

Prints a Markdown table. Formats whose extra is not installed are left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from lit_adaptconv.errors import UserError
from lit_adaptconv.export import executorch, litert, onnx
from lit_adaptconv.layers.kinds import conv_kind, kinds
from lit_adaptconv.measure.environment import versions
from lit_adaptconv.measure.timing import Task, in_turns
from lit_adaptconv.models import fit_budget
from lit_adaptconv.models.backbones import ConvNet

SHAPE = (1, 28, 28)
BUDGET = 5_000


def by_onnx(network: nn.Module) -> bytes:
    content: bytes = onnx.to_onnx(network, SHAPE).SerializeToString()
    return content


def by_executorch(network: nn.Module) -> bytes:
    return executorch.save(executorch.to_executorch(network, SHAPE), {})


def by_litert(network: nn.Module) -> bytes:
    return litert.save(litert.to_litert(network, SHAPE), {})


FORMATS: dict[str, tuple[str, Callable[[nn.Module], bytes], Callable[..., onnx.Run]]] = {
    "onnx": ("onnxruntime", by_onnx, onnx.runtime),
    "executorch": ("executorch", by_executorch, executorch.runtime),
    "litert": ("litert_torch", by_litert, litert.runtime),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--kinds", nargs="+", choices=list(kinds()), default=list(kinds()))
    options = parser.parse_args()
    torch.set_num_threads(1)
    formats = {name: of for name, of in FORMATS.items() if importlib.util.find_spec(of[0])}
    print("| kind | PyTorch |", " | ".join(formats), "|\n|", " | ".join(["---"] * (2 + len(formats))), "|")
    for kind in options.kinds:
        torch.manual_seed(0)
        build = partial(ConvNet, 1, 10, SHAPE[1:])
        network = build(conv_kind(kind), fit_budget(build, conv_kind(kind), BUDGET).widths).eval()
        image = torch.randn(1, *SHAPE)
        cells, tasks = [], [Task(partial(network, image))]
        with torch.inference_mode():
            for _, export, runtime in formats.values():
                try:
                    content = export(network)
                    run = runtime(content)
                    difference = (run(image) - network(image)).abs().max().item()
                except UserError as error:
                    cells.append(str(error))
                    continue
                cells.append(f"{difference:.0e}, {len(content) / 1000:.0f} kB, {{:.3f}} ms")
                tasks.append(Task(partial(run, image)))
            first, *others = [1000 * timed.spread.median for timed in in_turns(tasks, seconds=options.seconds)]
        timed = iter(others)
        cells = [cell.format(next(timed)) if "{" in cell else cell for cell in cells]
        print(f"| `{kind}` | {first:.3f} ms |", " | ".join(cells), "|", flush=True)
    print(versions(), f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
