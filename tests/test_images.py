"""Pictures for policies are, pixel for pixel, what openpi's own client makes of them."""

from __future__ import annotations

import numpy as np
import pytest
from openpi_client.image_tools import resize_with_pad as openpi_resize_with_pad

from taketwo.images import resize_with_pad


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 10_000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


SIZES = [
    ((480, 640), (224, 224)),
    ((640, 480), (224, 224)),
    ((256, 256), (224, 224)),
    ((224, 224), (224, 224)),
    ((720, 1280), (224, 224)),
    ((100, 80), (224, 224)),
    ((1, 1), (7, 5)),
    ((3, 500), (224, 224)),
    ((500, 3), (224, 224)),
    ((223, 225), (224, 224)),
    ((241, 333), (97, 101)),
    ((97, 101), (241, 333)),
    ((480, 640), (480, 641)),
]


@pytest.mark.parametrize(("given", "wanted"), SIZES)
def test_pixels_are_those_of_openpi(given: tuple[int, int], wanted: tuple[int, int]) -> None:
    pixels = picture(*given)
    ours = resize_with_pad(pixels, *wanted)
    assert ours.dtype == np.uint8
    np.testing.assert_array_equal(ours, openpi_resize_with_pad(pixels, *wanted))


def test_pixels_are_those_of_openpi_at_two_hundred_random_sizes() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        height, width, to_height, to_width = (int(size) for size in rng.integers(8, 300, 4))
        pixels = picture(height, width)
        np.testing.assert_array_equal(
            resize_with_pad(pixels, to_height, to_width),
            openpi_resize_with_pad(pixels, to_height, to_width),
            err_msg=f"{height} x {width} to {to_height} x {to_width}",
        )


def test_a_mirrored_view_is_scaled_as_it_is_seen() -> None:
    pixels = picture(60, 80)[::-1, ::-1]
    np.testing.assert_array_equal(resize_with_pad(pixels, 32, 32), openpi_resize_with_pad(pixels, 32, 32))


def test_a_picture_of_the_right_size_is_not_copied() -> None:
    pixels = picture(224, 224)
    assert resize_with_pad(pixels, 224, 224) is pixels


def test_the_picture_is_left_as_it_was() -> None:
    pixels = picture(48, 64)
    before = pixels.copy()
    resize_with_pad(pixels, 20, 20)
    np.testing.assert_array_equal(pixels, before)


def test_a_picture_too_narrow_to_be_seen_is_refused() -> None:
    with pytest.raises(ValueError, match="1 x 1000 pixels vanishes in 224 x 224"):
        resize_with_pad(picture(1, 1000), 224, 224)
