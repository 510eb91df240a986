"""A training that a configuration describes: LightningCLI, with a folder and a result for every run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.callbacks import LambdaCallback, WeightAveraging
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.model_helpers import is_overridden

from lit_adaptconv.errors import UserError, cause_of, told_in_one_line
from lit_adaptconv.files import write_text
from lit_adaptconv.measure.budget import Budget, limits_of, to_columns
from lit_adaptconv.measure.count import count_parameters, flops_of
from lit_adaptconv.train.allocator import keep_freed_memory
from lit_adaptconv.train.beginning import FirstSteps, check_trainer
from lit_adaptconv.train.checkpoint import AtomicCheckpointIO, BestCheckpoint, LastCheckpoint
from lit_adaptconv.train.class_defaults import parse_args
from lit_adaptconv.train.config_file import config_text, plain
from lit_adaptconv.train.convergence import ConvergenceCallback
from lit_adaptconv.train.convert_callback import ConvertConvolutions
from lit_adaptconv.train.ending import EvaluatingTrainer
from lit_adaptconv.train.found import take_found
from lit_adaptconv.train.metrics_csv import MetricsCSV
from lit_adaptconv.train.model_and_data import (
    CLASSES,
    add_model_and_data,
    build_data,
    check_loaders,
    has_loader,
    named_model,
)
from lit_adaptconv.train.no_profiler import NoProfiler
from lit_adaptconv.train.parser import OneLineParser
from lit_adaptconv.train.plain_parser import options_of
from lit_adaptconv.train.predictions import check_output, stack_predictions, write_predictions
from lit_adaptconv.train.recorder import RunRecorder
from lit_adaptconv.train.result import RunResult
from lit_adaptconv.train.resume import RandomStateCallback
from lit_adaptconv.train.runs import CHECKPOINTS, CONFIG, RunOptions, newest_run, run_of_checkpoint, started_in
from lit_adaptconv.train.signals import KeepIgnoredSignals
from lit_adaptconv.train.tracking import finish_failed, wandb_columns, wandb_logger, wandb_sync_hint

TRAINER_DEFAULTS = {"max_epochs": 10, "enable_model_summary": False, "log_every_n_steps": 10, "num_sanity_val_steps": 0}


class Training(LightningCLI):
    """LightningCLI for any LightningModule and LightningDataModule, by default `ImageClassifier`; it prints nothing.

    Args:
        args: A command line, or a configuration as `{"subcommand": "fit", "fit": {...}}`.
        parser_kwargs: Further arguments of the parser.

    Raises:
        UsageError: The arguments cannot be read.
        UserError: What they describe cannot be built or trained.
    """

    checkpoint_io: ClassVar[type[AtomicCheckpointIO]] = AtomicCheckpointIO
    one_of_several: ClassVar[bool] = False
    """Whether other runs are trained in the same process at the same time."""

    def __init__(self, args: list[str] | dict[str, Any], parser_kwargs: dict[str, Any] | None = None) -> None:
        self.recorder: RunRecorder | None = None
        self._continues = False
        self._first_steps = FirstSteps()
        self._named = named_model(args[args["subcommand"]] if isinstance(args, dict) else args)
        self._asked = args["subcommand"] if isinstance(args, dict) else next(iter(args), None)
        with contextlib.ExitStack() as self._held:
            try:
                super().__init__(
                    trainer_class=EvaluatingTrainer,
                    save_config_callback=None,
                    seed_everything_default=0,
                    trainer_defaults={**TRAINER_DEFAULTS, "num_sanity_val_steps": 1},
                    parser_class=OneLineParser,
                    parser_kwargs=parser_kwargs or {},
                    auto_configure_optimizers=self._named is not None,
                    args=args,
                )
            except (UserError, OSError):
                raise
            except Exception as error:
                if self._first_steps.were_done():
                    raise
                raise UserError(f"{self._first_steps.doing}: {cause_of(error)}") from error

    def __deepcopy__(self, memo: dict[int, Any]) -> Training:
        """A callback may copy the module, whose optimizers are made by this training: the copy's are too."""
        return self

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """The one that is asked for, where it is known: it takes time to make a parser."""
        known = super().subcommands()
        return {self._asked: known[self._asked]} if self._asked in known else known

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the trainer, the model and its data."""
        parser.add_lightning_class_args(self.trainer_class, "trainer")
        parser.set_defaults({f"trainer.{name}": value for name, value in self.trainer_defaults.items()})
        add_model_and_data(parser, self._named)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the run's options and the convergence targets."""
        parser.add_class_arguments(RunOptions, "run")
        parser.add_lightning_class_args(ConvergenceCallback, "convergence")

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> Any:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        parser.set_defaults({"weights_only": True})
        if subcommand == "predict":
            parser.add_argument("--output", type=str, default="predictions.csv", help="CSV or Parquet file to write.")
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse what is given, without Lightning's warning that the process has arguments too.

        Those stay in `sys.argv`: Lightning starts the other processes of a distributed training with them.
        """
        if isinstance(args, dict):
            self.config = parser.parse_object(args)
        else:
            self.config = parse_args(parser, args, CLASSES if self._named is None else (), self._subcommand_parsers)

        self._check_safe(args)

    def _check_safe(self, args: Any) -> None:
        """Allow unsafe loading of checkpoints on the command line alone: a configuration may come from someone else.

        Raises:
            UserError: A configuration asks for it.
        """
        asked = not isinstance(args, dict) and any(option == "--weights_only" for option, _ in options_of(args))
        if not asked and self.config[self.config["subcommand"]].get("weights_only") is False:
            raise UserError(
                "the configuration turns off the safe loading of checkpoints (weights_only: false), which only the "
                "command line may: add --weights_only false if you trust the checkpoint"
            )

    def _parse_ckpt_path(self) -> None:
        """Do nothing: the configuration comes from the run's `config.yaml`, which is complete."""

    def before_instantiate_classes(self) -> None:
        """Settle which run and which checkpoint this is about."""
        config = self.config[self.subcommand]
        if config.run.name is None:
            config.run.name = self._usual_name(config)
        run = None
        if config.ckpt_path in CHECKPOINTS:
            run = newest_run(config.run.root, config.run.name, config.run.id, config.ckpt_path)
            config.ckpt_path = str(run / CHECKPOINTS[config.ckpt_path])
        elif config.ckpt_path is not None:
            run = run_of_checkpoint(Path(config.ckpt_path))
        check_trainer(config.trainer, str(self.subcommand))
        if self.subcommand == "fit":
            self._settle_fit(config, run)
        elif config.ckpt_path is None:
            raise UserError(f"{self.subcommand} needs a trained network: give --ckpt_path a file, last or best")
        if config.ckpt_path is not None and not Path(config.ckpt_path).is_file():
            raise UserError(f"no checkpoint at {config.ckpt_path!r}")
        if self.subcommand == "predict":
            check_output(Path(config.output))
            _name_classes(config)

    def _usual_name(self, config: Any) -> str:
        """The name of a run that was given none: its data, its network and its conv kind."""
        parts = [] if config.get("data") is None else [config.data.class_path]
        if self._named is not None:
            return "-".join(_last(path).lower() for path in [*parts, config.model.class_path])
        backbone = [config.model.backbone.class_path] if hasattr(config.model.backbone, "class_path") else []
        kind = (config.model.convert or config.model).kind.replace(":", ".")
        return "-".join(_last(path).lower() for path in [*parts, *backbone, kind])

    def _settle_fit(self, config: Any, run: Path | None) -> None:
        """Let a checkpoint's run continue: from its start, if it was stopped before it wrote one."""
        self._continues = run is not None
        if run is None:
            return
        config.run.root, config.run.name, config.run.id = str(run.parent.parent), run.parent.name, run.name
        if not Path(config.ckpt_path).is_file() and Path(config.ckpt_path).name == CHECKPOINTS["last"].name:
            config.ckpt_path = None

    def _set_seed(self) -> None:
        with told_in_one_line("seed_everything"):
            super()._set_seed()

    def instantiate_classes(self) -> None:
        """Build the data, which tell the model its shape, then the model and the trainer."""
        config = self.config[self.subcommand]
        with told_in_one_line("building the data"):
            data = build_data(config)
        prepared = self.config.clone()
        prepared[self.subcommand].data = data
        with told_in_one_line("building the model and the trainer's parts"):
            self.config_init = self.parser.instantiate_classes(prepared)
        self.datamodule = data
        self.model = self._get(self.config_init, "model")
        check_loaders(str(self.subcommand), self.model, data)
        self._add_configure_optimizers_method_to_model(self.subcommand)
        self.trainer = self.instantiate_trainer()

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Make the trainer with the run's loggers, callbacks and checkpoints."""
        trainer = self._get(self.config_init, "trainer")
        callbacks = _list(trainer.get("callbacks"))
        if self.subcommand != "fit":  # a checkpoint's weights are the average already
            callbacks = [callback for callback in callbacks if not isinstance(callback, WeightAveraging)]
        if any(getattr(each, "update_starting_at_epoch", None) is not None for each in callbacks):
            raise UserError(
                "update_starting_at_epoch averages after the evaluation of an epoch, which would be that of other "
                "weights than the checkpoint's: give update_starting_at_step"
            )
        # Conversions come first: what others copy is converted.
        callbacks.sort(key=lambda callback: not isinstance(callback, ConvertConvolutions))
        callbacks += [KeepIgnoredSignals(), *self.shown_callbacks(trainer)]
        if self.subcommand == "fit":
            run: RunOptions = self._get(self.config_init, "run")
            convergence: ConvergenceCallback = self._get(self.config_init, "convergence")
            self._dump_config()
            self._open_folder(run)
            metrics = MetricsCSV(run.root, str(run.name), str(run.id))
            kwargs["logger"] = [metrics, *self._other_loggers(run, trainer)]
            self.recorder = RunRecorder(self._planned(run), run.folder, convergence, metrics, run.test_metric)
            if self._continues:  # a start that fails leaves the configuration of the run that would have gone on
                self.recorder.at_first_step = self._write_config
            callbacks.append(RandomStateCallback())
            if trainer.get("enable_checkpointing") is not False:
                folder = (run.folder / CHECKPOINTS["last"]).parent
                callbacks += [BestCheckpoint(folder, convergence.monitor, convergence.mode), LastCheckpoint(folder)]
            callbacks.append(self.recorder)
            callbacks.append(LambdaCallback(on_train_start=lambda trainer, module: self._take_found()))
        else:
            kwargs["logger"] = False
        callbacks.append(self._first_steps)
        if trainer.get("profiler") is None:
            kwargs["profiler"] = NoProfiler()
        plugins = [*_list(trainer.get("plugins")), self.checkpoint_io()]
        with told_in_one_line("building the trainer"):
            return super().instantiate_trainer(callbacks=callbacks, plugins=plugins, **kwargs)

    def _open_folder(self, run: RunOptions) -> None:
        """Make the run's folder and write `config.yaml`, from which alone the run can be repeated or continued."""
        if rank_zero_only.rank != 0:  # type: ignore[attr-defined]
            return
        self._text = self._config_text()  # it can be read again, or nothing is begun
        self._held.enter_context(started_in(run, self._continues, self._first_steps.were_done))
        self._held.push(finish_failed)
        self.config["fit"].run.id = self.config_dump["run"]["id"] = run.id
        if not self._continues:
            self._write_config()

    def _dump_config(self) -> None:
        """Know the configuration as plain data: it takes time to make, and is made once, for Lightning as well."""
        if not hasattr(self, "config_dump"):
            self.config_dump = plain(self._parser(self.subcommand), self.config[self.subcommand])

    def _write_config(self) -> None:
        run = self.config["fit"].run
        write_text(Path(run.root) / str(run.name) / str(run.id) / CONFIG, self._text)

    def _config_text(self) -> str:
        """What stands in `config.yaml`: the configuration, but for what tells this run from its repetitions."""
        config = self.config["fit"].clone()
        config.run.id = config.run.wandb_id = config.ckpt_path = None
        run = {**self.config_dump["run"], "id": None, "wandb_id": None}
        return config_text(self._parser("fit"), config, {**self.config_dump, "run": run, "ckpt_path": None})

    def _take_found(self) -> None:
        """Write down what finders have found in the place of the finders: a repetition trains with that at once."""
        if take_found(self.config["fit"], self.trainer) and self.trainer.is_global_zero:
            self.config_dump = plain(self._parser("fit"), self.config["fit"])
            self._text = self._config_text()
            self._write_config()

    def _other_loggers(self, run: RunOptions, trainer: dict[str, Any]) -> list[Any]:
        configured = trainer.get("logger")
        if configured not in (None, True, False):
            return _list(configured)
        if configured is False or not run.wandb or trainer.get("fast_dev_run"):
            return []
        with told_in_one_line("Weights & Biases (run.wandb false leaves it out)"):
            logger = wandb_logger(
                run.folder,
                run.project,
                run.title or str(run.name),
                run.wandb_id or f"{run.name}-{run.id}",
                wandb_columns(self._planned(run), self.config_dump),
                run.group,
                run.job_type,
                run.tags,
                self.one_of_several,
            )
        return [logger]

    def _planned(self, run: RunOptions) -> RunResult:
        model, config = self.model, self.config["fit"]
        network, flops = getattr(model, "network", None), flops_of(model)
        given, budget = run.budget or getattr(model, "budget", None), None
        with contextlib.suppress(UserError):  # a module of one's own may mean something else by its budget
            budget = limits_of(given) if isinstance(given, (int, Mapping, Budget)) else None
        return RunResult(
            name=str(run.name),
            id=str(run.id),
            data="" if self.datamodule is None else type(self.datamodule).__name__,
            model=type(model).__name__,
            backbone="" if network is None else type(network).__name__,
            kind=getattr(model, "kind", ""),
            kind_options=dict(getattr(model, "kind_options", {})),
            widths=list(getattr(model, "widths", ())),
            **to_columns(budget),
            parameters=count_parameters(model),
            flops=None if flops is None else flops.forward,
            training_flops_per_sample=None if flops is None else flops.training,
            seed=config.seed_everything,
            group=run.group,
            job_type=run.job_type,
        )

    def fit(self, **kwargs: Any) -> None:
        """Train."""
        if torch.cuda.device_count() == 0:
            # Lightning has PyTorch look for GPUs in a way that survives a fork; optimizers look in every step, slowly.
            os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
        keep_freed_memory()
        self.trainer.fit(**kwargs)

    def after_fit(self) -> None:
        """Test the finished model, if it can be tested, and write the result."""
        assert self.recorder is not None
        testable = is_overridden("test_step", self.model) and has_loader("test_dataloader", self.model, self.datamodule)
        if self._get(self.config, "run").test and testable:
            self.trainer.test(self.model, datamodule=self.datamodule, verbose=False)
        self.recorder.finish(self.trainer)
        hint = None
        for logger in self.trainer.loggers:
            if isinstance(logger, WandbLogger):
                hint = wandb_sync_hint(logger)
                logger.experiment.finish()
        if self.trainer.is_global_zero:
            self.show_result(self.recorder, hint)

    def test(self, **kwargs: Any) -> None:
        """Test, and show the metrics."""
        self.show_metrics("test", self.trainer.test(**{**kwargs, "verbose": False}))

    def validate(self, **kwargs: Any) -> None:
        """Validate, and show the metrics."""
        self.show_metrics("validate", self.trainer.validate(**{**kwargs, "verbose": False}))

    def predict(self, **kwargs: Any) -> None:
        """Predict, and write the file."""
        kwargs["return_predictions"] = True
        output = Path(self._get(self.config, "output"))
        predictions = stack_predictions(self.trainer.predict(**kwargs) or [])
        if self.trainer.is_global_zero:
            self.show_predictions(output, write_predictions(output, predictions, self.datamodule))

    def shown_callbacks(self, trainer: Mapping[str, Any]) -> list[pl.Callback]:
        """Callbacks that show the progress; here none."""
        return []

    def show_result(self, recorder: RunRecorder, sync_hint: str | None) -> None:
        """Show the result of `fit`; here it is only in the run's folder."""

    def show_metrics(self, stage: str, metrics: Sequence[Mapping[str, Any]]) -> None:
        """Show the metrics of a stage; here not at all."""

    def show_predictions(self, output: Path, rows: int) -> None:
        """Show that predictions were written; here not at all."""


def _list(value: Any) -> list[Any]:
    """What may be given as one, several or none."""
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]


def _last(path: str) -> str:
    return path.rsplit(".", 1)[-1]


def _name_classes(config: Any) -> None:
    """Let a folder of unsorted images have the classes that the checkpoint was trained on."""
    folder = config.get("data") is not None and _last(config.data.class_path) == "ImageFolder"
    if folder and config.data.init_args.class_names is None and config.ckpt_path is not None:
        checkpoint = AtomicCheckpointIO().load_checkpoint(config.ckpt_path)
        config.data.init_args.class_names = checkpoint.get("ImageFolder", {}).get("class_names")
