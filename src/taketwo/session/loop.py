"""The loop: environment, controller, clock, and events for whoever watches."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

from taketwo.errors import (
    EnvironmentFault,
    PolicyError,
    RecordingError,
    RenderingError,
    TakeTwoError,
    blaming,
    one_of,
)
from taketwo.seeding import episode_seed
from taketwo.session.clock import Clock, MonotonicClock, Pacer
from taketwo.session.commands import Commands
from taketwo.session.config import SessionConfig
from taketwo.session.events import (
    EpisodeEnd,
    EpisodeStart,
    Event,
    Intervention,
    Paused,
    SessionEnd,
    SessionStart,
    StepTaken,
    TerminalObservation,
)
from taketwo.session.punctuality import short_collections
from taketwo.session.sinks import Sink, SinkThread
from taketwo.session.tally import Tally
from taketwo.types import (
    Decision,
    EnvironmentSpec,
    Episode,
    EpisodeInfo,
    FloatArray,
    Observation,
    Outcome,
    StepResult,
)

log = logging.getLogger(__name__)

PAUSE_LOOK_S = 0.05
"""How often a paused session looks whether it may go on, and whether somebody wants a picture."""


class Environment(Protocol):
    """As much of an environment as the loop needs; `taketwo.envs.base.Environment` has it."""

    @property
    def spec(self) -> EnvironmentSpec:
        """What it is."""
        ...

    def reset(self, seed: int, options: Mapping[str, Any] | None = None) -> Observation:
        """Begin an episode."""
        ...

    def step(self, action: FloatArray) -> StepResult:
        """Apply one action."""
        ...


class Controller(Protocol):
    """Turns observations into single actions: policy, executor, filters and guard behind one face."""

    @property
    def stalls(self) -> int:
        """How often the loop has waited because no action was ready in time."""
        ...

    def reset(self, episode: EpisodeInfo, observation: Observation) -> None:
        """Forget the last episode in every part; filters start from `observation.state`."""
        ...

    def decide(self, observation: Observation) -> Decision:
        """The action for this step."""
        ...


@dataclass(frozen=True)
class LoopStats:
    """How the loop kept time.

    Attributes:
        overruns: steps that began late because the one before took too long.
        jitter_ms_p50: how late steps began, median; None when the session was not paced.
        jitter_ms_p99: the same, 99th percentile.
        stalls: waits for an action that was not ready.
        lost_s: time given up after delays too long to catch up with.
        wall_s: from the first reset to the last episode's end, without pauses.
        paused_s: how long the operator had it pause.
    """

    overruns: int
    jitter_ms_p50: float | None
    jitter_ms_p99: float | None
    stalls: int
    lost_s: float
    wall_s: float
    paused_s: float = 0.0


@dataclass(frozen=True)
class SessionResult:
    """What a session came to.

    Attributes:
        reason: why it ended.
        fault: the exception that ended it, or None.
        waited_s: per sink, how long the loop waited for it.
        dropped: per sink, steps it did not get.
    """

    episodes: tuple[Episode, ...]
    reason: str
    fault: BaseException | None
    loop: LoopStats
    waited_s: Mapping[str, float]
    dropped: Mapping[str, int]


class Session:
    """Runs episodes one after the other until a limit, a stop or a fault."""

    def __init__(
        self,
        environment: Environment,
        controller: Controller,
        config: SessionConfig,
        sinks: Sequence[Sink] = (),
        *,
        prompt: Callable[[], str | None] = lambda: None,
        commands: Commands | None = None,
        clock: Clock | None = None,
        described_as: Mapping[str, Any] | None = None,
    ) -> None:
        """Nothing moves until `run`.

        Args:
            prompt: gives the instruction put into each observation, or None to keep the environment's.
            commands: where the operator's commands come from.
            described_as: the resolved configuration as plain values, for the recordings.
        """
        self.control_hz = config.max_hz or environment.spec.control_hz
        self._environment = environment
        self._controller = controller
        self._config = config
        self._sinks = sinks
        self._prompt = prompt
        self._commands = commands or Commands()
        self._clock = clock or MonotonicClock()
        self._described_as = described_as or {}
        self._pacer = Pacer(self._clock, config.max_hz)
        self._episode_limit = config.max_episode_steps or environment.spec.max_episode_steps or math.inf
        self._frame_limit = math.inf
        if config.total_seconds is not None:
            self._frame_limit = max(2, round(config.total_seconds * self.control_hz))
        self._threads: list[SinkThread] = []
        self._episodes: list[Episode] = []
        self._steps = self._frames = 0
        self._paused_s = 0.0
        self._own_prompt: str | None = None  # of the last observation, before another was put in

    def run(self) -> SessionResult:
        """Run to the end. What goes wrong inside is told by `SessionResult.fault`, not raised."""
        self._threads = [SinkThread(sink) for sink in self._sinks]
        self._publish(SessionStart(self._environment.spec, self.control_hz, self._config.seed, self._described_as))
        for thread in self._threads:
            thread.settle()  # what opens files and loads libraries is done before anything moves
        with short_collections():
            began = self._clock.now()
            reason, fault = self._run_episodes()
            wall_s = self._clock.now() - began
        self._publish(SessionEnd(reason))
        for thread in self._threads:
            thread.finish()
        return SessionResult(
            episodes=tuple(self._episodes),
            reason=reason,
            fault=fault or self._sink_failure(),
            loop=LoopStats(
                overruns=self._pacer.overruns,
                jitter_ms_p50=self._pacer.jitter_ms(50),
                jitter_ms_p99=self._pacer.jitter_ms(99),
                stalls=self._controller.stalls,
                lost_s=self._pacer.lost_s,
                wall_s=wall_s - self._paused_s,
                paused_s=self._paused_s,
            ),
            waited_s={thread.sink.name: thread.waited_s for thread in self._threads},
            dropped={thread.sink.name: thread.dropped for thread in self._threads},
        )

    def _run_episodes(self) -> tuple[str, BaseException | None]:
        faults = 0
        while (reason := self._cut_short() or self._enough()) is None:
            if self._commands.paused:  # a reset moves the robot too
                self._wait_in_pause()
                continue
            index = self._kept()
            fault = self._run_episode(EpisodeInfo(index, self._seed(index)))
            if fault is not None:
                faults += 1
                if faults > self._config.max_faults or self._sink_failure() is not None:
                    return str(fault), fault
        return reason, None

    def _run_episode(self, info: EpisodeInfo) -> Exception | None:
        tally = Tally(first_frame=self._frames)
        fault = None
        self._commands.begin_take(info.index)
        self._publish(EpisodeStart(info))
        try:
            outcome, reason = self._take_steps(info, tally)
        except KeyboardInterrupt:
            self._commands.stop("interrupted by the operator")
            outcome, reason = Outcome.STOPPED, "interrupted by the operator"
        except Exception as error:
            log.debug("episode %d ends by a fault", info.index, exc_info=True)
            if self._commands.stop_reason is not None:  # whoever stops may close what the step waits for
                outcome, reason = Outcome.STOPPED, f"{self._commands.stop_reason}; then: {error}"
            else:
                fault, outcome, reason = error, Outcome.FAULT, str(error) or type(error).__name__
        self._commands.finish_take()
        episode = tally.finish(info, outcome, reason)
        self._episodes.append(episode)
        self._publish(EpisodeEnd(episode))
        return fault

    def _take_steps(self, info: EpisodeInfo, tally: Tally) -> tuple[Outcome, str]:
        with blaming(EnvironmentFault, "the environment failed to reset"):
            observation = self._prompted(self._environment.reset(info.seed, self._reset_options(info)))
        with blaming(PolicyError, "the policy failed to reset"):
            self._controller.reset(info, observation)
        self._look(observation)  # the first picture takes longest, and no step shall be late for it
        began = self._clock.now()
        self._pacer.start()
        try:
            while (ending := self._ending(tally)) is None:
                if self._commands.waits:
                    began += self._pause(observation)
                    observation = self._prompted(replace(observation, prompt=self._own_prompt))  # edited meanwhile
                    continue
                late_s = self._pacer.wait()
                time_s = self._clock.now() - began
                self._retry_if_asked(info, tally, observation)
                decision, result = self._step(observation)
                if tally.steps + 1 >= self._episode_limit and not result.terminated:
                    result = replace(result, truncated=True)
                tally.add(observation, decision, result)
                self._steps += 1
                self._publish(
                    StepTaken(tally.steps - 1, self._next_frame(tally), observation, decision, result, time_s, late_s)
                )
                observation = result.observation
        except BaseException:
            with suppress(TakeTwoError):  # the error that led here is the one to tell
                self._show_terminal(tally, observation, began)
            raise
        self._pacer.wait()
        self._show_terminal(tally, observation, began)
        return self._operators_verdict(ending)  # it may have come while the end was shown

    def _pause(self, observation: Observation) -> float:
        """Wait until there is something to do again; returns how long that took, in seconds."""
        waited_s = 0.0
        while self._commands.waits and self._sink_failure() is None:
            self._look(observation)  # who comes now sees where it stands
            self._publish(Paused(self._frames, observation))
            waited_s += self._wait_in_pause()
        self._pacer.start()
        return waited_s

    def _wait_in_pause(self) -> float:
        began = self._clock.now()
        self._clock.sleep_until(began + PAUSE_LOOK_S)
        waited_s = self._clock.now() - began
        self._paused_s += waited_s
        return waited_s

    def _retry_if_asked(self, info: EpisodeInfo, tally: Tally, observation: Observation) -> None:
        reason = self._commands.take_retry()
        if reason is None:
            return
        with blaming(PolicyError, "the policy failed to reset"):
            self._controller.reset(info, observation)
        tally.interventions += 1
        self._publish(Intervention(tally.steps, self._frames, "retry", reason))

    def _step(self, observation: Observation) -> tuple[Decision, StepResult]:
        with blaming(PolicyError, "the policy failed"):
            decision = self._controller.decide(observation)
        self._look(observation)
        with blaming(EnvironmentFault, "the environment failed"):
            result = self._environment.step(decision.sent)
        prompted = self._prompted(result.observation)
        if prompted is not result.observation:
            result = replace(result, observation=prompted)
        return decision, result

    def _show_terminal(self, tally: Tally, observation: Observation, began: float) -> None:
        self._look(observation)
        time_s = self._clock.now() - began
        self._publish(TerminalObservation(tally.steps, self._next_frame(tally), observation, time_s))

    def _ending(self, tally: Tally) -> tuple[Outcome, str] | None:
        failure = self._sink_failure()
        if failure is not None:
            raise failure
        if self._commands.discard_reason is not None:
            return Outcome.DISCARDED, self._commands.discard_reason
        verdict = tally.verdict(self._config.success)
        if verdict is not None:
            return verdict
        reason = self._cut_short() or self._commands.end_reason
        if reason is None:
            return None
        return Outcome.STOPPED, f"{reason}; it had been solved" if tally.solved_ever else reason

    def _operators_verdict(self, ending: tuple[Outcome, str]) -> tuple[Outcome, str]:
        """How the episode ended, unless the operator says otherwise."""
        if self._commands.discard_reason is not None:
            return Outcome.DISCARDED, self._commands.discard_reason
        if self._commands.marked is None:
            return ending
        marked = Outcome.SUCCESS if self._commands.marked else Outcome.FAILURE
        return marked, f"marked a {marked} by the operator; {ending[1]}"

    def _cut_short(self) -> str | None:
        """Why no further step may be taken, or None."""
        if self._commands.stop_reason is not None:
            return self._commands.stop_reason
        if self._config.max_total_steps is not None and self._steps >= self._config.max_total_steps:
            return f"the session reached its {self._config.max_total_steps} steps"
        if self._frames + 1 >= self._frame_limit:  # one frame is left for the terminal observation
            return f"the session reached its {self._config.total_seconds:g} s"
        return None

    def _enough(self) -> str | None:
        """Why no further episode may begin, or None."""
        failure = self._sink_failure()
        if failure is not None:
            return str(failure)
        if self._config.num_episodes is not None and self._kept() >= self._config.num_episodes:
            return "all episodes done"
        return None

    def _reset_options(self, info: EpisodeInfo) -> Mapping[str, Any] | None:
        if self._environment.spec.num_init_states is None:
            return None
        return {"init_state": self._config.seed_offset + info.index}

    def _seed(self, index: int) -> int:
        return episode_seed(self._config.seed, self._config.seed_offset + index)

    def _kept(self) -> int:
        return sum(episode.outcome is not Outcome.DISCARDED for episode in self._episodes)

    def _next_frame(self, tally: Tally) -> int:
        frame = self._frames
        self._frames += 1
        tally.frames += 1
        return frame

    def _prompted(self, observation: Observation) -> Observation:
        self._own_prompt = observation.prompt
        prompt = self._prompt()
        if prompt is None or prompt == observation.prompt:
            return observation
        return replace(observation, prompt=prompt)

    def _look(self, observation: Observation) -> None:
        """Make the pictures that sinks want of the coming frame, while the environment still shows it."""
        for thread in self._threads:
            if thread.error is not None:
                continue
            try:
                wanted = [observation.images[camera] for camera in thread.sink.cameras(self._frames)]
            except KeyError as error:
                thread.fail(RecordingError(one_of("camera", error.args[0], observation.images)))
                continue
            except Exception as error:  # noqa: BLE001 - a sink's fault, not the session's
                thread.fail(error)
                continue
            for image in wanted:
                with blaming(RenderingError, f"camera {image.camera!r} cannot be drawn"):
                    _ = image.pixels

    def _publish(self, event: Event) -> None:
        for thread in self._threads:
            thread.put(event)

    def _sink_failure(self) -> TakeTwoError | None:
        """The error of a sink that the session cannot do without, or None."""
        for thread in self._threads:
            if thread.sink.required and thread.error is not None:
                error = thread.error
                if isinstance(error, TakeTwoError):
                    return error
                return RecordingError(f"{thread.sink.name} failed: {type(error).__name__}: {error}")
        return None
