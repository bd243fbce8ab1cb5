"""One episode, played again."""

from __future__ import annotations

import enum
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from taketwo.envs.base import Environment, Snapshots
from taketwo.errors import ConfigError, one_line
from taketwo.replay.comparison import Difference, StateCheck, TraceCheck
from taketwo.replay.episode import ReplayedEpisode
from taketwo.replay.playback import AtItsStart, Playback, played_spec
from taketwo.session.commands import Commands
from taketwo.session.config import SessionConfig
from taketwo.session.loop import Session
from taketwo.session.sinks import Sink
from taketwo.types import EnvironmentSpec, Outcome

log = logging.getLogger(__name__)

STATE_TOLERANCE = 1e-3
"""Without a trace, the actions are known as float32 only. The state of the ALOHA simulator then differs by some 1e-7 at
the end of an episode; this much, in the state's own units, is a replay that went otherwise."""


class Start(enum.StrEnum):
    """How an environment gets to where an episode began."""

    RESTORED = "restored"
    """The trace's first state is put back: exact."""

    SEEDED = "seeded"
    """It is reset with the recorded seed."""

    RAMPED = "ramped"
    """It goes from its present pose to the first action. What it handles may lie elsewhere."""


@dataclass(frozen=True)
class Replayed:
    """What came of a replay.

    Attributes:
        steps: recorded actions that were played.
        of: how many were recorded.
        recorded: the recorded outcome, or None.
        compared: states that were compared.
        difference: the first one where the start was restored, else the largest one; None where there is none.
        fault: what ended it, or None.
    """

    episode: int
    start: Start
    steps: int
    of: int
    outcome: Outcome
    recorded: Outcome | None
    compared: int
    difference: Difference | None
    fault: BaseException | None

    @property
    def stopped(self) -> bool:
        """Whether the operator ended it."""
        return self.outcome is Outcome.STOPPED

    @property
    def judged(self) -> bool:
        """Whether there is an outcome to compare: an interruption or a fault is not repeated by a replay."""
        return self.start is not Start.RAMPED and self.recorded is not None and self.recorded.is_attempt

    @property
    def as_recorded(self) -> bool:
        """Whether everything that can be compared is as it was; False where it was not played to its end."""
        if self.fault is not None or self.stopped or self.steps != self.of:
            return False
        if self.judged and self.outcome != self.recorded:
            return False
        if self.start is Start.RESTORED:
            return self.difference is None
        return self.start is Start.RAMPED or self.difference is None or within_tolerance(self.difference)

    def __str__(self) -> str:
        """One line: `episode 3: 153 steps, success as recorded; states identical, bit for bit`."""
        steps = f"{self.steps} steps" if self.steps == self.of else f"{self.steps} of {self.of} steps"
        if self.fault is not None:
            return f"episode {self.episode}: {steps}; {one_line(self.fault)}"
        return f"episode {self.episode}: {steps}, {self.ending}; {self.states}"

    @property
    def ending(self) -> str:
        """How it ended, against how it had ended."""
        if self.stopped or not self.judged:
            known = f" (recorded: {self.recorded})" if self.recorded is not None and not self.stopped else ""
            return f"{self.outcome}{known}"
        against = "as recorded" if self.outcome == self.recorded else f"where {self.recorded} was recorded"
        return f"{self.outcome} {against}"

    @property
    def states(self) -> str:
        """How the states compare."""
        difference = self.difference
        if not self.compared:
            return "no state to compare with"
        if self.start is Start.RESTORED:
            so_far = " so far" if self.stopped else ""
            if difference is None:
                return f"states identical{so_far}, bit for bit"
            return f"states diverge at step {difference.step}: {difference}"
        assert difference is not None
        assert difference.largest is not None
        text = f"state differs by at most {difference.largest:.2g} ({difference.part}, step {difference.step})"
        if self.start is Start.RAMPED:
            return text
        return f"{text}, {'within' if within_tolerance(difference) else 'beyond'} the tolerance of {STATE_TOLERANCE:g}"


def within_tolerance(difference: Difference) -> bool:
    """Whether a state is as near as float32 actions can make it."""
    return difference.largest is not None and difference.largest <= STATE_TOLERANCE


class Replay:
    """Plays an episode in an environment, once.

    Where there is a trace and the environment takes snapshots, the trace's first state is restored, and all states are
    compared bit for bit. Another simulator is reset with the recorded seed, and `observation.state` is compared.
    What is neither, such as a robot, first goes from its present pose straight to the first action, at a
    limited speed.

    Attributes:
        start: which of these it will be.
    """

    def __init__(
        self, environment: Environment, episode: ReplayedEpisode, *, fps: float | None = None, ramp_speed: float = 0.5
    ) -> None:
        """Nothing moves yet.

        Args:
            fps: actions a second in real time; None for as fast as it goes in a simulator, and for the recorded rate
                elsewhere.
            ramp_speed: the most that any dimension of the action may change in a second of the ramp, in its own unit:
                rad/s for joints.

        Raises:
            ConfigError: the episode's actions are not this environment's, or nobody knows where it began.
        """
        spec = environment.spec
        if episode.actions.shape[1] != spec.action_dim:
            raise ConfigError(
                f"episode {episode.index} has actions of {episode.actions.shape[1]} numbers, and {spec.name} takes "
                f"{spec.action_dim}: choose the environment that it was recorded in"
            )
        self.start = _start(environment, episode)
        self._environment = environment
        self._episode = episode
        paced_anyway = self.start is Start.RAMPED and not isinstance(environment, Snapshots)
        self._max_hz = fps or (episode.fps if paced_anyway else 0.0)
        # At a slow rate a servo would jump from one action to the next: then the ramp is slower rather than coarser.
        ramp_step = ramp_speed / max(self._max_hz, spec.control_hz)
        self._playback = Playback(episode.actions, ramp_step if self.start is Start.RAMPED else None)
        self._commands: Commands | None = None  # while it runs

    @property
    def spec(self) -> EnvironmentSpec:
        """The environment's, under the name that recordings of this replay have."""
        spec = self._environment.spec
        return played_spec(spec, f"{spec.name}_replay_ep{self._episode.index:03d}")

    def request_stop(self, reason: str) -> None:
        """Send no further action. Callable from any thread and from a signal handler."""
        self._playback.stop()
        if self._commands is not None:
            self._commands.stop(reason)

    def run(self, sinks: Sequence[Sink] = (), described_as: Mapping[str, Any] | None = None) -> Replayed:
        """Play it to its end.

        Args:
            sinks: whatever watches, besides the comparison.
            described_as: the resolved configuration as plain values, for recordings.
        """
        from taketwo.envs.traced import Traced

        episode = self._episode
        seed = episode.seed if self.start is not Start.RAMPED else None
        exact = self.start is Start.RESTORED
        first = episode.trace.state(0) if exact and episode.trace is not None else None
        has_init_states = self._environment.spec.num_init_states is not None
        init_state = episode.init_state if has_init_states else None
        placed = AtItsStart(self._environment, lambda: self._playback.done, seed, init_state, first, self.spec.name)
        check = self._check()
        self._commands = Commands()
        session = Session(
            Traced(placed) if exact else placed,
            self._playback,
            SessionConfig(seed=seed or 0, num_episodes=1, max_hz=self._max_hz, success=episode.success),
            [*sinks, *([check] if check is not None else [])],
            commands=self._commands,
            clock=self._playback,
            described_as=described_as,
        )
        result = session.run()
        played = result.episodes[0]
        return Replayed(
            episode=episode.index,
            start=self.start,
            steps=max(0, played.steps - self._playback.ramp_steps),
            of=len(episode.actions),
            outcome=played.outcome,
            recorded=episode.outcome,
            compared=check.compared if check is not None else 0,
            difference=check.difference if check is not None else None,
            fault=result.fault,
        )

    def _check(self) -> TraceCheck | StateCheck | None:
        episode = self._episode
        if self.start is Start.RESTORED and episode.trace is not None:
            return TraceCheck(episode.trace)
        return None if episode.states is None else StateCheck(episode.states, episode.state_names, self._playback)


def _start(environment: Environment, episode: ReplayedEpisode) -> Start:
    spec = environment.spec
    simulator = isinstance(environment, Snapshots)
    if simulator and episode.trace is not None:
        return Start.RESTORED
    # What is steered by poses and is not known to be a simulator may be a robot: it must not jump to the first one.
    has_pose = spec.state_names == spec.action_names
    if episode.seed is not None and (simulator or not has_pose):
        return Start.SEEDED
    if not has_pose:
        raise ConfigError(
            f"it is not known where episode {episode.index} began: it has neither a simulator trace nor a seed for "
            f"{spec.name}, which cannot be led there either, as its actions are not the poses that it measures"
        )
    if simulator:
        log.warning(
            "it is not known where episode %d began: %s is led to its first pose, but objects may lie elsewhere",
            episode.index,
            spec.name,
        )
    return Start.RAMPED
