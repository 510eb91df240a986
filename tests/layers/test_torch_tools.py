"""What PyTorch offers every layer works on the adaptive ones: copying, saving, compiling, exporting, types."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from lit_adaptconv import AdaptiveConv2d, LowRankAdaptiveConv2d
from lit_adaptconv.layers import DCNv4Conv2d, DeformableConv2d, ResidualAdaptiveConv2d, SeparableConv2d
from lit_adaptconv.layers.kinds import conv_kind, kinds

# PyTorch itself, when forward mode is first used.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is")
RIVALS = list(kinds())[list(kinds()).index("dynamic_filter") :]
LAYERS: dict[str, Callable[..., nn.Module]] = {
    "adaptive": partial(AdaptiveConv2d, 4, 6, 3, 2, 1, groups=2),
    "adaptive, even same": partial(AdaptiveConv2d, 4, 6, 2, 1, "same", generator_size=3),
    "low rank": partial(LowRankAdaptiveConv2d, 4, 6, 3, 2, 1, groups=2, rank=2),
    "low rank, small generator": partial(LowRankAdaptiveConv2d, 4, 6, 3, 2, 0, generator_size=1),
    "separable": partial(SeparableConv2d, 4, 6, 3, 2, 1, depthwise=AdaptiveConv2d),
    **{kind: partial(conv_kind(kind), 4, 6, 3, 2, 1, groups=2) for kind in ("adaptive_residual", *RIVALS)},
    # The first training batches change what it computes.
    "kernel_warehouse": partial(conv_kind("kernel_warehouse"), 4, 6, 3, 2, 1, groups=2, warmup=0),
    "odconv": partial(conv_kind("odconv"), 4, 6, 3, 2, 1, groups=2, num_kernels=2),
}
every_layer = pytest.mark.parametrize("name", LAYERS)
# torchvision's operator has a first derivative only, in reverse mode, and no rule for vmap.
PLAIN = [name for name in LAYERS if name not in ("deformable", "dcnv4")]
every_plain_layer = pytest.mark.parametrize("name", PLAIN)
OURS = list(LAYERS)[:6]
SLOWLY_EXPORTED = (
    *("dynamic_filter", "dynamic_filter_local", "pac", "involution", "lsconv", "decoupled_dynamic"),
    *("dynamic_conv", "dcd", "odconv", "kernel_warehouse", "fdconv"),
)


def make(name: str, **where: object) -> nn.Module:
    torch.manual_seed(0)
    layer = LAYERS[name](**where)
    if isinstance(layer, ResidualAdaptiveConv2d):  # its gates start closed
        nn.init.normal_(layer.adaptive.gate_weight)
    return layer


def images(batch: int = 2, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(batch, 4, 8, 7, generator=torch.Generator().manual_seed(batch), dtype=dtype)


@every_layer
def test_a_copy_is_equal_and_independent(name: str) -> None:
    layer = make(name)
    twin = copy.deepcopy(layer)
    x = images()
    before = layer(x)
    assert torch.equal(twin(x), before)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1)
    assert torch.equal(layer(x), before)
    assert not torch.equal(twin(x), before)


@every_layer
def test_pickling_and_saving_give_back_the_layer(name: str) -> None:
    layer, x = make(name), images()
    again = pickle.loads(pickle.dumps(layer))
    assert repr(again) == repr(layer)
    assert torch.equal(again(x), layer(x))
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    fresh = LAYERS[name]()
    assert not torch.equal(fresh(x), layer(x))
    fresh.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(fresh(x), layer(x))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("name", "backend"),
    [
        *(pytest.param(name, "aot_eager", marks=[] if name in OURS else pytest.mark.slow) for name in LAYERS),
        *(pytest.param(name, "inductor", marks=pytest.mark.slow) for name in (*OURS, "fdconv")),
    ],
)
@pytest.mark.filterwarnings("ignore:Torchinductor does not support code generation for complex")  # fdconv's transform
def test_compiled_without_a_break_it_gives_the_same_output_and_gradients(name: str, backend: str) -> None:
    torch.compiler.reset()
    eager, compiled = make(name, dtype=torch.float64), make(name, dtype=torch.float64)
    graph = torch.compile(compiled, fullgraph=True, backend=backend)
    outputs = []
    for layer in (eager, graph):
        x = images(dtype=torch.float64).requires_grad_()
        out = layer(x)
        out.square().sum().backward()
        outputs.append([out, x.grad])
    torch.testing.assert_close(outputs[1], outputs[0])
    for got, expected in zip(compiled.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(got.grad, expected.grad)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOWLY_EXPORTED else []) for name in LAYERS]
)
def test_exported_it_takes_any_batch_and_any_image_size(name: str) -> None:
    layer = make(name).eval()
    size = {0: torch.export.Dim("batch"), 2: torch.export.Dim("height", min=6), 3: torch.export.Dim("width", min=6)}
    program = torch.export.export(layer, (images(),), dynamic_shapes={"input": size})
    for x in (images(1), images(5), torch.randn(3, 4, 11, 6), torch.randn(3, 4, 6, 16)):
        torch.testing.assert_close(program.module()(x), layer(x))


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in ("adaptive", "low rank") else pytest.mark.slow) for name in OURS[:5]],
)
def test_its_first_and_second_derivatives_equal_finite_differences(name: str) -> None:
    layer = make(name, dtype=torch.float64)
    names, values = zip(*layer.named_parameters(), strict=True)
    x = torch.randn(1, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    # One direction per derivative, at random, instead of every entry: layers have hundreds of parameters.
    directions = [torch.randn_like(v) / v.numel() ** 0.5 for v in values]

    def along(x: Tensor, step: Tensor) -> Tensor:
        moved = {n: v.detach() + step * d for n, v, d in zip(names, values, directions, strict=True)}
        out: Tensor = functional_call(layer, moved, (x,))
        return out

    step = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(along, (x, step), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(along, (x, step), check_fwd_over_rev=True, check_rev_over_rev=True)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in ("fdconv", "lsconv") else []) for name in LAYERS]
)
def test_its_derivatives_in_every_parameter_equal_finite_differences(name: str) -> None:
    layer, x = make(name, dtype=torch.float64), images(1, torch.float64)[..., :4, :3].requires_grad_()
    if isinstance(layer, DeformableConv2d | DCNv4Conv2d):  # at offsets of zero, interpolation has a kink
        nn.init.uniform_(layer.offsets.bias, 0.2, 0.8)
    names, values = zip(*layer.named_parameters(), strict=True)

    def of(x: Tensor, *values: Tensor) -> Tensor:
        out: Tensor = functional_call(layer, dict(zip(names, values, strict=True)), (x,))
        return out

    plain = name in PLAIN
    assert torch.autograd.gradcheck(of, (x, *values), fast_mode=True, check_forward_ad=plain)
    if plain:
        both = {"check_fwd_over_rev": True, "check_rev_over_rev": True}
        assert torch.autograd.gradgradcheck(of, (x, *values), fast_mode=True, **both)


@every_plain_layer
def test_a_penalty_on_its_gradient_can_be_trained(name: str) -> None:
    layer, x = make(name), images().requires_grad_()
    (slope,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    slope.square().sum().backward()
    for parameter_name, parameter in layer.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().sum() > 0, parameter_name


@every_layer
def test_empty_and_unbatched_inputs_work_as_in_an_ordinary_convolution(name: str) -> None:
    layer, x = make(name).eval(), images()
    assert layer(x[:0]).shape == (0, *layer(x).shape[1:])
    torch.testing.assert_close(layer(x[0]), layer(x)[0])


@every_layer
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_it_computes_in_the_type_of_its_parameters(name: str, dtype: torch.dtype) -> None:
    layer = make(name, dtype=dtype)
    assert {p.dtype for p in layer.parameters()} == {dtype}
    x = images().to(dtype)
    out = layer(x)
    assert out.dtype == dtype
    exact = copy.deepcopy(layer).double()(x.double())
    torch.testing.assert_close(out.double(), exact, rtol=0, atol=8 * torch.finfo(dtype).eps * exact.abs().max().item())


@every_layer
@pytest.mark.parametrize("parameters", [torch.float32, torch.float64, torch.bfloat16])
def test_under_autocast_its_output_has_the_type_of_an_ordinary_convolutions(name: str, parameters: torch.dtype) -> None:
    layer, ordinary = make(name, dtype=parameters), nn.Conv2d(4, 6, 3, dtype=parameters)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, expected = layer(images().to(parameters)), ordinary(images().to(parameters))
    assert out.dtype == expected.dtype
    out.sum().backward()
    assert all(p.grad is not None and p.grad.dtype == parameters for p in layer.parameters())


@every_layer
def test_on_the_meta_device_it_knows_its_output_shape(name: str) -> None:
    layer = make(name, device="meta")
    assert {p.device.type for p in layer.parameters()} == {"meta"}
    assert layer(torch.empty(2, 4, 8, 7, device="meta")).shape == make(name)(images()).shape


@every_plain_layer
def test_per_sample_gradients_by_vmap_equal_those_of_single_images(name: str) -> None:
    layer, x = make(name).eval(), images(3)  # batch normalisation, where there is one, mixes samples in training
    parameters = dict(layer.named_parameters())

    def loss(values: dict[str, Tensor], image: Tensor) -> Tensor:
        out: Tensor = functional_call(layer, values, (image,))
        return out.square().sum()

    together = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)
    alone = torch.func.grad(loss)(parameters, x[1])
    for parameter in parameters:
        torch.testing.assert_close(together[parameter][1], alone[parameter])
