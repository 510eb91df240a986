"""Which images a folder holds, and what their labels are."""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_warn
from PIL import Image

from lit_adaptconv.data.decode import Encoded, image_formats
from lit_adaptconv.errors import UserError
from lit_adaptconv.text import characters

PART = re.compile(r"(train|val|test)(ing|id|idation)?([ _-]?(set|data|images|split))?", re.IGNORECASE)
"""What the folders of parts are called: train, Training, valid, validation, test_set …"""

OF_THE_SYSTEM = {
    "$RECYCLE.BIN",
    "@eaDir",
    "@Recycle",
    "#recycle",
    "System Volume Information",
    "__MACOSX",
    "lost+found",
}
"""Folders that systems make among others, hidden from those who look with them: bins, thumbnails, attributes."""


@dataclass(frozen=True)
class ImageFile:
    """One image on disk.

    Attributes:
        root: the folder that was listed.
        name: the path below `root`, with forward slashes.
        label: the class index, -1 where unknown.
        size: bytes on disk.
        identity: what tells it from any other file and state of it: device, inode, times of change of content and file.
    """

    root: str
    name: str
    label: int
    size: int
    identity: tuple[int, ...]

    @property
    def path(self) -> str:
        """Where the file is."""
        return os.path.join(self.root, self.name)

    @property
    def encoded(self) -> Encoded:
        """What is decoded."""
        return self.path


@dataclass(frozen=True)
class Listing:
    """The images of a folder, sorted by class and name.

    Attributes:
        class_names: what the labels stand for; empty where the folder has no class folders.
        train: the images to train with; all of them where there are no parts.
        val: those of a folder of validation images, None without one.
        test: those of a folder of test images, None without one; all images where there are no class folders.
    """

    class_names: list[str]
    train: list[ImageFile]
    val: list[ImageFile] | None
    test: list[ImageFile] | None

    @property
    def files(self) -> list[ImageFile]:
        """All images, those of the parts one after the other."""
        return [*self.train, *(self.val or []), *(self.test or [])]


@dataclass
class Tree:
    """What was found below a folder, by paths with forward slashes.

    Attributes:
        images: the images.
        folders: the folders.
        left_out: what is neither, counted by kind.
    """

    images: dict[str, os.stat_result] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def subfolders(self, folder: str) -> list[str]:
        """Paths of the folders right in `folder`, sorted."""
        return sorted(path for path in self.folders if path and os.path.dirname(path) == folder)

    @property
    def excuse(self) -> str:
        """What was left out, for a sentence about images that are missing."""
        counts = self.left_out.most_common()
        if rest := sum(count for _, count in counts[19:]):
            counts[19:] = [("others", rest)]
        return f"; left out: {', '.join(f'{kind} ({count:,})' for kind, count in counts)}" if counts else ""


def _name(folder: str) -> str:
    """What a class is called: the name of its folder, as text that can be written."""
    return characters(os.path.basename(folder))


def list_folder(root: str, class_names: Sequence[str] | None = None) -> Listing:
    """List `root`, which holds class folders, or folders of parts (see `PART`) with class folders, or images.

    Every real file is listed once, in its own place rather than in that of a link to it. What is left out is counted
    in a warning.

    Args:
        root: the folder.
        class_names: the classes in the order of their labels; None: the class folders to train with, sorted.

    Raises:
        UserError: the folder is missing or holds no images, it is not clear which are to train with, there are fewer
            than two classes, or a class is unknown or empty.
    """
    if not os.path.isdir(root):
        raise UserError(f"image folder {root} does not exist")
    tree = look_through(root)
    parts = find_parts(root, tree)
    trained = parts.get("train", "")
    found = [_name(folder) for folder in tree.subfolders(trained)]
    names = list(map(characters, class_names or found))
    if len({unicodedata.normalize("NFC", name) for name in names}) < len(names):
        raise UserError(f"class folders in {os.path.join(root, trained)} have one name when it is written as text")
    members: dict[str, list[tuple[str, os.stat_result]]] = defaultdict(list)
    for path, status in sorted(tree.images.items()):
        members["/".join(path.split("/")[: 2 if parts else 1]) if found else ""].append((path, status))

    def labelled(folder: str, label: int) -> list[ImageFile]:
        return [
            ImageFile(root, path, label, s.st_size, (s.st_dev, s.st_ino, s.st_mtime_ns, s.st_ctime_ns))
            for path, s in members[folder]
        ]

    def part(folder: str) -> list[ImageFile]:
        files: list[ImageFile] = []
        for path in tree.subfolders(folder):
            if (name := _name(path)) not in names:
                known = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
                raise UserError(f"{os.path.join(root, path)} is not a folder of a known class ({known})")
            if path not in members:
                raise UserError(f"class folder {os.path.join(root, path)} holds no images{tree.excuse}")
            files += labelled(path, names.index(name))
        if not files:
            raise UserError(f"image folder {os.path.join(root, folder)} holds no class folders{tree.excuse}")
        return files

    if not found:
        if not tree.images:
            raise UserError(f"image folder {root} holds neither class folders nor images{tree.excuse}")
        listing = Listing([], [], None, labelled("", -1))
    elif len(names) < 2:
        raise UserError(f"{os.path.join(root, trained)} holds one class folder, {names[0]}; it takes at least two")
    else:
        val, test = (part(parts[name]) if name in parts else None for name in ("val", "test"))
        listing = Listing(names, part(trained), val, test)
    if outside := len(tree.images) - len(listing.files):
        tree.left_out["images outside of class folders"] = outside
    if tree.left_out:
        rank_zero_warn(f"image folder {root}: {len(listing.files):,} images{tree.excuse}")
    return listing


def find_parts(root: str, tree: Tree) -> dict[str, str]:
    """Return which folders hold the parts train, val and test; none where `root` holds the class folders itself.

    Raises:
        UserError: two folders could be the same part, or there is one with class folders, but none to train with.
    """
    named = {folder: name[1].lower() for folder in tree.subfolders("") if (name := PART.fullmatch(folder))}
    parted = {part: folder for folder, part in named.items() if tree.subfolders(folder)}
    if not parted:  # a folder "train" without folders in it is a class of trains
        return {}
    if "train" not in parted:
        raise UserError(f"image folder {root} holds class folders in {', '.join(parted.values())}, but none in train")
    parts: dict[str, str] = {}
    for folder, part in named.items():
        if other := parts.get(part):
            raise UserError(f"image folder {root} holds {other} and {folder}: it takes one folder {part}")
        parts[part] = folder
    return parts


def image_suffixes() -> set[str]:
    """How names of image files end."""
    formats = image_formats()
    return {suffix for suffix, format in Image.registered_extensions().items() if format in formats}


def look_through(root: str) -> Tree:
    """Find the folders and images below `root`, each once: links are followed when all else has been seen.

    Raises:
        UserError: a folder or file cannot be looked at.
    """
    tree, suffixes = Tree(), image_suffixes()
    seen = {(s.st_dev, s.st_ino) for s in map(os.stat, Path(root).resolve().parents)}
    own, linked = deque([""]), deque[str]()
    while own or linked:
        is_link = not own
        path = (own or linked).popleft()
        try:
            status = os.stat(os.path.join(root, path))
            identity = (status.st_dev, status.st_ino)
            if identity in seen and status.st_ino:  # 0: the file system numbers no files
                tree.left_out["links to what is there anyway or around it"] += 1
            elif stat.S_ISDIR(status.st_mode):
                tree.folders.append(path)
                with os.scandir(os.path.join(root, path)) as entries:
                    for entry in sorted(entries, key=lambda entry: entry.name):
                        if entry.name.startswith(".") or entry.name in OF_THE_SYSTEM:
                            tree.left_out["hidden files or folders"] += 1
                        else:
                            (linked if entry.is_symlink() else own).append(f"{path}/{entry.name}".lstrip("/"))
            elif not stat.S_ISREG(status.st_mode):
                tree.left_out["pipes or devices"] += 1
            elif (suffix := os.path.splitext(path)[1].lower()) in suffixes:
                tree.images[path] = status
            else:
                known = re.fullmatch(r"\.\w{1,8}", suffix)
                tree.left_out[f"{suffix} files" if known else "files without a suffix"] += 1
            seen.add(identity)
        except OSError as error:
            if not is_link:
                raise UserError(f"{os.path.join(root, path)} cannot be read: {error.strerror}") from error
            tree.left_out["links to nothing"] += 1
    return tree
