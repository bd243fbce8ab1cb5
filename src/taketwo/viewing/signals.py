"""What of a dataset is drawn as curves, and what each curve is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from taketwo.datasets.features import (
    ACTION,
    ASKED,
    BOOKKEEPING,
    DONE,
    INTERVENTION,
    NUMPY_DTYPES,
    REWARD,
    STATE,
    SUCCESS,
    Feature,
)

VECTORS = (STATE, ACTION, ASKED)
"""The signals that have a plot of their own, in this order."""

EVENTS = (REWARD, DONE, SUCCESS, INTERVENTION)
"""The signals that share a plot."""


@dataclass(frozen=True)
class Signal:
    """A numeric column.

    Attributes:
        names: of its dimensions, each once; () for a single number that has no name.
    """

    key: str
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, key: str, feature: Feature) -> Signal:
        """That of a column."""
        names = feature.dimension_names
        if names == ("0",):
            return cls(key)
        # Each is the entity of a curve: two of one name would be one.
        is_told = all(names) and len(set(names)) == len(names)
        return cls(key, names if is_told else tuple(map(str, range(len(names)))))


def signals_of(features: Mapping[str, Feature]) -> list[Signal]:
    """Every numeric column but the bookkeeping, those that have a place of their own first."""
    keys = [key for key in (*VECTORS, *EVENTS) if key in features]
    keys += [key for key in features if key not in keys and key not in BOOKKEEPING]
    return [Signal.of(key, features[key]) for key in keys if features[key].dtype in NUMPY_DTYPES]
