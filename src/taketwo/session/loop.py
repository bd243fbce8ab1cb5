"""The loop: environment, controller, clock, and events for whoever watches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from typing import Any, Protocol

from taketwo.errors import (
    EnvironmentFault,
    PolicyError,
    TakeTwoError,
    blaming,
)
from taketwo.seeding import episode_seed
from taketwo.session.checking import checked, checked_result
from taketwo.session.clock import Clock, MonotonicClock, Pacer
from taketwo.session.commands import Commands
from taketwo.session.config import SessionConfig
from taketwo.session.endings import Ending, Endings
from taketwo.session.events import (
    EpisodeEnd,
    EpisodeStart,
    Intervention,
    Paused,
    SessionEnd,
    SessionStart,
    StepTaken,
    TerminalObservation,
)
from taketwo.session.patience import Patience, end_process
from taketwo.session.punctuality import short_collections
from taketwo.session.result import SessionResult, Times, result_of
from taketwo.session.sinks import Sink
from taketwo.session.tally import Tally
from taketwo.session.watchers import Watchers
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
        on_hang: Callable[[SessionResult], None] = lambda result: end_process(result.fault),
    ) -> None:
        """Nothing moves until `run`.

        Args:
            prompt: gives the instruction put into each observation, or None to keep the environment's.
            commands: where the operator's commands come from.
            described_as: the resolved configuration as plain values, for the recordings.
            on_hang: called on another thread with the result where the environment hangs (`step_timeout_s`), when
                all recordings are whole. It has to end the process, since `run` cannot come back.
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
        self._on_hang = on_hang
        self._pacer = Pacer(self._clock, config.max_hz)
        self._endings = Endings(config, environment.spec, self.control_hz, self._commands)
        self._patience = Patience(None, self._give_up)
        self._watchers = Watchers(())
        self._episodes: list[Episode] = []
        self._under_way: tuple[EpisodeInfo, Tally] | None = None
        self._steps = self._frames = 0
        self._began = self._paused_s = 0.0
        self._own_prompt: str | None = None  # of the last observation, before another was put in

    def run(self) -> SessionResult:
        """Run to the end. What goes wrong inside is told by `SessionResult.fault`, not raised."""
        self._watchers = Watchers(self._sinks)
        self._watchers.begin(
            SessionStart(self._environment.spec, self.control_hz, self._config.seed, self._described_as)
        )
        self._began = self._clock.now()
        with short_collections(), Patience(self._config.step_timeout_s, self._give_up) as self._patience:
            reason, fault = self._run_episodes()
        return self._finish(reason, fault)

    def _give_up(self, fault: EnvironmentFault) -> None:
        """End the session on another thread than the one that hangs."""
        if self._under_way is not None:
            self._close(*self._under_way, (Outcome.FAULT, str(fault)))
        self._on_hang(self._finish(str(fault), fault))

    def _finish(self, reason: str, fault: BaseException | None) -> SessionResult:
        times = Times(self._clock.now() - self._began, self._paused_s)
        self._watchers.publish(SessionEnd(reason))
        self._watchers.finish()
        return result_of(
            self._episodes,
            reason,
            fault or self._watchers.failure,
            pacer=self._pacer,
            stalls=self._controller.stalls,
            times=times,
            watchers=[self._watchers],
        )

    def _run_episodes(self) -> tuple[str, BaseException | None]:
        faults = 0
        while (reason := self._cut_short() or self._enough()) is None:
            if self._commands.paused:  # a reset moves the robot too
                self._wait_in_pause()
                continue
            fault = self._run_episode(self._info())
            if fault is not None:
                faults += 1
                if faults > self._config.max_faults or self._watchers.failure is not None:
                    return str(fault), fault
        return reason, None

    def _run_episode(self, info: EpisodeInfo) -> Exception | None:
        tally = Tally(first_frame=self._frames)
        fault = None
        self._under_way = info, tally
        self._commands.begin_take(info.index)
        self._watchers.publish(EpisodeStart(info))
        try:
            outcome, reason = self._take_steps(info, tally)
        except KeyboardInterrupt:
            self._commands.stop("interrupted by the operator")
            outcome, reason = Outcome.STOPPED, "interrupted by the operator"
        except Exception as error:
            log.debug("episode %d ends by a fault", info.index, exc_info=True)
            (outcome, reason), is_fault = self._endings.of_error(error)
            fault = error if is_fault else None
        self._close(info, tally, (outcome, reason))
        return fault

    def _close(self, info: EpisodeInfo, tally: Tally, ending: Ending) -> None:
        self._under_way = None
        self._commands.finish_take()
        episode = tally.finish(info, *ending, self._config.metrics)
        self._episodes.append(episode)
        self._watchers.publish(EpisodeEnd(episode))

    def _take_steps(self, info: EpisodeInfo, tally: Tally) -> Ending:
        with blaming(EnvironmentFault, "the environment failed to reset"), self._watching("the environment's reset"):
            observation = self._environment.reset(info.seed, reset_options(info))
        observation = self._prompted(checked(observation, self._environment.spec))
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
                if tally.steps + 1 >= self._endings.episode_steps and not result.terminated:
                    result = replace(result, truncated=True)
                tally.add(observation, decision, result)
                self._steps += 1
                self._watchers.publish(
                    StepTaken(tally.steps - 1, self._next_frame(tally), observation, decision, result, time_s, late_s)
                )
                observation = result.observation
        except BaseException:
            with suppress(TakeTwoError):  # the error that led here is the one to tell
                self._show_terminal(tally, observation, began)
            raise
        self._pacer.wait()
        self._show_terminal(tally, observation, began)
        return self._endings.with_mark(ending)  # it may have come while the end was shown

    def _pause(self, observation: Observation) -> float:
        """Wait until there is something to do again; returns how long that took, in seconds."""
        waited_s = 0.0
        while self._commands.waits and self._watchers.failure is None:
            self._look(observation)  # who comes now sees where it stands
            self._watchers.publish(Paused(self._frames, observation))
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
        self._watchers.publish(Intervention(tally.steps, self._frames, "retry", reason))

    def _step(self, observation: Observation) -> tuple[Decision, StepResult]:
        with blaming(PolicyError, "the policy failed"):
            decision = self._controller.decide(observation)
        self._look(observation)
        with blaming(EnvironmentFault, "the environment failed"), self._watching("the environment's step"):
            result = self._environment.step(decision.sent)
        checked_result(result, self._environment.spec)
        prompted = self._prompted(result.observation)
        if prompted is not result.observation:
            result = replace(result, observation=prompted)
        return decision, result

    def _show_terminal(self, tally: Tally, observation: Observation, began: float) -> None:
        self._look(observation)
        time_s = self._clock.now() - began
        self._watchers.publish(TerminalObservation(tally.steps, self._next_frame(tally), observation, time_s))

    def _ending(self, tally: Tally) -> Ending | None:
        failure = self._watchers.failure
        if failure is not None:
            raise failure
        return self._endings.of_take(tally, self._cut_short())

    def _cut_short(self) -> str | None:
        """Why no further step may be taken, or None."""
        return self._endings.of_session(self._steps, self._frames)

    def _enough(self) -> str | None:
        """Why no further episode may begin, or None."""
        failure = self._watchers.failure
        if failure is not None:
            return str(failure)
        if self._config.num_episodes is not None and self._kept() >= self._config.num_episodes:
            return "all episodes done"
        return None

    def _info(self) -> EpisodeInfo:
        """The episode that is next."""
        index = self._kept()
        number = self._config.seed_offset + index
        init_state = None if self._environment.spec.num_init_states is None else number
        return EpisodeInfo(index, episode_seed(self._config.seed, number), init_state=init_state)

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
        with self._watching("a picture of the environment"):
            self._watchers.look(observation, self._frames)

    def _watching(self, what: str) -> AbstractContextManager[None]:
        return self._patience.watching(what)


def reset_options(info: EpisodeInfo) -> Mapping[str, Any] | None:
    """What an environment is to be reset with besides the seed."""
    return None if info.init_state is None else {"init_state": info.init_state}
