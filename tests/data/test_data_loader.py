from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from lit_adaptconv.data import Digits
from lit_adaptconv.data.loader import BatchLoader
from lit_adaptconv.data.order import BatchOrder
from lit_adaptconv.data.preprocess import Preprocess
from lit_adaptconv.data.source import ResidentImages
from lit_adaptconv.errors import UserError

CPU = torch.device("cpu")


def numbered_images(length: int) -> ResidentImages:
    """Images of a single value, by which a batch can be recognised."""
    values = torch.arange(length, dtype=torch.uint8)
    return ResidentImages(values.view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous(), values.long())


def loader(length: int = 20, *, shuffle: bool = True, seed: int = 0, shift: int = 0) -> BatchLoader:
    order = BatchOrder(length, batch_size=6, seed=seed, shuffle=shuffle)
    preprocess = Preprocess((0.0,), (1 / 255,), shift, False, CPU)
    return BatchLoader(numbered_images(length), torch.arange(length), order, preprocess, CPU)


def labels(batches: Iterator[tuple[Tensor, Tensor]] | BatchLoader) -> list[list[int]]:
    return [batch.tolist() for _, batch in batches]


def test_images_and_labels_of_a_batch_belong_together() -> None:
    for images, batch in loader():
        assert torch.equal(images, batch.float().view(-1, 1, 1, 1).expand_as(images))


def test_len_is_the_number_of_batches() -> None:
    assert len(loader()) == len(list(loader())) == 4


def test_a_loop_that_tells_no_epoch_gets_the_next_one_each_time() -> None:
    counted, told = loader(), loader()
    for epoch in range(3):
        told.sampler.set_epoch(epoch)
        assert labels(counted) == labels(told)


def test_the_global_random_state_neither_matters_nor_changes() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = list(loader(shift=1))
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(2)
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(first, loader(shift=1), strict=True))


def test_augmentation_differs_between_batches_epochs_and_seeds() -> None:
    white = ResidentImages(torch.full((40, 1, 8, 8), 255, dtype=torch.uint8), torch.zeros(40, dtype=torch.int64))

    def batches(seed: int) -> Iterator[Tensor]:
        order = BatchOrder(40, batch_size=20, seed=seed, shuffle=True)
        preprocess = Preprocess((0.0,), (1.0,), 2, False, CPU)
        made = BatchLoader(white, torch.arange(40), order, preprocess, CPU)
        for _ in range(2):
            yield from (images for images, _ in made)

    seen = [*batches(0), *batches(1)]
    assert not any(torch.equal(seen[i], seen[j]) for i in range(8) for j in range(i))


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_a_loaded_state_continues_behind_the_last_batch_handed_out(taken: int) -> None:
    original, resumed = loader(shift=1), loader(shift=1)
    labels(original)
    iterator = iter(original)
    for _ in range(taken):
        next(iterator)
    resumed.load_state_dict(original.state_dict())
    rest, expected = list(resumed), list(iterator)
    assert len(rest) == 4 - taken
    assert all(torch.equal(a, b) for x, y in zip(rest, expected, strict=True) for a, b in zip(x, y, strict=True))
    assert labels(resumed) == labels(original)  # the epoch after it is whole again


def test_a_loaded_state_of_another_epoch_starts_the_epoch_that_is_told() -> None:
    resumed, fresh = loader(), loader()
    resumed.load_state_dict({"epoch": 0, "batch": 2, "batches": 4})
    for made in (resumed, fresh):
        made.sampler.set_epoch(1)
    assert labels(resumed) == labels(fresh)


def test_a_state_from_the_middle_of_an_epoch_of_other_batches_is_refused() -> None:
    with pytest.raises(UserError, match="after batch 2 of 9"):
        loader().load_state_dict({"epoch": 0, "batch": 2, "batches": 9})


class Recorder(LightningModule):
    """A small network with BatchNorm that writes down what it sees."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(
            nn.Conv2d(1, 3, 3, stride=2), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 10)
        )
        self.seen: list[Tensor] = []

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        self.seen.append(batch[0].clone())
        return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self.network(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def fit(folder: Path, checkpoint: ModelCheckpoint | None, ckpt_path: Path | None = None, **options: object) -> Recorder:
    module = Recorder()
    trainer = Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        logger=False,
        callbacks=[checkpoint] if checkpoint else None,
        enable_checkpointing=checkpoint is not None,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=1,
        **{"max_epochs": 3, **options},  # type: ignore[arg-type]
    )
    trainer.fit(module, Digits(image_size=8, batch_size=300, seed=5, shift=1), ckpt_path=ckpt_path)
    return module


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("every", "options"),
    [
        ({"every_n_train_steps": 1}, {"max_epochs": 2}),
        ({"every_n_train_steps": 1}, {"max_epochs": 2, "val_check_interval": 2}),
        ({"every_n_train_steps": 1}, {"limit_train_batches": 3}),
        ({"every_n_epochs": 1}, {"val_check_interval": 2}),
        ({"every_n_epochs": 1, "save_on_train_epoch_end": True}, {}),
    ],
)
def test_a_run_resumed_from_any_checkpoint_is_the_run_that_was_never_stopped(
    tmp_path: Path, every: dict[str, int], options: dict[str, object]
) -> None:
    checkpoint = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, **every)
    whole = fit(tmp_path, checkpoint, **options)
    paths = sorted(tmp_path.glob("*.ckpt"), key=lambda path: int(path.stem.split("=")[1].split("-")[0]))
    assert len(paths) >= 3
    for path in paths[:-1]:
        steps = int(path.stem.split("=")[1].split("-")[0])
        resumed = fit(tmp_path, None, path, **options)
        assert len(resumed.seen) == len(whole.seen) - steps, path.name
        assert all(torch.equal(a, b) for a, b in zip(resumed.seen, whole.seen[steps:], strict=True)), path.name
        for name, value in whole.state_dict().items():
            assert torch.equal(value, resumed.state_dict()[name]), (path.name, name)
