"""What is replayed: the actions of a recorded episode, and all that is known of what came of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from taketwo.datasets.features import ACTION, STATE
from taketwo.datasets.layout import trace_path
from taketwo.datasets.reader import Dataset
from taketwo.errors import ConfigError, DatasetError
from taketwo.types import FloatArray, Outcome

if TYPE_CHECKING:
    from taketwo.datasets.trace import Trace


@dataclass(frozen=True, eq=False)
class ReplayedEpisode:
    """An episode to be replayed.

    Attributes:
        index: its number in the dataset.
        fps: rows a second.
        actions: (T, A), as they were sent: exact with a trace, and as float32 tells them otherwise.
        states: (T, D) float32, the recorded `observation.state`; None where the dataset has none.
        state_names: what its columns are called; numbers where the dataset does not say.
        trace: the simulator's states; None where there is none.
        seed: what the environment was reset with; None where it is not known.
        init_state: number of the recorded initial state that it was reset to; None where there was none.
        outcome: how it ended; None where nobody said.
        success: what counted as success, as in `taketwo.session.config.SessionConfig`.
    """

    index: int
    fps: float
    actions: FloatArray
    states: NDArray[np.float32] | None
    state_names: tuple[str, ...]
    trace: Trace | None = None
    seed: int | None = None
    outcome: Outcome | None = None
    success: Literal["ever", "last"] = "ever"
    init_state: int | None = None

    @classmethod
    def load(cls, dataset: Dataset, index: int) -> ReplayedEpisode:
        """Read one.

        Raises:
            ConfigError: there is no such episode, or the dataset has no actions.
            DatasetError: a file is damaged, or the trace is another episode's.
        """
        episode = dataset.episode(index)
        if ACTION not in dataset.numeric_columns:
            raise ConfigError(f"{dataset.root} has no column {ACTION!r}: there is nothing to replay")
        has_states = STATE in dataset.numeric_columns
        rows = dataset.rows(index, [ACTION, STATE] if has_states else [ACTION])
        trace = load_trace(dataset, index) if has_trace(dataset, index) else None
        actions = trace.actions if trace is not None else rows[ACTION].astype(np.float64)
        states = rows[STATE].reshape(len(rows[STATE]), -1) if has_states else None
        note = episode.note
        return cls(
            index=index,
            fps=dataset.fps,
            actions=actions.reshape(len(actions), -1),
            states=states,
            state_names=dataset.info.features[STATE].dimension_names if has_states else (),
            trace=trace,
            seed=note.seed if note is not None and note.seeded else None,
            outcome=Outcome(note.outcome) if note is not None and note.outcome in set(Outcome) else None,
            success=_success_rule(dataset.session_config(index)),
            init_state=note.init_state if note is not None else None,
        )

    def elsewhere(self) -> ReplayedEpisode:
        """The same for an environment other than the one that it was recorded in: only the actions are of use."""
        return replace(self, trace=None, seed=None, outcome=None, init_state=None)


def has_trace(dataset: Dataset, index: int) -> bool:
    """Whether an episode has a simulator trace."""
    note = dataset.episode(index).note
    return note is not None and note.traced


def load_trace(dataset: Dataset, index: int) -> Trace:
    """The simulator trace of an episode.

    Raises:
        ConfigError: there is no such episode.
        DatasetError: it has no trace, or a damaged one, or one that is another episode's.
    """
    from taketwo.datasets.trace import Trace

    if not has_trace(dataset, index):
        raise DatasetError(
            f"episode {index} of {dataset.root} has no simulator trace: only sessions in a simulator that can be put "
            "back to an earlier state, such as aloha, have one"
        )
    path = dataset.root / trace_path(index)
    trace = Trace.load(path)
    length = dataset.episode(index).length
    if len(trace) != length:
        raise DatasetError(f"trace {path} is damaged: it has {len(trace)} steps, and the episode has {length}")
    return trace


def _success_rule(config: Mapping[str, Any] | None) -> Literal["ever", "last"]:
    session = (config or {}).get("session")
    return "last" if isinstance(session, Mapping) and session.get("success") == "last" else "ever"
