"""Folders as people have them: every real image stands once, where they see it, and what is left out is counted."""

from __future__ import annotations

import os
import re
import shutil
import socket
import string
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lit_adaptconv.data import ImageFolder
from lit_adaptconv.data.cache import cache_path, cached_images
from lit_adaptconv.data.decode import Pixels, decode
from lit_adaptconv.data.listing import list_folder
from lit_adaptconv.errors import UserError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def image(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)).save(path, "png")
    return path


def folder(root: Path, *classes: str, each: int = 3) -> Path:
    """Class folders of `each` images, no two alike."""
    for number, name in enumerate(classes):
        for index in range(each):
            image(root / name / f"{index}.png", 1000 * number + index)
    return root


def listed(root: Path) -> tuple[dict[str, str], str]:
    """Every image with its part and class, and what the warning says."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        listing = list_folder(str(root))
    found = {
        file.name: f"{part}/{listing.class_names[file.label]}"
        for part in ("train", "val", "test")
        for file in getattr(listing, part) or []
    }
    assert len(found) == len(listing.files)
    return found, " ".join(str(warning.message) for warning in caught)


def counts(told: str) -> Counter[str]:
    return Counter({kind.strip(): int(count) for kind, count in re.findall(r"(?:out: |, )([^,(]*?) \((\d+)\)", told)})


EXTRAS: dict[str, tuple[Callable[[Path], object], str]] = {
    "notebook": (lambda c: image(c / ".ipynb_checkpoints" / "0-checkpoint.png"), "hidden files or folders"),
    "apple": (lambda c: (c / "._0.png").write_bytes(b"\0"), "hidden files or folders"),
    "apple's archive": (lambda c: image(c.parent / "__MACOSX" / c.name / "0.png"), "hidden files or folders"),
    "thumbnails": (lambda c: image(c / "@eaDir" / "0.png" / "THUMB.png"), "hidden files or folders"),
    "bin": (lambda c: image(c.parent / "$RECYCLE.BIN" / "old" / "0.png"), "hidden files or folders"),
    "text": (lambda c: (c / "notes.txt").write_text("no image"), ".txt files"),
    "film": (lambda c: (c / "film.mpg").write_bytes(b"\0\0\1\xb3"), ".mpg files"),
    "table": (lambda c: (c / "table.h5").write_bytes(b"\x89HDF\r\n\x1a\n"), ".h5 files"),
    "phone": (lambda c: (c / "IMG_1.HEIC").write_bytes(b"\0" * 20), ".heic files"),
    "bare": (lambda c: shutil.copy(c / "0.png", c / "photo"), "files without a suffix"),
    "escape": (lambda c: (c / "x.\x1b[31m").write_bytes(b""), "files without a suffix"),
    "pipe": (lambda c: os.mkfifo(c / "pipe.png"), "pipes or devices"),
    "to itself": (lambda c: (c / "loop").symlink_to(c, target_is_directory=True), "links to what is there"),
    "to the root": (lambda c: (c / "all").symlink_to(c.parent, target_is_directory=True), "links to what is there"),
    "to above": (
        lambda c: (c / "above").symlink_to(c.parent.parent, target_is_directory=True),
        "links to what is there",
    ),
    "to a class": (lambda c: (c / "other").symlink_to(c.parent / "dog"), "links to what is there"),
    "to a file": (lambda c: (c / "again.png").symlink_to(c.parent / "dog" / "0.png"), "links to what is there"),
    "two names": (lambda c: os.link(c / "0.png", c / "twin.png"), "links to what is there"),
    "to nothing": (lambda c: (c / "gone.png").symlink_to(c / "nowhere.png"), "links to nothing"),
    "round": (lambda c: (c / "round").symlink_to(c / "round"), "links to nothing"),
    "beside": (lambda c: image(c.parent / "beside.png", 77), "images outside of class folders"),
}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pipes and seldom links")
@settings(max_examples=60)
@given(extras=st.sets(st.sampled_from(sorted(EXTRAS))), parts=st.booleans())
def test_each_real_image_stands_once_in_its_class_and_all_else_is_counted(
    tmp_path_factory: pytest.TempPathFactory, extras: set[str], parts: bool
) -> None:
    root = tmp_path_factory.mktemp("zoo") / "pets"
    classes = folder(root / "train" if parts else root, "cat", "dog")
    if parts:
        folder(root / "test", "cat", "dog", each=1)
    expected: Counter[str] = Counter()
    for name in extras:
        make, kind = EXTRAS[name]
        make(classes / "cat")
        expected[kind] += 1
    if kind := expected.pop("links to what is there", 0):
        expected["links to what is there anyway or around it"] = kind
    found, told = listed(root)
    wanted = {f"{c}/{i}.png": f"train/{c}" for c in ("cat", "dog") for i in range(3)}
    if parts:
        wanted = {f"train/{name}": label for name, label in wanted.items()}
        wanted |= {f"test/{c}/0.png": f"test/{c}" for c in ("cat", "dog")}
    if "two names" in extras:  # which of the two names is one file's is left open
        assert len(found) == len(wanted)
        found = {name.replace("twin", "0"): label for name, label in found.items()}
    assert found == wanted
    assert counts(told) == expected
    assert "\x1b" not in told


def test_links_to_elsewhere_are_followed_once_whatever_loops_there_are(tmp_path: Path) -> None:
    elsewhere = folder(tmp_path / "elsewhere", "cats", "more")
    (elsewhere / "cats" / "back").symlink_to(elsewhere)
    root = folder(tmp_path / "pets", "dog")
    (root / "cat").symlink_to(elsewhere / "cats")
    (root / "dog" / "cats").symlink_to(elsewhere / "cats")
    found, told = listed(root)
    assert Counter(label for name, label in found.items()) == {"train/dog": 3, "train/cat": 6}
    assert all(name.startswith(label.removeprefix("train/")) for name, label in found.items())
    assert counts(told) == {"links to what is there anyway or around it": 2}


def test_files_in_a_hidden_store_are_reached_by_their_links(tmp_path: Path) -> None:
    for number, name in enumerate(("cat", "dog")):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for index in range(2):
            store = image(tmp_path / "pets" / ".store" / f"{name}{index}", 10 * number + index)
            (tmp_path / "pets" / name / f"{index}.png").symlink_to(store)
    found, _ = listed(tmp_path / "pets")
    assert len(found) == 4


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(path))


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no sockets that are files")
@pytest.mark.parametrize("make", [os.mkfifo, bind])
def test_what_is_no_regular_file_is_never_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], object]
) -> None:
    monkeypatch.chdir(folder(tmp_path / "pets", "cat", "dog"))
    make(Path("cat/x.png"))
    with pytest.warns(UserWarning, match=r"6 images; left out: pipes or devices \(1\)"):
        ImageFolder(str(tmp_path / "pets")).prepare_data()


@pytest.mark.parametrize("train", ["train", "Training", "TRAIN", "training_set", "train-images", "Train Data"])
@pytest.mark.parametrize("val", ["val", "valid", "Validation", "validation_set"])
@pytest.mark.parametrize("test", ["test", "Testing", "test_set", "TestData"])
def test_parts_are_known_by_their_usual_names(tmp_path: Path, train: str, val: str, test: str) -> None:
    for name in (train, val, test):
        folder(tmp_path / name, "cat", "dog", each=1)
    found, told = listed(tmp_path)
    assert found == {
        f"{name}/{c}/0.png": f"{part}/{c}"
        for name, part in ((train, "train"), (val, "val"), (test, "test"))
        for c in ("cat", "dog")
    }
    assert not told


def test_a_folder_beside_the_parts_is_counted(tmp_path: Path) -> None:
    for name in ("train", "test", "evaluation"):
        folder(tmp_path / name, "cat", "dog")
    image(tmp_path / "train" / "loose.png")
    found, told = listed(tmp_path)
    assert len(found) == 12
    assert counts(told) == {"images outside of class folders": 7}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (["train", "Training"], "holds (train and Training|Training and train): it takes one folder train"),
        (["train", "val", "valid"], "holds val and valid: it takes one folder val"),
        (["test", "val"], "holds class folders in test, val, but none in train"),
        (["Testing"], "holds class folders in Testing, but none in train"),
    ],
)
def test_parts_that_are_not_clear_are_refused(tmp_path: Path, parts: list[str], message: str) -> None:
    for part in parts:
        folder(tmp_path / part, "cat", "dog")
    with pytest.raises(UserError, match=message):
        list_folder(str(tmp_path))


def test_classes_may_be_called_as_parts_are(tmp_path: Path) -> None:
    found, told = listed(folder(tmp_path, "train", "test", "valid"))
    assert Counter(found.values()) == {"train/train": 3, "train/test": 3, "train/valid": 3}
    assert not told


def test_a_class_without_images_says_what_it_holds_instead(tmp_path: Path) -> None:
    folder(tmp_path, "cat", "dog")
    (tmp_path / "cow").mkdir()
    for number in range(4):
        (tmp_path / "cow" / f"{number}.heic").write_bytes(b"\0" * 20)
    with pytest.raises(UserError, match=r"cow holds no images; left out: \.heic files \(4\)$"):
        list_folder(str(tmp_path))


def test_a_few_kinds_are_named_and_the_rest_is_summed_up(tmp_path: Path) -> None:
    folder(tmp_path, "cat", "dog")
    for letter in string.ascii_lowercase:
        (tmp_path / "cat" / f"file.x{letter}").write_text("")
    _, told = listed(tmp_path)
    assert sum(counts(told).values()) == 26
    assert counts(told)["others"] == 7


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("where", [[0], [1, 4], [0, 2, 5], list(range(6))])
def test_broken_files_are_all_named_at_once(tmp_path: Path, in_memory: bool, where: list[int]) -> None:
    root = folder(tmp_path / "pets", "cat", "dog")
    paths = sorted(root.rglob("*.png"))
    for index in where:
        paths[index].write_bytes(paths[index].read_bytes()[: 20 + 10 * index])
    data = ImageFolder(str(root), in_memory=in_memory, num_workers=0, mean=[0] * 3, std=[1] * 3)

    def read() -> None:
        data.prepare_data()
        data.setup()
        for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
            list(loader)

    with pytest.raises(UserError) as caught:
        read()
    assert "\n" not in str(caught.value)
    assert [
        index for index, path in enumerate(paths) if f"{path}: not a readable image (" in str(caught.value)
    ] == where


def test_a_picture_is_known_by_its_content_and_no_other_program_is_asked(tmp_path: Path) -> None:
    folder(tmp_path, "cat", "dog")
    (tmp_path / "cat" / "0.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 5\n")
    (tmp_path / "cat" / "1.png").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 50)
    with pytest.raises(UserError, match="2 images cannot be read"):
        ImageFolder(str(tmp_path)).prepare_data()


@pytest.mark.parametrize("names", [["a", "a"], ["a", "b", "a"], ["x", "y", "y", "z"]])
def test_classes_of_one_name_are_refused(names: list[str]) -> None:
    with pytest.raises(UserError, match="class_names must differ from each other"):
        ImageFolder(class_names=names)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_grey_of_any_depth_keeps_its_upper_bits(tmp_path: Path, bits: int, suffix: str) -> None:
    values = {}
    for number, name in enumerate(f"{c}/{i}.{suffix}" for c in ("cat", "dog") for i in range(4)):
        deep = np.random.default_rng(number).integers(0, 2**bits // (1 + number % 2), (30, 30)).astype(np.uint16)
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(deep).save(tmp_path / name)
        values[name] = deep >> (bits - 8)
    data = ImageFolder(str(tmp_path))
    data.setup("test")
    source = data.load("test").source
    for index, name in enumerate(sorted(values)):
        assert np.array_equal(source.images[index, 0].numpy(), values[name])  # type: ignore[attr-defined]


def write_png(path: Path, values: np.ndarray) -> None:
    """Write 16 bits a channel, shape (H, W, channels), as no method of PIL's does."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width, channels = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks))


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("channels", [2, 3, 4])
def test_colours_of_16_bits_keep_their_upper_8_or_are_refused(tmp_path: Path, bits: int, channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 2**bits, (20, 30, channels))
    write_png(tmp_path / "x.png", values)
    colours = 1 if channels == 2 else 3
    pixels = Pixels(colours, 20, 30, resize=False, bit_depth=0)
    if bits <= 12:
        with pytest.raises(UserError, match="16 bits of colour, of which the upper ones are not used"):
            decode(str(tmp_path / "x.png"), pixels)
    else:
        read = decode(str(tmp_path / "x.png"), pixels)
        assert np.array_equal(read, values[..., :colours].transpose(2, 0, 1) >> 8)


def test_a_checkpoint_of_other_bits_of_grey_is_refused(tmp_path: Path) -> None:
    made = {}
    for bits in (10, 12):
        for number, name in enumerate(("cat", "cat", "dog", "dog")):
            deep = np.random.default_rng(number).integers(0, 2**bits, (9, 9)).astype(np.uint16)
            path = tmp_path / str(bits) / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(deep).save(path)
        made[bits] = ImageFolder(str(tmp_path / str(bits)))
    with pytest.raises(UserError, match="12 bits, those in .* have 10; --data.bit_depth 12 reads them alike"):
        made[10].load_state_dict(made[12].state_dict())
    ImageFolder(str(tmp_path / "10"), bit_depth=12).load_state_dict(made[12].state_dict())
    with pytest.raises(UserError, match="--data.bit_depth 16"):  # a checkpoint from before, which took 16 for granted
        made[10].load_state_dict({"class_names": ["cat", "dog"], "mean": [0.0], "std": [1.0]})


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (200, 30, 10), (90, 90, 90)])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("hidden", [0, 255])
def test_a_drawing_in_the_alpha_channel_alone_is_seen(
    tmp_path: Path, colour: tuple[int, int, int], mode: str, hidden: int
) -> None:
    strokes = np.random.default_rng(0).integers(0, 2, (8, 8)).astype(bool)
    array = np.full((8, 8, 4), hidden, np.uint8)
    array[..., :3][strokes] = colour
    array[..., 3] = 255 * strokes
    drawing = Image.fromarray(array)
    if mode == "P":
        drawing = Image.fromarray(strokes.astype(np.uint8)).convert("P")
        drawing.putpalette([*colour, *colour])
        drawing.info["transparency"] = 0
        drawing.save(tmp_path / "x.png", transparency=0)
    else:
        drawing.convert(mode).save(tmp_path / "x.png")
    for channels in (1, 3):
        pixels = decode(str(tmp_path / "x.png"), Pixels(channels, 8, 8, resize=False, bit_depth=0))
        drawn, paper = pixels[0][strokes].astype(int), pixels[0][~strokes].astype(int)
        assert len({*drawn}) == len({*paper}) == 1
        assert abs(drawn[0] - paper[0]) > 50


@pytest.mark.parametrize("suffix", ["png", "webp"])
@pytest.mark.parametrize("ink", [0, 255])
def test_soft_edges_and_lossy_compression_do_not_hide_a_drawing(tmp_path: Path, suffix: str, ink: int) -> None:
    rows, columns = np.mgrid[:32, :32]
    array = np.full((32, 32, 4), ink, np.uint8)
    array[..., 3] = np.clip(255 - 20 * np.abs(np.hypot(rows - 16, columns - 16) - 10), 0, 255)
    Image.fromarray(array).save(tmp_path / f"x.{suffix}")
    (pixels,) = decode(str(tmp_path / f"x.{suffix}"), Pixels(1, 32, 32, resize=False, bit_depth=0)).astype(int)
    expected = np.abs((255 - ink) - array[..., 3].astype(int))  # black on white, or white on black
    assert np.abs(pixels - expected).max() < 40


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32), opaque=st.booleans())
def test_transparency_is_dropped_where_the_colours_are_the_picture(
    tmp_path_factory: pytest.TempPathFactory, seed: int, opaque: bool
) -> None:
    array = np.random.default_rng(seed).integers(0, 256, (6, 6, 4), np.uint8)
    array[..., 3] |= 255 if opaque else 1
    path = tmp_path_factory.mktemp("alpha") / "x.png"
    Image.fromarray(array).save(path)
    pixels = decode(str(path), Pixels(3, 6, 6, resize=False, bit_depth=0))
    assert np.array_equal(pixels, array[..., :3].transpose(2, 0, 1))


def test_more_images_than_fit_into_memory_are_not_cropped_at_random(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder(tmp_path, "cat", "dog", each=9)

    def training(**options: object) -> set[bytes]:
        data = ImageFolder(str(root), num_workers=0, batch_size=2, **options)  # type: ignore[arg-type]
        data.setup("fit")
        return {picture.numpy().tobytes() for images, _ in data.train_dataloader() for picture in images}

    small = training()
    monkeypatch.setattr("lit_adaptconv.data.stored.IN_MEMORY_BYTES", 0)
    assert training() == small
    assert training(in_memory=False) == small
    assert training(random_crops=True).isdisjoint(small)


class TestCache:
    def test_two_folders_of_equal_names_sizes_and_times_never_share_pixels(self, tmp_path: Path) -> None:
        seen = []
        for number in range(2):
            root = tmp_path / str(number)
            for name in ("cat/0.bmp", "cat/1.bmp", "dog/0.bmp", "dog/1.bmp"):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                noise = np.random.default_rng(number).integers(0, 256, (5, 5, 3), np.uint8)
                Image.fromarray(noise).save(root / name)
                os.utime(root / name, ns=(1, 1))
            seen.append(pixels_of(root))
        assert not np.array_equal(*seen)

    def test_a_folder_that_takes_the_place_of_another_has_its_own_pixels(self, tmp_path: Path) -> None:
        first = pixels_of(folder(tmp_path / "pets", "cat", "dog"))
        stamps = {path: os.stat(path) for path in (tmp_path / "pets").rglob("*.png")}
        (tmp_path / "pets").rename(tmp_path / "old")
        for path, status in stamps.items():
            shutil.copy(tmp_path / "old" / path.relative_to(tmp_path / "pets"), path) if path.parent.is_dir() else None
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(path, compress_level=0)
            with path.open("ab") as file:
                file.write(b"\0" * (status.st_size - path.stat().st_size))
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert {path: os.stat(path).st_size for path in stamps} == {p: s.st_size for p, s in stamps.items()}
        assert not np.array_equal(pixels_of(tmp_path / "pets"), first)

    @settings(max_examples=150)
    @given(
        damages=st.lists(st.tuples(st.integers(0, 10**6), st.binary(min_size=1, max_size=40)), min_size=1, max_size=4),
        cut=st.one_of(st.none(), st.integers(0, 600)),
    )
    def test_whatever_befalls_a_cache_file_the_pixels_are_right(
        self, tmp_path_factory: pytest.TempPathFactory, damages: list[tuple[int, bytes]], cut: int | None
    ) -> None:
        root = folder(tmp_path_factory.mktemp("damaged") / "pets", "cat", "dog")
        listing = list_folder(str(root))
        pixels = Pixels(3, 5, 5, resize=False, bit_depth=0)
        right = cached_images(listing.files, pixels).copy()
        path = cache_path(listing.files, pixels)
        sound = path.read_bytes()
        content = bytearray(sound)
        for place, other in damages:
            place %= len(content)
            content[place : place + len(other)] = other
        path.write_bytes(content[:cut])
        assert np.array_equal(cached_images(listing.files, pixels), right)
        assert path.read_bytes() == sound


def pixels_of(root: Path) -> np.ndarray:
    data = ImageFolder(str(root), val_size=1)
    data.prepare_data()
    return data._stored.source.images.numpy()  # type: ignore[attr-defined]


@pytest.mark.parametrize("copies", [0, 1, 3])
@pytest.mark.parametrize("parts", [True, False])
def test_test_images_that_are_in_train_too_are_counted(
    tmp_path: Path, parts: bool, copies: int, recwarn: pytest.WarningsRecorder
) -> None:
    root = folder(tmp_path / "pets" / ("train" if parts else ""), "cat", "dog", each=10)
    if parts:
        for index in range(5):
            copied = index < copies
            image(root.parent / "test" / "cat" / f"{index}.png", index if copied else 5000 + index)
    else:  # of each image there are two: by chance one of them is held out
        for index in range(10 if copies else 0):
            shutil.copy(root / "cat" / f"{index}.png", root / "cat" / f"{index} (copy).png")
    data = ImageFolder(str(tmp_path / "pets"), image_size=5)
    data.setup("fit")
    told = [str(warning.message) for warning in recwarn if "pixel for pixel" in str(warning.message)]
    train, test = (
        [tuple(data.load(part).source.images[index].flatten().tolist()) for index in data.load(part).indices.tolist()]
        for part in ("train", "test")
    )
    both = sum(pixels in train for pixels in test)
    assert bool(both) == bool(copies)
    assert told == ([f"image folder {data.root}: {both} test images are in train too, pixel for pixel"] if both else [])


def test_names_that_look_alike_are_no_two_classes(tmp_path: Path) -> None:
    folder(tmp_path, "caf\u00e9", "cafe\u0301", "tea")
    with pytest.raises(UserError, match="have one name"):
        list_folder(str(tmp_path))
