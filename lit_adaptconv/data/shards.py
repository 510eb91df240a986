"""Images in shards: uncompressed tar files in the form of the package webdataset, read in any order."""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import IO, BinaryIO

from lit_adaptconv.data.decode import Encoded
from lit_adaptconv.data.listing import PART, ImageFile, Listing, image_suffixes, list_folder, look_through
from lit_adaptconv.errors import UserError

RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
"""Numbers of shards in a pattern: {000..009}."""


@dataclass(frozen=True)
class ShardImage(ImageFile):
    """An image in a shard; its name is that of the shard below `root`, then its own.

    Attributes:
        shard: where the shard is.
        offset: where its bytes begin there.
    """

    shard: str
    offset: int

    @property
    def encoded(self) -> Encoded:
        """What is decoded."""
        return self

    def __str__(self) -> str:
        return self.path

    def open(self) -> BinaryIO:
        """Read its bytes."""
        with open(self.shard, "rb") as file:
            file.seek(self.offset)
            return io.BytesIO(file.read(self.size))


def list_images(root: str, class_names: Sequence[str] | None = None) -> Listing:
    """The images of shards, where `root` is some (see `ImageFolder`), and otherwise those of a folder.

    A folder is one of shards if it holds some, at most one folder down, and no images beside them.

    Raises:
        UserError: `list_folder` has an error, shards are missing or damaged, or an image has no label.
    """
    if root.endswith(".tar") or RANGE.search(root):
        paths = _expanded(root)
        if missing := [path for path in paths if not os.path.isfile(path)]:
            raise UserError(f"shard {missing[0]} does not exist ({len(missing)} of {len(paths)} of {root} do not)")
        return _list_shards(os.path.dirname(root) or ".", {"train": paths}, class_names)
    paths = sorted(str(path) for pattern in ("*.tar", "*/*.tar") for path in Path(root).glob(pattern))
    if not paths or look_through(root).images:
        return list_folder(root, class_names)
    parts: dict[str, list[str]] = {}
    for path in paths:
        words = re.split(r"[^A-Za-z]+", os.path.relpath(path, root))
        named = {found[1].lower() for word in words if (found := PART.fullmatch(word))}
        parts.setdefault(" and ".join(sorted(named)), []).append(path)
    if parts.keys() == {""}:
        parts = {"train": paths}
    if odd := parts.keys() - {"train", "val", "test"}:
        raise UserError(f"{parts[min(odd)][0]}: its name must say one part, train, val or test, as that of others does")
    if "train" not in parts:
        raise UserError(f"{root} holds shards of {', '.join(parts)}, but none of train")
    return _list_shards(root, parts, class_names)


def _expanded(pattern: str) -> list[str]:
    """The names that a pattern means; every range of numbers has as many digits as its first."""
    texts, ranges = RANGE.split(pattern)[::3], RANGE.findall(pattern)
    numbers = [[f"{i:0{len(first)}}" for i in range(int(first), int(last) + 1)] for first, last in ranges]
    return [
        "".join(part for pair in zip(texts, (*each, ""), strict=True) for part in pair) for each in product(*numbers)
    ]


def _list_shards(root: str, parts: dict[str, list[str]], class_names: Sequence[str] | None) -> Listing:
    found = {part: [image for path in paths for image in _images(root, path)] for part, paths in parts.items()}
    for part, images in found.items():
        if not images:
            raise UserError(f"{root}: the shards of {part} hold no images with labels, such as 0001.jpg and 0001.cls")
    names = list(class_names or map(str, range(1 + max(image.label for image in found["train"]))))
    for image in (image for images in found.values() for image in images):
        if image.label >= len(names):
            raise UserError(f"{image.path} has the label {image.label}, but there are {len(names)} classes, from 0 on")
    if len(names) < 2:
        raise UserError(f"{root}: the shards hold one class; it takes at least two")
    return Listing(names, found["train"], found.get("val"), found.get("test"))


def _images(root: str, path: str) -> Iterator[ImageFile]:
    """The images of a shard, in its order.

    Raises:
        UserError: it cannot be read, or an image has no label or several.
    """
    suffixes, status = image_suffixes(), os.stat(path)
    identity = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
    images: dict[str, tarfile.TarInfo] = {}
    labels: dict[str, int] = {}
    try:
        with tarfile.open(path, "r:") as shard:
            for member in shard:
                shard.members = []  # type: ignore[attr-defined]  # it would keep them all
                folder, _, name = member.name.rpartition("/")
                stem, _, kind = name.partition(".")
                key = f"{folder}/{stem}".lstrip("/")
                if not member.isfile() or not stem:
                    continue
                if f".{kind.lower()}" in suffixes:
                    if key in images:
                        raise UserError(f"{path} holds two images {key}: {images[key].name} and {member.name}")
                    images[key] = member
                elif kind == "cls":
                    labels[key] = _label(f"{path}/{member.name}", shard.extractfile(member))
        with open(path, "rb") as file:
            file.seek(shard.offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):  # tarfile stops at what it cannot read
                raise tarfile.ReadError(f"its end is missing behind byte {shard.offset:,}")
    except (OSError, tarfile.TarError) as error:
        raise UserError(f"{path} is not a whole tar file without compression: {error}") from error
    for key, member in images.items():
        if key not in labels:
            raise UserError(f"{path} holds {member.name}, but no label {key}.cls")
        name = f"{os.path.relpath(path, root)}/{member.name}".replace(os.sep, "/")
        yield ShardImage(
            root, name, labels[key], member.size, (*identity, member.offset_data), path, member.offset_data
        )


def _label(name: str, file: IO[bytes] | None) -> int:
    text = b"" if file is None else file.read(21).strip()
    if not re.fullmatch(rb"\d{1,9}", text):
        raise UserError(f"{name} must hold the number of a class, from 0 on, got {text.decode(errors='replace')!r}")
    return int(text)
