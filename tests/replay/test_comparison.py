import numpy as np
import pytest

from taketwo.replay.comparison import Difference, first_difference

NAN = float("nan")


@pytest.mark.parametrize(
    ("recorded", "now", "largest"),
    [
        (np.array([1.0, 2.0]), np.array([1.0, 2.5]), 0.5),
        (np.array([0.0]), np.array([-0.0]), 0.0),
        (np.array([NAN]), np.array([1.0]), np.inf),
        (np.array([1.0]), np.array([1.0], np.float32), 0.0),
        (np.zeros(2), np.zeros(3), None),
        (3, 5, 2.0),
        (1, True, 0.0),
        ("cube", "peg", None),
        ("cube", 3, None),
        (0.1, 0.1 + 1e-12, 1e-12),
    ],
)
def test_every_difference_is_found(recorded, now, largest):
    found = first_difference(4, {"same": 1, "part": recorded}, {"same": 1, "part": now})
    assert (found.step, found.part) == (4, "part")
    assert found.largest == (None if largest is None else pytest.approx(largest, rel=1e-3))


@pytest.mark.parametrize("value", [np.array([NAN, -0.0, np.inf]), NAN, -0.0, "x", 3, True, np.zeros((0, 2))])
def test_what_is_the_same_in_every_bit_is_the_same(value):
    assert (
        first_difference(0, {"part": value}, {"part": np.array(value) if isinstance(value, np.ndarray) else value})
        is None
    )


def test_a_part_that_is_missing_or_new_is_a_difference():
    assert first_difference(0, {"a": 1, "b": 2}, {"a": 1}) == Difference(0, "b")
    assert first_difference(0, {"a": 1}, {"a": 1, "c": 2}) == Difference(0, "c")
