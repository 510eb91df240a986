"""Convert the convolutions of any LightningModule, as a callback."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from lightning_utilities.core.rank_zero import rank_zero_info
from torch import Tensor, nn

from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.kinds import conv_kind
from lit_adaptconv.measure.budget import Budget
from lit_adaptconv.models.conversion import Conversion, convert
from lit_adaptconv.models.selection import Selection

_MARK = "_converted_convolutions"


class ConvertConvolutions(pl.Callback):
    """Swaps the convolutions of a LightningModule when it is trained, before its optimizers are made.

    The module needs no change. The swap takes place after the hooks `setup` and `configure_model`, where a module may
    build its layers, and before a checkpoint is loaded, parameters are moved, sharded or wrapped for distributed
    training, and optimizers are made. So a run can be resumed, and every process swaps the same convolutions. The swap
    takes place once, however often you train or evaluate the module. Evaluation swaps too, so that you can load the
    checkpoint of a converted module (`trainer.test(module, ckpt_path=…)` with this callback). FLOPs are counted if the
    module has an `example_input_array` that is one image batch.

    Args:
        kind: The conv kind; `adaptconv kinds` lists them.
        where: Which convolutions: a pattern on names in the module, several, or a `Selection`; None means all. Only a
            `Selection` with kernel_size 1 selects 1×1 convolutions.
        budget: Largest number of trainable parameters that the converted module may have, or a `Budget`; as many
            convolutions are swapped as it allows. A limit on FLOPs needs an `example_input_array`.
        kind_options: Further arguments of the kind, such as `rank`.
        warm_start: Whether the new layers take over the weights of the old ones.

    Attributes:
        conversion: What was done; None before the swap, and if the module was already converted.

    Raises:
        UserError: As for `lit_adaptconv.models.convert`; for an unknown kind at once, otherwise when training starts.
            Also for strategies such as "ddp_spawn" and "ddp_notebook", whose processes hand weights back to the script,
            and if a callback that averages weights comes before this one.

    Examples:
        >>> swap = ConvertConvolutions("adaptive_low_rank", where="model.layer1")
        >>> trainer = pl.Trainer(callbacks=[swap], logger=False, enable_checkpointing=False)
    """

    def __init__(
        self,
        kind: str,
        where: str | list[str] | Selection | None = None,
        budget: int | Budget | None = None,
        kind_options: dict[str, Any] | None = None,
        warm_start: bool = False,
    ) -> None:
        conv_kind(kind, kind_options)
        self.kind = kind
        self.where = where
        self.budget = budget
        self.kind_options: Mapping[str, Any] | None = kind_options
        self.warm_start = warm_start
        self.conversion: Conversion | None = None

    @property
    def state_key(self) -> str:
        """Name of this callback's state, and of its swap: one of each kind and place can stand side by side."""
        return self._generate_state_key(kind=self.kind, where=self.where)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Have the convolutions swapped as the last act of the module's `configure_model`."""
        if isinstance(trainer.strategy.launcher, _MultiProcessingLauncher):
            raise UserError(
                "forked or spawned processes hand their weights back to a module that stayed as it was: convert it "
                "with lit_adaptconv.models.conversion before the training, without this callback, or use strategy 'ddp'"
            )
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        if stage == "fit" and any(isinstance(each, WeightAveraging) for each in callbacks[: callbacks.index(self)]):
            raise UserError(
                f"{type(self).__name__} must stand before the callback that averages weights, which copies them"
            )
        build = pl_module.configure_model

        def configure_model() -> None:
            pl_module.__dict__.pop("configure_model", None)
            build()
            self.convert(pl_module)

        pl_module.configure_model = configure_model  # type: ignore[method-assign]

    def convert(self, module: pl.LightningModule) -> None:
        """Swap the convolutions of a module whose layers are built, unless that was done."""
        marks: dict[str, list[str]] = module.__dict__.setdefault(_MARK, {})
        if self._is_done(module, marks.get(self.state_key)):
            return
        example = module.example_input_array
        self.conversion = convert(
            module,
            self.kind,
            where=self.where,
            budget=self.budget,
            example_input=example if isinstance(example, Tensor) else None,
            kind_options=self.kind_options,
            warm_start=self.warm_start,
        )
        marks[self.state_key] = [swapped.name for swapped in self.conversion.swapped]
        rank_zero_info(str(self.conversion))

    @staticmethod
    def _is_done(module: nn.Module, names: list[str] | None) -> bool:
        """Whether these layers were swapped, and the module did not build them anew since."""
        layers = dict(module.named_modules())
        return names is not None and all(type(layers.get(name)) is not nn.Conv2d for name in names)
