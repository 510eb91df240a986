from __future__ import annotations

import itertools
import math
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import torch.nn.functional as F
from torch.optim.lr_scheduler import OneCycleLR, StepLR
from torch.utils._python_dispatch import TorchDispatchMode
from torchmetrics.classification import MulticlassAccuracy
from training import digits, same_state, trainer

from lit_adaptconv.errors import DivergedError, UserError
from lit_adaptconv.layers.kinds import kinds
from lit_adaptconv.models.backbones import ConvNet, LeNet5
from lit_adaptconv.train.classifier import ImageClassifier
from lit_adaptconv.train.convergence import ConvergenceCallback
from lit_adaptconv.train.schedules import OneCycle

SMALL: dict[str, Any] = {"image_size": (12, 12), "backbone": LeNet5}


class Recorder(pl.Callback):
    """Keeps the learning rate of every step, and the metrics after every evaluation."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.metrics: list[dict[str, float]] = []

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.metrics.append({name: float(value) for name, value in trainer.callback_metrics.items()})


QUICK = ("standard", "adaptive", "adaptive_low_rank", "odconv")


@pytest.mark.parametrize(
    "kind", [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in kinds()]
)
def test_every_kind_learns_a_batch_by_heart(kind: str) -> None:
    pl.seed_everything(0)
    model = ImageClassifier(partial(ConvNet, channels=(8, 8)), kind, scheduler=None, image_size=(12, 12))
    data = digits(batch_size=16)
    data.setup()
    images, labels = next(iter(data.train_dataloader()))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(120):
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
    assert (model(images).argmax(1) == labels).all()


def test_it_learns_the_digits_and_logs_loss_and_accuracy() -> None:
    pl.seed_everything(0)
    seen = Recorder()
    model = ImageClassifier(**SMALL)
    run = trainer(max_epochs=15, callbacks=[seen])
    run.fit(model, digits())
    assert set(seen.metrics[-1]) == {"train/loss", "train/accuracy", "val/loss", "val/accuracy"}
    assert seen.metrics[-1]["val/accuracy"] > 0.7 > seen.metrics[0]["val/accuracy"]
    assert set(run.test(model, digits(), verbose=False)[0]) == {"test/loss", "test/accuracy"}


def test_logged_evaluation_is_the_mean_over_images_not_over_batches() -> None:
    pl.seed_everything(0)
    model, data = ImageClassifier(**SMALL), digits(eval_batch_size=100)
    logged = trainer().test(model, data, verbose=False)[0]
    data.setup("test")
    batches = list(data.test_dataloader())
    images, labels = (torch.cat(part) for part in zip(*batches, strict=True))
    assert len(batches[-1][1]) < 100
    with torch.no_grad():
        logits = model.eval()(images)
    assert logged["test/accuracy"] == pytest.approx((logits.argmax(1) == labels).double().mean().item(), abs=1e-6)
    assert logged["test/loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)


def test_training_accuracy_covers_the_batches_since_the_last_evaluation() -> None:
    pl.seed_everything(0)
    hits: list[torch.Tensor] = []

    class Watching(ImageClassifier):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits = super().forward(images)
            if self.training:
                hits.append(logits.argmax(1))
            return logits

    seen, data = Recorder(), digits(batch_size=200)
    labels: list[torch.Tensor] = []

    class Labels(pl.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            labels.append(batch[1])

    trainer(max_epochs=2, callbacks=[seen, Labels()]).fit(Watching(**SMALL), data)
    half = len(hits) // 2
    for epoch, at in enumerate((slice(0, half), slice(half, None))):
        right = (torch.cat(hits[at]) == torch.cat(labels[at])).double().mean().item()
        assert seen.metrics[epoch]["train/accuracy"] == pytest.approx(right, abs=1e-6)


def test_one_cycle_spans_the_training_and_peaks_at_the_optimizers_rate() -> None:
    seen = Recorder()
    model = ImageClassifier(optimizer=partial(torch.optim.SGD, lr=0.5), **SMALL)
    trainer(max_epochs=3, callbacks=[seen]).fit(model, digits())
    reference = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    schedule, rates = OneCycleLR(reference, max_lr=0.5, total_steps=len(seen.rates)), []
    for _ in seen.rates:
        rates.append(reference.param_groups[0]["lr"])
        reference.step()
        schedule.step()
    assert len(seen.rates) == 30
    assert seen.rates == pytest.approx(rates[:30])
    assert max(seen.rates) == pytest.approx(0.5, rel=0.02)


def test_a_length_that_is_given_is_kept() -> None:
    model = ImageClassifier(scheduler=partial(OneCycle, total_steps=77), **SMALL)
    run = trainer(max_epochs=1)
    run.fit(model, digits())
    config = run.lr_scheduler_configs[0]
    assert (config.scheduler.total_steps, config.scheduler.last_epoch, config.interval) == (77, 10, "step")


def test_other_schedules_step_with_every_epoch() -> None:
    seen = Recorder()
    model = ImageClassifier(
        optimizer=partial(torch.optim.SGD, lr=0.1), scheduler=partial(StepLR, step_size=1, gamma=0.5), **SMALL
    )
    trainer(max_epochs=3, callbacks=[seen]).fit(model, digits())
    assert seen.rates == pytest.approx([0.1] * 10 + [0.05] * 10 + [0.025] * 10)


def test_no_schedule_keeps_the_rate() -> None:
    seen = Recorder()
    model = ImageClassifier(optimizer=partial(torch.optim.SGD, lr=0.1), scheduler=None, **SMALL)
    trainer(max_epochs=2, callbacks=[seen]).fit(model, digits())
    assert set(seen.rates) == {0.1}


def test_a_schedule_without_an_end_asks_for_one() -> None:
    with pytest.raises(UserError, match=r"set trainer\.max_epochs or trainer\.max_steps"):
        trainer(max_epochs=-1).fit(ImageClassifier(**SMALL), digits())


def test_label_smoothing_spreads_the_target_in_training_alone() -> None:
    pl.seed_everything(0)
    model = ImageClassifier(label_smoothing=0.2, optimizer=partial(torch.optim.SGD, lr=0.0), scheduler=None, **SMALL)
    seen = Recorder()
    one = {"limit_train_batches": 1, "limit_val_batches": 1, "log_every_n_steps": 1}
    trainer(max_epochs=1, callbacks=[seen], **one).fit(model, digits())
    data = digits()
    data.setup("fit")
    sizes = {}
    for name, loader in (("train", data.train_dataloader()), ("val", data.val_dataloader())):
        images, labels = next(iter(loader))
        logits = model(images).detach()
        share = {"train": 0.2, "val": 0.0}[name]
        target = (1 - share) * F.one_hot(labels, 10) + share / 10
        sizes[name] = -(target * logits.log_softmax(1)).sum(1).mean().item()
    assert seen.metrics[0]["train/loss"] == pytest.approx(sizes["train"], rel=1e-5)
    assert seen.metrics[0]["val/loss"] == pytest.approx(sizes["val"], rel=1e-5)


@pytest.mark.parametrize("mixed", [False, True])
def test_binary_cross_entropy_asks_of_each_class_whether_it_is_there(mixed: bool) -> None:
    model = ImageClassifier(loss="binary_cross_entropy", **SMALL)
    logits = torch.randn(4, 10, generator=torch.Generator().manual_seed(0))
    shares = torch.zeros(4, 10)
    there = [(0, 1), (2,), (3, 4), (5,)] if mixed else [(0,), (1,), (2,), (3,)]
    for row, classes in enumerate(there):
        shares[row, classes[0]] = 1 - (0.3 if len(classes) == 2 else 0.15 * mixed)
        shares[row, 9] += 0.15 * mixed * (len(classes) == 1)  # too little to count
        for other in classes[1:]:
            shares[row, other] = 0.3
    expected = 0.0
    for row, label in itertools.product(range(4), range(10)):
        probability = 1 / (1 + math.exp(-float(logits[row, label])))
        expected -= math.log(probability if label in there[row] else 1 - probability) / 40
    assert float(model._training_loss(logits, shares)) == pytest.approx(expected, rel=1e-5)
    if not mixed:
        assert float(model._training_loss(logits, shares.argmax(1))) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("wrong", [{"loss": "mse"}, {"loss": "binary_cross_entropy", "label_smoothing": 0.1}])
def test_a_loss_that_is_none_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="^(loss must be one of|label_smoothing is of)"):
        ImageClassifier(**wrong, **SMALL)


def test_predictions_are_probabilities() -> None:
    model = ImageClassifier(**SMALL)
    batches = trainer().predict(model, digits(eval_batch_size=100))
    assert batches is not None
    probabilities = torch.cat(batches)  # type: ignore[arg-type]
    assert probabilities.shape == (360, 10)
    assert torch.allclose(probabilities.sum(1), torch.ones(360), atol=1e-5)
    assert (probabilities >= 0).all()


def test_a_budget_gives_the_weights_that_its_widths_would_give() -> None:
    pl.seed_everything(5)
    by_budget = ImageClassifier(kind="adaptive", budget=20_000, **SMALL)
    pl.seed_everything(5)
    by_width = ImageClassifier(kind="adaptive", width=list(by_budget.network.widths), **SMALL)
    assert by_budget.parameter_count == by_width.parameter_count <= 20_000
    assert same_state(by_budget.state_dict(), by_width.state_dict())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budget": 5_000, "width": 2.0}, "give a width or a budget, not both: got width 2.0 and budget 5000"),
        ({"budget": 5_000, "width": [1, 2, 3, 4]}, "give a width or a budget, not both: got width "),
        ({"budget": 10}, "no network of this family has at most 10 parameters"),
        ({"kind": "adaptve"}, "unknown conv kind 'adaptve'; did you mean 'adaptive'? known kinds: standard, "),
        ({"kind": "adaptive", "kind_options": {"rank": 2}}, "conv kind 'adaptive' has no option 'rank'"),
        ({"kind": "adaptive_low_rank", "kind_options": {"rank": 0}}, "rank must be at least 1, got 0"),
        ({"kind": "adaptive_low_rank", "kind_options": {"rank": "two"}}, "rank"),
        ({"image_size": (11, 12)}, "LeNet5 needs images of at least 12 pixels a side, got 11×12"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_network_that_cannot_be_built_says_what_is_wrong(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        ImageClassifier(**{**SMALL, **arguments})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("limits", [{"max_epochs": 1}, {"max_steps": 3}])
def test_a_loss_that_is_no_number_ends_the_training_even_between_logged_steps(limits: dict[str, int]) -> None:
    model = ImageClassifier(optimizer=partial(torch.optim.SGD, lr=1e30), scheduler=None, **SMALL)
    with pytest.raises(DivergedError, match="loss is nan at step .*: try a lower learning rate"):
        trainer(log_every_n_steps=1000, **limits).fit(model, digits())


def test_weights_that_break_in_the_last_step_are_found_by_the_evaluation() -> None:
    class Breaking(ImageClassifier):
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            if self.trainer.is_last_batch:
                self.network.head[-1].bias.data.fill_(math.nan)  # type: ignore[union-attr, index, operator]

    with pytest.raises(DivergedError, match="the validation loss is nan at step 10"):
        trainer(max_epochs=1).fit(Breaking(**SMALL), digits())


def test_a_checkpoint_loads_safely_and_predicts_the_same(tmp_path: Path) -> None:
    model = ImageClassifier(kind="adaptive_low_rank", kind_options={"rank": 2}, budget=9_000, **SMALL)
    run = trainer(max_epochs=1)
    run.fit(model, digits())
    run.save_checkpoint(tmp_path / "a.ckpt")
    loaded = ImageClassifier.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    assert same_state(loaded.state_dict(), model.state_dict())
    assert (loaded.kind, loaded.network.widths) == (model.kind, model.network.widths)
    images = torch.randn(4, 1, 12, 12)
    assert torch.equal(loaded.eval()(images), model.eval()(images))


def test_a_checkpoint_of_another_backbone_loads_where_that_is_named(tmp_path: Path) -> None:
    model = ImageClassifier(ConvNet, image_size=(12, 12))
    run = trainer(max_epochs=1)
    run.fit(model, digits())
    run.save_checkpoint(tmp_path / "a.ckpt")
    loaded = ImageClassifier.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True, backbone=ConvNet)
    assert same_state(loaded.state_dict(), model.state_dict())
    with pytest.raises(UserError, match=r"^the checkpoint is of another network: .* tensors differ, first network\."):
        ImageClassifier.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"backbone": ConvNet}, "the checkpoint is of another network"),
        ({"width": 0.5}, r"another network: .* first network.features.0.weight \(6×1×5×5 in the checkpoint, 3×1×5×5"),
        ({"kind": "adaptive"}, "another network: .* in the checkpoint, .* here"),
        ({"image_size": (16, 16)}, r"trained on images of 1×12×12, the data has 1×16×16: set data.image_size to 12"),
        ({"in_channels": 3}, "trained on images of 1×12×12, the data has 3×12×12"),
        ({"num_classes": 7}, r"another network: .* first network.head.5.weight \(10×84 .*, 7×84 here"),
    ],
)
def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path, other: dict[str, Any], message: str) -> None:
    run = trainer(max_steps=1, limit_val_batches=0)
    run.fit(ImageClassifier(**SMALL), digits())
    run.save_checkpoint(tmp_path / "a.ckpt")
    checkpoint = torch.load(tmp_path / "a.ckpt", weights_only=True)
    with pytest.raises(UserError, match=message):
        ImageClassifier(**{**SMALL, **other}).on_load_checkpoint(checkpoint)


def test_the_running_training_accuracy_survives_in_a_checkpoint(tmp_path: Path) -> None:
    model = ImageClassifier(**SMALL)
    run = trainer(max_steps=5, limit_val_batches=0)
    run.fit(model, digits())
    run.save_checkpoint(tmp_path / "a.ckpt")
    loaded = ImageClassifier(**SMALL)
    loaded.on_load_checkpoint(torch.load(tmp_path / "a.ckpt", weights_only=True))
    assert loaded.train_accuracy.update_count == model.train_accuracy.update_count == 5
    assert torch.equal(loaded.train_accuracy.compute(), model.train_accuracy.compute())


def test_a_longer_training_cannot_continue_a_schedule_that_has_ended(tmp_path: Path) -> None:
    run = trainer(max_epochs=1)
    run.fit(ImageClassifier(**SMALL), digits())
    run.save_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(UserError, match="schedule ends after 10 steps, but the training takes 20"):
        trainer(max_epochs=2).fit(ImageClassifier(**SMALL), digits(), ckpt_path=tmp_path / "a.ckpt", weights_only=True)


class Fetched(TorchDispatchMode):
    """Counts the numbers that are fetched from tensors, for which a GPU is waited for."""

    number = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.number += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("every", [3, 1000])
def test_only_steps_that_are_logged_wait_for_the_device(every: int) -> None:
    seen: list[tuple[bool, int]] = []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
            logged = trainer.global_step % every == 0 or trainer.is_last_batch
            before = sum(number for _, number in seen)
            seen.append((logged, fetched.number - before))

        def on_train_epoch_start(self, *args: Any) -> None:
            fetched.number = sum(number for _, number in seen)

    pl.seed_everything(0)
    model = ImageClassifier(**SMALL, optimizer=partial(torch.optim.SGD, lr=0.01))
    run = trainer(max_epochs=2, callbacks=[Watch(), ConvergenceCallback()], log_every_n_steps=every)
    with Fetched() as fetched:
        run.fit(model, digits(shift=1))
    assert {number for logged, number in seen if not logged} == {0}
    assert all(number > 0 for logged, number in seen if logged)
    assert run.progress_bar_metrics["train/loss"] == pytest.approx(float(run.callback_metrics["train/loss"]))


@pytest.mark.parametrize("classes", [2, 7])
def test_the_training_accuracy_counts_as_its_metric_does(classes: int) -> None:
    model = ImageClassifier(num_classes=classes)
    metric = MulticlassAccuracy(classes, average="micro", validate_args=False)
    for size in (5, 1, 8):
        logits, labels = torch.randn(size, classes).round(), torch.randint(classes, (size,))
        logits[0, 0] = torch.nan
        metric.update(logits, labels)
        model._trained.add(logits, labels)
        if size == 1:
            model._count_trained()
    model._count_trained()
    model._count_trained()
    assert same_state(dict(model.train_accuracy.metric_state), dict(metric.metric_state))
    assert model.train_accuracy.update_count == metric.update_count
    assert model.train_accuracy.compute() == metric.compute()
