"""`adaptconv fit | validate | test | predict`: LightningCLI, with a folder, a result and a table for every run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import WandbLogger
from rich.console import Console
from torch import Tensor

from lit_adaptconv.classifier import ImageClassifier
from lit_adaptconv.convergence import ConvergenceCallback
from lit_adaptconv.data import ImageData
from lit_adaptconv.files import AtomicCheckpointIO, write_text
from lit_adaptconv.metrics_csv import MetricsCSV
from lit_adaptconv.recorder import RunRecorder
from lit_adaptconv.result import RunResult
from lit_adaptconv.resume import RandomStateCallback
from lit_adaptconv.tracking import wandb_logger, wandb_sync_hint

from .parser import OneLineParser
from .predictions import check_output, write_predictions
from .runs import LAST, RunOptions, new_id, newest_run, run_of_checkpoint
from .tables import result_table, stage_table


class ProgressBar(RichProgressBar):
    """Lightning's rich progress bar, redrawn every ten batches and gone when it is done."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=10, leave=False)

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """Return the metrics to show, without the loggers' version."""
        return {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}


class SaveRunConfig(SaveConfigCallback):
    """Writes the complete configuration to the run's folder, from which alone the run can be repeated."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Write `config.yaml` when training starts."""
        if stage == "fit" and trainer.is_global_zero:
            config = self.config.clone()
            folder = RunOptions(**config.run.as_dict()).folder
            config.run.id = None
            config.ckpt_path = None
            write_text(folder / "config.yaml", self.parser.dump(config, skip_none=False))


class TrainingCLI(LightningCLI):
    """LightningCLI for `ImageClassifier` and the image data modules."""

    def __init__(self, args: list[str] | dict[str, Any] | None, version: str) -> None:
        self.recorder: RunRecorder | None = None
        super().__init__(
            ImageClassifier,
            ImageData,
            subclass_mode_data=True,
            save_config_callback=SaveRunConfig,
            seed_everything_default=0,
            trainer_defaults={
                "max_epochs": 10,
                "enable_model_summary": False,
                "log_every_n_steps": 10,
                "num_sanity_val_steps": 0,
            },
            parser_class=OneLineParser,
            parser_kwargs={"version": version, "prog": "adaptconv"},
            auto_configure_optimizers=False,
            args=args,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the run's options and the convergence targets; let the data tell the model its shape."""
        parser.add_class_arguments(RunOptions, "run")
        parser.add_lightning_class_args(ConvergenceCallback, "convergence")
        parser.set_defaults({"data": {"class_path": "lit_adaptconv.data.Digits"}})
        for name in ("in_channels", "num_classes", "image_size"):
            parser.link_arguments(f"data.{name}", f"model.{name}", apply_on="instantiate")

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> Any:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        parser.set_defaults({"weights_only": True})
        if subcommand == "predict":
            parser.add_argument("--output", type=str, default="predictions.csv", help="CSV or Parquet file to write.")
        return parser

    def _parse_ckpt_path(self) -> None:
        """Do nothing: the configuration comes from the run's `config.yaml`, which is complete."""

    def before_instantiate_classes(self) -> None:
        """Settle which run this is: a new one, or the one that a checkpoint continues."""
        config = self.config[self.subcommand]
        if self.subcommand == "predict":
            _name_classes(config)
        if self.subcommand != "fit":
            return
        if config.run.name is None:
            parts = (config.data.class_path, config.model.backbone.class_path)
            config.run.name = "-".join([*(p.rsplit(".", 1)[-1].lower() for p in parts), config.model.kind])
        run = None
        if config.ckpt_path == "last":
            run = newest_run(config.run.root, config.run.name)
            config.ckpt_path = str(run / LAST) if (run / LAST).is_file() else None
        elif config.ckpt_path is not None:
            run = run_of_checkpoint(Path(config.ckpt_path))
        if run is not None and (config.run.id is None or run != RunOptions(**config.run.as_dict()).folder.absolute()):
            config.run.root, config.run.name, config.run.id = str(run.parent.parent), run.parent.name, run.name
        elif config.run.id is None:
            config.run.id = new_id(config.run.root, config.run.name)

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Make the trainer with the run's loggers, callbacks and checkpoints."""
        trainer = self._get(self.config_init, "trainer")
        callbacks: list[pl.Callback] = list(trainer.get("callbacks") or [])
        if trainer.get("enable_progress_bar") is not False:
            callbacks.append(ProgressBar())
        plugins = trainer.get("plugins") or []
        plugins = [*plugins] if isinstance(plugins, list) else [plugins]
        if self.subcommand == "fit":
            run: RunOptions = self._get(self.config_init, "run")
            metrics = MetricsCSV(run.root, str(run.name), str(run.id))
            kwargs["logger"] = [metrics, *self._other_loggers(run, trainer)]
            self.recorder = RunRecorder(
                self._planned(run), run.folder, self._get(self.config_init, "convergence"), metrics
            )
            checkpoints = None if trainer.get("enable_checkpointing") is False else _checkpoints(run.folder)
            callbacks += [RandomStateCallback(), *([checkpoints] if checkpoints else []), self.recorder]
        else:
            kwargs["logger"] = False
        return super().instantiate_trainer(callbacks=callbacks, plugins=[*plugins, AtomicCheckpointIO()], **kwargs)

    def _other_loggers(self, run: RunOptions, trainer: dict[str, Any]) -> list[Any]:
        configured = trainer.get("logger")
        if configured not in (None, True, False):
            return list(configured) if isinstance(configured, list) else [configured]
        if configured is False or not run.wandb or trainer.get("fast_dev_run"):
            return []
        config = yaml.safe_load(self._parser("fit").dump(self.config["fit"], skip_none=False))
        logger = wandb_logger(
            run.folder, run.project, str(run.name), str(run.id), config, run.group, run.job_type, run.tags, run.title
        )
        logger.log_hyperparams({"parameters": self.model.parameter_count, "flops": self.model.flops})
        return [logger]

    def _planned(self, run: RunOptions) -> RunResult:
        model, config = self.model, self.config["fit"]
        return RunResult(
            name=str(run.name),
            id=str(run.id),
            data=type(self.datamodule).__name__,
            backbone=type(model.network).__name__,
            kind=model.kind,
            kind_options=config.model.kind_options or {},
            widths=list(model.network.widths),
            budget=config.model.budget,
            parameters=model.parameter_count,
            flops=model.flops,
            seed=config.seed_everything,
            group=run.group,
            job_type=run.job_type,
        )

    def after_fit(self) -> None:
        """Test the finished model, write the result, and print it."""
        assert self.recorder is not None
        if self._get(self.config, "run").test:
            self.trainer.test(self.model, datamodule=self.datamodule, verbose=False)
        self.recorder.finish(self.trainer)
        for logger in self.trainer.loggers:
            if isinstance(logger, WandbLogger):
                hint = wandb_sync_hint(logger)
                logger.experiment.finish()
                if hint:
                    Console().print(f"Weights & Biases: logged offline; send it with: {hint}", soft_wrap=True)
        if self.trainer.is_global_zero:
            Console().print(result_table([self.recorder.result]))
            Console().print(f"Run: {os.path.relpath(self.recorder.folder)}", soft_wrap=True)

    def test(self, **kwargs: Any) -> None:
        """Test, and print a table."""
        metrics = self.trainer.test(**kwargs, verbose=False)
        Console().print(stage_table("test", self.model, metrics))

    def validate(self, **kwargs: Any) -> None:
        """Validate, and print a table."""
        metrics = self.trainer.validate(**kwargs, verbose=False)
        Console().print(stage_table("validate", self.model, metrics))

    def predict(self, **kwargs: Any) -> None:
        """Predict, and write the file."""
        kwargs["return_predictions"] = True
        output = Path(self._get(self.config, "output"))
        check_output(output)
        batches = cast("list[Tensor]", self.trainer.predict(**kwargs) or [])
        rows = write_predictions(output, batches, self.datamodule)
        Console().print(f"Wrote {rows:,} predictions to {output}", soft_wrap=True)


def _name_classes(config: Any) -> None:
    """Let a folder of unsorted images have the classes that the checkpoint was trained on."""
    folder = config.data.class_path.rsplit(".", 1)[-1] == "ImageFolder"
    if folder and config.data.init_args.class_names is None and config.ckpt_path is not None:
        checkpoint = AtomicCheckpointIO().load_checkpoint(config.ckpt_path)
        config.data.init_args.class_names = checkpoint.get("ImageFolder", {}).get("class_names")


def _checkpoints(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(
        dirpath=folder / LAST.parent,
        filename="best",
        monitor="val/accuracy",
        mode="max",
        save_last=True,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
