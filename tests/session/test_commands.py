"""What an operator asks for, and what the session makes of it."""

import threading

import pytest

from taketwo.session.commands import Commands
from taketwo.session.events import EpisodeStart, Intervention, Paused, StepTaken
from taketwo.testing import PointEnvironment, SteeringController
from taketwo.types import Outcome
from tests.support import Keep, run_session


class At:
    """A controller that does something at a step of its life."""

    def __init__(self, **actions):
        self._controller = SteeringController()
        self._actions = {int(name.removeprefix("step_")): action for name, action in actions.items()}
        self.steps = 0
        self.resets = []

    stalls = 0

    def reset(self, episode, observation):
        self.resets.append((self.steps, observation.state.copy()))
        self._controller.reset(episode, observation)

    def decide(self, observation):
        self.steps += 1
        if self.steps in self._actions:
            self._actions[self.steps]()
        return self._controller.decide(observation)


def outcomes(result):
    return [(episode.index, str(episode.outcome), episode.reason) for episode in result.episodes]


def test_an_episode_that_the_operator_ends_is_kept_and_is_no_attempt():
    commands = Commands()
    result = run_session(controller=At(step_3=commands.end_episode), commands=commands, num_episodes=2)
    ended, whole = result.episodes
    assert (ended.steps, ended.outcome, ended.reason) == (3, Outcome.STOPPED, "ended by the operator")
    assert (whole.index, whole.outcome) == (1, Outcome.SUCCESS)
    assert result.reason == "all episodes done"


@pytest.mark.parametrize(("verdict", "outcome"), [(True, Outcome.SUCCESS), (False, Outcome.FAILURE)])
def test_the_operators_verdict_counts_when_he_ends_the_episode(verdict, outcome):
    commands = Commands()

    def judge():
        commands.mark(verdict)
        commands.end_episode()

    (episode,) = run_session(controller=At(step_3=judge), commands=commands, num_episodes=1).episodes
    assert episode.outcome is outcome
    assert episode.reason == f"marked a {outcome} by the operator; ended by the operator"


def test_the_operators_verdict_goes_before_the_environments():
    commands = Commands()
    result = run_session(controller=At(step_3=lambda: commands.mark(False)), commands=commands, num_episodes=2)
    marked, unmarked = result.episodes
    assert marked.outcome is Outcome.FAILURE
    assert marked.terminated
    assert unmarked.outcome is Outcome.SUCCESS


def test_a_verdict_may_be_taken_back():
    commands = Commands()
    controller = At(step_3=lambda: commands.mark(False), step_5=lambda: commands.mark(None))
    (episode,) = run_session(controller=controller, commands=commands, num_episodes=1).episodes
    assert episode.outcome is Outcome.SUCCESS
    assert "marked" not in episode.reason


def test_a_discarded_episode_is_discarded_whatever_it_was_marked():
    commands = Commands()

    def discard():
        commands.mark(True)
        commands.discard_episode()

    result = run_session(controller=At(step_3=discard), commands=commands, num_episodes=1)
    assert [episode.outcome for episode in result.episodes] == [Outcome.DISCARDED, Outcome.SUCCESS]
    assert [episode.index for episode in result.episodes] == [0, 0]


def test_what_was_asked_of_one_episode_does_not_reach_the_next():
    commands = Commands()
    keep = Keep()
    result = run_session(controller=At(step_3=commands.end_episode), commands=commands, num_episodes=3, sinks=[keep])
    assert [str(episode.outcome) for episode in result.episodes] == ["stopped", "success", "success"]
    assert len(keep.of(EpisodeStart)) == 3


def test_a_pause_takes_no_step_until_the_operator_goes_on():
    commands, keep = Commands(), Keep()
    taken = []

    def pause():
        commands.pause()
        timer = threading.Timer(0.3, go_on)
        timer.start()

    def go_on():
        taken.append(controller.steps)
        commands.resume()

    controller = At(step_3=pause)
    result = run_session(controller=controller, commands=commands, num_episodes=1, max_hz=200.0, sinks=[keep])
    assert taken == [3]
    assert result.episodes[0].outcome is Outcome.SUCCESS
    assert result.loop.overruns <= 2  # the pause itself is no lateness
    assert result.loop.lost_s == 0
    assert result.loop.paused_s > 0.25
    gaps = [after.time_s - before.time_s for before, after in zip(keep.steps, keep.steps[1:], strict=False)]
    assert max(gaps) < 0.25  # nor is it part of the episode's time


@pytest.mark.parametrize(
    ("command", "outcome"),
    [("stop", Outcome.STOPPED), ("end_episode", Outcome.STOPPED), ("discard_episode", Outcome.DISCARDED)],
)
def test_a_paused_episode_can_be_ended(command, outcome):
    commands = Commands()

    def pause():
        commands.pause()
        threading.Timer(0.1, end).start()

    def end():
        getattr(commands, command)()
        commands.resume()

    result = run_session(controller=At(step_3=pause), commands=commands, num_episodes=1)
    assert (result.episodes[0].steps, result.episodes[0].outcome) == (3, outcome)


def test_a_paused_session_can_be_stopped_without_going_on():
    commands = Commands()

    def pause():
        commands.pause()
        threading.Timer(0.1, commands.stop).start()

    result = run_session(controller=At(step_3=pause), commands=commands, num_episodes=3)
    assert outcomes(result) == [(0, "stopped", "stopped by the operator")]


def test_a_paused_session_begins_no_episode_since_a_reset_moves_the_robot_too():
    commands = Commands()
    environment = PointEnvironment()
    resets = []
    reset, environment.reset = environment.reset, lambda *args: resets.append(args) or reset(*args)

    def end():
        commands.pause()
        commands.end_episode()
        threading.Timer(0.3, go_on).start()

    def go_on():
        resets.append("goes on")
        commands.resume()

    result = run_session(environment, At(step_3=end), commands=commands, num_episodes=2)
    assert [kind if kind == "goes on" else "reset" for kind in resets] == ["reset", "goes on", "reset"]
    assert [episode.outcome for episode in result.episodes] == [Outcome.STOPPED, Outcome.SUCCESS]


def test_a_session_that_pauses_between_episodes_can_be_stopped():
    commands = Commands()

    def end():
        commands.pause()
        commands.end_episode()
        threading.Timer(0.2, commands.stop).start()

    result = run_session(controller=At(step_3=end), commands=commands, num_episodes=2)
    assert (len(result.episodes), result.reason) == (1, "stopped by the operator")


@pytest.mark.parametrize("command", ["discard_episode", "end_episode", "retry"])
def test_what_was_meant_for_an_earlier_take_does_nothing_to_this_one(command):
    commands, keep = Commands(), Keep()

    def late():
        getattr(commands, command)(take=commands.take - 1)
        commands.mark(False, take=commands.take - 1)

    controller = At(step_3=commands.discard_episode, step_6=late)
    result = run_session(controller=controller, commands=commands, num_episodes=1, sinks=[keep])
    assert [episode.outcome for episode in result.episodes] == [Outcome.DISCARDED, Outcome.SUCCESS]
    assert not keep.of(Intervention)


def test_the_environments_own_prompt_is_back_after_a_pause_in_which_it_was_asked_for():
    commands, keep = Commands(), Keep()
    prompt = ["left"]

    def pause():
        commands.pause()
        threading.Timer(0.1, edit).start()

    def edit():
        prompt[0] = None
        commands.resume()

    run_session(controller=At(step_3=pause), commands=commands, num_episodes=1, sinks=[keep], prompt=lambda: prompt[0])
    own = PointEnvironment().spec.prompt
    assert [step.observation.prompt for step in keep.steps[:4]] == ["left", "left", "left", own]


def test_a_sink_that_the_session_needs_and_that_fails_in_a_pause_ends_it():
    commands = Commands()

    class Fails:
        name, lossless, required = "recorder", True, True

        def cameras(self, frame):
            return ()

        def on(self, event):
            if isinstance(event, Paused):
                raise OSError("the disk is full")

    result = run_session(controller=At(step_3=commands.pause), commands=commands, num_episodes=1, sinks=[Fails()])
    assert "the disk is full" in str(result.fault)


def test_a_prompt_edited_during_a_pause_is_in_the_next_observation():
    commands, keep = Commands(), Keep()
    prompt = ["left"]

    def pause():
        commands.pause()
        threading.Timer(0.1, edit).start()

    def edit():
        prompt[0] = "right"
        commands.resume()

    run_session(controller=At(step_3=pause), commands=commands, num_episodes=1, sinks=[keep], prompt=lambda: prompt[0])
    assert [step.observation.prompt for step in keep.steps[:4]] == ["left", "left", "left", "right"]


def test_a_retry_begins_policy_and_filters_anew_from_where_the_robot_stands():
    commands, keep = Commands(), Keep()
    controller = At(step_3=lambda: commands.retry("it looks lost"))
    result = run_session(controller=controller, commands=commands, num_episodes=1, sinks=[keep])
    (intervention,) = keep.of(Intervention)
    assert (intervention.index, intervention.frame) == (3, 3)
    assert (intervention.kind, intervention.reason) == ("retry", "it looks lost")
    (first, _), (again, state) = controller.resets
    assert (first, again) == (0, 3)
    following = next(step for step in keep.of(StepTaken) if step.index == 3)
    assert state.tolist() == following.observation.state.tolist()
    assert keep.events.index(intervention) < keep.events.index(following)
    (episode,) = result.episodes
    assert (episode.outcome, episode.interventions) == (Outcome.SUCCESS, 1)


def test_the_episode_under_way_is_told_and_none_between_two():
    commands = Commands()
    seen = []

    class Watches:
        name, lossless, required = "watch", True, True

        def cameras(self, frame):
            seen.append(commands.episode)
            return ()

        def on(self, event):
            pass

    assert commands.episode is None
    run_session(commands=commands, num_episodes=2, sinks=[Watches()])
    assert set(seen) == {0, 1}
    assert commands.episode is None


def test_who_comes_during_a_pause_is_shown_where_the_session_stands():
    commands = Commands()

    class Comes:
        name, lossless, required = "viewer", True, True
        pictures = ()

        def cameras(self, frame):
            return ("top",) if commands.paused else ()

        def on(self, event):
            if isinstance(event, Paused):
                self.pictures = (event.frame, event.observation.images["top"].rendered)
                commands.resume()

    viewer = Comes()
    run_session(controller=At(step_3=commands.pause), commands=commands, num_episodes=1, sinks=[viewer])
    assert viewer.pictures == (3, True)


def test_only_the_first_stop_counts():
    told = []
    commands = Commands(on_stop=lambda: told.append(commands.stop_reason))
    commands.stop("first")
    commands.stop("second")
    assert told == ["first"]
    assert commands.stop_reason == "first"
