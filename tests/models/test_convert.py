"""`convert` swaps what is meant, keeps all else, and says in one line what it cannot do."""

from __future__ import annotations

import copy
import pickle
import warnings

import pytest
import torch
import torchvision
from torch import nn
from torch.nn.utils import parametrizations

from lit_adaptconv import AdaptiveConv2d, LowRankAdaptiveConv2d
from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.kinds import conv_kind, kinds
from lit_adaptconv.measure.count import count_parameters
from lit_adaptconv.models.conversion import convert
from lit_adaptconv.models.selection import Selection


class Net(nn.Module):
    """A net with a convolution of each sort that matters here, and one that stands in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 5, stride=2, padding=2)
        self.block = nn.Sequential(
            nn.Conv2d(4, 8, 3, padding=2, dilation=2, groups=2, bias=False),
            nn.BatchNorm2d(8),
            nn.Conv2d(8, 8, (1, 3), padding="same", groups=8),
            nn.Conv2d(8, 4, 1),
        )
        self.again = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.ModuleDict({"same": self.again, "linear": nn.Linear(4, 5)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.block(self.stem(x).relu())
        out = self.head["same"](self.again(out))
        return self.head["linear"](out.mean((2, 3)))


IMAGES = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
GEOMETRY = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")


@pytest.mark.parametrize("kind", kinds())
def test_every_kind_takes_the_place_of_every_spatial_convolution(kind: str) -> None:
    torch.manual_seed(0)
    model, old = Net(), Net()
    conversion = convert(model, kind, example_input=IMAGES)
    assert [swapped.name for swapped in conversion.swapped] == ["stem", "block.0", "block.2", "again"]
    model(IMAGES).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    assert conversion.parameters_before == count_parameters(old)
    assert conversion.parameters_after == count_parameters(model)
    added = sum(s.parameters_after - s.parameters_before for s in conversion.swapped)
    assert conversion.parameters_after - conversion.parameters_before == added
    other = Net()
    convert(other, kind)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.eval()(IMAGES), model.eval()(IMAGES))


def test_geometry_bias_dtype_mode_and_shared_layers_survive() -> None:
    model, old = Net().double(), Net()
    model.block.eval()
    assert convert(model, "adaptive").model is model
    for name in ("stem", "block.0", "block.2", "again"):
        new, was = model.get_submodule(name), old.get_submodule(name)
        assert isinstance(new, AdaptiveConv2d)
        assert [getattr(new, field) for field in GEOMETRY] == [getattr(was, field) for field in GEOMETRY]
        assert (new.bias is None) == (was.bias is None)
        assert new.generator_bias.dtype == torch.float64
        assert new.training == (not name.startswith("block"))
    assert model.head["same"] is model.again
    assert type(model.block[3]) is nn.Conv2d


def test_a_model_on_another_device_stays_there() -> None:
    model = Net().to("meta")
    convert(model, "adaptive_low_rank")
    assert {p.device.type for p in model.parameters()} == {"meta"}


def test_hooks_survive_and_their_handles_still_remove_them() -> None:
    model, seen = Net(), []
    handles = [
        model.stem.register_forward_hook(lambda module, args, out: seen.append("forward")),
        model.stem.register_forward_pre_hook(lambda module, args: seen.append("pre")),
        model.stem.register_full_backward_hook(lambda module, given, got: seen.append("backward")),
        model.stem.register_forward_hook(lambda module, args, kwargs, out: seen.append("kw"), with_kwargs=True),
    ]
    convert(model, "adaptive_low_rank")
    images = IMAGES.clone().requires_grad_()
    model(images).sum().backward()
    assert seen == ["pre", "forward", "kw", "backward"]
    for handle in handles:
        handle.remove()
    model(images).sum().backward()
    assert len(seen) == 4


def test_the_standard_kind_leaves_every_output_as_it_was() -> None:
    model = Net()
    before = model(IMAGES)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    conversion = convert(model, "standard", where="*")
    assert conversion.parameters_after == conversion.parameters_before
    assert all(
        torch.equal(value, state[name]) or "running" in name or "num_b" in name
        for name, value in model.state_dict().items()
    )
    assert torch.equal(model(IMAGES), before)


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("block", ["block.0", "block.2"]),
        ("block.*", ["block.0", "block.2"]),
        ("head.same", ["head.same"]),
        (["stem", "*.2"], ["stem", "block.2"]),
        ("*", ["stem", "block.0", "block.2", "again"]),
        (None, ["stem", "block.0", "block.2", "again"]),
        (Selection(kernel_size=1), ["block.3"]),
        (Selection(kernel_size=3), ["block.0", "again"]),
        (Selection(stride=2), ["stem"]),
        (Selection(names=["block"], depthwise=True), ["block.2"]),
        (Selection(names=["block"], depthwise=False), ["block.0"]),
        (lambda name, convolution: convolution.out_channels == 8, ["block.0", "block.2"]),
    ],
)
def test_where_chooses_by_name_or_by_geometry(where: object, names: list[str]) -> None:
    model = Net()
    conversion = convert(model, "adaptive", where=where)
    assert [swapped.name for swapped in conversion.swapped] == names
    assert sum(isinstance(m, AdaptiveConv2d) for m in model.modules()) == len(names)


def test_a_layer_that_is_converted_already_is_left_alone_with_all_that_is_in_it() -> None:
    model = Net()
    convert(model, "adaptive_residual", where="stem")
    conversion = convert(model, "adaptive", where="*")
    assert [swapped.name for swapped in conversion.swapped] == ["block.0", "block.2", "again"]
    assert [(one.name, one.reason) for one in conversion.skipped] == [("stem", "is a ResidualAdaptiveConv2d already")]
    assert isinstance(model.stem.static, nn.Conv2d)


def test_convolutions_that_are_more_than_a_conv2d_are_left_alone_and_listed() -> None:
    class Weighted(nn.Conv2d):
        pass

    tied = nn.Conv2d(3, 3, 3)
    twin = nn.Conv2d(3, 3, 3)
    twin.weight = tied.weight
    old_style = nn.Conv2d(3, 3, 3)
    with pytest.warns(FutureWarning):
        nn.utils.weight_norm(old_style)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions of torch warn of what is quantized this way
        quantised = torch.ao.nn.quantized.Conv2d(3, 3, 3)
    model = nn.ModuleDict(
        {
            "plain": nn.Conv2d(3, 3, 3),
            "transposed": nn.ConvTranspose2d(3, 3, 3),
            "lazy": nn.LazyConv2d(3, 3),
            "one_dimensional": nn.Conv1d(3, 3, 3),
            "subclass": Weighted(3, 3, 3),
            "parametrized": parametrizations.weight_norm(nn.Conv2d(3, 3, 3)),
            "old_style": old_style,
            "tied": tied,
            "twin": twin,
            "quantised": quantised,
            "deformable": torchvision.ops.DeformConv2d(3, 3, 3),
        }
    )
    untouched = {name: module for name, module in model.items() if name != "plain"}
    conversion = convert(model, "adaptive")
    assert [swapped.name for swapped in conversion.swapped] == ["plain"]
    assert {one.name: one.reason for one in conversion.skipped} == {
        "transposed": "is transposed",
        "lazy": "is a LazyConv2d without a shape yet: run the model on a batch first",
        "one_dimensional": "is a Conv1d, not a Conv2d",
        "subclass": "is a Weighted: what that adds to a Conv2d would be lost",
        "parametrized": "is a ParametrizedConv2d: what that adds to a Conv2d would be lost",
        "old_style": "has a weight that is computed (by weight normalisation or pruning)",
        "tied": "shares its weight with another convolution",
        "twin": "shares its weight with another convolution",
        "quantised": "is quantised",
        "deformable": "is a DeformConv2d, not a Conv2d",
    }
    assert all(model[name] is module for name, module in untouched.items())


def test_a_model_that_is_a_convolution_is_returned_as_the_new_layer() -> None:
    conversion = convert(nn.Conv2d(3, 4, 3), "adaptive_low_rank", kind_options={"rank": 2})
    assert isinstance(conversion.model, LowRankAdaptiveConv2d)
    assert conversion.model.rank == 2


@pytest.mark.parametrize("budget", [900, 1_000, 1_500, 3_000, 100_000])
def test_a_budget_swaps_as_many_convolutions_as_fit(budget: int) -> None:
    model = Net()
    one_by_one = {
        name: convert(Net(), "adaptive_low_rank", where=name) for name in ("stem", "block.0", "block.2", "again")
    }
    added = sorted(c.parameters_after - c.parameters_before for c in one_by_one.values())
    before = count_parameters(model)
    most = max((n for n in range(5) if before + sum(added[:n]) <= budget), default=0)
    if most == 0:
        with pytest.raises(UserError, match=f"^no swap to conv kind .* budget of {budget:,} parameters: .*$"):
            convert(model, "adaptive_low_rank", budget=budget)
        return
    conversion = convert(model, "adaptive_low_rank", budget=budget)
    assert conversion.parameters_after == count_parameters(model) <= budget
    assert len(conversion.swapped) == most


def test_a_budget_below_the_model_is_met_by_a_kind_that_has_fewer_parameters() -> None:
    model = Net()
    before = count_parameters(model)
    conversion = convert(model, "separable", budget=before - 100)
    assert conversion.parameters_after <= before - 100


def test_the_budgets_error_names_the_smallest_result() -> None:
    smallest = min(convert(Net(), "adaptive", where=name).parameters_after for name in ("stem", "block.2", "again"))
    with pytest.raises(UserError, match=f"which swaps 'block.2' first, has {smallest:,}$"):
        convert(Net(), "adaptive", budget=count_parameters(Net()))


def test_flops_are_those_of_one_sample_before_and_after() -> None:
    conversion = convert(nn.Sequential(nn.Conv2d(3, 4, 3)), "adaptive_separable", example_input=IMAGES)
    pixels = 10 * 10
    assert conversion.flops_before == 2 * pixels * 4 * 27
    depthwise = 3 * 9 * (2 * 9 + 1 + 2)  # generator, tanh and application
    assert conversion.flops_after == pixels * (depthwise + 2 * 4 * 3)
    assert convert(Net(), "adaptive").flops_before is None


def test_the_table_lists_what_was_swapped_what_stayed_and_the_sums() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ConvTranspose2d(2, 2, 3))
    lines = str(convert(model, "adaptive", example_input=torch.zeros(1, 1, 5, 5))).splitlines()
    assert [line.split()[0] for line in lines] == ["convolution", "0", "1", "model", "FLOPs"]
    assert lines[1].split()[-2:] == ["20", "182"]
    assert lines[2].endswith("stays: it is transposed")
    assert lines[3].split()[-2:] == ["58", "220"]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("adaptive", {}),
        ("adaptive", {"kernel_activation": "identity", "generator_size": 1}),
        ("adaptive_low_rank", {"rank": 3}),
        ("adaptive_low_rank", {"gate_activation": "sigmoid", "generator_size": 5}),
        ("adaptive_low_rank", {"gate_activation": "identity"}),
        ("adaptive_residual", {"rank": 2}),
        ("standard", {}),
    ],
)
def test_a_warm_start_keeps_every_output_and_can_learn(kind: str, options: dict[str, object]) -> None:
    torch.manual_seed(0)
    model = Net().eval()
    before = model(IMAGES)
    convert(model, kind, kind_options=options, warm_start=True)
    after = model(IMAGES)
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    changed = {name: value.clone() for name, value in model.state_dict().items()}
    for _ in range(2):
        optimizer.zero_grad()
        model(IMAGES).square().sum().backward()
        optimizer.step()
    assert all(not torch.equal(changed[name], value) for name, value in model.named_parameters())


def test_the_kernels_of_a_warm_low_rank_layer_differ_so_that_they_learn_apart() -> None:
    layer = convert(nn.Conv2d(2, 3, 3), "adaptive_low_rank", kind_options={"rank": 2}, warm_start=True).model
    assert (layer.weight[:3] - layer.weight[3:]).abs().min() > 0


def test_a_warm_full_rank_layer_needs_a_kernel_within_tanhs_range() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 3))
    nn.init.constant_(model[0].weight, 1.5)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(UserError, match=r"^conv kind 'adaptive' does not fit at '0': tanh cannot give a kernel with"):
        convert(model, "adaptive", warm_start=True)
    assert type(model[0]) is nn.Conv2d
    assert torch.equal(model[0].weight, before["0.weight"])
    convert(model, "adaptive", warm_start=True, kind_options={"kernel_activation": "identity"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stride": 2}, "this layer's stride is"),
        ({"bias": False}, "must both have a bias, or neither"),
        ({"padding_mode": "circular"}, "this layer's padding_mode is"),
    ],
)
@pytest.mark.parametrize("kind", ["adaptive", "adaptive_low_rank"])
def test_a_layer_takes_over_only_a_convolution_of_its_own_geometry(
    kind: str, change: dict[str, object], message: str
) -> None:
    layer = conv_kind(kind)(2, 3, 3)
    before = copy.deepcopy(layer.state_dict())
    with pytest.raises(ValueError, match=message):
        layer.start_from(nn.Conv2d(2, 3, 3, **change))
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        (Net, {"kind": "adaptve"}, r"unknown conv kind 'adaptve'; did you mean 'adaptive'\? known kinds: standard, .*"),
        (Net, {"kind": "adaptive", "kind_options": {"rank": 1}}, r"conv kind 'adaptive' has no option 'rank'; .*"),
        (Net, {"kind": "adaptive", "where": "blok.*"}, r"no convolution matches 'blok\.\*'; did you mean 'block'\? .*"),
        (Net, {"kind": "adaptive", "where": ["x", "y"]}, r"no convolution matches 'x' or 'y'; there are 6: stem, .*"),
        (Net, {"kind": "adaptive", "where": Selection(kernel_size=9)}, r"no convolution matches Selection\(.*"),
        (Net, {"kind": "adaptive", "where": lambda name, c: False}, r"no convolution is selected; there are 6: .*"),
        (
            Net,
            {"kind": "adaptive", "budget": 10},
            r"no swap to conv kind 'adaptive' fits a budget of 10 parameters: .*",
        ),
        (
            Net,
            {"kind": "deformable", "kind_options": {"offset_groups": 2}},
            r".* does not fit at 'stem': offset_groups.*",
        ),
        (Net, {"kind": "odconv", "warm_start": True}, r".* cannot start from trained weights; these can: standard, .*"),
        (lambda: nn.Linear(1, 1), {"kind": "adaptive"}, "Linear has no convolutions"),
        (
            lambda: nn.Conv2d(1, 1, 1),
            {"kind": "adaptive"},
            r"only 1×1 convolutions match '\*': ask for them with Selection\(kernel_size=1\); .*",
        ),
        (lambda: nn.Conv1d(1, 1, 1), {"kind": "adaptive"}, r"none of the convolutions meant can be swapped: .*"),
    ],
)
def test_bad_input_is_answered_in_one_line_and_changes_nothing(
    model: object, arguments: dict[str, object], message: str
) -> None:
    made = model()  # type: ignore[operator]
    modules = list(made.modules())
    with pytest.raises(UserError, match=f"^{message}$") as caught:
        convert(made, **arguments)
    assert "\n" not in str(caught.value)
    assert list(made.modules()) == modules


def test_a_converted_model_can_be_copied_and_pickled() -> None:
    model = convert(Net(), "adaptive_low_rank").model.eval()
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(IMAGES), model(IMAGES))


class Reading(Net):
    """A net whose own code needs something of a convolution that not every layer has, or fails in some other way."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        plain = type(self.stem) is nn.Conv2d
        if self.how == "weight":
            assert self.stem.weight is not None
            assert self.stem.output_padding == (0, 0)  # which other layers do not have, where they do have a weight
        if self.how == "class" and not plain:
            raise TypeError("a Conv2d is wanted")
        if self.how == "memory" and not plain:
            raise MemoryError
        if self.how == "interrupt" and not plain:
            raise KeyboardInterrupt
        if self.how == "silence" and not plain:
            raise AssertionError
        return super().forward(x)


class Awkward(nn.Module):
    """A kind that fails in its constructor, or when it is put into its place."""

    def __init__(self, *args: object, how: str = "", **options: object) -> None:
        if how == "constructor":
            raise RuntimeError("no such kernel")
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.how = how

    def train(self, mode: bool = True) -> nn.Module:
        if self.how == "train":
            raise RuntimeError("this layer cannot be trained")
        return super().train(mode)

    def to(self, *args: object, **options: object) -> nn.Module:
        if self.how == "to":
            raise RuntimeError("no such type")
        return super().to(*args, **options)


class AwkwardConv(Awkward):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        how: str = "",
    ) -> None:
        super().__init__(how=how)


def traces(model: nn.Module) -> list[object]:
    """What a conversion that failed must leave as it was: every object, mode, hook and value."""
    modules = [(name, id(module), module.training) for name, module in model.named_modules(remove_duplicate=False)]
    hooks = [(id(m._forward_hooks), *m._forward_hooks) for m in model.modules()]
    values = [
        (n, id(v), v.requires_grad, v.sum().item()) for n, v in (*model.named_parameters(), *model.named_buffers())
    ]
    return [modules, hooks, values]


@pytest.mark.parametrize("kind", kinds())
@pytest.mark.parametrize("how", ["weight", "class", "memory", "interrupt", "silence"])
def test_a_model_that_does_not_run_with_the_new_layers_is_as_it_was(kind: str, how: str) -> None:
    model = Reading(how)
    model.block.eval()
    model.stem.register_forward_hook(lambda module, args, out: None)
    before = traces(model)
    if kind == "standard":
        convert(model, kind, example_input=IMAGES)
        return
    expected = {"interrupt": KeyboardInterrupt}.get(how, UserError)
    with pytest.raises(expected) as caught:
        convert(model, kind, example_input=IMAGES)
    assert traces(model) == before
    if how not in ("memory", "interrupt"):
        assert str(caught.value).startswith(f"the model does not run with conv kind {kind!r} in these places: ")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("how", ["constructor", "train", "to"])
def test_a_kind_that_fails_at_any_step_leaves_the_model_as_it_was(how: str) -> None:
    model = Net()
    before = traces(model)
    with pytest.raises((UserError, RuntimeError)) as caught:
        convert(model, f"{__name__}.AwkwardConv", kind_options={"how": how})
    assert "\n" not in str(caught.value)
    assert traces(model) == before


def test_a_model_that_does_not_run_at_all_is_told_apart() -> None:
    model = Net()
    before = traces(model)
    with pytest.raises(UserError, match="^the model does not run on the example input: "):
        convert(model, "adaptive", example_input=torch.zeros(1, 5, 12, 12))
    assert traces(model) == before


def test_the_table_says_whether_the_model_was_run() -> None:
    assert "not run: no example input" in str(convert(Net(), "adaptive"))
    assert "not run" not in str(convert(Net(), "adaptive", example_input=IMAGES))
