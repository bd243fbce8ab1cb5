"""Whether a replay comes out as it was recorded: sinks that look at every step of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from taketwo.replay.playback import Playback
from taketwo.session.events import Event, StepTaken, TerminalObservation
from taketwo.types import SIMULATOR_STATE

if TYPE_CHECKING:
    from taketwo.datasets.trace import Trace


@dataclass(frozen=True)
class Difference:
    """Where a replay is not what was recorded.

    Attributes:
        step: the step before which it is seen, from 0; the number of steps for the end.
        part: of the state.
        largest: of the absolute differences in that part; None where the part is no number, or of another shape.
    """

    step: int
    part: str
    largest: float | None = None

    def __str__(self) -> str:
        by = f" by up to {self.largest:.3g}" if self.largest else ""
        return f"{self.part} differs{by}"


class TraceCheck:
    """Compares the simulator's state with a trace, bit for bit.

    Attributes:
        compared: states that were looked at.
        difference: the first one, or None.
    """

    name = "comparison with the trace"
    lossless = True
    required = True

    def __init__(self, trace: Trace) -> None:
        self.compared = 0
        self.difference: Difference | None = None
        self._trace = trace

    def cameras(self, frame: int) -> Collection[str]:
        """None."""
        return ()

    def on(self, event: Event) -> None:
        """Look at one state, that of an environment in `envs.traced.Traced`."""
        if not isinstance(event, StepTaken | TerminalObservation) or event.index >= self._trace.states:
            return
        self.compared += 1
        if self.difference is None:
            recorded = self._trace.state(event.index)
            self.difference = first_difference(event.index, recorded, event.observation.extras[SIMULATOR_STATE])


class StateCheck:
    """Compares `observation.state` with the recorded rows, which are float32.

    Attributes:
        compared: rows that were looked at.
        difference: the largest one; None before the first row.
    """

    name = "comparison with the rows"
    lossless = True
    required = True

    def __init__(self, states: NDArray[np.float32], names: Sequence[str], playback: Playback) -> None:
        """Compare with (T, D) rows of these D names; steps of the ramp are left out."""
        self.compared = 0
        self.difference: Difference | None = None
        self._states = states
        self._names = names
        self._playback = playback

    def cameras(self, frame: int) -> Collection[str]:
        """None."""
        return ()

    def on(self, event: Event) -> None:
        """Look at one observation."""
        if not isinstance(event, StepTaken):
            return
        row = event.index - self._playback.ramp_steps
        state = event.observation.state.astype(np.float32)
        if not 0 <= row < len(self._states) or state.shape != self._states[row].shape:
            return
        self.compared += 1
        apart = _apart(self._states[row], state)
        dimension = int(apart.argmax())
        largest = float(apart[dimension])
        if self.difference is None or largest > (self.difference.largest or 0.0):
            self.difference = Difference(row, self._names[dimension], largest)


def first_difference(step: int, recorded: Mapping[str, Any], now: Mapping[str, Any]) -> Difference | None:
    """The first part of a snapshot that is not the same in type, shape and every bit."""
    for name in [*recorded, *(name for name in now if name not in recorded)]:
        if name not in recorded or name not in now:
            return Difference(step, name)
        if not _same(recorded[name], now[name]):
            return Difference(step, name, _largest(recorded[name], now[name]))
    return None


def _same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, str) or isinstance(b, str):
        return bool(a == b)
    x, y = np.asarray(a), np.asarray(b)
    return x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()


def _largest(a: Any, b: Any) -> float | None:
    x, y = np.asarray(a), np.asarray(b)
    if x.shape != y.shape or not x.size or x.dtype.kind not in "biuf" or y.dtype.kind not in "biuf":
        return None
    return float(_apart(x, y).max())


def _apart(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """Absolute differences; two NaN are alike, and one is infinitely far from a number."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(invalid="ignore"):
        apart = np.abs(x - y)
    alike = (x == y) | (np.isnan(x) & np.isnan(y))
    return np.where(alike, 0.0, np.where(np.isnan(apart), np.inf, apart))
