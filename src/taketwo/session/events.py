"""Everything that happens in a session. Whatever watches is a sink of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from taketwo.types import Decision, EnvironmentSpec, Episode, EpisodeInfo, Observation, StepResult


@dataclass(frozen=True, slots=True, eq=False)
class SessionStart:
    """The session begins.

    Attributes:
        control_hz: frames a second that the session stands for; the video's rate.
        config: the resolved configuration, as plain values.
    """

    spec: EnvironmentSpec
    control_hz: float
    seed: int
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EpisodeStart:
    """An episode begins: environment, policy and controls are about to be reset.

    Its first observation comes with its first `StepTaken`.
    """

    episode: EpisodeInfo


@dataclass(frozen=True, slots=True, eq=False)
class StepTaken:
    """One action was applied.

    Attributes:
        index: step within the episode, from 0.
        frame: session-wide number of `observation`.
        observation: what the policy saw; the observation *before* the action.
        result: reward, flags and the observation after the action.
        time_s: wall time since the episode began, when the step began.
        late_s: how long after its deadline the step began; 0 when unpaced.
        env: number of the environment, where several step together; `frame` counts its own.
    """

    index: int
    frame: int
    observation: Observation
    decision: Decision
    result: StepResult
    time_s: float
    late_s: float
    env: int = 0


@dataclass(frozen=True, slots=True)
class Intervention:
    """Somebody steps in, before the step that follows.

    Attributes:
        index: that step, within the episode.
        frame: its session-wide number.
        kind: what is done, such as `retry`: the policy begins again from where the robot stands.
        reason: who wanted it, and why.
        env: number of the environment, where several step together.
    """

    index: int
    frame: int
    kind: str
    reason: str
    env: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Paused:
    """The session waits for the operator. Comes again and again while it does, for who wants to see where it stands.

    Attributes:
        frame: session-wide number that `observation` will have when it goes on.
    """

    frame: int
    observation: Observation


@dataclass(frozen=True, slots=True, eq=False)
class TerminalObservation:
    """The last observation of an episode, which no action follows.

    Missing only where the reset failed, and where a simulator that resets itself does not show it.

    Attributes:
        env: number of the environment, where several step together.
    """

    index: int
    frame: int
    observation: Observation
    time_s: float
    env: int = 0


@dataclass(frozen=True, slots=True)
class EpisodeEnd:
    """An episode is over. Comes after every `EpisodeStart`, also after an exception."""

    episode: Episode


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """The session is over, and nothing follows.

    Attributes:
        reason: why it ended.
    """

    reason: str


Event = SessionStart | EpisodeStart | StepTaken | Intervention | Paused | TerminalObservation | EpisodeEnd | SessionEnd
