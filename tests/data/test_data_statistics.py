import numpy as np
import pytest

from lit_adaptconv.data.statistics import channel_statistics


def test_statistics_over_batches_are_those_of_all_pixels_at_once() -> None:
    images = np.random.default_rng(0).integers(0, 256, (10, 3, 5, 7), np.uint8)
    mean, std = channel_statistics([images[:4], images[4:]], 3)
    assert mean == pytest.approx((images / 255).mean((0, 2, 3)))
    assert std == pytest.approx((images / 255).std((0, 2, 3)))


def test_a_channel_without_contrast_has_the_deviation_of_one_grey_level() -> None:
    assert channel_statistics([np.full((2, 1, 3, 3), 255, np.uint8)], 1) == ([1.0], [pytest.approx(1 / 255)])
