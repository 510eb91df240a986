import pytest
import torch

from lit_adaptconv.data.preprocess import Preprocess, draw_moves, move

CPU = torch.device("cpu")
IMAGES = torch.randint(1, 256, (64, 3, 6, 9), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(64) % 5


def augmented_by(images: torch.Tensor, shift: int, flip: bool) -> torch.Tensor:
    return move(images, draw_moves(len(images), shift, flip, torch.Generator().manual_seed(1)), shift)


def moved(image: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """Move an image pixel by pixel, the slow way."""
    out = torch.zeros_like(image)
    _, height, width = image.shape
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                out[:, row, column] = image[:, row - down, column - right]
    return out


def test_normalised_pixels_are_standardised_per_channel() -> None:
    mean, std = (0.1, 0.5, 0.7), (0.2, 0.3, 0.4)
    result, _ = Preprocess(mean, std, 0, False, CPU)(IMAGES, LABELS)
    expected = (IMAGES.double() / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, expected.float())


def test_what_was_not_drawn_is_not_augmented() -> None:
    plain, augmenting = (Preprocess((0.5,), (0.5,), shift, flip, CPU) for shift, flip in ((0, False), (2, True)))
    assert torch.equal(plain(IMAGES, LABELS)[0], augmenting(IMAGES, LABELS)[0])


@pytest.mark.parametrize("flip", [False, True])
def test_every_augmented_image_is_the_image_moved_and_perhaps_mirrored(flip: bool) -> None:
    result = augmented_by(IMAGES, 2, flip)
    seen = set()
    for image, augmented in zip(IMAGES, result, strict=True):
        candidates = {
            (down, right, mirrored): moved(image.flip(2) if mirrored else image, down, right)
            for down in range(-2, 3)
            for right in range(-2, 3)
            for mirrored in ([False, True] if flip else [False])
        }
        matches = [key for key, candidate in candidates.items() if torch.equal(candidate, augmented)]
        assert len(matches) == 1
        seen.add(matches[0])
    assert {key[0] for key in seen} == {key[1] for key in seen} == set(range(-2, 3))
    assert {key[2] for key in seen} == ({False, True} if flip else {False})


def test_flipping_alone_mirrors_about_half_of_the_images() -> None:
    images = IMAGES.repeat(10, 1, 1, 1)
    result = augmented_by(images, 0, True)
    mirrored = (result == images.flip(3)).flatten(1).all(1)
    assert torch.equal(result[~mirrored], images[~mirrored])
    assert 0.4 < mirrored.double().mean() < 0.6
