import threading
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from taketwo.envs.several import Several
from taketwo.errors import EnvironmentFault, PolicyError
from taketwo.seeding import episode_seed
from taketwo.session.commands import Commands
from taketwo.session.events import (
    EpisodeEnd,
    EpisodeStart,
    Intervention,
    Paused,
    SessionEnd,
    StepTaken,
    TerminalObservation,
)
from taketwo.testing import PointEnvironment, SteeringController
from taketwo.types import CameraSpec, Decision, Outcome
from tests.session.test_clock import FakeClock
from tests.session.vector_support import Breaks, Each, SelfResetting, check_whole, env_of, points, run_vector, told
from tests.support import Keep, run_session


class Still(SteeringController):
    """Never moves, so that episodes only end by a limit."""

    def decide(self, observation):
        return Decision(asked=np.zeros(2), sent=np.zeros(2))


class CallsAt(SteeringController):
    """Calls something before its n-th decision, from 0. So slow that the first episode goes on for longer."""

    def __init__(self, at, call):
        super().__init__(0.02)
        self._left, self._call = at, call

    def decide(self, observation):
        self._left -= 1
        if self._left == -1:
            self._call()
        return super().decide(observation)


def raises(error):
    raise error


def of(result, env):
    return [episode for episode in result.episodes if episode.env == env]


def outcomes(result, env):
    return [str(episode.outcome) for episode in of(result, env)]


def own(events, env):
    return [event for event in events if env_of(event) == env]


# Quota


def test_every_environment_does_its_own_number_of_episodes_however_long_they_are():
    keep = Keep()
    controller = Each([SteeringController(speed) for speed in (0.05, 0.012, 0.05)])
    result = run_vector(controller=controller, sinks=[keep], num_episodes=4)
    assert [len(of(result, env)) for env in range(3)] == [4, 4, 4]
    assert [episode.index for episode in of(result, 1)] == [0, 1, 2, 3]
    assert sum(episode.steps for episode in of(result, 1)) > 2 * sum(episode.steps for episode in of(result, 0))
    assert result.reason == "all episodes done"
    assert result.fault is None
    # Who has done its own waits: no step and no episode of it comes any more.
    assert controller.asked[-1] == [1]
    check_whole(keep.events, 3)


def test_the_session_is_over_when_the_slowest_is_done():
    keep = Keep()
    run_vector(
        controller=Each([SteeringController(0.05), Still(), SteeringController(0.05)]), sinks=[keep], num_episodes=1
    )
    *_, last, end = keep.events
    assert (last.episode.env, last.episode.outcome) == (1, Outcome.TIMEOUT)
    assert isinstance(end, SessionEnd)


# Seeds, and independence of each other


def test_the_first_environments_episodes_are_those_of_a_plain_session_bit_for_bit():
    plain = Keep(cameras=("top",))
    alone = run_session(sinks=[plain], num_episodes=3, seed=5)
    for count in (1, 3):
        keep = Keep(cameras=("top",))
        result = run_vector(points(count), sinks=[keep], num_episodes=3, seed=5)
        assert told(own(keep.events, 0)) == told(event for event in plain.events if env_of(event) == 0)
        assert of(result, 0) == list(alone.episodes)


def test_no_environments_episodes_depend_on_how_many_there_are():
    streams = []
    for count in (2, 4):
        keep = Keep()
        run_vector(points(count), sinks=[keep], num_episodes=2, seed=5)
        streams.append(told(own(keep.events, 1)))
    assert streams[0] == streams[1]


def test_every_episode_has_a_seed_of_its_own_and_another_session_seed_gives_others():
    seeds = [episode.seed for episode in run_vector(points(5), num_episodes=4, seed=5).episodes]
    assert len(set(seeds)) == 20
    assert {episode_seed(5, 3, 4), episode_seed(5, 3)} <= set(seeds)
    others = [episode.seed for episode in run_vector(points(5), num_episodes=4, seed=6).episodes]
    assert not set(seeds) & set(others)
    later = [episode.seed for episode in run_vector(points(5), num_episodes=2, seed=5, seed_offset=2).episodes]
    assert set(later) < set(seeds)


# What sinks see


SHOWN = {
    "as planned": lambda commands: {},
    "discarded": lambda commands: {"controller": CallsAt(4, commands.discard_episode)},
    "ended": lambda commands: {"controller": CallsAt(4, commands.end_episode)},
    "marked": lambda commands: {"controller": CallsAt(4, lambda: commands.mark(False))},
    "retried": lambda commands: {"controller": CallsAt(4, commands.retry)},
    "stopped": lambda commands: {"controller": CallsAt(4, lambda: commands.stop("enough"))},
    "interrupted": lambda commands: {"controller": CallsAt(4, lambda: raises(KeyboardInterrupt))},
    "policy fails": lambda commands: {"controller": CallsAt(4, lambda: raises(PolicyError("gone"))), "max_faults": 1},
    "policy fails for good": lambda commands: {"controller": CallsAt(4, lambda: raises(PolicyError("gone")))},
    "fails when stopped": lambda commands: {
        "controller": CallsAt(4, lambda: [commands.stop("enough"), raises(PolicyError("the connection was closed"))])
    },
    "marked, then fails": lambda commands: {
        "controller": CallsAt(2, lambda: commands.mark(True)),
        "environment": Breaks("raises"),
    },
    "discarded, then fails": lambda commands: {
        "controller": CallsAt(3, commands.discard_episode),
        "environment": Breaks("raises"),
        "max_faults": 1,
    },
    "environment raises": lambda commands: {"environment": Breaks("raises"), "max_faults": 1},
    "environment raises for good": lambda commands: {"environment": Breaks("raises")},
    "reset raises": lambda commands: {"environment": Breaks("reset", episode=1), "max_faults": 1},
    "begins with NaN": lambda commands: {"environment": Breaks("first", episode=1), "max_faults": 1},
    "reward is NaN": lambda commands: {"environment": Breaks("reward"), "max_faults": 1},
    "state has NaN": lambda commands: {"environment": Breaks("state"), "max_faults": 1},
    "no picture": lambda commands: {"environment": Breaks("picture"), "max_faults": 1},
    "steps limited": lambda commands: {"max_episode_steps": 3},
    "seconds limited": lambda commands: {"total_seconds": 0.5, "num_episodes": None},
    "prompted": lambda commands: {"prompt": lambda: "to the left"},
}


@pytest.mark.parametrize("what", SHOWN)
def test_who_looks_at_the_shown_environment_sees_what_a_plain_session_shows(what):
    """Down to the frame numbers, whatever happens to it; the others go their own ways."""
    plain, shown, everything = Keep(cameras=("top",)), Keep(cameras=("top",)), Keep()

    def options():
        commands = Commands()
        return {"num_episodes": 3, "seed": 5, "commands": commands, **SHOWN[what](commands)}

    alone = run_session(sinks=[plain], **options())
    given = options()
    first = given.pop("environment", None) or PointEnvironment()
    controller = Each([given.pop("controller", None) or SteeringController(), *(SteeringController(0.04),) * 2])
    several = Several([first, PointEnvironment(), PointEnvironment()])
    result = run_vector(several, controller, sinks=[everything], shown=[shown], **given)
    assert unnumbered(shown.events) == unnumbered(plain.events)
    assert str(result.fault) == str(alone.fault).replace("environment failed to reset", "environments failed to reset")
    assert result.reason == alone.reason
    check_whole(everything.events, 3)
    assert told(own(everything.events, 0)) == told(own(shown.events, 0))


def unnumbered(events):
    """Events, with messages that say `the environments` where one alone says `the environment`."""

    def one(event):
        match event:
            case EpisodeEnd(episode):
                return EpisodeEnd(replace(episode, reason=episode.reason.replace("environments", "environment")))
            case SessionEnd(reason):
                return SessionEnd(reason.replace("environments", "environment"))
        return event

    return told(map(one, events))


def test_sinks_of_all_see_every_environment_and_those_of_the_shown_one_no_other():
    everything, shown = Keep(), Keep()
    result = run_vector(sinks=[everything], shown=[shown], shown_env=2, num_episodes=2)
    check_whole(everything.events, 3)
    assert told(own(everything.events, 2)) == told(own(shown.events, 2))
    assert {env_of(event) for event in shown.events} == {2, None}
    assert len(everything.of(EpisodeEnd)) == len(result.episodes) == 6
    assert sum(episode.steps for episode in result.episodes) == len(everything.steps)
    frames = len(everything.steps) + len(everything.of(TerminalObservation))
    assert frames == sum(episode.frames for episode in result.episodes)


def test_only_pictures_that_someone_wants_are_made_and_of_the_shown_environment_alone():
    environment = points()
    run_vector(environment, shown=[Keep(cameras=("top",))], num_episodes=1)
    made = [point.pictures_made for point in environment.environments]
    assert made[0] > 0
    assert made[1:] == [0, 0]


def test_only_the_shown_environments_sinks_are_told_of_cameras_that_it_alone_has():
    everything, shown = Keep(), Keep()
    spec = PointEnvironment().spec
    more = replace(spec, cameras={**spec.cameras, "grid": CameraSpec(4, 4)})
    run_vector(sinks=[everything], shown=[shown], shown_spec=more, num_episodes=1)
    assert list(everything.events[0].spec.cameras) == ["top"]
    assert list(shown.events[0].spec.cameras) == ["top", "grid"]


# What goes wrong


def broken_second(how, **more):
    return Several([PointEnvironment(), Breaks(how, **more), PointEnvironment()])


SAID = {
    "raises": "the environment failed: ValueError: the simulator exploded",
    "fault": "the motor is too hot",
    "state": "the environment gave NaN for y, target_y",
    "reward": "the environment gave NaN as the reward",
    "first": "the environment gave NaN for y",
    "picture": "camera 'top' cannot be drawn: RuntimeError: no context",
}


@pytest.mark.parametrize("how", SAID)
def test_what_is_wrong_with_one_environment_ends_its_episode_and_no_other(how):
    whole, keep = Keep(), Keep(cameras=("top",))
    run_vector(sinks=[whole], num_episodes=2, seed=5)
    result = run_vector(broken_second(how), sinks=[keep], num_episodes=2, seed=5, max_faults=1)
    assert result.fault is None
    assert outcomes(result, 1) == ["fault", "success"]
    assert of(result, 1)[0].reason == SAID[how]
    assert of(result, 1)[0].steps == (0 if how == "first" else 3)
    for env in (0, 2):
        states = [[event.observation.state.tobytes() for event in own(kept.steps, env)] for kept in (whole, keep)]
        assert states[0] == states[1]
        assert outcomes(result, env) == ["success", "success"]
    check_whole(keep.events, 3)


@pytest.mark.parametrize("how", SAID)
def test_one_fault_more_than_is_allowed_ends_the_session_and_the_others_whole(how):
    keep = Keep(cameras=("top",))
    result = run_vector(broken_second(how), sinks=[keep], num_episodes=2, seed=5)
    assert str(result.fault) == result.reason == SAID[how]
    assert outcomes(result, 1) == ["fault"]
    for env in (0, 2):
        (episode,) = of(result, env)
        assert (episode.outcome, episode.reason) == (Outcome.STOPPED, f"the session ends: {SAID[how]}")
        assert episode.frames == episode.steps + 1
    check_whole(keep.events, 3)


def test_a_reset_that_fails_is_a_fault_of_those_that_were_to_begin():
    result = run_vector(broken_second("reset", episode=1), num_episodes=3, seed=5, max_faults=1)
    assert outcomes(result, 1) == ["success", "fault", "success"]
    assert of(result, 1)[1].reason == "the environments failed to reset: RuntimeError: no power"
    assert outcomes(result, 0) == outcomes(result, 2) == ["success"] * 3
    nothing = run_vector(broken_second("reset"), num_episodes=1)
    assert [str(episode.outcome) for episode in nothing.episodes] == ["fault"] * 3
    assert "no power" in str(nothing.fault)


@pytest.mark.parametrize("which", ["policy", "policy's reset", "simulator"])
def test_what_they_have_in_common_ends_all_episodes_under_way(which):
    class Dies(SteeringController):
        resets = 0

        def reset(self, episode, observation):
            self.resets += 1
            if which == "policy's reset" and self.resets == 1:
                raise RuntimeError("out of memory")

    class Crashes(Several):
        steps = 0

        def step(self, actions):
            self.steps += 1
            if which == "simulator" and self.steps == 4:
                raise RuntimeError("out of memory")
            return super().step(actions)

    fails = CallsAt(3, lambda: raises(RuntimeError("out of memory"))) if which == "policy" else Dies()

    def run(**options):
        controller = Each([SteeringController(), SteeringController(), fails])
        keep = Keep()
        result = run_vector(Crashes([PointEnvironment() for _ in range(3)]), controller, [keep], seed=5, **options)
        check_whole(keep.events, 3)
        return result

    result = run(num_episodes=2, max_faults=1)
    assert [outcomes(result, env) for env in range(3)] == [["fault", "success"]] * 3
    assert all(episode.reason.endswith("RuntimeError: out of memory") for episode in result.episodes[:3])
    fails._left = 3
    fails.resets = 0
    result = run(num_episodes=2)
    assert [outcomes(result, env) for env in range(3)] == [["fault"]] * 3
    assert isinstance(result.fault, EnvironmentFault if which == "simulator" else PolicyError)


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.parametrize("place", ["sinks", "shown"])
def test_a_required_sink_that_fails_ends_the_session_with_its_error(place, stopped):
    commands = Commands()

    class Full(Keep):
        def on(self, event):
            super().on(event)
            if isinstance(event, StepTaken) and event.index == 2:
                if stopped:
                    commands.stop("enough")
                raise OSError(28, "No space left on device")

    keep, done = Keep(), []
    sinks = {"sinks": [keep], place: [keep, Full("disk", required=True)]}
    options = {"num_episodes": 1, "max_episode_steps": 100_000, "commands": commands, **sinks}
    thread = threading.Thread(
        target=lambda: done.append(run_vector(controller=Each([Still()] * 3), **options)), daemon=True
    )
    thread.start()
    thread.join(30)
    (result,) = done  # it is over
    assert str(result.fault) == "disk failed: OSError: [Errno 28] No space left on device"
    assert len(result.episodes) == 3
    assert {episode.outcome for episode in result.episodes} <= {Outcome.FAULT, Outcome.STOPPED}
    assert isinstance(keep.events[-1], SessionEnd)


def test_a_sink_that_is_not_required_is_detached(caplog):
    class Fails(Keep):
        def on(self, event):
            raise RuntimeError("no window")

    result = run_vector(shown=[Fails("viewer")], num_episodes=1)
    assert result.fault is None
    assert "viewer failed and is detached" in caplog.text


# The operator


def test_discard_takes_the_shown_episode_again_with_the_same_seed_and_leaves_the_others_alone():
    commands, keep = Commands(), Keep()
    controller = Each([SteeringController(), CallsAt(4, commands.discard_episode), SteeringController()])
    result = run_vector(controller=controller, sinks=[keep], shown_env=1, num_episodes=2, seed=5, commands=commands)
    assert outcomes(result, 1) == ["discarded", "success", "success"]
    assert [episode.index for episode in of(result, 1)] == [0, 0, 1]
    first, again, _ = of(result, 1)
    assert first.seed == again.seed == episode_seed(5, 0, 1)
    assert outcomes(result, 0) == outcomes(result, 2) == ["success", "success"]
    firsts = [event.observation.state.tobytes() for event in own(keep.steps, 1) if event.index == 0]
    assert firsts[0] == firsts[1] != firsts[2]


def test_end_and_mark_are_about_the_shown_episode_alone():
    commands, keep = Commands(), Keep()
    controller = Each(
        [SteeringController(), CallsAt(3, lambda: [commands.mark(False), commands.end_episode()]), SteeringController()]
    )
    result = run_vector(controller=controller, sinks=[keep], shown_env=1, num_episodes=2, seed=5, commands=commands)
    assert outcomes(result, 1) == ["failure", "success"]
    assert of(result, 1)[0].reason == "marked a failure by the operator; ended by the operator"
    assert outcomes(result, 0) == outcomes(result, 2) == ["success", "success"]


def test_a_retry_resets_the_shown_environments_policy_alone():
    commands, keep = Commands(), Keep()

    class Counts(SteeringController):
        resets = 0

        def reset(self, episode, observation):
            self.resets += 1

    class Retries(Counts):
        def decide(self, observation):
            if not keep_asking.pop():
                commands.retry("it is stuck")
            return super().decide(observation)

    keep_asking = [True] * 200 + [False, True, True]
    controller = Each([Counts(), Retries(), Counts()])
    result = run_vector(controller=controller, sinks=[keep], shown_env=1, num_episodes=1, seed=5, commands=commands)
    assert [each.resets for each in controller.controllers] == [1, 2, 1]
    (stepped_in,) = keep.of(Intervention)
    assert (stepped_in.env, stepped_in.index, stepped_in.frame, stepped_in.reason) == (1, 3, 3, "it is stuck")
    assert [of(result, env)[0].interventions for env in range(3)] == [0, 1, 0]


class PauseClock(FakeClock):
    """Counts how often a session that pauses has looked whether it may go on, and calls something."""

    def __init__(self, call):
        super().__init__()
        self._call, self.looks = call, 0

    def sleep_until(self, instant):
        super().sleep_until(instant)
        self.looks += 1
        self._call(self.looks)


def test_a_pause_holds_all_environments_and_shows_where_the_shown_one_stands():
    commands, everything, shown = Commands(), Keep(), Keep()
    standing = []

    def look(times):
        standing.append(len(controller.asked))
        if times >= 5 and shown.of(Paused):
            commands.resume()

    controller = Each([SteeringController(), CallsAt(3, commands.pause), SteeringController()])
    clock = PauseClock(look)
    result = run_vector(
        controller=controller,
        sinks=[everything],
        shown=[shown],
        shown_env=1,
        num_episodes=1,
        commands=commands,
        clock=clock,
    )
    assert set(standing) == {4}
    assert not everything.of(Paused)
    paused = shown.of(Paused)
    assert {event.frame for event in paused} == {4}
    (resumed,) = [event for event in own(everything.steps, 1) if event.index == 4]
    assert np.array_equal(paused[0].observation.state, resumed.observation.state)
    assert result.loop.paused_s == pytest.approx(0.05 * clock.looks)
    assert max(event.time_s for event in everything.steps) == 0.0  # a pause is no time of an episode


@pytest.mark.parametrize("command", ["discard_episode", "end_episode"])
def test_while_it_pauses_an_episode_may_end_and_none_begins(command):
    commands, keep = Commands(), Keep()
    standing = []

    def look(times):
        standing.append(len(controller.asked))
        if times == 2:
            getattr(commands, command)()
        if times == 6:
            commands.resume()

    controller = Each([CallsAt(3, commands.pause), SteeringController(), SteeringController()])
    result = run_vector(controller=controller, sinks=[keep], num_episodes=2, commands=commands, clock=PauseClock(look))
    assert standing == [4] * 6
    assert outcomes(result, 0)[0] == {"discard_episode": "discarded", "end_episode": "stopped"}[command]
    check_whole(keep.events, 3)


def test_a_paused_session_can_be_stopped():
    commands = Commands()
    controller = Each([CallsAt(3, commands.pause), SteeringController()])
    clock = PauseClock(lambda times: commands.stop("enough"))
    result = run_vector(points(2), controller, num_episodes=2, commands=commands, clock=clock)
    assert [episode.outcome for episode in result.episodes] == [Outcome.STOPPED] * 2
    assert result.reason == "enough"


@pytest.mark.parametrize("how", ["stop", "interrupt"])
def test_a_stop_ends_all_episodes_as_stopped_and_whole(how):
    commands, keep = Commands(), Keep()
    call = (lambda: commands.stop("enough")) if how == "stop" else (lambda: raises(KeyboardInterrupt))
    controller = Each([Still(), CallsAt(3, call), Still()])
    result = run_vector(controller=controller, sinks=[keep], num_episodes=2, commands=commands)
    reason = "enough" if how == "stop" else "interrupted by the operator"
    assert [(episode.outcome, episode.reason) for episode in result.episodes] == [(Outcome.STOPPED, reason)] * 3
    assert result.reason == reason
    assert result.fault is None
    assert len(keep.of(TerminalObservation)) == 3
    check_whole(keep.events, 3)
    assert isinstance(keep.events[-1], SessionEnd)


# Limits


def test_max_total_steps_counts_the_actions_of_all():
    result = run_vector(controller=Each([Still(), Still(), Still()]), max_total_steps=120)
    assert [episode.steps for episode in result.episodes] == [40, 40, 40]
    assert {episode.outcome for episode in result.episodes} == {Outcome.STOPPED}
    assert result.reason == "the session reached its 120 steps"


@pytest.mark.parametrize("shown_env", [0, 2])
def test_total_seconds_are_those_of_the_shown_environment(shown_env):
    """The point shows 50 frames a second."""
    controller = Each([SteeringController(0.05), Still(), SteeringController(0.012)])
    result = run_vector(controller=controller, shown_env=shown_env, total_seconds=4)
    assert abs(sum(episode.frames for episode in of(result, shown_env)) - 4 * 50) <= 1
    assert result.reason == "the session reached its 4 s"


def test_a_rate_is_kept_by_all_together():
    clock = FakeClock()
    result = run_vector(controller=Each([Still()] * 3), num_episodes=1, max_episode_steps=50, max_hz=25, clock=clock)
    assert result.loop.wall_s == pytest.approx(49 / 25, abs=1 / 25)
    assert result.loop.overruns == 0


# Where episodes begin, and what they are told


class Recorded(PointEnvironment):
    """Has recorded initial states, and notes which were asked for."""

    def __init__(self):
        super().__init__()
        self.spec = replace(self.spec, num_init_states=4)
        self.asked = []

    def reset(self, seed, options=None):
        self.asked.append(options["init_state"])
        return super().reset(seed, options)


@pytest.mark.parametrize("offset", [0, 3])
def test_initial_states_are_all_different_round_by_round(offset):
    environment = Several([Recorded() for _ in range(3)])
    result = run_vector(environment, num_episodes=2, seed_offset=offset)
    began = 3 * offset
    assert [point.asked for point in environment.environments] == [[began + k, began + 3 + k] for k in range(3)]
    for env in range(3):
        assert [episode.init_state for episode in of(result, env)] == environment.environments[env].asked


def test_without_recorded_states_none_is_asked_for():
    asked = []

    class Listens(Several):
        def reset(self, seeds, options=None):
            asked.append(options)
            return super().reset(seeds, options)

    result = run_vector(Listens([PointEnvironment()] * 2), num_episodes=1)
    assert set(asked) == {None}
    assert {episode.init_state for episode in result.episodes} == {None}


class Named(PointEnvironment):
    def __init__(self, prompt):
        super().__init__()
        self.spec = replace(self.spec, prompt=prompt)


def test_each_environment_keeps_its_own_prompt_unless_there_is_another_for_all():
    prompts = ["take the cup", "take the bowl", "take the spoon"]
    result = run_vector(Several([Named(prompt) for prompt in prompts]), num_episodes=2)
    assert [[episode.prompts for episode in of(result, env)] for env in range(3)] == [[(p,)] * 2 for p in prompts]
    result = run_vector(Several([Named(prompt) for prompt in prompts]), num_episodes=2, prompt=lambda: "wait")
    assert {episode.prompts for episode in result.episodes} == {("wait",)}


def test_a_prompt_that_is_taken_back_leaves_each_its_own_again():
    keep, commands = Keep(), Commands()
    said = iter(["wait"] * 8 + [None] * 1000)
    run_vector(Several([Named("a"), Named("b")]), sinks=[keep], num_episodes=1, prompt=lambda: next(said))
    for env, expected in ((0, "a"), (1, "b")):
        heard = [event.observation.prompt for event in own(keep.steps, env)]
        assert heard[:3] == ["wait"] * 3
        assert heard[-1] == expected
    assert commands.take == 0


# Simulators that begin the next episode by themselves


STYLES = [
    {"late": late, "unseen": unseen} for late, unseen in ((False, False), (False, True), (True, False), (True, True))
]


def check_self_resetting(simulator, keep, result):
    """First observations are of episodes' beginnings, and no step of one is in another."""
    check_whole(keep.events, simulator.num_envs)
    assert simulator.resets == 1
    for env in range(simulator.num_envs):
        steps, begun = own(keep.steps, env), iter(simulator.firsts[env])
        for episode in of(result, env):
            mine = [
                event for event in steps if episode.first_frame <= event.frame < episode.first_frame + episode.steps
            ]
            first = tuple(mine[0].observation.state)
            assert first in begun  # in order, though some may have gone by
            assert mine[0].observation.time_s == 0.0
            targets = {tuple(event.observation.state[2:]) for event in mine}
            targets |= {tuple(event.result.observation.state[2:]) for event in mine}
            assert targets == {first[2:]}
            for before, after in pairwise(mine):
                assert after.observation is before.result.observation


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("style", STYLES)
def test_episodes_of_a_simulator_that_resets_itself_are_never_mixed(style, count):
    keep = Keep(cameras=("top",))
    simulator = SelfResetting(count, limit=15, **style)
    controller = Each([SteeringController(0.05), SteeringController(0.03), Still()][:count])
    result = run_vector(simulator, controller, sinks=[keep], num_episodes=4, seed=5)
    assert result.fault is None
    check_self_resetting(simulator, keep, result)
    ends = keep.of(TerminalObservation)
    if style["unseen"]:
        assert not ends
        assert all(episode.frames == episode.steps for episode in result.episodes)
    else:
        assert len(ends) == 4 * count
        assert all(tuple(event.observation.state) in simulator.lasts[event.env] for event in ends)
    for env in range(count):
        assert [episode.index for episode in of(result, env)] == [0, 1, 2, 3]
        firsts = [tuple(event.observation.state) for event in own(keep.steps, env) if event.index == 0]
        assert firsts == simulator.firsts[env][:4]  # none was missed
    assert of(result, 0)[0].seed == episode_seed(5, 0)


@pytest.mark.parametrize("style", STYLES)
def test_a_session_with_shorter_episodes_waits_until_the_simulator_begins_anew(style):
    keep = Keep()
    simulator = SelfResetting(3, limit=20, **style)
    controller = Each([Still(), Still(), SteeringController(0.2)])
    result = run_vector(simulator, controller, sinks=[keep], num_episodes=3, max_episode_steps=7)
    check_self_resetting(simulator, keep, result)
    for env in (0, 1):
        assert [episode.steps for episode in of(result, env)] == [7, 7, 7]
        assert [episode.frames for episode in of(result, env)] == [8, 8, 8]  # the simulator shows the seventh


def test_a_discarded_episode_of_such_a_simulator_is_another_one_the_next_time():
    commands, keep = Commands(), Keep()
    simulator = SelfResetting(2, limit=10)
    controller = Each([CallsAt(4, commands.discard_episode), Still()])
    result = run_vector(simulator, controller, sinks=[keep], num_episodes=2, commands=commands)
    check_self_resetting(simulator, keep, result)
    assert outcomes(result, 0)[0] == "discarded"
    assert [episode.index for episode in of(result, 0)] == [0, 0, 1]


def test_episodes_that_begin_in_a_pause_are_not_lost():
    commands, keep = Commands(), Keep()
    simulator = SelfResetting(2, limit=5)
    clock = PauseClock(lambda times: commands.resume() if times == 3 else None)
    controller = Each([CallsAt(4, commands.pause), Still()])
    result = run_vector(simulator, controller, sinks=[keep], num_episodes=3, commands=commands, clock=clock)
    check_self_resetting(simulator, keep, result)
    firsts = [tuple(event.observation.state) for event in own(keep.steps, 1) if event.index == 0]
    assert firsts == simulator.firsts[1][:3]


def test_a_fault_that_all_have_in_common_ends_a_session_that_cannot_be_reset():
    controller = Each([CallsAt(4, lambda: raises(PolicyError("gone"))), SteeringController()])
    result = run_vector(SelfResetting(2), controller, num_episodes=3, max_faults=5)
    assert [episode.outcome for episode in result.episodes] == [Outcome.FAULT] * 2
    assert str(result.fault) == "gone"


def test_episode_starts_come_before_anything_of_the_episode():
    keep = Keep()
    run_vector(sinks=[keep], num_episodes=2)
    for env in range(3):
        kinds = [type(event) for event in own(keep.events, env)]
        assert kinds[0] is EpisodeStart
        assert kinds[-2:] == [TerminalObservation, EpisodeEnd]


@pytest.mark.parametrize("metrics", [None, 1.0, {"ragged": [1, [2]]}, {"several": np.zeros(3)}, {3: "text"}])
def test_what_is_no_metric_is_left_out(metrics):
    class Tells(PointEnvironment):
        def step(self, action):
            return replace(super().step(action), info={"metrics": metrics, "speed": np.float32(2.0)})

    result = run_vector(Several([Tells(), Tells()]), num_episodes=1, metrics=("speed", "nothing"))
    assert result.fault is None
    assert [episode.metrics for episode in result.episodes] == [{"speed": 2.0}, {"speed": 2.0}]


def test_the_rate_is_kept_where_environments_begin_at_different_times():
    clock = FakeClock()
    began = clock.now()
    run_vector(points(2), Each([Still(), Still()]), num_episodes=5, max_episode_steps=1, max_hz=10, clock=clock)
    assert clock.now() - began >= 4 / 10 - 1e-9  # nobody waits for what follows the last


def test_cut_off_episodes_do_not_keep_a_session_waiting_for_ever():
    endless = SelfResetting(2, limit=10**9)
    controller = Each([Still(), Still()])
    result = run_vector(endless, controller, max_episode_steps=7, total_seconds=1)
    assert "reached its 1 s" in result.reason
