"""The custom operator under everything that PyTorch does with operators."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from agreement import tensors
from cases import Case
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.autograd import forward_ad
from torch.func import functional_call, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from lit_adaptconv import AdaptiveConv2d
from lit_adaptconv.functional import adaptive_conv2d
from lit_adaptconv.ops import schema
from lit_adaptconv.ops.choice import VARIABLE
from lit_adaptconv.ops.geometry import sides

# PyTorch itself, when forward mode is first used.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is")
CASE = Case(2, (5, 6), 2, 3, 2, (3, 2), (2, 3), (2, 1), (1, 1), (1, 2), True, 0)
SMALL = Case(1, (3, 3), 1, 1, 1, (2, 2), (2, 2), (1, 1), (0, 0), (1, 1), True, 0)
OPTIONS: dict[str, Any] = {"kernel_size": CASE.kernel_size, **CASE.windows}


def call() -> tuple[Any, ...]:
    """The operator's arguments after its tensors."""
    around = sides((1, 1), CASE.kernel_size, CASE.stride, CASE.dilation)
    return ([*CASE.kernel_size], [*CASE.stride], [*around], [*CASE.dilation], CASE.groups, "tanh")


def arguments(dtype: torch.dtype = torch.float64, grad: bool = True) -> list[Tensor]:
    return [t.requires_grad_(grad) for t in tensors(CASE, dtype)]


# opcheck itself reads the gradient of a tensor that is no leaf.
passes_opcheck = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


@passes_opcheck
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("grad", [True, False])
def test_the_operator_passes_opcheck(dtype: torch.dtype, bias: bool, grad: bool) -> None:
    args = arguments(dtype, grad)
    torch.library.opcheck(schema.FORWARD, (*args[:3], args[3] if bias else None, *call()))


@passes_opcheck
@pytest.mark.slow
@pytest.mark.parametrize("needs", [(True, True), (True, False), (False, True)])
def test_the_backward_operator_passes_opcheck(needs: tuple[bool, bool]) -> None:
    args = arguments()
    out = adaptive_conv2d(*args, **OPTIONS).detach()
    utilities = ["test_schema", "test_autograd_registration", "test_faketensor"]
    # Tracing takes long: once with every gradient, once without one. Until 2.12, PyTorch could not trace the second
    # derivative of a convolution of symbolic size.
    if needs != (True, False) and tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 12):
        utilities.append("test_aot_dispatch_dynamic")
    torch.library.opcheck(schema.BACKWARD, (out.requires_grad_(), *args[:3], *call(), *needs), test_utils=utilities)


@pytest.mark.slow
def test_second_derivatives_equal_finite_differences_in_every_combination_of_inputs() -> None:
    for mask in range(1, 16):
        args = [t.requires_grad_(bool(mask >> i & 1)) for i, t in enumerate(tensors(SMALL, torch.float64))]
        assert torch.autograd.gradcheck(lambda *a: adaptive_conv2d(*a, kernel_size=2), args, check_forward_ad=True)
        if mask != 8:  # linear in the bias
            both = {"check_fwd_over_rev": True, "check_rev_over_rev": True}
            assert torch.autograd.gradgradcheck(lambda *a: adaptive_conv2d(*a, kernel_size=2), args, **both)


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_without_a_break_it_gives_the_same(dynamic: bool, unchecked: None) -> None:
    torch.compiler.reset()
    compiled = torch.compile(adaptive_conv2d, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for batch in (2, 3):
        args = arguments()
        args[0] = torch.randn(batch, *args[0].shape[1:], dtype=torch.float64, requires_grad=True)
        out, expected = compiled(*args, **OPTIONS), adaptive_conv2d(*args, **OPTIONS)
        torch.testing.assert_close(out, expected)
        grads = torch.autograd.grad(out.square().sum(), args)
        torch.testing.assert_close(grads, torch.autograd.grad(expected.square().sum(), args))


def test_an_exported_layer_holds_the_operator_once_and_takes_any_batch(unchecked: None) -> None:
    layer = AdaptiveConv2d(4, 6, 3, padding=1)
    dynamic = {"input": {0: torch.export.Dim("batch")}}
    program = torch.export.export(layer, (torch.randn(2, 4, 5, 5),), dynamic_shapes=dynamic)
    (called,) = [n for n in program.graph.nodes if n.target == schema.FORWARD]
    assert [a for a in called.args if isinstance(a, str)] == ["tanh"]  # no device, no implementation
    images = torch.randn(3, 4, 5, 5)
    torch.testing.assert_close(program.module()(images), layer(images))


@pytest.mark.parametrize("mapped", [(0, None, None, None), (2, None, None, None), (0, 0, 1, 0), (None, 0, 0, None)])
def test_mapped_over_any_argument_it_gives_what_a_loop_gives(mapped: tuple[int | None, ...]) -> None:
    args = [
        t.detach() if dim is None else torch.stack([t.detach(), -t.detach(), 2 * t.detach()], dim)
        for t, dim in zip(arguments(), mapped, strict=True)
    ]

    def convolve(*tensors: Tensor) -> Tensor:
        return adaptive_conv2d(*tensors, **OPTIONS)

    def gradients(*tensors: Tensor) -> tuple[Tensor, ...]:
        return torch.func.grad(lambda *t: convolve(*t).square().sum(), argnums=(0, 1, 2, 3))(*tensors)

    one_by_one = [
        [t if dim is None else t.select(dim, i) for t, dim in zip(args, mapped, strict=True)] for i in range(3)
    ]
    expected = torch.stack([convolve(*a) for a in one_by_one])
    torch.testing.assert_close(vmap(convolve, mapped)(*args), expected)
    for got, each in zip(
        vmap(gradients, mapped)(*args), zip(*map(gradients, *zip(*one_by_one, strict=True)), strict=True), strict=True
    ):
        torch.testing.assert_close(got, torch.stack(each))


def test_hessians_in_every_mode_equal_one_by_autograd() -> None:
    x, *rest = tensors(SMALL, torch.float64)

    def total(x: Tensor) -> Tensor:
        return adaptive_conv2d(x, *rest, kernel_size=2).square().sum()

    expected = torch.autograd.functional.hessian(total, x)
    torch.testing.assert_close(torch.func.hessian(total)(x), expected)
    for outer in (torch.func.jacrev, torch.func.jacfwd):
        for inner in (torch.func.jacrev, torch.func.jacfwd):
            torch.testing.assert_close(outer(inner(total))(x), expected)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_directional_derivative_is_that_of_the_reference(
    compiled: bool, unchecked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = arguments(grad=False)
    directions = tuple(torch.randn_like(a) for a in args)

    def push(*args: Tensor) -> tuple[Tensor, Tensor]:
        out: tuple[Tensor, Tensor] = torch.func.jvp(lambda *a: adaptive_conv2d(*a, **OPTIONS), args, directions)
        return out

    torch.compiler.reset()
    got = (torch.compile(push, fullgraph=True, backend="aot_eager") if compiled else push)(*args)
    torch.testing.assert_close(got[0], adaptive_conv2d(*args, **OPTIONS))
    with forward_ad.dual_level():
        duals = [forward_ad.make_dual(a, d) for a, d in zip(args, directions, strict=True)]
        torch.testing.assert_close(forward_ad.unpack_dual(adaptive_conv2d(*duals, **OPTIONS)).tangent, got[1])
    monkeypatch.setenv(VARIABLE, "reference")
    torch.testing.assert_close(got, push(*args))


def test_an_ensemble_of_layers_mapped_over_their_parameters_equals_the_layers() -> None:
    layers = [AdaptiveConv2d(4, 6, 3, groups=2) for _ in range(3)]
    parameters, _ = torch.func.stack_module_state(layers)  # type: ignore[arg-type]
    images = torch.randn(2, 4, 6, 6)
    got = vmap(lambda p: functional_call(layers[0], p, (images,)))(parameters)
    torch.testing.assert_close(got, torch.stack([layer(images) for layer in layers]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_called_directly_under_autocast_the_operator_casts_as_a_convolution_does(dtype: torch.dtype) -> None:
    args = arguments(torch.float32)
    with torch.autocast("cpu", dtype):
        out = schema.FORWARD(*args, *call())
        assert schema.FORWARD(*arguments(torch.float64), *call()).dtype == torch.float64
    assert out.dtype == dtype
    (grad,) = torch.autograd.grad(out.float().sum(), args[:1])
    assert grad.dtype == torch.float32


def test_backward_keeps_the_input_and_the_parameters_and_nothing_else() -> None:
    layer, images = AdaptiveConv2d(4, 6, 3, padding=1), torch.randn(2, 4, 5, 5, requires_grad=True)
    kept: set[int] = set()

    def pack(tensor: Tensor) -> Tensor:
        kept.add(tensor.data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        layer(images)
    assert kept == {t.data_ptr() for t in (images, layer.generator_weight, layer.generator_bias)}


def test_flops_are_two_for_each_multiply_add_of_generator_and_application() -> None:
    args = arguments(torch.float32)
    pixels, kernels = 2 * 3 * 6, 6 * 2 * 6  # images × rows × columns, and output × input channels × taps
    assert adaptive_conv2d(*args, **OPTIONS).shape == (2, 6, 3, 6)
    forward = 2 * pixels * kernels * (2 * 3 + 1)
    with FlopCounterMode(display=False) as counter:
        out = adaptive_conv2d(*args, **OPTIONS)
    assert counter.get_total_flops() == forward
    with FlopCounterMode(display=False) as counter:
        out.sum().backward()
    assert counter.get_total_flops() == 2 * forward


def test_a_copied_layer_computes_its_own_gradients() -> None:
    layer: nn.Module = AdaptiveConv2d(4, 6, 3)
    twin = copy.deepcopy(layer)
    twin(torch.randn(1, 4, 5, 5)).sum().backward()
    assert all(p.grad is None for p in layer.parameters())
    assert all(p.grad is not None for p in twin.parameters())


def checkpointed(function: Callable[..., Tensor], *args: Tensor) -> Tensor:
    out: Tensor = torch.utils.checkpoint.checkpoint(function, *args, use_reentrant=False)
    return out


class Noting:
    """A mode that notes what is called, and lets it pass."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def note(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(func)
        return func(*args, **(kwargs or {}))


class NotingOperators(Noting, TorchDispatchMode):
    __torch_dispatch__ = Noting.note


class NotingFunctions(Noting, TorchFunctionMode):
    __torch_function__ = Noting.note


def test_whoever_watches_operators_sees_this_one() -> None:
    """Where nobody does, PyTorch's dispatcher is passed by."""
    args = arguments()
    with NotingOperators() as operators:
        torch.autograd.grad(adaptive_conv2d(*args, **OPTIONS).sum(), args)
    assert {schema.FORWARD, schema.BACKWARD} <= set(operators.seen)
    with NotingFunctions() as functions:
        adaptive_conv2d(*args, **OPTIONS)
    assert schema.FORWARD in functions.seen
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        torch.autograd.grad(adaptive_conv2d(*args, **OPTIONS).sum(), args)
    assert {"lit_adaptconv::adaptive_conv2d", "lit_adaptconv::adaptive_conv2d_backward"} <= {
        event.key for event in profile.key_averages()
    }
    graph = make_fx(lambda x: adaptive_conv2d(x, *args[1:], **OPTIONS))(args[0].detach()).graph
    assert schema.FORWARD in {node.target for node in graph.nodes}


@pytest.mark.parametrize("grad", [True, False])
def test_watched_or_not_it_gives_the_same_bits(grad: bool) -> None:
    args = arguments(grad=grad)

    def results() -> list[Tensor]:
        out = adaptive_conv2d(*args, **OPTIONS)
        if not grad:
            return [out]
        first = torch.autograd.grad(out.square().sum(), args, create_graph=True)
        return [out, *first, *torch.autograd.grad(sum(g.square().sum() for g in first), args)]

    alone = results()
    with NotingOperators():
        watched = results()
    assert all(torch.equal(one, other) for one, other in zip(alone, watched, strict=True))


def pending_sign(tensor: Tensor) -> Tensor:
    view = torch.complex(torch.zeros_like(tensor), -tensor).conj().imag
    assert view.is_neg()
    return view


@pytest.mark.parametrize("disguise", [pending_sign, torch._to_functional_tensor, lambda t: t.to(torch.float64)])
def test_a_tensor_is_read_as_pytorch_reads_it(disguise: Callable[[Tensor], Tensor]) -> None:
    args = arguments(grad=False)
    out = adaptive_conv2d(disguise(args[0]), *args[1:], **OPTIONS)
    if torch._is_functional_tensor(out):
        out = torch._from_functional_tensor(out)
    assert torch.equal(out, adaptive_conv2d(*args, **OPTIONS))


def test_zeros_without_memory_give_zero_gradients() -> None:
    args = arguments()
    out = adaptive_conv2d(*args, **OPTIONS)
    grads = torch.autograd.grad(out, args, torch._efficientzerotensor(out.shape, dtype=out.dtype))
    assert not any(grad.any() for grad in grads)


def test_batches_of_gradients_equal_one_after_the_other() -> None:
    """PyTorch's older vmap, whose batches look like ordinary tensors."""
    args = arguments()
    out = adaptive_conv2d(*args, **OPTIONS)
    batch = torch.randn(3, *out.shape, dtype=out.dtype)
    together = torch.autograd.grad(out, args, batch, is_grads_batched=True, retain_graph=True)
    for number, grad in enumerate(batch):
        alone = torch.autograd.grad(out, args, grad, retain_graph=True)
        assert all(torch.allclose(many[number], one, rtol=1e-12) for many, one in zip(together, alone, strict=True))


def test_a_tangent_of_a_gradient_is_not_lost() -> None:
    """It is refused, as before a call passed the dispatcher by."""
    args = arguments()
    out = adaptive_conv2d(*args, **OPTIONS)
    with forward_ad.dual_level():
        grad = forward_ad.make_dual(torch.ones_like(out), torch.ones_like(out))
        with pytest.raises(NotImplementedError):
            torch.autograd.grad(out, args[0], grad)


def test_a_tensor_of_every_usual_making_passes_the_dispatcher_by() -> None:
    plain = torch.randn(2, 3)
    with torch.inference_mode():
        inferred = torch.randn(2, 3)
    made = [plain, plain[1:], plain.t(), plain.clone().requires_grad_(), nn.Parameter(plain), inferred, plain * 2]
    assert all(schema._is_plain(tensor) for tensor in made)
    others = [torch.empty(2, device="meta"), plain.to_sparse(), pending_sign(plain), plain.to_mkldnn()]
    assert not any(schema._is_plain(tensor) for tensor in others)


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_keys_of_an_ordinary_tensor_are_known_for_every_device(device: str, inference: bool) -> None:
    if device == "cuda" and not torch.backends.cuda.is_built():
        pytest.skip("this PyTorch knows no GPU")
    with FakeTensorMode(), torch.inference_mode(inference):  # it needs no GPU, and has two keys of its own
        keys = torch._C._dispatch_keys(torch.empty(2, device=device))
    for name in ("Python", "PythonTLSSnapshot"):
        assert keys.has(getattr(torch._C.DispatchKey, name))
        keys = keys.remove(getattr(torch._C.DispatchKey, name))
    assert keys.raw_repr() in schema.PLAIN_KEYS


@pytest.mark.parametrize("needed", [(True, True), (True, False), (False, True), (False, False)])
def test_backward_is_expected_where_it_may_come(needed: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch) -> None:
    expected: list[Any] = []

    def forward(*args: Any) -> Tensor:
        expected.extend(args[5:])
        out: Tensor = schema._module("cpu").forward(*args[:5])
        return out

    monkeypatch.setattr(schema, "_on_gpu", lambda tensor: True)
    monkeypatch.setattr(schema, "_passes", lambda tensor: SimpleNamespace(forward=forward))
    args = arguments(grad=False)
    args[0].requires_grad_(needed[0])
    args[2].requires_grad_(needed[1])
    adaptive_conv2d(*args, **OPTIONS)
    with torch.no_grad():
        adaptive_conv2d(*args, **OPTIONS)
    assert expected == ([needed] if any(needed) else [])


def test_checkpointing_gives_the_same_gradients() -> None:
    args = arguments()
    grads = [
        torch.autograd.grad(f(lambda *a: adaptive_conv2d(*a, **OPTIONS), *args).square().sum(), args)
        for f in (checkpointed, lambda f, *a: f(*a))
    ]
    torch.testing.assert_close(*grads, rtol=0, atol=0)
