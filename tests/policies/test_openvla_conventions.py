"""Pictures and grippers become what OpenVLA was trained with, by methods that are not the ones under test."""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

from taketwo.errors import ConfigError
from taketwo.policies.openvla_conventions import (
    Conventions,
    Gripper,
    center_cropped,
    chosen_camera,
    resized,
    through_jpeg,
    warn_of_mismatch,
)
from taketwo.types import CameraSpec, EnvironmentSpec, FloatArray, Image, Observation, Pixels


def photo(height: int = 256, width: int = 256) -> Pixels:
    """Slopes, waves and a hard edge, none of it symmetric."""
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width]).reshape(2, 1, 1)
    red = 255 * x * (1 - y / 2)
    green = 128 + 100 * np.sin(9 * x + 5 * y)
    blue = np.where((x > 0.3) & (y < 0.6), 200, 40)
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)


def conventions(**options: Any) -> Conventions:
    plain: dict[str, Any] = {"rotate_180": False, "jpeg_roundtrip": False, "center_crop": False, "gripper": "none"}
    return Conventions(camera="front", **(plain | options))


def seen(pixels: Pixels, **options: Any) -> Pixels:
    picture = conventions(**options).picture(Observation(np.zeros(1), {"front": Image.of(pixels)}))
    assert picture.shape == (224, 224, 3)
    assert picture.dtype == np.uint8
    return picture


def lanczos_matrix(old: int, new: int) -> FloatArray:
    """Rows of an antialiased Lanczos filter of three lobes, written out from its definition."""
    scale = max(old / new, 1.0)
    matrix = np.zeros((new, old))
    for row in range(new):
        center = (row + 0.5) * old / new
        for column in range(old):
            t = (column + 0.5 - center) / scale
            if abs(t) < 3:
                matrix[row, column] = np.sinc(t) * np.sinc(t / 3)
    return matrix / matrix.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("size", [(256, 256), (480, 640), (128, 128)])
def test_pictures_are_scaled_by_an_antialiased_lanczos_filter_to_a_square(size: tuple[int, int]) -> None:
    pixels = photo(*size)
    rows, columns = lanczos_matrix(size[0], 224), lanczos_matrix(size[1], 224)
    exact = np.clip(np.einsum("ih,hwc,jw->ijc", rows, pixels.astype(float), columns, optimize=True), 0, 255)
    # Pillow rounds between the two directions, the definition does not.
    np.testing.assert_allclose(seen(pixels), exact, atol=1.6)
    np.testing.assert_array_equal(resized(pixels), seen(pixels))


def test_a_picture_that_has_the_size_is_left_alone() -> None:
    pixels = photo(224, 224)
    np.testing.assert_array_equal(seen(pixels), pixels)


def test_the_crop_leaves_ninety_percent_of_the_area() -> None:
    pixels = photo(224, 224)
    cropped = center_cropped(pixels)
    side = math.sqrt(0.9)
    # The crop's first and last samples lie on its edges: 223 steps over `side` of 223 pixels.
    step, first = side, (1 - side) / 2 * 223
    shift = first + 0.5 - step * 0.5  # Pillow takes centres of pixels to be at one half
    independent = Picture.fromarray(pixels).transform(
        (224, 224), Picture.Transform.AFFINE, (step, 0, shift, 0, step, shift), Picture.Resampling.BILINEAR
    )
    np.testing.assert_allclose(cropped.astype(int), np.asarray(independent).astype(int), atol=1)
    np.testing.assert_array_equal(seen(pixels, center_crop=True), cropped)
    assert not np.array_equal(cropped, pixels)


def test_the_crop_is_what_tensorflow_samples() -> None:
    """`tf.image.crop_and_resize`, pixel by pixel as its documentation has it, and `convert_image_dtype`."""
    pixels = photo(224, 224)
    cropped = center_cropped(pixels)
    low, high = (1 - math.sqrt(0.9)) / 2, (1 + math.sqrt(0.9)) / 2
    for i, j in [(0, 0), (0, 223), (223, 0), (223, 223), (17, 101), (111, 112), (150, 68), (68, 67)]:
        y, x = (low * 223 + k * (high - low) * 223 / 223 for k in (i, j))
        top, left = int(y), int(x)
        block = pixels[top : top + 2, left : left + 2].astype(float) / 255
        above = block[0, 0] * (1 - x + left) + block[0, 1] * (x - left)
        below = block[1, 0] * (1 - x + left) + block[1, 1] * (x - left)
        value = above * (1 - y + top) + below * (y - top)
        np.testing.assert_array_equal(cropped[i, j], np.floor(value * 255.5).astype(np.uint8))


@pytest.mark.parametrize("level", [0, 1, 127, 254, 255])
def test_an_even_picture_stays_as_it_is_through_all_of_it(level: int) -> None:
    pixels = np.full((256, 256, 3), level, np.uint8)
    picture = seen(pixels, rotate_180=True, jpeg_roundtrip=True, center_crop=True)
    np.testing.assert_array_equal(picture, np.full((224, 224, 3), level))


def test_pictures_are_turned_and_not_mirrored() -> None:
    pixels = photo()
    turned = np.asarray(Picture.fromarray(pixels).rotate(180))
    np.testing.assert_array_equal(seen(pixels, rotate_180=True), seen(turned))
    assert not np.array_equal(seen(pixels, rotate_180=True), seen(pixels[::-1]))


def test_jpeg_changes_pictures_a_little_and_comes_before_scaling() -> None:
    pixels = photo()
    difference = np.abs(through_jpeg(pixels).astype(int) - pixels)
    assert 0 < difference.mean() < 4
    np.testing.assert_array_equal(seen(pixels, jpeg_roundtrip=True), resized(through_jpeg(pixels)))


def test_the_environments_pixels_are_not_changed() -> None:
    pixels = photo()
    before = pixels.copy()
    seen(pixels, rotate_180=True, jpeg_roundtrip=True, center_crop=True)
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize(
    ("gripper", "opened", "closed"),
    [("none", 0.996, 0.004), ("bipolar", 1.0, -1.0), ("libero", -1.0, 1.0)],
)
def test_the_gripper_opens_and_closes_in_the_environments_own_way(
    gripper: Gripper, opened: float, closed: float
) -> None:
    raw = np.array([[0.1, -0.2, 0.3, -0.4, 0.5, -0.6, 0.996], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.004]])
    before = raw.copy()
    sent = conventions(gripper=gripper).environment_actions(raw)
    np.testing.assert_array_equal(sent[:, 6], [opened, closed])
    np.testing.assert_array_equal(sent[:, :6], raw[:, :6])
    np.testing.assert_array_equal(raw, before)


def spec(*cameras: str) -> EnvironmentSpec:
    return EnvironmentSpec(
        name="bench",
        action_names=("x",),
        action_units=("m",),
        action_low=np.array([-1.0]),
        action_high=np.array([1.0]),
        state_names=("x",),
        control_hz=5.0,
        cameras={name: CameraSpec(48, 64) for name in cameras},
    )


@pytest.mark.parametrize(
    ("given", "cameras", "chosen"),
    [
        (None, ("top",), "top"),
        (None, ("wrist", "agentview"), "agentview"),
        (None, ("image", "wrist"), "image"),
        ("wrist", ("wrist", "agentview"), "wrist"),
    ],
)
def test_the_camera_is_the_one_that_is_meant(given: str | None, cameras: tuple[str, ...], chosen: str) -> None:
    assert chosen_camera(given, spec(*cameras)) == chosen


@pytest.mark.parametrize(
    ("given", "cameras", "message"),
    [
        (None, ("left", "right"), "camera must be given: environment 'bench' has left, right"),
        (None, (), "camera: OpenVLA needs a picture, and environment 'bench' gives none"),
        ("topp", ("top",), "camera: unknown camera 'topp'. Did you mean 'top'? Known: top."),
    ],
)
def test_no_camera_is_guessed(given: str | None, cameras: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        chosen_camera(given, spec(*cameras))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("unnorm_key", "options", "told"),
    [
        ("libero_object_no_noops", {}, ["center_crop=true", "gripper=libero"]),
        ("libero_10", {"center_crop": True, "gripper": "bipolar"}, ["gripper=libero"]),
        ("libero_10", {"center_crop": True, "gripper": "libero"}, []),
        ("bridge_orig", {}, []),
    ],
)
def test_a_likely_mistake_is_warned_of(
    caplog: pytest.LogCaptureFixture, unnorm_key: str, options: dict[str, Any], told: list[str]
) -> None:
    with caplog.at_level(logging.WARNING):
        warn_of_mismatch(unnorm_key, conventions(**options))
    assert len(caplog.records) == bool(told)
    for option in ("center_crop=true", "gripper=libero"):
        assert (option in caplog.text) == (option in told)
