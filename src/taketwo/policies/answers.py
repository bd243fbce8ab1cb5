"""The actions in what a server or a foreign library answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taketwo.types import FloatArray


def actions_in(answer: Mapping[str, Any], *keys: str) -> FloatArray:
    """The numbers as float64, (H, D), a copy that may be written to; a single action (D,) becomes (1, D).

    Whether the chunk fits the environment is checked for every policy alike, in `taketwo.control.checking`.

    Args:
        keys: what the actions may be called; the first that is there counts.

    Raises:
        ValueError: there are none, or they are no numbers.
    """
    key = next((key for key in keys if key in answer), None)
    if key is None:
        raise ValueError(f"expected a key {keys[0]!r}, got {', '.join(map(str, answer)) or 'an empty map'}")
    try:
        given: NDArray[Any] = np.asarray(answer[key])
    except ValueError as error:
        raise ValueError("expected an array of numbers, got a list of unequal parts") from error
    if given.dtype.kind not in "iuf":
        raise ValueError(f"expected numbers, got dtype {given.dtype}")
    return np.array(given[np.newaxis] if given.ndim == 1 else given, dtype=np.float64)
