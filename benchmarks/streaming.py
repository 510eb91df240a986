"""Images a second of an epoch that is decoded as it goes, beside torchvision's ImageFolder with a DataLoader, by turns.

    python benchmarks/streaming.py

JPEG files of 320×400 pixels, random crops to 224, mirroring, normalised; batches of 64, two workers, one thread each.
The files lie in a folder, in shards and in a table of `datasets`. Each round all of them make an epoch once, so that
the time to start the workers is part of it.
"""

from __future__ import annotations

import argparse
import io
import os
import tarfile
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder as TorchvisionFolder
from torchvision.transforms import v2

from lit_adaptconv.data import HuggingFace, ImageFolder
from lit_adaptconv.data.base import ImageData
from lit_adaptconv.measure.timing import Times

CLASSES, BATCH, WORKERS = 10, 64, 2


def write(root: Path, images: int) -> None:
    """Write the images as a folder, as shards and as Parquet; smooth noise compresses about as photographs do."""
    rng = np.random.default_rng(0)
    (root / "shards").mkdir()
    (root / "parquet").mkdir()
    rows: dict[str, list[object]] = {"image": [], "label": []}
    with tarfile.open(root / "shards" / "train-000.tar", "w") as shard:
        for number in range(images):
            coarse = Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).resize((400, 320))
            noisy = np.asarray(coarse).astype(int) + rng.integers(-12, 13, (320, 400, 3))
            file = io.BytesIO()
            Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(file, "jpeg", quality=90)
            place = root / "folder" / str(number % CLASSES) / f"{number:05d}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.getvalue())
            rows["image"].append({"bytes": file.getvalue(), "path": None})
            rows["label"].append(number % CLASSES)
            for kind, content in (("jpg", file.getvalue()), ("cls", str(number % CLASSES).encode())):
                member = tarfile.TarInfo(f"{number:05d}.{kind}")
                member.size = len(content)
                shard.addfile(member, io.BytesIO(content))
    import datasets

    table = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    table.to_parquet(root / "parquet" / "train.parquet")


def seconds_an_image(loader: Iterable[object]) -> float:
    """Seconds of an epoch, per image."""
    begin, images = time.perf_counter(), 0
    for batch in loader:
        images += len(batch[1])  # type: ignore[index]
    return (time.perf_counter() - begin) / images


def loaders(root: Path) -> dict[str, Iterable[object]]:
    """What makes an epoch, by name."""
    mean, std = [0.5] * 3, [0.25] * 3
    steps = [v2.RandomResizedCrop(224), v2.RandomHorizontalFlip(), v2.ToImage()]
    usual = v2.Compose([*steps, v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)])
    folder = TorchvisionFolder(str(root / "folder"), usual)
    found: dict[str, Iterable[object]] = {"torchvision": DataLoader(folder, BATCH, shuffle=True, num_workers=WORKERS)}
    shared = {"image_size": 224, "random_crops": True, "flip": True, "num_workers": WORKERS, "batch_size": BATCH}
    modules: dict[str, ImageData] = {
        "a folder": ImageFolder(str(root / "folder"), **shared),  # type: ignore[arg-type]
        "shards": ImageFolder(str(root / "shards"), **shared),  # type: ignore[arg-type]
        "a table of datasets": HuggingFace(str(root / "parquet"), **shared),  # type: ignore[arg-type]
    }
    for name, data in modules.items():
        data.setup("fit")
        found[name] = data.train_dataloader()
    return found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description="Images a second of epochs that are decoded as they go.")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HF_DATASETS_CACHE"] = f"{folder}/cache"
        write(Path(folder), given.images)
        made = loaders(Path(folder))
        spent: dict[str, list[float]] = {name: [] for name in made}
        for number in range(given.rounds + 1):
            for name, loader in made.items():
                each = seconds_an_image(loader)
                if number:  # warmed up
                    spent[name].append(each)
    times = {name: Times(tuple(each)) for name, each in spent.items()}
    print("| | images a second | times torchvision's, quartiles |\n| --- | --- | --- |")
    for name, mine in times.items():
        ratio = times["torchvision"].over(mine)
        print(
            f"| {name} | {1 / mine.spread.median:,.0f} | {ratio.median:.2f} ({ratio.lower:.2f} to {ratio.upper:.2f}) |"
        )


if __name__ == "__main__":
    main()
