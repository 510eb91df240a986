"""The settings of a module and its data: any LightningModule and LightningDataModule, by default ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import yaml
from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.utilities.model_helpers import is_overridden

from lit_adaptconv.errors import UserError
from lit_adaptconv.files import read_text
from lit_adaptconv.layers.built_in import resolve
from lit_adaptconv.train.classifier import ImageClassifier
from lit_adaptconv.train.parser import OneLineParser
from lit_adaptconv.train.plain_parser import options_of

DEFAULTS: dict[str, Any] = {
    "data": {"class_path": "lit_adaptconv.data.Digits"},
    "model.backbone": {"class_path": "lit_adaptconv.models.LeNet5"},
}
CLASSES = ("data", "model.backbone", "model.optimizer", "model.scheduler")
"""Options that take a class."""
SHAPE = ("in_channels", "num_classes", "image_size")
"""What image data tell an `ImageClassifier`."""
LOADERS = {
    "fit": "train_dataloader",
    "validate": "val_dataloader",
    "test": "test_dataloader",
    "predict": "predict_dataloader",
}


def named_model(args: Sequence[str] | Mapping[str, Any]) -> str | None:
    """The class that a command line or a configuration names as its model.

    Args:
        args: The command line, whose later options overrule earlier ones; or a configuration.

    Returns:
        Its name; None for `ImageClassifier`, whose settings may follow `model` directly.
    """
    if isinstance(args, Mapping):
        return _class_path(args.get("model"))
    named = None
    for option, value in options_of(args):
        if option == "--model.class_path":
            named = value
        elif option == "--model":
            named = _class_path(_read(value)) if Path(value).is_file() else value
        elif option in ("-c", "--config"):
            named = _class_path(_read(value).get("model")) or named
    return named


def add_model_and_data(parser: LightningArgumentParser, model: str | None) -> None:
    """Add the options of the model and its data to a parser.

    Args:
        parser: The parser.
        model: The name of the model's class, see `named_model`.
    """
    if model is None:
        parser.add_lightning_class_args(ImageClassifier, "model")
    else:
        parser.add_lightning_class_args(pl.LightningModule, "model", subclass_mode=True)
    parser.add_lightning_class_args(pl.LightningDataModule, "data", subclass_mode=True, required=model is None)
    if model is None:
        parser.set_defaults(DEFAULTS)


def build_data(config: Namespace) -> pl.LightningDataModule | None:
    """Build the data module, and let it tell an `ImageClassifier` the shape of the images and the number of classes.

    Args:
        config: What a parser with the options of `add_model_and_data` has read; the shape is written into it.

    Returns:
        The data module; None where there is none.

    Raises:
        UserError: An argument of the data is not valid, or the data are not there.
    """
    if config.get("data") is None:
        return None
    parser = OneLineParser()
    parser.add_lightning_class_args(pl.LightningDataModule, "data", subclass_mode=True)
    data: pl.LightningDataModule = parser.instantiate_classes(Namespace(data=config.data)).data  # type: ignore[no-untyped-call]
    target = config.model
    if "class_path" in target:
        target = target.init_args if _is_classifier(target.class_path) else None
    for name in SHAPE:
        if target is not None and hasattr(data, name):
            target[name] = getattr(data, name)
    return data


def check_loaders(stage: str, model: pl.LightningModule, data: pl.LightningDataModule | None) -> None:
    """Check that there are data for a stage.

    Raises:
        UserError: Neither the data module nor the model has the loader.
    """
    loader = LOADERS[stage]
    if has_loader(loader, model, data):
        return
    if data is None:
        raise UserError(f"{type(model).__name__} has no {loader} of its own, which {stage} needs: give --data")
    raise UserError(f"{type(data).__name__} has no {loader}, which {stage} needs")


def has_loader(loader: str, model: pl.LightningModule, data: pl.LightningDataModule | None) -> bool:
    """Whether the data module or the model has a loader of this name."""
    return is_overridden(loader, model) or (
        data is not None and is_overridden(loader, data, parent=pl.LightningDataModule)
    )


def _is_classifier(class_path: str) -> bool:
    found = resolve(class_path)
    return isinstance(found, type) and issubclass(found, ImageClassifier)


def _read(path: str) -> Mapping[str, Any]:
    """A configuration file's content; empty where it cannot be read, which the parser will say."""
    try:
        content = yaml.safe_load(read_text(path))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, Mapping) else {}


def _class_path(section: Any) -> str | None:
    if isinstance(section, str):
        return section
    return section.get("class_path") if isinstance(section, Mapping) else None
