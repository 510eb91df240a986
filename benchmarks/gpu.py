"""What the adaptive layers cost on a GPU: checked, timed by turns and profiled at eight shapes, in one run.

    python benchmarks/gpu.py [--output gpu.json] [--shapes "A;D"] [--rounds 7] [--tests 8]

It needs PyTorch, Triton and, for `--tests`, pytest with pytest-xdist. For each shape and precision it prints

- the relative errors of output and gradients, beside plain PyTorch in float64,
- the time of a training step (to the gradients of input and parameters) of the adaptive layer, of `nn.Conv2d` of the
  same shape, of two of these, of the low-rank layer and, in float32, of the adaptive layer in plain PyTorch, all timed
  by turns,
- the share of its limit that a step reaches: the larger of the time that its bytes take at the speed of a large copy,
  and its FLOPs at the speed of a large matrix product in float32 without matrix units, both measured in the same run,
- what is kept for backward beside the layer's input and parameters, in bytes,
- the seconds of the first training step of this shape. A layer of a single pixel was trained before, whose own first
  step is printed: it loads the compiler and whatever else a process needs once.

With `--graphs`, the steps inside CUDA graphs too, as `torch.compile(mode="reduce-overhead")` makes them, and those of
plain PyTorch. `--network` times the first training step of a ResNet-18 of adaptive layers, in a process of its own.
`--tests N` runs the tests of the kernels with N processes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lit_adaptconv.layers import AdaptiveConv2d, LowRankAdaptiveConv2d
from lit_adaptconv.measure.limit import Speeds, large_copy, matrix_product, pass_bytes
from lit_adaptconv.measure.timing import Spread, Task, in_turns
from lit_adaptconv.ops.choice import VARIABLE

PROFILED = 5  # steps


@dataclass(frozen=True)
class Shape:
    """A square layer with "same" padding."""

    batch: int
    in_channels: int
    out_channels: int
    groups: int
    image: int
    kernel_size: int
    generator_size: int

    @property
    def flops(self) -> int:
        """Of a training step: three times the forward pass's, generating the kernels and applying them."""
        pixels = self.batch * self.image**2 * self.out_channels * self.in_channels // self.groups
        return 3 * 2 * pixels * self.kernel_size**2 * (self.generator_size**2 + 1)

    def bytes(self, dtype: torch.dtype) -> int:
        """Of a training step: images read and written, both forward and backward."""
        pixels = self.batch * self.image**2 * dtype.itemsize
        return pass_bytes(pixels * self.in_channels, pixels * self.out_channels)[1]


SHAPES = {
    "A": Shape(128, 8, 8, 8, 28, 3, 3),
    "A2048": Shape(2048, 8, 8, 8, 28, 3, 3),
    "B": Shape(128, 1, 6, 1, 28, 5, 5),
    "C": Shape(128, 16, 16, 1, 32, 3, 3),
    "D": Shape(128, 64, 64, 64, 32, 3, 3),
    "R": Shape(128, 64, 64, 1, 32, 3, 3),
    "R, q = 1": Shape(128, 64, 64, 1, 32, 3, 1),
    "S": Shape(128, 256, 256, 1, 8, 3, 3),
}
PRECISIONS = {"float32": (torch.float32, "ieee"), "TF32": (torch.float32, "tf32"), "bfloat16": (torch.bfloat16, "tf32")}
BOUNDS = {"float32": 1e-5, "TF32": 5e-3, "bfloat16": 2e-2}
IN_GRAPHS = ("conv", "adaptive", "two convs, channels last", "low rank, channels last")
PLAIN = ("A", "B", "D")  # shapes at which plain PyTorch is timed: elsewhere it takes too long or too much memory


@dataclass
class Row:
    """What was measured of one shape in one precision; times in milliseconds, ratios to `nn.Conv2d` by turns."""

    shape: str
    precision: str
    errors: list[float]
    milliseconds: dict[str, Spread]
    ratios: dict[str, Spread]
    limit: float
    limited_by: str
    share: float
    kept: int
    first_step: float
    kernels: dict[str, float]


@contextmanager
def precision(name: str) -> Iterator[torch.dtype]:
    """Let convolutions and products in float32 use TF32, or not."""
    dtype, float32 = PRECISIONS[name]
    old = torch.backends.cudnn.conv.fp32_precision
    torch.backends.cudnn.conv.fp32_precision = float32
    try:
        yield dtype
    finally:
        torch.backends.cudnn.conv.fp32_precision = old


def build(kind: type[nn.Module], shape: Shape, dtype: torch.dtype, **options: Any) -> nn.Module:
    geometry = (shape.in_channels, shape.out_channels, shape.kernel_size)
    around = {"padding": shape.kernel_size // 2, "groups": shape.groups}
    return kind(*geometry, **around, **options, device="cuda", dtype=dtype)


def training(layers: list[nn.Module], input: Tensor, grad: Tensor) -> Callable[[], None]:
    """A step of layers that see the same input."""
    parameters = [p for layer in layers for p in layer.parameters()]

    def step() -> None:
        outputs = [layer(input) for layer in layers]
        torch.autograd.grad(outputs, (input, *parameters), [grad] * len(layers))

    return step


def captured(step: Callable[[], None]) -> Callable[[], None]:
    """The step in a CUDA graph: the kernels one after the other, without the host."""
    for _ in range(3):
        step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def errors(layer: nn.Module, input: Tensor, grad: Tensor) -> list[float]:
    """Relative errors of output and gradients, in the norm, of four images."""
    exact = AdaptiveConv2d(
        layer.in_channels, layer.out_channels, layer.kernel_size, padding=layer.padding, groups=layer.groups,
        generator_size=layer.generator_size, device="cuda", dtype=torch.float64,
    )  # fmt: skip
    exact.load_state_dict({name: value.double() for name, value in layer.state_dict().items()})
    results = []
    for module, implementation in ((layer, "gpu"), (exact, "reference")):
        dtype = next(module.parameters()).dtype
        x = input[:4].detach().to(dtype).requires_grad_()
        os.environ[VARIABLE] = implementation
        out = module(x)
        results.append((out, *torch.autograd.grad(out, (x, *module.parameters()), grad[:4].to(dtype))))
        del os.environ[VARIABLE]
    return [float((got.double() - true).norm() / true.norm()) for got, true in zip(*results, strict=True)]


def kept(layer: nn.Module, input: Tensor) -> int:
    """Bytes kept for backward beside the output, the input and the parameters."""
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    out = layer(input)
    torch.cuda.synchronize()
    return max(0, torch.cuda.memory_allocated() - before - out.numel() * out.element_size())


def kernel_times(step: Callable[[], None]) -> dict[str, float]:
    """Milliseconds of each kernel in a step."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(PROFILED):
            step()
        torch.cuda.synchronize()
    events = [event for event in profile.key_averages() if event.self_device_time_total > 0]
    return {event.key[:48]: event.self_device_time_total / PROFILED / 1e3 for event in events}


def measure(name: str, precise: str, rounds: int, graphs: bool, speeds: dict[str, float]) -> Row:
    shape = SHAPES[name]
    with precision(precise) as dtype:
        torch.manual_seed(0)
        size = (shape.batch, shape.in_channels, shape.image, shape.image)
        x = torch.randn(size, device="cuda").to(dtype).requires_grad_()
        grad = torch.randn(shape.batch, shape.out_channels, *size[2:], device="cuda").to(dtype)
        adaptive = build(AdaptiveConv2d, shape, dtype, generator_size=shape.generator_size)
        usual, conv, other = (build(nn.Conv2d, shape, dtype) for _ in range(3))
        step = training([adaptive], x, grad)
        begin = time.perf_counter()
        step()
        torch.cuda.synchronize()
        first_step = time.perf_counter() - begin
        x_last = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
        grad_last = grad.contiguous(memory_format=torch.channels_last)
        low_rank = build(LowRankAdaptiveConv2d, shape, dtype, generator_size=shape.generator_size)
        for layer in (low_rank, conv, other):
            layer.to(memory_format=torch.channels_last)
        steps = {
            "conv": training([usual], x, grad),
            "adaptive": step,
            "conv, channels last": training([conv], x_last, grad_last),
            "two convs, channels last": training([conv, other], x_last, grad_last),
            "low rank, channels last": training([low_rank], x_last, grad_last),
            "adaptive, channels last": training([adaptive], x_last, grad_last),
        }
        beside = ()
        if name in PLAIN and precise == "float32":
            steps["plain PyTorch"] = plain(step)
            beside = ("plain PyTorch",)
        if graphs:
            steps |= {f"{layer}, graph": captured(steps[layer]) for layer in (*IN_GRAPHS, *beside)}
        times = dict(zip(steps, in_turns([Task(call) for call in steps.values()], rounds), strict=True))
        limits = {
            "bytes": shape.bytes(dtype) / speeds["bytes"],
            "arithmetic": shape.flops / speeds["FLOPs"],
        }
        limited_by = max(limits, key=lambda key: limits[key])
        fastest = times.get("adaptive, graph", times["adaptive"])
        found = errors(adaptive, x, grad)
        if max(found) > BOUNDS[precise]:
            print(f"WRONG: {name} {precise}: {found}", file=sys.stderr)
        return Row(
            shape=name,
            precision=precise,
            errors=found,
            milliseconds={key: Spread.of([s * 1e3 for s in value.seconds]) for key, value in times.items()},
            ratios={
                key: times["adaptive"].over(times[key])
                for key in times
                if key in ("conv", "plain PyTorch")
            }
            | {
                f"{other}, graph": times["adaptive, graph"].over(times[f"{other}, graph"])
                for other in ("conv", *beside)
                if graphs
            }
            | {
                f"low rank to two convs{how}": times[f"low rank, channels last{how}"].over(
                    times[f"two convs, channels last{how}"]
                )
                for how in ("", ", graph")[: 1 + graphs]
            },
            limit=limits[limited_by] * 1e3,
            limited_by=limited_by,
            share=limits[limited_by] / fastest.spread.median,
            kept=kept(adaptive, x),
            first_step=first_step,
            kernels=kernel_times(step),
        )  # fmt: skip


def plain(step: Callable[[], None]) -> Callable[[], None]:
    """The same step in plain PyTorch."""

    def run() -> None:
        os.environ[VARIABLE] = "reference"
        try:
            step()
        finally:
            del os.environ[VARIABLE]

    return run


def limits() -> dict[str, float]:
    """The GPU's speed: bytes of a copy, read and written, and FLOPs of a product in float32, a second."""
    old = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    products = [matrix_product("cuda", dtype) for dtype in (torch.float32, torch.bfloat16)]
    copy, product, half_product = in_turns([Task(call) for call in (large_copy("cuda"), *products)], 3)
    torch.backends.cuda.matmul.fp32_precision = old
    speeds, half = (Speeds.measured(times, copy, "cuda") for times in (product, half_product))
    return {"bytes": speeds.bytes, "FLOPs": speeds.flops, "bfloat16 FLOPs": half.flops}


def table(rows: list[Row]) -> str:
    """One line a shape and precision: medians of ratios, times in milliseconds."""
    columns = ("shape", "precision", "conv", "adaptive", "× conv", "graph", "× conv", "plain ×", "graph",
               "low rank × 2 conv", "graph", "limit", "share", "first s", "kept", "error")  # fmt: skip
    lines = [" | ".join(columns)]
    for row in rows:
        time_of = {key: value.median for key, value in row.milliseconds.items()}
        ratio = {key: value.median for key, value in row.ratios.items()}
        graph = ("–", "–") if "adaptive, graph" not in time_of else (
            f"{time_of['adaptive, graph']:.3f}", f"{ratio['conv, graph']:.2f}")  # fmt: skip
        speedups = [
            f"{1 / ratio[key]:.1f}" if key in ratio else "–" for key in ("plain PyTorch", "plain PyTorch, graph")
        ]
        lines.append(
            f"{row.shape} | {row.precision} | {time_of['conv']:.3f} | {time_of['adaptive']:.3f} | "
            f"{ratio['conv']:.2f} | "
            f"{graph[0]} | {graph[1]} | {' | '.join(speedups)} | {ratio['low rank to two convs']:.2f} | "
            f"{ratio.get('low rank to two convs, graph', float('nan')):.2f} | "
            f"{row.limit:.3f} ({row.limited_by}) | {row.share:.0%} | {row.first_step:.1f} | {row.kept} | "
            f"{max(row.errors):.0e}"
        )
    return "\n".join(lines)


def run_tests(processes: int) -> dict[str, Any]:
    """Run the kernels' tests, and say how long they took."""
    begin = time.perf_counter()
    plugins = ["-p", "no:cacheprovider", "-p", "no:benchmark"]
    command = [sys.executable, "-m", "pytest", "tests/ops/gpu_kernel.py", "-q", *plugins]
    done = subprocess.run(
        [*command, "-n", str(processes)], capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False
    )
    seconds = time.perf_counter() - begin
    print(done.stdout[-3000:], done.stderr[-1000:], f"tests: {seconds:.0f} s", sep="\n", flush=True)
    return {"seconds": seconds, "status": done.returncode, "last": done.stdout.splitlines()[-1:]}


def warm_up() -> None:
    """Train a layer of a single pixel, with nothing compiled before, and say how long that took."""
    begin = time.perf_counter()
    layer = build(AdaptiveConv2d, Shape(1, 1, 1, 1, 1, 1, 1), torch.float32, generator_size=1)
    layer(torch.zeros(1, 1, 1, 1, device="cuda")).sum().backward()
    torch.cuda.synchronize()
    print(f"the process's first training step: {time.perf_counter() - begin:.1f} s", flush=True)


def network_first_step() -> float:
    """Seconds of the first training step of a ResNet-18 of adaptive layers, with nothing else compiled before."""
    from lit_adaptconv.models.backbones import ResNet18

    network = ResNet18(3, 10, (32, 32), conv=AdaptiveConv2d).cuda()
    images = torch.randn(32, 3, 32, 32, device="cuda")
    torch.nn.functional.conv2d(images, images[:, :, :3, :3]).sum().item()  # cuDNN is there
    begin = time.perf_counter()
    network(images).square().sum().backward()
    torch.cuda.synchronize()
    first = time.perf_counter() - begin
    begin = time.perf_counter()
    network(images).square().sum().backward()
    torch.cuda.synchronize()
    print(f"ResNet-18, first training step: {first:.1f} s, second: {time.perf_counter() - begin:.3f} s", flush=True)
    return first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("gpu.json"))
    parser.add_argument("--shapes", default=";".join(SHAPES), help="names, separated by semicolons")
    parser.add_argument("--precisions", nargs="*", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--graphs", action="store_true")
    parser.add_argument("--network", action="store_true")
    parser.add_argument("--tests", type=int, default=0, help="processes that run the kernels' tests; 0: none")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("benchmarks/gpu.py needs a GPU that PyTorch can use.")
    os.environ["TRITON_CACHE_DIR"] = tempfile.mkdtemp()  # nothing is compiled yet
    warm_up()
    if arguments.network:
        arguments.output.write_text(json.dumps({"network_first_step": network_first_step()}))
        return
    names = arguments.shapes.split(";")
    if unknown := [name for name in names if name not in SHAPES]:
        parser.error(f"--shapes: {unknown[0]!r} is none of {'; '.join(SHAPES)}")
    speeds = limits()
    device = {"name": torch.cuda.get_device_name(), "torch": torch.__version__, "cuda": torch.version.cuda, **speeds}
    print(json.dumps(device), flush=True)
    rows = []
    for name in names:
        for precise in arguments.precisions:
            rows.append(measure(name, precise, arguments.rounds, arguments.graphs, speeds))
            print(table(rows[-1:]).splitlines()[1], flush=True)
    tests = run_tests(arguments.tests) if arguments.tests else None
    result = {"device": device, "rows": [asdict(row) for row in rows], "tests": tests}
    arguments.output.write_text(json.dumps(result, indent=1))
    print(table(rows))
    wrong = any(max(row.errors) > BOUNDS[row.precision] for row in rows)
    sys.exit(int(wrong or (tests is not None and tests["status"] != 0)))


if __name__ == "__main__":
    main()
