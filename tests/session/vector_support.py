"""Sessions of several points, and what is said of them."""

from collections import defaultdict
from dataclasses import replace

import numpy as np

from taketwo.envs.several import Several
from taketwo.errors import EnvironmentFault
from taketwo.session.config import SessionConfig
from taketwo.session.events import EpisodeEnd, EpisodeStart, Paused, SessionStart, StepTaken, TerminalObservation
from taketwo.session.vector import VectorSession
from taketwo.testing import PointEnvironment, SteeringController
from taketwo.types import VectorStep


class Each:
    """A controller for each environment. `before` is called with the observations of every step."""

    def __init__(self, controllers, before=lambda observations: None):
        self.controllers = controllers
        self._before = before
        self.asked = []

    @property
    def stalls(self):
        return 0

    def reset(self, episode, observation):
        self.controllers[episode.env].reset(episode, observation)

    def decide(self, observations):
        self.asked.append(sorted(observations))
        self._before(observations)
        return {env: self.controllers[env].decide(seen) for env, seen in observations.items()}


def points(count=3):
    return Several([PointEnvironment() for _ in range(count)])


def run_vector(environment=None, controller=None, sinks=(), shown=(), **options):
    """Run a session of several points; options that VectorSession takes by keyword go there, the rest to its config."""
    names = ("prompt", "clock", "commands", "shown_env", "shown_spec")
    keywords = {name: options.pop(name) for name in names if name in options}
    environment = environment or points()
    controller = controller or Each([SteeringController() for _ in range(environment.num_envs)])
    config = SessionConfig(**options)
    return VectorSession(environment, controller, config, list(sinks), shown=list(shown), **keywords).run()


class SelfResetting:
    """Points that begin their next episode by themselves, and move on whether or not they are given an action.

    Attributes:
        firsts: by environment, the states in which its episodes began.
        lasts: those in which they ended.
    """

    resets_itself = True

    def __init__(self, count=3, *, limit=30, late=False, unseen=False):
        """Args:
        limit: steps of its episodes.
        late: begin in the step after the end, not in the same one.
        unseen: do not show how an episode ends.
        """
        self._points = [PointEnvironment() for _ in range(count)]
        self.num_envs = count
        self.spec = self._points[0].spec
        self._limit, self._late, self._unseen = limit, late, unseen
        self._due = set()
        self._now = {}
        self._steps = dict.fromkeys(range(count), 0)
        self.resets = 0
        self.firsts, self.lasts = defaultdict(list), defaultdict(list)

    def reset(self, seeds, options=None):
        self.resets += 1
        assert set(seeds) == set(range(self.num_envs))
        return {env: self._begin(env, seed) for env, seed in seeds.items()}

    def step(self, actions):
        assert not actions.keys() & self._due
        results, begun, unseen = {}, {}, set()
        for env in range(self.num_envs):
            if env in self._due:
                begun[env] = self._anew(env)
                continue
            result, over, hidden = self._move(env, actions.get(env, np.zeros(2)))
            if env in actions:
                results[env] = result
                unseen |= {env} if hidden else set()
            if over and self._late:
                self._due.add(env)
            elif over:
                begun[env] = self._anew(env)
        return VectorStep(results, begun=begun, unseen=frozenset(unseen))

    def close(self):
        pass

    def _begin(self, env, seed):
        self._now[env] = self._points[env].reset(seed)
        self._steps[env] = 0
        self.firsts[env].append(tuple(self._now[env].state))
        return self._now[env]

    def _anew(self, env):
        self._due.discard(env)
        return self._begin(env, 1000 * (env + 1) + len(self.firsts[env]))

    def _move(self, env, action):
        before, result = self._now[env], self._points[env].step(action)
        self._steps[env] += 1
        result = replace(result, truncated=self._steps[env] >= self._limit and not result.terminated)
        over = result.terminated or result.truncated
        self._now[env] = result.observation
        if over:
            self.lasts[env].append(tuple(result.observation.state))
            _ = result.observation.images["top"].pixels  # it stands elsewhere in a moment
        hidden = over and self._unseen
        return replace(result, observation=before) if hidden else result, over, hidden


class Breaks(PointEnvironment):
    """Goes wrong in one step, or in the reset, of one of its episodes."""

    def __init__(self, how, step=3, episode=0):
        super().__init__()
        self._how, self._break_at, self._break_in, self._episode = how, step, episode, -1

    @property
    def _now(self):
        return self._episode == self._break_in and self._steps == self._break_at

    def reset(self, seed, options=None):
        self._episode += 1
        if self._how == "reset" and self._episode == self._break_in:
            raise RuntimeError("no power")
        seen = super().reset(seed, options)
        broken = self._how == "first" and self._episode == self._break_in
        return replace(seen, state=np.array([0.1, np.nan, 0.1, 0.1])) if broken else seen

    def step(self, action):
        if self._how == "raises" and self._now:
            raise ValueError("the simulator exploded")
        if self._how == "fault" and self._now:
            raise EnvironmentFault("the motor is too hot")
        broken = self._now
        result = super().step(action)
        if self._how == "reward" and broken:
            return replace(result, reward=float("nan"))
        if self._how == "state" and broken:
            state = result.observation.state.copy()
            state[[1, 3]] = np.nan
            return replace(result, observation=replace(result.observation, state=state))
        return result

    def render(self, camera, height, width):
        if self._how == "picture" and self._now:
            raise RuntimeError("no context")
        return super().render(camera, height, width)


def told(events):
    """Events without their times, to compare them; a pause is there once, however long it was."""
    lines = []
    for event in events:
        line = _told(event)
        if not lines or line != lines[-1]:
            lines.append(line)
    return lines


def _told(event):
    match event:
        case SessionStart():
            return "session", event.spec.name, event.control_hz, event.seed
        case StepTaken():
            decision, result = event.decision, event.result
            said = (result.reward, result.terminated, result.truncated, result.success, _seen(result.observation))
            sent = (decision.asked.tobytes(), decision.sent.tobytes())
            return "step", event.env, event.index, event.frame, _seen(event.observation), sent, said
        case TerminalObservation():
            return "terminal", event.env, event.index, event.frame, _seen(event.observation)
        case Paused():
            return "paused", event.frame, _seen(event.observation)
    return event


def _seen(observation):
    pictures = tuple(image.pixels.tobytes() for image in observation.images.values() if image.rendered)
    return observation.state.tobytes(), observation.prompt, observation.time_s, pictures


def check_whole(events, num_envs):
    """Every episode that begins ends, its frames are numbered within its environment, and there is no other."""
    for env in range(num_envs):
        own = [event for event in events if env_of(event) == env]
        under_way, frame = None, 0
        for event in own:
            match event:
                case EpisodeStart(info):
                    assert under_way is None
                    under_way, first = info, frame
                case EpisodeEnd(episode):
                    assert under_way is not None
                    assert (episode.index, episode.seed) == (under_way.index, under_way.seed)
                    assert (episode.first_frame, episode.frames) == (first, frame - first)
                    under_way = None
                case StepTaken() | TerminalObservation():
                    assert under_way is not None
                    assert event.frame == frame
                    assert event.index == frame - first
                    frame += 1
        assert under_way is None


def env_of(event):
    match event:
        case EpisodeStart(episode) | EpisodeEnd(episode):
            return episode.env
        case _:
            return getattr(event, "env", None)
