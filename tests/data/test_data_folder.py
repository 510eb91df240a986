import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from PIL import Image
from torch import Tensor, nn

from lit_adaptconv.data import ImageFolder
from lit_adaptconv.data.source import ResidentImages
from lit_adaptconv.data.stream import StreamedImages
from lit_adaptconv.errors import UserError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def save(path: Path, array: np.ndarray) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return array


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def make_folder(root: Path, classes: int = 3, each: int = 10, shape: tuple[int, ...] = (6, 8, 3)) -> Path:
    """Write class folders a, b, c … of random PNG images."""
    for label in range(classes):
        for number in range(each):
            save(root / "abcdefgh"[label] / f"{number}.png", noise(1000 * label + number, *shape))
    return root


def contents(loader: object) -> list[tuple[bytes, int]]:
    return [
        (image.numpy().tobytes(), int(label))
        for images, labels in loader  # type: ignore[attr-defined]
        for image, label in zip(images, labels, strict=True)
    ]


def setup(folder: ImageFolder, stage: str | None = None) -> ImageFolder:
    folder.prepare_data()
    folder.setup(stage)
    return folder


def test_images_keep_their_pixels_and_carry_the_label_of_their_folder(tmp_path: Path) -> None:
    make_folder(tmp_path)
    data = setup(ImageFolder(str(tmp_path), mean=[0, 0, 0], std=[1 / 255] * 3))
    assert (data.in_channels, data.image_size, data.class_names) == (3, (6, 8), ["a", "b", "c"])
    for name, (pixels, label) in zip(data.predict_names, contents(data.predict_dataloader()), strict=True):
        with Image.open(tmp_path / name) as image:
            expected = np.asarray(image).transpose(2, 0, 1).astype(np.float32)
        assert np.allclose(np.frombuffer(pixels, np.float32).reshape(3, 6, 8), expected, atol=1e-3)
        assert data.class_names[label] == name.split("/")[0]


def test_class_folders_alone_are_parted_into_three_stratified_splits_of_which_the_seed_leaves_the_test(
    tmp_path: Path,
) -> None:
    make_folder(tmp_path)
    tests, vals = [], []
    for seed in (0, 1):
        data = setup(ImageFolder(str(tmp_path), seed=seed, val_size=6))
        train, val, test = (
            contents(make()) for make in (data.train_dataloader, data.val_dataloader, data.test_dataloader)
        )
        assert len({*train, *val, *test}) == 30
        for split, each in ((train, 6), (val, 2), (test, 2)):
            assert [sum(label == k for _, label in split) for k in range(3)] == [each] * 3
        tests.append(set(test))
        vals.append(set(val))
    assert tests[0] == tests[1]
    assert vals[0] != vals[1]


def test_folders_train_val_and_test_are_the_splits(tmp_path: Path) -> None:
    for part, each in (("train", 5), ("val", 3), ("test", 2)):
        make_folder(tmp_path / part, each=each)
    data = setup(ImageFolder(str(tmp_path)))
    loaders = (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())
    assert [len(contents(loader)) for loader in loaders] == [15, 9, 6]
    assert data.predict_names == [f"test/{name}/{number}.png" for name in "abc" for number in (0, 1)]


def test_without_a_folder_val_or_test_they_are_held_out_of_train(tmp_path: Path) -> None:
    make_folder(tmp_path / "train")
    data = setup(ImageFolder(str(tmp_path), val_size=3, test_size=0.1))
    loaders = (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())
    assert [len(contents(loader)) for loader in loaders] == [24, 3, 3]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    make_folder(tmp_path, classes=2)
    save(tmp_path / "train" / "1.png", noise(0, 6, 8, 3))
    assert ImageFolder(str(tmp_path)).class_names == ["a", "b", "train"]


def test_given_class_names_set_the_order_of_the_labels(tmp_path: Path) -> None:
    make_folder(tmp_path)
    data = setup(ImageFolder(str(tmp_path), class_names=["c", "unseen", "a", "b"]), "test")
    assert data.num_classes == 4
    for name, (_, label) in zip(data.predict_names, contents(data.test_dataloader()), strict=True):
        assert data.class_names[label] == name.split("/")[0]


@pytest.mark.parametrize(
    ("name", "array", "channels"),
    [
        ("grey.png", noise(0, 5, 5), 1),
        ("colour.png", noise(0, 5, 5, 3), 3),
        ("alpha.png", noise(0, 5, 5, 4), 3),
        ("deep.png", (noise(0, 5, 5).astype(np.uint16) << 8) + 7, 1),
        ("photo.jpg", noise(0, 5, 5, 3), 3),
        ("PHOTO.BMP", noise(0, 5, 5, 3), 3),
        ("picture.gif", noise(0, 5, 5), 3),
        ("picture.webp", noise(0, 5, 5, 3), 3),
        ("picture.tiff", noise(0, 5, 5), 1),
    ],
)
def test_any_format_is_read_and_the_first_image_sets_the_channels(
    tmp_path: Path, name: str, array: np.ndarray, channels: int
) -> None:
    for folder in "ab":
        save(tmp_path / folder / name, array)
        save(tmp_path / folder / f"z{name}", array)
    data = setup(ImageFolder(str(tmp_path), val_size=1, test_size=0.5), "test")
    assert data.in_channels == channels
    if name.endswith(("png", "BMP", "tiff")):
        expected = (
            array[..., :3].transpose(2, 0, 1) if array.ndim == 3 else (array >> 8 if array.itemsize > 1 else array)
        )
        assert np.array_equal(data.load("test").source.images[0].squeeze(0).numpy(), expected)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_in_channels_converts_between_grey_and_colour(tmp_path: Path, channels: int, mode: str) -> None:
    make_folder(tmp_path)
    data = setup(ImageFolder(str(tmp_path), in_channels=channels), "test")
    with Image.open(tmp_path / data.predict_names[0]) as image:
        expected = np.asarray(image.convert(mode)).reshape(6, 8, channels).transpose(2, 0, 1)
    split = data.load("test")
    assert np.array_equal(split.source.images[split.indices[0]].numpy(), expected)  # type: ignore[attr-defined]


def test_image_size_scales_to_cover_and_crops_the_centre_so_that_proportions_stay(tmp_path: Path) -> None:
    striped = np.zeros((20, 60, 3), np.uint8)
    striped[:, 15:45] = 255  # the centre square and what its edge is interpolated from are white
    for folder in "ab":
        for number in range(3):
            save(tmp_path / folder / f"{number}.png", striped)
    data = setup(ImageFolder(str(tmp_path), image_size=10, val_size=1), "test")
    images = data.load("test").source.images  # type: ignore[attr-defined]
    assert images.shape[1:] == (3, 10, 10)
    assert (images == 255).all()


def test_an_image_is_turned_as_its_exif_orientation_says(tmp_path: Path) -> None:
    array = noise(0, 4, 7, 3)
    for folder in "ab":
        for number in range(2):
            (tmp_path / folder).mkdir(exist_ok=True)
            exif = Image.Exif()
            exif[0x0112] = 6  # turn by 90 degrees clockwise
            Image.fromarray(array).save(tmp_path / folder / f"{number}.png", exif=exif)
    data = setup(ImageFolder(str(tmp_path), test_size=0.5, val_size=1), "test")
    assert data.image_size == (7, 4)
    upright = np.rot90(array, -1).transpose(2, 0, 1)
    assert np.array_equal(data.load("test").source.images[0].numpy(), upright)  # type: ignore[attr-defined]


def test_mean_and_std_are_those_of_the_images_that_are_not_for_the_test(tmp_path: Path) -> None:
    make_folder(tmp_path / "train")
    for label in "abc":
        save(tmp_path / "test" / label / "white.png", np.full((6, 8, 3), 255, np.uint8))
    data = ImageFolder(str(tmp_path))
    pixels = np.stack([np.asarray(Image.open(path)) for path in sorted((tmp_path / "train").rglob("*.png"))]) / 255
    assert data.mean == pytest.approx(pixels.mean((0, 1, 2)))
    assert data.std == pytest.approx(pixels.std((0, 1, 2)))
    assert ImageFolder(str(tmp_path), in_memory=False).mean == pytest.approx(data.mean)


def test_images_without_class_folders_can_be_predicted_but_not_tested(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / f"{number}.png", noise(number, 6, 8, 3))
    save(tmp_path / "more.png", noise(9, 6, 8, 3))
    data = setup(ImageFolder(str(tmp_path), class_names=["x", "y"]), "predict")
    assert data.num_classes == 2
    assert data.predict_names == ["0.png", "1.png", "2.png", "more.png"]
    assert [label for _, label in contents(data.predict_dataloader())] == [-1] * 4
    with pytest.raises(UserError, match="only predict can use them"):
        data.setup("test")
    with pytest.raises(UserError, match="needs --data.class_names"):
        _ = ImageFolder(str(tmp_path)).num_classes


@pytest.mark.parametrize("num_workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_streamed_images_are_evaluated_as_those_in_memory(tmp_path: Path, num_workers: int) -> None:
    make_folder(tmp_path)
    loaders = []
    for in_memory in (True, False):
        data = setup(
            ImageFolder(str(tmp_path), image_size=5, in_memory=in_memory, num_workers=num_workers, batch_size=4)
        )
        assert isinstance(data.load("test").source, ResidentImages if in_memory else StreamedImages)
        loaders.append(data.test_dataloader())
    assert contents(loaders[0]) == contents(loaders[1])


@pytest.mark.parametrize("num_workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_streamed_training_depends_on_seed_and_epoch_alone_and_resumes_within_an_epoch(
    tmp_path: Path, num_workers: int
) -> None:
    make_folder(tmp_path)

    def loader(seed: int = 0) -> object:
        options = {"num_workers": num_workers, "batch_size": 4, "seed": seed, "flip": True}
        data = ImageFolder(str(tmp_path), random_crops=True, **options)  # type: ignore[arg-type]
        return setup(data).train_dataloader()

    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = loader()
    epochs = [contents(first), contents(first)]
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(2)
    assert contents(loader()) == epochs[0]
    assert set(epochs[0]).isdisjoint(epochs[1])
    assert contents(loader(seed=1)) != epochs[0]
    resumed = loader()
    resumed.load_state_dict({"epoch": 1, "batch": 2, "batches": len(resumed)})  # type: ignore[attr-defined,arg-type]
    assert contents(resumed) == epochs[1][8:]


class TestCache:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return make_folder(tmp_path / "images")

    @pytest.fixture
    def decoded(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The files that were decoded, by name."""
        from lit_adaptconv.data import cache

        names: list[str] = []

        def record(path: str, pixels: object) -> np.ndarray:
            names.append(path)
            return decode(path, pixels)  # type: ignore[arg-type]

        decode = cache.decode
        monkeypatch.setattr(cache, "decode", record)
        return names

    def files(self) -> list[Path]:
        return sorted((Path(os.environ["XDG_CACHE_HOME"]) / "lit_adaptconv").iterdir())

    def test_images_are_decoded_once(self, folder: Path, decoded: list[str]) -> None:
        first = contents(setup(ImageFolder(str(folder))).test_dataloader())
        assert len(decoded) == 30
        assert contents(setup(ImageFolder(str(folder))).test_dataloader()) == first
        assert len(decoded) == 30
        assert len(self.files()) == 1

    def test_a_changed_file_or_another_size_is_decoded_again(self, folder: Path, decoded: list[str]) -> None:
        setup(ImageFolder(str(folder)))
        os.utime(folder / "a" / "0.png", ns=(1, 1))
        setup(ImageFolder(str(folder)))
        assert len(decoded) == 60
        setup(ImageFolder(str(folder), image_size=4))
        assert len(decoded) == 90

    @pytest.mark.parametrize(
        "damage", [lambda old: old[:100], lambda old: b"", lambda old: old[:-3000] + b"\xaa" * 3000]
    )
    def test_a_damaged_cache_file_is_made_again(self, folder: Path, decoded: list[str], damage: object) -> None:
        first = contents(setup(ImageFolder(str(folder))).test_dataloader())
        (path,) = self.files()
        sound = path.read_bytes()
        path.write_bytes(damage(sound))  # type: ignore[operator]
        assert contents(setup(ImageFolder(str(folder))).test_dataloader()) == first
        assert len(decoded) == 60
        assert len(path.read_bytes()) == len(sound)

    def test_a_failed_write_leaves_nothing_behind_and_is_a_warning(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        data = ImageFolder(str(folder))
        with pytest.warns(UserWarning, match="cannot be kept in .*: No space left on device"):
            data.prepare_data()
        assert self.files() == []

    def test_a_progress_bar_is_shown_if_decoding_takes_long(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from lit_adaptconv.data import decode

        ImageFolder(str(folder), image_size=3).prepare_data()
        assert capsys.readouterr().out == ""
        monkeypatch.setattr(decode, "PATIENCE", 0.0)
        ImageFolder(str(folder)).prepare_data()
        assert "decoding images" in capsys.readouterr().out


def broken(tmp_path: Path, name: str) -> Path:
    for part in ("train", "val", "test"):
        make_folder(tmp_path / part)
    path = tmp_path / "train" / "b" / name
    save(path, noise(0, 6, 8, 3))
    path.write_bytes(path.read_bytes()[:60])
    return path


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("name", ["x.png", "x.jpg"])
def test_an_unreadable_image_is_one_line_that_names_it(tmp_path: Path, name: str, in_memory: bool) -> None:
    path = broken(tmp_path, name)
    data = ImageFolder(str(tmp_path), in_memory=in_memory, num_workers=0, mean=[0] * 3, std=[1] * 3)
    with pytest.raises(UserError, match="not a readable image") as caught:
        contents(setup(data, "fit").train_dataloader())
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_an_error_in_a_worker_is_the_same_line(tmp_path: Path) -> None:
    path = broken(tmp_path, "x.png")
    data = setup(ImageFolder(str(tmp_path), in_memory=False, num_workers=2, mean=[0] * 3, std=[1] * 3), "fit")
    with pytest.raises(UserError) as caught:
        contents(data.train_dataloader())
    assert str(caught.value).startswith(f"{path}: not a readable image")
    assert "\n" not in str(caught.value)


def test_an_image_of_another_size_is_named_with_its_size_and_the_remedy(tmp_path: Path) -> None:
    make_folder(tmp_path)
    odd = tmp_path / "c" / "9.png"
    save(odd, noise(0, 9, 5, 3))
    with pytest.raises(UserError) as caught:
        ImageFolder(str(tmp_path)).prepare_data()
    assert str(caught.value) == (
        f"{odd}: the image is 9×5 pixels, the first one is 6×8; --data.image_size SIZE resizes them all"
    )


def empty_class(root: Path) -> None:
    make_folder(root)
    (root / "d").mkdir()


def unknown_class(root: Path) -> None:
    make_folder(root / "train")
    make_folder(root / "test", classes=4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: root.rmdir(), r"image folder .* does not exist"),
        (lambda root: None, r"image folder .* holds neither class folders nor images"),
        (lambda root: make_folder(root, classes=1), r"holds one class folder, a; it takes at least two"),
        (
            lambda root: make_folder(root / "train", classes=1),
            r"train holds one class folder, a; it takes at least two",
        ),
        (empty_class, r"class folder .*d holds no images"),
        (unknown_class, r"d is not a folder of a known class \(a, b, c\)"),
        (lambda root: [make_folder(root / "train"), (root / "val").mkdir()], r"val holds no class folders"),
    ],
)
def test_a_folder_that_does_not_serve_is_one_clear_line(tmp_path: Path, make: object, message: str) -> None:
    root = tmp_path / "images"
    root.mkdir()
    make(root)  # type: ignore[operator]
    with pytest.raises(UserError, match=message) as caught:
        ImageFolder(str(root)).prepare_data()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 0}, "image_size must be at least 1 pixel, got 0"),
        ({"in_channels": 2}, r"in_channels must be 1 \(grey\) or 3 \(colour\), got 2"),
        ({"test_size": 1.5}, "test_size must be a fraction"),
        ({"num_workers": -1}, "num_workers must be at least 0, got -1"),
        ({"std": [0.5, 0]}, "std must be above 0"),
    ],
)
def test_an_argument_out_of_range_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ImageFolder(**arguments)  # type: ignore[arg-type]


def test_as_many_means_as_channels_are_needed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="mean has 1 values, but the images have 3 channels"):
        _ = ImageFolder(str(make_folder(tmp_path)), mean=[0.5]).mean


class Network(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(144, 3)
        self.seen: list[Tensor] = []

    def forward(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        self.seen.append(batch[0])
        result: Tensor = self.linear(batch[0].flatten(1))
        return result

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(self(batch), batch[1])

    def test_step(self, batch: tuple[Tensor, Tensor]) -> None:
        self(batch)

    def predict_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return self(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture
def trainers(tmp_path: Path) -> Iterator[Trainer]:
    return (
        Trainer(
            default_root_dir=tmp_path,
            accelerator="cpu",
            max_epochs=1,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        for _ in range(3)
    )


@pytest.mark.filterwarnings("ignore")
def test_the_checkpoint_carries_normalisation_and_classes_to_a_folder_of_unlabelled_images(
    tmp_path: Path, trainers: Iterator[Trainer]
) -> None:
    data = ImageFolder(str(make_folder(tmp_path / "images")))
    trainer = next(trainers)
    trainer.fit(Network(), data)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    save(tmp_path / "new" / "dark.png", noise(5, 6, 8, 3) // 8)
    other, network = ImageFolder(str(tmp_path / "new")), Network()
    next(trainers).predict(network, other, ckpt_path=tmp_path / "x.ckpt")
    assert (other.mean, other.std, other.class_names) == (data.mean, data.std, ["a", "b", "c"])
    dark = (noise(5, 6, 8, 3) // 8).transpose(2, 0, 1) / 255
    expected = (dark - np.reshape(data.mean, (3, 1, 1))) / np.reshape(data.std, (3, 1, 1))
    assert np.allclose(network.seen[0][0].numpy(), expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_of_other_classes_is_refused(tmp_path: Path, trainers: Iterator[Trainer]) -> None:
    trainer = next(trainers)
    trainer.fit(Network(), ImageFolder(str(make_folder(tmp_path / "images"))))
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    other = ImageFolder(str(make_folder(tmp_path / "four", classes=4)))
    with pytest.raises(UserError, match="knows the classes a, b, c, but .* has a, b, c, d"):
        next(trainers).test(Network(), other, ckpt_path=tmp_path / "x.ckpt")


def test_random_crops_of_images_in_memory_are_refused() -> None:
    with pytest.raises(UserError, match="^random_crops are taken from images that are not in memory"):
        ImageFolder(random_crops=True, in_memory=True)
