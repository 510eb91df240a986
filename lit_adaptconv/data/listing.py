"""Which images a folder holds, and what their labels are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from lit_adaptconv.errors import UserError


@dataclass(frozen=True)
class ImageFile:
    """One image on disk.

    Attributes:
        root: the folder that was listed.
        name: the path below `root`, with forward slashes.
        label: the class index, -1 where unknown.
        size: bytes on disk.
        modified: time of the last change in nanoseconds.
    """

    root: str
    name: str
    label: int
    size: int
    modified: int

    @property
    def path(self) -> str:
        """Where the file is."""
        return os.path.join(self.root, self.name)


@dataclass(frozen=True)
class Listing:
    """The images of a folder, sorted by class and name.

    Attributes:
        class_names: what the labels stand for; empty where the folder has no class folders.
        train: the images to train with; all of them where there are no parts.
        val: those of a folder `val`, None without one.
        test: those of a folder `test`, None without one; all images where there are no class folders.
    """

    class_names: list[str]
    train: list[ImageFile]
    val: list[ImageFile] | None
    test: list[ImageFile] | None

    @property
    def files(self) -> list[ImageFile]:
        """All images, those of the parts one after the other."""
        return [*self.train, *(self.val or []), *(self.test or [])]


def list_folder(root: str, class_names: Sequence[str] | None = None) -> Listing:
    """List `root`, which holds class folders, or `train` and perhaps `val` and `test` with class folders, or images.

    Args:
        root: the folder.
        class_names: the classes in the order of their labels; None: the class folders to train with, sorted.

    Raises:
        UserError: the folder is missing or holds no images, there are fewer than two classes, or a class is unknown
            or empty.
    """
    if not os.path.isdir(root):
        raise UserError(f"image folder {root} does not exist")
    # a folder "train" without folders in it is a class of trains
    parts = bool(subfolders(os.path.join(root, "train")))
    trained = "train" if parts else ""
    found = subfolders(os.path.join(root, trained))
    if not found:
        files = images_below(root, "", -1)
        if not files:
            raise UserError(f"image folder {root} holds neither class folders nor images")
        return Listing([], [], None, files)
    names = list(class_names or found)
    if len(names) < 2:
        raise UserError(f"{os.path.join(root, trained)} holds one class folder, {names[0]}; it takes at least two")

    def part(folder: str) -> list[ImageFile] | None:
        if not os.path.isdir(os.path.join(root, folder)):
            return None
        files: list[ImageFile] = []
        for name in subfolders(os.path.join(root, folder)):
            if name not in names:
                known = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
                raise UserError(f"{os.path.join(root, folder, name)} is not a folder of a known class ({known})")
            members = images_below(root, os.path.join(folder, name), names.index(name))
            if not members:
                raise UserError(f"class folder {os.path.join(root, folder, name)} holds no images")
            files += members
        if not files:
            raise UserError(f"image folder {os.path.join(root, folder)} holds no class folders")
        return files

    return Listing(names, part(trained) or [], part("val") if parts else None, part("test") if parts else None)


def subfolders(folder: str) -> list[str]:
    """Return the names of the folders in `folder`, sorted, without the hidden ones; none where it does not exist."""
    if not os.path.isdir(folder):
        return []
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def images_below(root: str, folder: str, label: int) -> list[ImageFile]:
    """Return the files below `root/folder` whose extension is that of an image format PIL reads, sorted by name."""
    readable = {extension for extension, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    files = []
    for where, _, names in os.walk(os.path.join(root, folder), followlinks=True):
        for name in names:
            if os.path.splitext(name)[1].lower() in readable and not name.startswith("."):
                path = os.path.join(where, name)
                try:
                    status = os.stat(path)
                except OSError as error:
                    raise UserError(f"{path}: not a readable image ({error.strerror})") from error
                relative = Path(os.path.relpath(path, root)).as_posix()
                files.append(ImageFile(root, relative, label, status.st_size, status.st_mtime_ns))
    return sorted(files, key=lambda file: file.name)
