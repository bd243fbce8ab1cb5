"""The loop for several environments that step together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from taketwo.errors import EnvironmentFault, PolicyError, RenderingError, TakeTwoError, blaming
from taketwo.seeding import episode_seed
from taketwo.session.checking import checked, checked_result
from taketwo.session.clock import Clock, MonotonicClock, Pacer
from taketwo.session.commands import Commands
from taketwo.session.config import SessionConfig
from taketwo.session.endings import Ending, Endings
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
from taketwo.session.lanes import Faults, Lane, Rollout
from taketwo.session.loop import PAUSE_LOOK_S, reset_options
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
    VectorStep,
)

log = logging.getLogger(__name__)

LONG_WAIT_STEPS = 1000


class VectorEnvironment(Protocol):
    """As much of it as the loop needs; `taketwo.envs.base.VectorEnvironment` has it."""

    @property
    def spec(self) -> EnvironmentSpec:
        """What each of them is."""
        ...

    @property
    def num_envs(self) -> int:
        """How many there are."""
        ...

    @property
    def resets_itself(self) -> bool:
        """Whether each begins its next episode by itself."""
        ...

    def reset(
        self, seeds: Mapping[int, int], options: Mapping[int, Mapping[str, Any]] | None = None
    ) -> Mapping[int, Observation]:
        """Begin an episode in some of them."""
        ...

    def step(self, actions: Mapping[int, FloatArray]) -> VectorStep:
        """Step some of them."""
        ...


class VectorController(Protocol):
    """Turns the observations of several environments into actions."""

    @property
    def stalls(self) -> int:
        """How often the loop has waited because no action was ready in time."""
        ...

    def reset(self, episode: EpisodeInfo, observation: Observation) -> None:
        """Forget the last episode of the environment that `episode` names."""
        ...

    def decide(self, observations: Mapping[int, Observation]) -> Mapping[int, Decision]:
        """The actions for this step, by environment."""
        ...


class VectorSession:
    """Runs episodes in several environments at once, in lock-step.

    Every environment has a number of episodes of its own to do, and waits when it has done them. Were the session to
    end when so many episodes are done in all, those that take long would be missing from its results.

    One environment is shown: the operator's commands are about its episodes.
    """

    def __init__(
        self,
        environment: VectorEnvironment,
        controller: VectorController,
        config: SessionConfig,
        sinks: Sequence[Sink] = (),
        *,
        shown: Sequence[Sink] = (),
        shown_env: int = 0,
        shown_spec: EnvironmentSpec | None = None,
        prompt: Callable[[], str | None] = lambda: None,
        commands: Commands | None = None,
        clock: Clock | None = None,
        described_as: Mapping[str, Any] | None = None,
        on_hang: Callable[[SessionResult], None] = lambda result: end_process(result.fault),
    ) -> None:
        """Nothing moves until `run`.

        Args:
            sinks: get the events of all environments.
            shown: get those of the shown environment, as if there were no other.
            shown_spec: what that one is, where it has cameras that the others do not have.
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
        self._shown_sinks = shown
        self._shown = Lane(shown_env)
        self._shown_spec = shown_spec or environment.spec
        self._lanes = [self._shown if env == shown_env else Lane(env) for env in range(environment.num_envs)]
        self._prompt = prompt
        self._commands = commands or Commands()
        self._clock = clock or MonotonicClock()
        self._described_as = described_as or {}
        self._on_hang = on_hang
        self._patience = Patience(None, self._give_up)
        self._pacer = Pacer(self._clock, config.max_hz)
        self._endings = Endings(config, environment.spec, self.control_hz, self._commands)
        self._faults = Faults(config.max_faults)
        self._all, self._few = Watchers(()), Watchers(())
        self._episodes: list[Episode] = []
        self._steps = 0
        self._begun = False
        self._idle = 0  # steps in which all waited for a simulator to end an episode by itself
        self._began = self._paused_s = 0.0

    def run(self) -> SessionResult:
        """Run to the end. What goes wrong inside is told by `SessionResult.fault`, not raised."""
        self._all, self._few = Watchers(self._sinks), Watchers(self._shown_sinks)
        start = SessionStart(self._environment.spec, self.control_hz, self._config.seed, self._described_as)
        self._all.begin(start)
        self._few.begin(replace(start, spec=self._shown_spec))
        self._began = self._clock.now()
        with short_collections(), Patience(self._config.step_timeout_s, self._give_up) as self._patience:
            reason = self._run_episodes()
        return self._finish(reason)

    def _give_up(self, fault: EnvironmentFault) -> None:
        """End the session on another thread than the one that hangs."""
        self._faults.last = fault
        for lane in self._lanes:
            if lane.rollout is not None:
                self._close(lane, lane.rollout, (Outcome.FAULT, str(fault)))
        self._on_hang(self._finish(str(fault)))

    def _finish(self, reason: str) -> SessionResult:
        times = Times(self._clock.now() - self._began, self._paused_s)
        for watchers in (self._all, self._few):
            watchers.publish(SessionEnd(reason))
        for watchers in (self._all, self._few):
            watchers.finish()
        return result_of(
            self._episodes,
            reason,
            self._faults.last or self._failure(),
            pacer=self._pacer,
            stalls=self._controller.stalls,
            times=times,
            watchers=[self._all, self._few],
        )

    def _run_episodes(self) -> str:
        """Run until it is over; says why it is."""
        while True:
            try:
                over = self._go_on()
            except KeyboardInterrupt:
                self._commands.stop("interrupted by the operator")
                continue
            except Exception as error:
                log.debug("all episodes under way end by a fault", exc_info=True)
                self._end_all_by(error)
                over = self._commands.stop_reason or (None if self._faults.last is None else str(error))
            if over is not None:
                return over

    def _go_on(self) -> str | None:
        """One step of all, with the episodes that end before it and begin; says why it is over, if it is."""
        failure = self._failure()
        if failure is not None:
            raise failure
        self._end_episodes(self._cut_short())
        if self._faults.last is not None:
            self._stop_all(f"the session ends: {self._faults.last}")
            return str(self._faults.last)
        cut_short = self._cut_short()
        if cut_short is not None:
            self._end_episodes(cut_short)  # the last frame of one may have been the last of the session
            return cut_short
        if all(lane.rollout is None and self._done(lane) for lane in self._lanes):
            return "all episodes done"
        if self._commands.paused:  # a reset moves the robot too
            self._pause()
        else:
            self._begin_episodes()
            self._step()
        return None

    def _cut_short(self) -> str | None:
        """Why no further step may be taken, or None."""
        return self._endings.of_session(self._steps + self._idle, self._shown.frames + self._idle)

    def _done(self, lane: Lane) -> bool:
        """Whether it has done its episodes."""
        return self._config.num_episodes is not None and lane.kept >= self._config.num_episodes

    def _begin_episodes(self) -> None:
        waiting = [lane for lane in self._lanes if lane.rollout is None and not self._done(lane)]
        begins_itself = self._environment.resets_itself and self._begun
        if begins_itself:
            waiting = [lane for lane in waiting if lane.first is not None]
        if waiting:
            if self._begun:
                self._pacer.wait()  # the last actions hold for their time, and resetting takes time of its own
            self._begin_in(waiting, begins_itself)
            self._pacer.start()
        for lane in self._lanes:
            lane.first = None  # of an episode that nobody waits for

    def _begin_in(self, lanes: Sequence[Lane], begins_itself: bool) -> None:
        if begins_itself:
            ready = {lane.env: lane.first for lane in lanes if lane.first is not None}
            for lane in lanes:
                self._open(lane)
        else:
            ready = self._reset(lanes)
        for env, observation in ready.items():
            with self._alone(self._lanes[env]):
                self._begin(self._lanes[env], observation)

    def _reset(self, lanes: Sequence[Lane]) -> dict[int, Observation]:
        """The first observations of new episodes; none where resetting failed, which ends all that were to begin."""
        infos = [self._open(lane).info for lane in lanes]
        try:
            return self._reset_for(infos)
        except EnvironmentFault as fault:
            self._cut_off_by(fault, lanes)
            return {}

    def _reset_for(self, infos: Sequence[EpisodeInfo]) -> dict[int, Observation]:
        options = {info.env: told for info in infos if (told := reset_options(info)) is not None}
        with blaming(EnvironmentFault, "the environments failed to reset"), self._watching("the environments' reset"):
            ready = self._environment.reset({info.env: info.seed for info in infos}, options or None)
        self._begun = True
        return dict(ready)

    def _info(self, lane: Lane) -> EpisodeInfo:
        """The episode that is next."""
        number = self._config.seed_offset + lane.kept
        seed = episode_seed(self._config.seed, number, lane.env)
        init_state = None
        if self._environment.spec.num_init_states is not None:  # each another, round by round
            init_state = number * len(self._lanes) + lane.env
        seeded = not (self._environment.resets_itself and self._begun)
        return EpisodeInfo(lane.kept, seed, lane.env, init_state, seeded)

    def _open(self, lane: Lane) -> Rollout:
        info, tally = self._info(lane), Tally(first_frame=lane.frames)
        lane.rollout = Rollout(info, tally, Observation(np.empty(0)))
        if lane is self._shown:
            self._commands.begin_take(info.index)
        self._publish(lane, EpisodeStart(info))
        return lane.rollout

    def _begin(self, lane: Lane, observation: Observation) -> None:
        rollout = lane.rollout
        assert rollout is not None
        rollout.observation = self._prompted(rollout, checked(observation, self._environment.spec))
        with blaming(PolicyError, "the policy failed to reset"):
            self._controller.reset(rollout.info, rollout.observation)
        self._look(lane)  # the first picture takes longest, and no step shall be late for it
        rollout.unseen = False
        rollout.began = self._clock.now()

    def _step(self) -> None:
        under_way = {lane.env: lane.rollout for lane in self._lanes if lane.rollout is not None}
        if not under_way:
            self._wait_for_simulator()
        late_s = self._pacer.wait()
        now = self._clock.now()
        self._retry_if_asked()
        with blaming(PolicyError, "the policy failed"):
            decisions = self._controller.decide({env: rollout.observation for env, rollout in under_way.items()})
        for env in under_way:
            with self._alone(self._lanes[env]):
                self._look(self._lanes[env])
        under_way = {env: rollout for env, rollout in under_way.items() if self._lanes[env].rollout is rollout}
        with blaming(EnvironmentFault, "the environments failed"), self._watching("the environments' step"):
            step = self._environment.step({env: decisions[env].sent for env in under_way})
        for env, rollout in under_way.items():
            fault = step.faults.get(env)
            if fault is None:
                rollout.unseen = env in step.unseen
                fault = self._take(self._lanes[env], rollout, decisions[env], step.results[env], (now, late_s))
            if fault is not None:
                self._cut_off_by(fault, [self._lanes[env]])
        for env, observation in step.begun.items():
            self._lanes[env].first = observation

    def _take(
        self, lane: Lane, rollout: Rollout, decision: Decision, result: StepResult, when: tuple[float, float]
    ) -> EnvironmentFault | None:
        """Count and publish what came of an action; returns what is wrong with it, if anything is."""
        try:
            checked_result(result, self._environment.spec)
        except EnvironmentFault as fault:
            return fault
        now, late_s = when
        result = replace(result, observation=self._prompted(rollout, result.observation))
        tally, seen = rollout.tally, rollout.observation
        if tally.steps + 1 >= self._endings.episode_steps and not result.terminated:
            result = replace(result, truncated=True)
        tally.add(seen, decision, result)
        self._steps += 1
        time_s = now - rollout.began
        step = StepTaken(tally.steps - 1, _next_frame(lane), seen, decision, result, time_s, late_s, lane.env)
        self._publish(lane, step)
        rollout.observation = result.observation
        return None

    def _wait_for_simulator(self) -> None:
        """Count a step that no episode has. There are some where a limit of ours has cut all of them."""
        self._idle += 1
        if self._idle == LONG_WAIT_STEPS:
            log.warning(
                "%d steps without an episode: the simulator begins the next ones when it has ended those that were cut "
                "off by --session.max_episode_steps or by a command",
                LONG_WAIT_STEPS,
            )

    def _retry_if_asked(self) -> None:
        rollout, reason = self._shown.rollout, self._commands.take_retry()
        if rollout is None or reason is None:
            return
        with blaming(PolicyError, "the policy failed to reset"):
            self._controller.reset(rollout.info, rollout.observation)
        rollout.tally.interventions += 1
        frame = self._shown.frames
        self._publish(self._shown, Intervention(rollout.tally.steps, frame, "retry", reason, self._shown.env))

    def _pause(self) -> None:
        """Wait a moment, and let who comes now see where it stands."""
        rollout = self._shown.rollout
        if rollout is not None:
            with self._alone(self._shown):
                self._look(self._shown)
                self._few.publish(Paused(self._shown.frames, rollout.observation))
        began = self._clock.now()
        self._clock.sleep_until(began + PAUSE_LOOK_S)
        waited_s = self._clock.now() - began
        self._paused_s += waited_s
        for lane in self._lanes:
            if lane.rollout is not None:
                lane.rollout.began += waited_s
                own = replace(lane.rollout.observation, prompt=lane.rollout.own_prompt)
                lane.rollout.observation = self._prompted(lane.rollout, own)  # edited meanwhile
        self._pacer.start()

    def _end_episodes(self, cut_short: str | None) -> None:
        for lane in self._lanes:
            if lane.rollout is None:
                continue
            ended = self._endings.of_take if lane is self._shown else self._endings.of_episode
            ending = ended(lane.rollout.tally, cut_short)
            if ending is not None:
                with self._alone(lane):
                    self._end(lane, lane.rollout, ending)

    def _end(self, lane: Lane, rollout: Rollout, ending: Ending) -> None:
        self._show_terminal(lane, rollout)
        self._close(lane, rollout, self._endings.with_mark(ending) if lane is self._shown else ending)

    def _cut_off(self, lane: Lane, ending: Ending) -> None:
        """End an episode that cannot go on, if one is under way."""
        if lane.rollout is None:
            return
        with suppress(TakeTwoError):  # what led here is the one to tell
            self._show_terminal(lane, lane.rollout)
        self._close(lane, lane.rollout, ending)

    def _show_terminal(self, lane: Lane, rollout: Rollout) -> None:
        if rollout.unseen:
            return
        self._look(lane)
        time_s, observation = self._clock.now() - rollout.began, rollout.observation
        event = TerminalObservation(rollout.tally.steps, _next_frame(lane), observation, time_s, lane.env)
        self._publish(lane, event)

    def _close(self, lane: Lane, rollout: Rollout, ending: Ending) -> None:
        if lane is self._shown:
            self._commands.finish_take()
        lane.rollout = None
        rollout.tally.frames = lane.frames - rollout.tally.first_frame
        episode = rollout.tally.finish(rollout.info, *ending, self._config.metrics)
        lane.kept += episode.outcome is not Outcome.DISCARDED
        self._episodes.append(episode)
        self._publish(lane, EpisodeEnd(episode))

    @contextmanager
    def _alone(self, lane: Lane) -> Iterator[None]:
        """What is wrong with one environment ends its episode, and no other."""
        try:
            yield
        except (EnvironmentFault, RenderingError) as fault:
            self._cut_off_by(fault, [lane])

    def _end_all_by(self, error: Exception) -> None:
        """End every episode under way: what they have in common cannot go on."""
        is_fault = self._cut_off_by(error, self._lanes)
        if is_fault and (self._environment.resets_itself or self._failure() is not None):
            self._faults.last = self._faults.last or error

    def _cut_off_by(self, error: BaseException, lanes: Sequence[Lane]) -> bool:
        """End episodes that cannot go on; returns whether that is a fault."""
        ending, is_fault = self._endings.of_error(error)
        if is_fault:
            self._faults.add(error)
        for lane in lanes:
            self._cut_off(lane, ending)
        return is_fault

    def _stop_all(self, reason: str) -> None:
        for lane in self._lanes:
            self._cut_off(lane, (Outcome.STOPPED, reason))

    def _look(self, lane: Lane) -> None:
        """Make the pictures that sinks want of a lane's coming frame."""
        assert lane.rollout is not None
        with self._watching(f"a picture of environment {lane.env}"):
            self._all.look(lane.rollout.observation, lane.frames)
            if lane is self._shown:
                self._few.look(lane.rollout.observation, lane.frames)

    def _watching(self, what: str) -> AbstractContextManager[None]:
        return self._patience.watching(what)

    def _prompted(self, rollout: Rollout, observation: Observation) -> Observation:
        rollout.own_prompt = observation.prompt
        prompt = self._prompt()
        if prompt is None or prompt == observation.prompt:
            return observation
        return replace(observation, prompt=prompt)

    def _publish(self, lane: Lane, event: Event) -> None:
        self._all.publish(event)
        if lane is self._shown:
            self._few.publish(event)

    def _failure(self) -> TakeTwoError | None:
        return self._all.failure or self._few.failure


def _next_frame(lane: Lane) -> int:
    lane.frames += 1
    return lane.frames - 1
