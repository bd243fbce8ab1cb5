import pytest

from taketwo.datasets.features import ACTION, ASKED, BOOKKEEPING, DONE, REWARD, STATE, Feature
from taketwo.viewing.signals import Signal, signals_of

CAMERA = Feature("video", (48, 64, 3), ["height", "width", "channels"])


def test_every_numeric_column_but_the_bookkeeping_is_drawn_and_the_known_ones_first():
    features = {
        "effort": Feature("float32", (2,), ["lift", "grip"]),
        "note": Feature("string", (1,)),
        "observation.images.top": CAMERA,
        DONE: Feature("bool", (1,)),
        REWARD: Feature("float32", (1,)),
        ASKED: Feature("float32", (1,), ["lift"]),
        ACTION: Feature("float32", (1,), ["lift"]),
        STATE: Feature("float32", (1,), ["lift"]),
        **BOOKKEEPING,
    }
    signals = signals_of(features)
    assert [signal.key for signal in signals] == [STATE, ACTION, ASKED, REWARD, DONE, "effort"]
    assert signals[0] == Signal(STATE, ("lift",))
    assert signals[3] == Signal(REWARD, ())


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"grip": 1, "lift": 0}, ("lift", "grip")),
        (None, ("0", "1")),
        (["lift", "lift"], ("0", "1")),
        (["lift", ""], ("0", "1")),
    ],
)
def test_each_curve_has_a_name_of_its_own(names, expected):
    assert signals_of({ACTION: Feature("float32", (2,), names)}) == [Signal(ACTION, expected)]
