"""What a scripted policy looks at beyond state and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from taketwo.errors import PolicyError
from taketwo.types import Observation


def extra_of(observation: Observation, name: str, keys: Sequence[str]) -> Mapping[str, Any]:
    """An entry of an observation's extras.

    Args:
        keys: what it has to hold.

    Raises:
        PolicyError: it is not there, or lacks one of them.
    """
    extra = observation.extras.get(name)
    missing = list(keys) if extra is None else [key for key in keys if key not in extra]
    if extra is None or missing:
        there = ", ".join(map(str, extra)) if extra else "nothing"
        raise PolicyError(
            f"the scripted policy looks for {', '.join(missing)} in observation.extras[{name!r}], which has {there}: "
            "is it the task that it was made for, and a client that tells where objects are?"
        )
    return extra  # type: ignore[no-any-return]
