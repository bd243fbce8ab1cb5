import threading

import numpy as np
import pytest

from taketwo.errors import RenderingError
from taketwo.types import Image, Outcome


def test_a_picture_is_made_once_and_when_first_looked_at():
    made = []
    image = Image(lambda: made.append(1) or np.zeros((2, 3, 3), np.uint8), camera="top", height=2, width=3)
    assert not image.rendered and not made
    assert image.pixels is image.pixels
    assert image.rendered and len(made) == 1


def look_on_another_thread(image):
    seen = []

    def look():
        try:
            seen.append(image.pixels)
        except RenderingError as error:
            seen.append(error)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    return seen[0]


def test_a_picture_is_made_on_its_owners_thread_alone_and_read_on_any():
    image = Image(lambda: np.ones((2, 3, 3), np.uint8), camera="top", height=2, width=3)
    assert "not rendered on the loop's thread" in str(look_on_another_thread(image))
    assert image.pixels.any()
    assert look_on_another_thread(image) is image.pixels


def test_a_picture_outlives_its_instant_only_if_it_was_looked_at():
    now = [1]
    seen, unseen = (
        Image(lambda: np.zeros((2, 3, 3), np.uint8), camera="top", height=2, width=3, expired=lambda: now[0] != 1)
        for _ in range(2)
    )
    pixels = seen.pixels
    now[0] = 2
    assert seen.pixels is pixels
    with pytest.raises(RenderingError, match="before the environment moved on"):
        _ = unseen.pixels


def test_only_success_failure_and_timeout_are_attempts():
    assert {outcome for outcome in Outcome if outcome.is_attempt} == {"success", "failure", "timeout"}
