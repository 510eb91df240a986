"""The operator of gates, products and their sum: against a loop, and under everything that PyTorch does with operators.

On a GPU the layer calls it; here it is called in the same way on the CPU, where plain PyTorch computes it. Its kernels
are tested by `gated_kernel.py`, under Triton's interpreter, and through Triton's compiler.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from gated_cases import GatedCase, arguments
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call, vmap

from lit_adaptconv import LowRankAdaptiveConv2d
from lit_adaptconv.measure.count import forward_flops
from lit_adaptconv.ops import gated_sum as op

# PyTorch itself, when forward mode is first used.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is")
CASES = {
    "both in one": GatedCase(),
    "apart": GatedCase(stacked=False),
    "a shared gate": GatedCase(shared=True, groups=1),
    "a shared gate in groups, apart, without bias": GatedCase(shared=True, stacked=False, biased=False),
    "rank one, depthwise": GatedCase(rank=1, channels=4, groups=4),
    "sigmoid": GatedCase(activation="sigmoid"),
    "identity": GatedCase(activation="identity", stacked=False),
}
every_case = pytest.mark.parametrize("name", CASES)


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Choose the operator as on a GPU: but in forward mode."""
    monkeypatch.setattr(op, "fuses_on_gpu", lambda device, dtype: forward_ad._current_level < 0)
    monkeypatch.setattr(op, "_on_gpu", lambda tensor: False)


def by_hand(
    filtered: Tensor, values: Tensor | None, gate_bias: Tensor, bias: Tensor | None, groups: int, activation: str
) -> Tensor:
    """One output channel after the other."""
    act = {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "identity": Tensor.clone}[activation]
    rank, gates = gate_bias.shape
    gates = gates // groups
    channels = op.out_channels(filtered, filtered.new_empty(0) if values is None else values, gate_bias) // groups
    outs = []
    for group, channel in itertools.product(range(groups), range(channels)):
        of_group = filtered.chunk(groups, 1)[group]
        of_values = of_group[:, rank * gates :] if values is None else values.chunk(groups, 1)[group]
        out = torch.zeros_like(of_values[:, 0])
        for r in range(rank):
            at = channel if gates > 1 else 0
            gate = act(of_group[:, r * gates + at] + gate_bias[r, group * gates + at])
            out = out + gate * of_values[:, r * channels + channel]
        outs.append(out if bias is None else out + bias[group * channels + channel])
    return torch.stack(outs, 1)


def given(args: list[Any]) -> list[Tensor]:
    return [t for t in args if isinstance(t, Tensor)]


def flat(args: list[Any]) -> tuple[Any, ...]:
    """The operator's own arguments."""
    return (args[0], args[0].new_empty(0) if args[1] is None else args[1], *args[2:])


@every_case
@pytest.mark.usefixtures("chosen")
def test_it_is_the_sum_of_products_with_activated_gates(name: str) -> None:
    args = arguments(CASES[name])
    got, expected = op.gated_sum(*args), by_hand(*args)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(op.plain(*args), expected)
    cotangent = torch.randn_like(got)
    torch.testing.assert_close(
        torch.autograd.grad(got, given(args), cotangent), torch.autograd.grad(expected, given(args), cotangent)
    )


UNTRACED = ("test_schema", "test_autograd_registration", "test_faketensor")
"""What opcheck tries, but for tracing, which takes seconds."""


@pytest.mark.slow
@every_case
# opcheck itself reads the gradient of a tensor that is no leaf.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_both_operators_pass_opcheck(name: str) -> None:
    layouts = (torch.contiguous_format, torch.channels_last)
    for memory, needs in itertools.product(layouts, (True, False)):
        args = flat(arguments(CASES[name], memory=memory))
        traced = (memory, needs) == (layouts[list(CASES).index(name) % 2], True)
        utilities = (*UNTRACED, "test_aot_dispatch_dynamic") if traced else UNTRACED
        if needs:
            torch.library.opcheck(op.FORWARD, args, test_utils=utilities)
        out = op.FORWARD(*args).detach().requires_grad_()
        torch.library.opcheck(op.BACKWARD, (out, *args[:3], *args[4:], needs), test_utils=utilities)


@every_case
@pytest.mark.usefixtures("chosen")
def test_first_and_second_derivatives_equal_finite_differences(name: str) -> None:
    args = arguments(CASES[name], images=1, size=(1, 2))
    where = [i for i, t in enumerate(args) if isinstance(t, Tensor)]

    def of(*tensors: Tensor) -> Tensor:
        all_args = list(args)
        for i, tensor in zip(where, tensors, strict=True):
            all_args[i] = tensor
        return op.gated_sum(*all_args)

    assert torch.autograd.gradcheck(of, given(args), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(of, given(args), check_fwd_over_rev=True, check_rev_over_rev=True)
    for i in where:  # each alone
        alone = [t.detach().requires_grad_(j == i) for j, t in zip(where, given(args), strict=True)]
        assert torch.autograd.gradcheck(of, alone)


LAYERS: dict[str, Callable[..., LowRankAdaptiveConv2d]] = {
    "one": lambda **kw: LowRankAdaptiveConv2d(4, 6, 3, 2, 1, groups=2, rank=2, **kw),
    "one group": lambda **kw: LowRankAdaptiveConv2d(4, 6, 3, 1, 1, rank=2, **kw),
    "shared": lambda **kw: LowRankAdaptiveConv2d(4, 6, 3, 1, 1, groups=2, rank=3, shared_gate=True, **kw),
    "apart": lambda **kw: LowRankAdaptiveConv2d(4, 6, 3, generator_size=1, gate_activation="sigmoid", **kw),
}
every_layer = pytest.mark.parametrize("name", LAYERS)


def make(name: str, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype = torch.float64) -> LowRankAdaptiveConv2d:
    """A layer that stacks its weights as on a GPU."""
    torch.manual_seed(0)
    decide = LowRankAdaptiveConv2d._as_one
    monkeypatch.setattr(LowRankAdaptiveConv2d, "_as_one", lambda self, device: decide(self, "cuda"))
    layer = LAYERS[name](dtype=dtype)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer


def images(batch: int = 2, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(batch, 4, 8, 7, generator=torch.Generator().manual_seed(batch), dtype=dtype)


@every_layer
def test_a_layer_as_on_a_gpu_equals_itself_elsewhere(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = LAYERS[name](dtype=torch.float64)
    with monkeypatch.context() as patch:
        layer = make(name, patch)
        expected.load_state_dict(layer.state_dict())
        patch.setattr(op, "fuses_on_gpu", lambda device, dtype: forward_ad._current_level < 0)
        patch.setattr(op, "_on_gpu", lambda tensor: False)
        x = images().requires_grad_()
        got = layer(x)
        grads = torch.autograd.grad(got.square().sum(), [x, *layer.parameters()])
    assert "gated_sum" in str(got.grad_fn)
    out = expected(x)
    torch.testing.assert_close(got, out)
    torch.testing.assert_close(grads, torch.autograd.grad(out.square().sum(), [x, *expected.parameters()]))


@every_layer
@pytest.mark.usefixtures("chosen")
def test_in_channels_last_format_the_output_is_so_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make(name, monkeypatch).to(memory_format=torch.channels_last)
    out = layer(images().to(memory_format=torch.channels_last))
    assert out.is_contiguous(memory_format=torch.channels_last)


@every_layer
@pytest.mark.usefixtures("chosen", "unchecked")
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiled_without_a_break_it_gives_the_same(name: str, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.compiler.reset()
    layer = make(name, monkeypatch)
    compiled = torch.compile(layer, fullgraph=True, backend=backend)
    for memory in (torch.contiguous_format, torch.channels_last):
        x = images().to(memory_format=memory).requires_grad_()
        out, expected = compiled(x), layer(x)
        torch.testing.assert_close(out, expected)
        inputs = [x, *layer.parameters()]
        grads = torch.autograd.grad(out.square().sum(), inputs)
        torch.testing.assert_close(grads, torch.autograd.grad(expected.square().sum(), inputs))


@every_layer
@pytest.mark.usefixtures("chosen", "unchecked")
def test_exported_it_holds_the_operator_once_and_takes_any_batch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make(name, monkeypatch)
    program = torch.export.export(layer, (images(),), dynamic_shapes={"input": {0: torch.export.Dim("batch")}})
    assert [n.target for n in program.graph.nodes].count(op.FORWARD) == 1
    torch.testing.assert_close(program.module()(images(3)), layer(images(3)))


@every_layer
@pytest.mark.usefixtures("chosen")
def test_mapped_over_images_or_parameters_it_gives_what_a_loop_gives(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = make(name, monkeypatch)
    parameters = dict(layer.named_parameters())

    def loss(values: dict[str, Tensor], x: Tensor) -> Tensor:
        out: Tensor = functional_call(layer, values, (x,))
        return out.square().sum()

    x = images(3)
    together = vmap(torch.func.grad(loss), (None, 0))(parameters, x)
    alone = torch.func.grad(loss)(parameters, x[1])
    for parameter in parameters:
        torch.testing.assert_close(together[parameter][1], alone[parameter])
    stacks = {n: torch.stack([p.detach(), -p.detach()]) for n, p in parameters.items()}
    ensemble = vmap(torch.func.grad(loss), (0, None))(stacks, x)
    alone = torch.func.grad(loss)({n: p[1] for n, p in stacks.items()}, x)
    for parameter in parameters:
        torch.testing.assert_close(ensemble[parameter][1], alone[parameter])


@pytest.mark.usefixtures("chosen")
def test_batches_of_gradients_equal_one_after_the_other() -> None:
    """PyTorch's older vmap, whose batches look like ordinary tensors."""
    args = arguments(CASES["both in one"])
    inputs = [t.requires_grad_() for t in given(args)]
    out = op.gated_sum(*args)
    batch = torch.randn(3, *out.shape, dtype=out.dtype)
    together = torch.autograd.grad(out, inputs, batch, is_grads_batched=True, retain_graph=True)
    for number, grad in enumerate(batch):
        alone = torch.autograd.grad(out, inputs, grad, retain_graph=True)
        assert all(torch.allclose(many[number], one, rtol=1e-12) for many, one in zip(together, alone, strict=True))


@pytest.mark.usefixtures("chosen")
def test_hessians_in_every_mode_equal_one_by_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make("one", monkeypatch)

    def total(x: Tensor) -> Tensor:
        out: Tensor = layer(x)
        return out.square().sum()

    x = images(1)[..., :3, :3].contiguous()
    expected = torch.autograd.functional.hessian(total, x)
    torch.testing.assert_close(torch.func.hessian(total)(x), expected)
    for outer, inner in itertools.product((torch.func.jacrev, torch.func.jacfwd), repeat=2):
        torch.testing.assert_close(outer(inner(total))(x), expected)


@pytest.mark.usefixtures("chosen")
@pytest.mark.parametrize("parameters", [torch.float32, torch.bfloat16])
def test_under_autocast_biases_keep_their_type(parameters: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make("one", monkeypatch, parameters)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = layer(images(dtype=parameters))
    assert out.dtype == torch.bfloat16
    out.sum().backward()
    assert all(p.grad is not None and p.grad.dtype == parameters for p in layer.parameters())


@pytest.mark.usefixtures("chosen")
@pytest.mark.parametrize("name", ["one", "apart"])
def test_backward_keeps_what_the_convolutions_made_and_nothing_else(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = make(name, monkeypatch), images()
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):  # type: ignore[func-returns-value]
        out = layer(x)
    area = out[0, 0].numel() * len(x)
    made = [t for t in kept if t.dim() == 4 and t.shape[2:] == out.shape[2:] and t.numel() // area >= 6]
    assert sum(t.numel() for t in made if t is not x) == 2 * layer.rank * 6 * area
    assert max(t.numel() for t in kept) <= max(x.numel(), 2 * layer.rank * 6 * area)


@pytest.mark.usefixtures("chosen")
def test_flops_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make("one", monkeypatch, torch.float32)
    counted = forward_flops(layer, (4, 8, 7))
    monkeypatch.setattr(op, "fuses_on_gpu", lambda device, dtype: False)
    assert counted == forward_flops(layer, (4, 8, 7))


KERNELS = Path(__file__).with_name("gated_kernel.py")


def passes(**environment: str) -> None:
    """Run the kernels' tests in a process of their own."""
    command = [sys.executable, "-m", "pytest", str(KERNELS), "-q", "-p", "no:cacheprovider"]
    inherited = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        command, env={**inherited, **environment}, cwd=KERNELS.parents[2], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


@pytest.mark.slow
def test_under_the_interpreter_its_kernels_agree_with_plain_pytorch() -> None:
    pytest.importorskip("triton", reason="Triton is there on Linux only")
    passes(TRITON_INTERPRET="1", CUDA_VISIBLE_DEVICES="")


@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_its_kernels_agree_with_plain_pytorch() -> None:
    passes()
