"""`ConvertConvolutions` converts LightningModules that know nothing of this package."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import timm
import torch
from lightning.pytorch.cli import LightningCLI
from plain_module import Batch, Data, Plain
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from lit_adaptconv import LowRankAdaptiveConv2d
from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.involution import Involution2d
from lit_adaptconv.measure.count import count_parameters
from lit_adaptconv.models.selection import Selection
from lit_adaptconv.train.convergence import ConvergenceCallback
from lit_adaptconv.train.convert_callback import ConvertConvolutions


class ClassificationTask(pl.LightningModule):
    """In the manner of torchgeo's trainers: models, losses and metrics each configured by a method of their own."""

    def __init__(self, model: str = "resnet10t", num_classes: int = 3, lr: float = 1e-2) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.configure_losses()
        self.configure_metrics()
        self.configure_models()

    def configure_models(self) -> None:
        self.model = timm.create_model(self.hparams["model"], in_chans=1, num_classes=self.hparams["num_classes"])

    def configure_losses(self) -> None:
        self.criterion = nn.CrossEntropyLoss()

    def configure_metrics(self) -> None:
        accuracy = MulticlassAccuracy(self.hparams["num_classes"], average="micro")
        self.train_metrics = MetricCollection({"OverallAccuracy": accuracy}, prefix="train_")
        self.val_metrics = self.train_metrics.clone(prefix="val_")

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams["lr"])
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "val_loss"}}

    def _step(self, batch: Batch, stage: str, metrics: MetricCollection) -> Tensor:
        logits = self.model(batch[0])
        loss: Tensor = self.criterion(logits, batch[1])
        self.log(f"{stage}_loss", loss)
        metrics.update(logits, batch[1])
        self.log_dict(metrics, on_epoch=True, on_step=False)
        return loss

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self._step(batch, "train", self.train_metrics)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._step(batch, "val", self.val_metrics)


@pytest.fixture
def fit(tmp_path: Path) -> Any:
    def fit(module: pl.LightningModule, *callbacks: pl.Callback, epochs: int = 1, **options: Any) -> pl.Trainer:
        trainer = pl.Trainer(
            max_epochs=epochs,
            callbacks=list(callbacks),
            accelerator="cpu",
            logger=False,
            default_root_dir=tmp_path,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            **{"devices": 1, **options},
        )
        trainer.fit(module, Data())
        return trainer

    return fit


@pytest.mark.parametrize("made_in", ["__init__", "setup", "configure_model"])
def test_the_optimizer_trains_the_new_layers_wherever_the_module_makes_its_network(fit: Any, made_in: str) -> None:
    module, callback = Plain(made_in), ConvertConvolutions("adaptive_low_rank")
    before = None if module.net is None else count_parameters(module)
    trainer = fit(module, callback)
    layers = [m for m in module.modules() if isinstance(m, LowRankAdaptiveConv2d)]
    assert [layer.stride for layer in layers] == [(1, 1), (2, 2)]
    optimized = {id(p) for group in trainer.optimizers[0].param_groups for p in group["params"]}
    assert optimized == {id(p) for p in module.parameters()}
    assert callback.conversion is not None
    assert callback.conversion.parameters_after == count_parameters(module)
    assert before in (None, callback.conversion.parameters_before)
    assert layers[0].gate_bias.unique().numel() > 1


def test_the_module_is_converted_once_however_often_it_is_trained(fit: Any) -> None:
    module = Plain()
    first = ConvertConvolutions("adaptive_low_rank")
    trainer = fit(module, first)
    layers = [m for m in module.modules() if isinstance(m, LowRankAdaptiveConv2d)]
    second = ConvertConvolutions("adaptive_low_rank")
    fit(module, second)
    assert [m for m in module.modules() if isinstance(m, LowRankAdaptiveConv2d)] == layers
    assert second.conversion is None
    weights = copy.deepcopy(module.state_dict())
    trainer.test(module, Data(), verbose=False)
    assert all(torch.equal(weights[name], value) for name, value in module.state_dict().items())
    assert "configure_model" not in vars(module)


def test_a_network_that_configure_model_makes_anew_is_converted_anew(fit: Any) -> None:
    class Forgetful(Plain):
        def configure_model(self) -> None:
            self.net = None
            super().configure_model()

    module, callback = Forgetful("configure_model"), ConvertConvolutions("adaptive_low_rank")
    fit(module, callback)
    fit(module, callback)
    assert sum(isinstance(m, LowRankAdaptiveConv2d) for m in module.modules()) == 2


@pytest.mark.parametrize("made_in", ["__init__", "configure_model"])
def test_a_run_that_was_stopped_ends_with_the_weights_of_one_that_was_not(
    fit: Any, tmp_path: Path, made_in: str
) -> None:
    def start() -> tuple[Plain, ConvertConvolutions]:
        pl.seed_everything(0)
        return Plain(made_in), ConvertConvolutions("adaptive_low_rank", where="net.0")

    whole, callback = start()
    fit(whole, callback, epochs=2)
    stopped, callback = start()
    checkpoint = tmp_path / "stopped.ckpt"
    fit(stopped, callback).save_checkpoint(checkpoint)
    pl.seed_everything(1)
    resumed = Plain(made_in)
    trainer = pl.Trainer(
        max_epochs=2,
        callbacks=[ConvertConvolutions("adaptive_low_rank", where="net.0")],
        accelerator="cpu",
        logger=False,
        default_root_dir=tmp_path,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(resumed, Data(), ckpt_path=checkpoint, weights_only=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    fresh = Plain(made_in)
    tested = trainer.test(fresh, Data(), ckpt_path=checkpoint, weights_only=True, verbose=False)
    assert tested == trainer.test(stopped, Data(), verbose=False)


def test_two_callbacks_convert_two_places_to_two_kinds(fit: Any) -> None:
    module = Plain()
    callbacks = (
        ConvertConvolutions("adaptive_low_rank", where=Selection(stride=1)),
        ConvertConvolutions("involution", where=Selection(stride=2)),
    )
    assert callbacks[0].state_key != callbacks[1].state_key
    fit(module, *callbacks)
    assert isinstance(module.net, nn.Sequential)
    assert isinstance(module.net[0], LowRankAdaptiveConv2d)
    assert isinstance(module.net[2], Involution2d)


def test_a_warm_start_begins_with_the_outputs_of_the_trained_module(fit: Any) -> None:
    module = Plain()
    fit(module, epochs=2)
    trained = copy.deepcopy(module.net)

    class Compare(pl.Callback):
        def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            images = torch.randn(3, 1, 10, 10)
            assert not isinstance(pl_module.net[0], nn.Conv2d)  # type: ignore[index]
            torch.testing.assert_close(pl_module.net(images), trained(images), rtol=1e-5, atol=1e-5)  # type: ignore[operator]

    fit(module, ConvertConvolutions("adaptive_residual", warm_start=True), Compare())


def test_flops_are_counted_for_a_module_with_an_example_input(fit: Any) -> None:
    class Example(Plain):
        def forward(self, images: Tensor) -> Tensor:
            assert self.net is not None
            logits: Tensor = self.net(images)
            return logits

    module, callback = Example(), ConvertConvolutions("adaptive_low_rank")
    module.example_input_array = torch.zeros(4, 1, 10, 10)
    fit(module, callback)
    assert callback.conversion is not None
    assert callback.conversion.flops_before == 2 * (64 * 4 * 9 + 9 * 4 * 36 + 12) + 64 * 4 + 36


def test_a_task_in_the_manner_of_torchgeo_is_converted_trained_and_watched(fit: Any) -> None:
    pl.seed_everything(0)
    module = ClassificationTask()
    plain = count_parameters(module)
    convert = ConvertConvolutions("adaptive_low_rank", where="model.layer1", budget=int(1.1 * plain))
    watch = ConvergenceCallback(targets=[0.4, 2.0], monitor="val_OverallAccuracy")
    fit(module, convert, watch, epochs=2)
    assert plain < count_parameters(module) <= 1.1 * plain
    assert any(isinstance(m, LowRankAdaptiveConv2d) for m in module.model.layer1.modules())
    assert len(watch.curve) == 2
    assert [reached.target for reached in watch.reached if reached.steps] == [0.4]


DDP = """
import lightning.pytorch as pl
import torch
from plain_module import Data, Plain

from lit_adaptconv import LowRankAdaptiveConv2d
from lit_adaptconv.train.convert_callback import ConvertConvolutions


class Same(pl.Callback):
    def on_train_end(self, trainer, pl_module):
        assert sum(isinstance(m, LowRankAdaptiveConv2d) for m in pl_module.modules()) == 2
        everyone = pl_module.all_gather(torch.cat([p.detach().flatten() for p in pl_module.parameters()]))
        assert everyone.shape[0] == 2
        assert torch.equal(everyone[0], everyone[1])
        print(f"process {trainer.global_rank} in step")


module, data = Plain(), Data()
options = dict(accelerator="cpu", strategy="ddp", devices=2, logger=False, enable_progress_bar=False)
trainer = pl.Trainer(max_epochs=2, callbacks=[ConvertConvolutions("adaptive_low_rank"), Same()], **options)
trainer.fit(module, data)
trainer.test(module, data, ckpt_path="best", weights_only=True)
"""


@pytest.mark.slow
def test_processes_that_train_together_swap_the_same_and_stay_in_step(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(DDP)
    path = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parents[2])])
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "process 0 in step" in done.stdout
    assert "process 1 in step" in done.stdout


def test_processes_that_hand_their_weights_back_to_the_script_are_refused_before_they_train(fit: Any) -> None:
    with pytest.raises(Exception, match="processes hand their weights back to a module that stayed"):
        fit(Plain(), ConvertConvolutions("adaptive_low_rank"), strategy="ddp_fork", devices=2)


def test_a_config_file_alone_converts_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        """
        trainer:
          max_epochs: 1
          accelerator: cpu
          logger: false
          enable_progress_bar: false
          enable_model_summary: false
          enable_checkpointing: false
          callbacks:
            - class_path: lit_adaptconv.ConvertConvolutions
              init_args:
                kind: adaptive_low_rank
                where:
                  names: [net]
                  stride: 1
                kind_options:
                  rank: 2
        """
    )
    monkeypatch.setattr(sys, "argv", ["train"])
    cli = LightningCLI(Plain, Data, save_config_callback=None, args=["fit", "--config", str(config)])
    layers = [m for m in cli.model.modules() if isinstance(m, LowRankAdaptiveConv2d)]
    assert [(layer.rank, layer.stride) for layer in layers] == [(2, (1, 1))]


def test_bad_input_is_answered_in_one_line_and_leaves_the_module_alone(fit: Any) -> None:
    with pytest.raises(UserError, match=r"^unknown conv kind 'adaptve'; did you mean 'adaptive'\? known kinds: .*$"):
        ConvertConvolutions("adaptve")
    module = Plain()
    for callback, message in (
        (
            ConvertConvolutions("adaptive", where="nett.*"),
            r"^no convolution matches 'nett\.\*'; did you mean 'net'\? .*$",
        ),
        (ConvertConvolutions("adaptive", budget=3), r"^no swap to conv kind 'adaptive' fits a budget of 3 .*$"),
    ):
        with pytest.raises(UserError, match=message):
            fit(module, callback)
    assert isinstance(module.net, nn.Sequential)
    assert type(module.net[0]) is nn.Conv2d
    fit(module, ConvertConvolutions("adaptive_low_rank"))
