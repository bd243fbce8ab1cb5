"""What of a dataset is drawn as curves, and what each curve is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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


def signals_of(features: Mapping[str, Feature]) -> list[Signal]:
    """Every numeric column but the bookkeeping, those that have a place of their own first."""
    keys = [key for key in (*VECTORS, *EVENTS) if key in features]
    keys += [key for key in features if key not in keys and key not in BOOKKEEPING]
    return [_signal(key, features[key]) for key in keys if features[key].dtype in NUMPY_DTYPES]


def _signal(key: str, feature: Feature) -> Signal:
    width = 1
    for size in feature.shape:
        width *= size
    names = _flat_names(feature.names)
    if len(names) != width or len(set(names)) != width or not all(names):
        names = [] if feature.shape == (1,) else [str(number) for number in range(width)]
    return Signal(key, tuple(names))


def _flat_names(names: Any) -> list[str]:
    """Names as LeRobot has them: a list, lists by a heading such as `motors`, or numbers by name."""
    if isinstance(names, Mapping):
        inner = list(names.values())
        if all(isinstance(value, int) for value in inner):
            return sorted(map(str, names), key=lambda name: names[name])
        return [name for value in inner for name in _flat_names(value)]
    return [str(name) for name in names] if isinstance(names, list | tuple) else []
