"""Between NumPy and the arrays of simulators: of PyTorch on any device, or NumPy's own. Imports no PyTorch itself."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_numpy(values: Any) -> NDArray[Any]:
    """A copy in the memory of the CPU: simulators write into their buffers again."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    return np.array(values)


def as_native(values: NDArray[Any], sample: Any) -> Any:
    """The values as the same kind of array as a sample, and on its device."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(sample, torch.Tensor):
        return torch.as_tensor(values, device=sample.device)
    return values


def rows(values: Any, count: int) -> NDArray[Any]:
    """A copy as `count` rows.

    Raises:
        ValueError: it does not divide into so many.
    """
    return to_numpy(values).reshape(count, -1)
