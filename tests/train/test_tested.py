"""The bits of a test: which images were found, in the data's order, whatever batches and processes read them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_module import Data, Plain
from training import digits, trainer

from lit_adaptconv.data.order import BatchOrder
from lit_adaptconv.errors import UserError
from lit_adaptconv.train.classifier import ImageClassifier
from lit_adaptconv.train.convergence import ConvergenceCallback
from lit_adaptconv.train.metrics_csv import MetricsCSV
from lit_adaptconv.train.recorder import RunRecorder
from lit_adaptconv.train.result import RunResult
from lit_adaptconv.train.tested import BitCollector, ImageBits


def unpacked(found: ImageBits) -> np.ndarray:
    return np.unpackbits(np.frombuffer(found.bits, np.uint8))[: found.images]


def a_test(folder: Path, model: pl.LightningModule, data: pl.LightningDataModule, **arguments: Any) -> RunResult:
    recorder = RunRecorder(RunResult("a", "1"), folder, ConvergenceCallback(), MetricsCSV(str(folder), "a", "1"))
    trainer(callbacks=[recorder.convergence, recorder], **arguments).test(model, data, verbose=False)
    return RunResult.read(folder / "result.json")


@pytest.mark.parametrize("batch", [7, 64, 1000])
def test_a_bit_says_whether_the_network_finds_an_images_label(batch: int, tmp_path: Path) -> None:
    pl.seed_everything(0)
    model, data = ImageClassifier(image_size=(12, 12)), digits(eval_batch_size=batch)
    result = a_test(tmp_path, model, data)
    images, labels = (torch.cat(part) for part in zip(*data.test_dataloader(), strict=True))
    with torch.no_grad():
        right = model.eval()(images).argmax(1) == labels
    assert result.test_images is not None
    assert unpacked(result.test_images).tolist() == right.int().tolist()
    assert result.test_value == pytest.approx(unpacked(result.test_images).mean(), abs=1e-6)
    assert len(result.test_images.bits) == 45  # 360 images
    again = a_test(tmp_path, model, digits(eval_batch_size=batch, seed=5))  # another training, the same test
    assert again.test_images == result.test_images


def test_the_labels_tell_one_test_set_from_another(tmp_path: Path) -> None:
    model = ImageClassifier(image_size=(12, 12))
    whole, part = (a_test(tmp_path, model, digits(), **limit) for limit in ({}, {"limit_test_batches": 1}))
    assert whole.test_images is not None
    assert part.test_images is not None
    assert (part.test_images.images, whole.test_images.images) == (128, 360)
    assert part.test_images.labels != whole.test_images.labels


def test_a_module_that_only_logs_has_none_and_old_results_have_none(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="has not logged 'test/accuracy'"):
        assert a_test(tmp_path, Plain(), Data()).test_images is None
    old = json.loads((tmp_path / "result.json").read_text())
    del old["test_images"]
    (tmp_path / "result.json").write_text(json.dumps(old))
    assert RunResult.read(tmp_path / "result.json").test_images is None


@pytest.mark.parametrize(
    "change", [{"correct": "no bits?"}, {"correct": ""}, {"images": 400}, {"images": "360"}, {"more": 1}]
)
def test_damaged_bits_make_a_damaged_result(change: dict[str, Any], tmp_path: Path) -> None:
    a_test(tmp_path, ImageClassifier(image_size=(12, 12)), digits())
    content = json.loads((tmp_path / "result.json").read_text())
    content["test_images"] |= change
    (tmp_path / "result.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="is not a result that this version reads: test_images: "):
        RunResult.read(tmp_path / "result.json")


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 40), st.integers(1, 4), st.integers(1, 9), st.booleans(), st.randoms(use_true_random=False))
def test_processes_put_their_images_back_in_the_datas_order(
    number: int, processes: int, batch: int, repeats: bool, random: Any
) -> None:
    if number < processes:
        return
    labels = np.array([random.randrange(3) for _ in range(number)])
    guesses = np.array([random.randrange(3) for _ in range(number)])
    parts = []
    for rank in range(processes):
        order = BatchOrder(number, batch, rank=rank, world_size=processes)
        indices = order.indices().numpy()
        if repeats:  # as Lightning's sampler does
            indices = np.resize(np.arange(number), -(-number // processes) * processes)[rank::processes]
        parts.append([guesses[indices] == labels[indices], labels[indices]])
    run: Any = SimpleNamespace(test_dataloaders=SimpleNamespace(dataset=range(number)))
    collected = BitCollector()
    collected.add(torch.eye(3)[torch.from_numpy(parts[0][0].astype(int) * 0)], torch.from_numpy(parts[0][1]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.distributed.is_initialized", lambda: True)
        patch.setattr("torch.distributed.get_world_size", lambda: processes)
        patch.setattr("torch.distributed.all_gather_object", lambda found, own: found.__setitem__(slice(None), parts))
        found = collected.images(run)
    assert found is not None
    assert unpacked(found).tolist() == (guesses == labels).astype(int).tolist()
    assert collected.images(run) is None  # it was taken
