import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taketwo.datasets.layout import trace_path
from taketwo.datasets.reader import Dataset
from taketwo.envs.aloha import AlohaConfig
from taketwo.errors import ConfigError, DatasetError, EnvironmentFault
from taketwo.replay.episode import ReplayedEpisode, has_trace, load_trace
from taketwo.replay.replay import Replay, Start
from taketwo.session.events import StepTaken
from taketwo.testing import PointEnvironment, SteeringController
from taketwo.types import EnvironmentSpec, Observation, Outcome, StepResult
from tests.replay.recording import SMALL, copied, edit_notes, record, record_aloha, without_notes, without_trace
from tests.support import Keep


@pytest.fixture(scope="module")
def aloha():
    environment = SMALL.make()
    yield environment
    environment.close()


@pytest.fixture(scope="module")
def insertion(tmp_path_factory):
    root = tmp_path_factory.mktemp("me") / "peg"
    record_aloha(root, AlohaConfig(task="insertion", width=64, height=48, quality="preview"), seed=2, num_episodes=1)
    return root


@pytest.fixture(scope="module")
def point(tmp_path_factory):
    """An episode of an environment that takes no snapshots."""
    root = tmp_path_factory.mktemp("me") / "point"
    record(root, PointEnvironment(), SteeringController(), {"env": {"type": "point"}}, num_episodes=1)
    return root


def load(root, index=0):
    with Dataset.open(root) as dataset:
        return ReplayedEpisode.load(dataset, index)


def test_every_episode_comes_out_the_same_bit_for_bit(cube, aloha):
    """In one simulator, one after the other and in another order than they were recorded."""
    for index in (2, 0, 1):
        played = cube.result.episodes[index]
        replayed = Replay(aloha, load(cube.root, index)).run()
        assert replayed.as_recorded
        assert replayed.compared == played.steps + 1
        assert str(replayed) == (
            f"episode {index}: {played.steps} steps, success as recorded; states identical, bit for bit"
        )


def test_the_insertion_comes_out_the_same_bit_for_bit(insertion):
    environment = AlohaConfig(task="insertion", cameras=()).make()
    replayed = Replay(environment, load(insertion)).run()
    environment.close()
    assert replayed.as_recorded
    assert replayed.compared == replayed.of + 1


def test_frames_of_a_replay_are_those_of_the_recording(cube, aloha):
    keep = Keep(cameras=("top",))
    Replay(aloha, load(cube.root)).run([keep])
    for step, recorded in zip(keep.steps, cube.pictures[0], strict=False):
        assert np.array_equal(step.observation.images["top"].pixels, recorded)


def tampered(root, column, row):
    """Add the smallest amount to a number of the trace."""
    path = root / trace_path(0)
    table = pq.read_table(path)
    numbers = table.column(column).to_pylist()
    numbers[row][3] = np.nextafter(numbers[row][3], np.inf)
    field = table.schema.field(column)
    place = table.schema.get_field_index(column)
    pq.write_table(table.set_column(place, field, pa.array(numbers, field.type)), path)


def test_one_bit_in_a_state_is_found(cube, aloha, tmp_path):
    root = copied(cube.root, tmp_path)
    tampered(root, "state.state", 41)
    replayed = Replay(aloha, load(root)).run()
    assert not replayed.as_recorded
    assert (replayed.difference.step, replayed.difference.part) == (41, "state")
    assert 0 < replayed.difference.largest < 1e-10
    assert "states diverge at step 41: state differs by up to" in str(replayed)
    assert replayed.outcome is Outcome.SUCCESS


def test_one_bit_in_an_action_is_found_in_the_step_after(cube, aloha, tmp_path):
    root = copied(cube.root, tmp_path)
    tampered(root, "action", 60)
    replayed = Replay(aloha, load(root)).run()
    assert not replayed.as_recorded
    assert replayed.difference.step == 61


def test_a_changed_start_is_found_at_once(cube, aloha, tmp_path):
    """The tampered number is time, which the restored simulator counts on from."""
    root = copied(cube.root, tmp_path)
    tampered(root, "state.state", 0)
    assert Replay(aloha, load(root)).run().difference.step == 1


def test_another_outcome_than_the_recorded_one_is_told(cube, aloha, tmp_path):
    root = copied(cube.root, tmp_path)
    edit_notes(root, outcome="timeout")
    replayed = Replay(aloha, load(root)).run()
    assert not replayed.as_recorded
    assert "success where timeout was recorded; states identical" in str(replayed)


@pytest.mark.parametrize("outcome", ["stopped", "fault", "unjudged"])
def test_an_outcome_that_was_no_attempt_is_not_compared(cube, aloha, tmp_path, outcome):
    root = copied(cube.root, tmp_path)
    edit_notes(root, outcome=outcome)
    replayed = Replay(aloha, load(root)).run()
    assert replayed.as_recorded
    assert f"success (recorded: {outcome})" in str(replayed)


def test_without_a_trace_the_seed_leads_to_nearly_the_same(cube, aloha, tmp_path):
    root = copied(cube.root, tmp_path)
    without_trace(root)
    replay = Replay(aloha, load(root, 1))
    replayed = replay.run()
    assert replay.start is Start.SEEDED
    assert replayed.as_recorded
    assert replayed.compared == replayed.of
    assert 0 < replayed.difference.largest < 1e-5
    assert "within the tolerance of 0.001" in str(replayed)


def test_without_a_trace_another_seed_is_found(cube, aloha, tmp_path):
    root = copied(cube.root, tmp_path)
    without_trace(root)
    edit_notes(root, seed=1)
    replayed = Replay(aloha, load(root)).run()
    assert not replayed.as_recorded  # the cube lies elsewhere, and the grippers close on nothing
    assert "beyond the tolerance" in str(replayed) or replayed.outcome is not Outcome.SUCCESS


def test_an_environment_without_snapshots_has_no_trace_and_replays_by_its_seed(point):
    with Dataset.open(point) as dataset:
        assert not has_trace(dataset, 0)
        with pytest.raises(DatasetError, match="has no simulator trace"):
            load_trace(dataset, 0)
    replay = Replay(PointEnvironment(), load(point))
    replayed = replay.run()
    assert replay.start is Start.SEEDED
    assert replayed.as_recorded
    assert replayed.outcome is Outcome.SUCCESS


def test_an_unknown_start_that_cannot_be_gone_to_is_refused(point, tmp_path):
    root = copied(point, tmp_path)
    (root / "traces").mkdir()
    without_notes(root)
    with pytest.raises(ConfigError, match="not known where episode 0 began"):
        Replay(PointEnvironment(), load(root))


def test_an_unknown_start_in_a_simulator_is_gone_to_with_a_warning(cube, aloha, tmp_path, caplog):
    root = copied(cube.root, tmp_path)
    without_notes(root)
    replay = Replay(aloha, load(root))
    assert replay.start is Start.RAMPED
    assert "objects may lie elsewhere" in caplog.text
    replayed = replay.run()
    assert replayed.steps == replayed.of
    assert replayed.recorded is None
    assert "state differs by at most" in str(replayed)


class Arm:
    """Two joints that go where they are told, from wherever they are; not a simulator that takes snapshots."""

    spec = EnvironmentSpec(
        "arm", ("a", "b"), ("rad", "rad"), np.full(2, -np.inf), np.full(2, np.inf), ("a", "b"), control_hz=100.0
    )

    def __init__(self, pose):
        self.pose = np.array(pose, float)
        self.sent = []
        self.moved = lambda: None

    def reset(self, seed, options=None):
        return Observation(self.pose.copy())

    def step(self, action):
        self.sent.append(action.copy())
        self.pose = action
        self.moved()
        return StepResult(Observation(self.pose.copy()), 0.0, False, False)

    def close(self):
        pass


@pytest.fixture
def arm_episode():
    actions = np.array([[1.0, 0.0], [1.1, 0.0], [1.2, 0.0]])
    states = np.array([[1.0, 0.0], [1.0, 0.0], [1.1, 0.0]], np.float32)
    return ReplayedEpisode(0, 100.0, actions, states, ("a", "b"), seed=5, outcome=Outcome.UNJUDGED)


def test_a_robot_is_led_to_the_first_action_at_a_limited_speed(arm_episode):
    """Also where a seed is known: a robot cannot be reset by one."""
    arm = Arm([0.0, 0.5])
    replay = Replay(arm, arm_episode, fps=1000.0, ramp_speed=10.0)
    replayed = replay.run()
    assert replay.start is Start.RAMPED
    path = np.vstack([[0.0, 0.5], *arm.sent])
    assert np.abs(np.diff(path, axis=0))[: -len(arm_episode.actions) + 1].max() <= 10.0 / 1000.0 + 1e-9
    assert np.array_equal(arm.sent[-3:], arm_episode.actions)
    assert replayed.steps == replayed.of == 3
    assert replayed.difference.largest <= 10.0 / 1000.0 + 1e-6  # the ramp's last step
    assert replayed.as_recorded


def test_a_slow_replay_makes_the_ramp_no_coarser(arm_episode):
    """A servo goes to each action as fast as it can."""
    arm = Arm([0.98, 0.0])
    Replay(arm, arm_episode, fps=20.0, ramp_speed=0.5).run()
    assert 0 < arm.sent[0][0] - 0.98 <= 0.005 + 1e-9


def test_a_robot_is_played_at_the_recorded_rate_unless_told_otherwise(arm_episode):
    keep = Keep()
    Replay(Arm([1.0, 0.0]), arm_episode).run([keep])
    first, second, third = (step.time_s for step in keep.steps)
    assert first < second < third
    assert third >= 2 / arm_episode.fps


SLOW = 0.005
"""Actions a second: a replay that waits for the next one does not end before the test's time is up."""


def test_a_stop_in_a_step_sends_no_further_action(arm_episode):
    arm = Arm([1.0, 0.0])
    replay = Replay(arm, arm_episode, fps=SLOW)
    arm.moved = lambda: replay.request_stop("stopped by the test")
    replayed = replay.run()
    assert len(arm.sent) == 1
    assert replayed.stopped
    assert not replayed.as_recorded
    assert str(replayed) == "episode 0: 1 of 3 steps, stopped; state differs by at most 0 (a, step 0)"


def test_a_stop_between_two_steps_sends_no_further_action(arm_episode):
    arm = Arm([0.0, 0.5])
    replay = Replay(arm, arm_episode, fps=SLOW)
    arm.moved = lambda: threading.Timer(0.3, replay.request_stop, ["stopped by the test"]).start()
    replayed = replay.run()
    assert len(arm.sent) == 1
    assert str(replayed) == "episode 0: 0 of 3 steps, stopped; no state to compare with"


def test_a_stop_before_the_start_sends_nothing(arm_episode):
    arm = Arm([0.0, 0.5])
    replay = Replay(arm, arm_episode)
    replay.request_stop("stopped by the test")
    assert replay.run().stopped
    assert arm.sent == []


class StopAt:
    """A sink that stops a replay at a step."""

    name, lossless, required = "stop", True, True

    def __init__(self, replay, step):
        self.replay, self.step = replay, step

    def cameras(self, frame):
        return ()

    def on(self, event):
        if isinstance(event, StepTaken) and event.index == self.step:
            self.replay.request_stop("stopped by the test")


def test_a_stopped_replay_says_what_it_has_compared(cube, aloha):
    replay = Replay(aloha, load(cube.root), fps=5.0)
    replayed = replay.run([StopAt(replay, 3)])
    assert 4 <= replayed.steps < replayed.of
    assert replayed.compared == replayed.steps + 1
    assert "stopped; states identical so far, bit for bit" in str(replayed)


def test_actions_of_another_width_are_refused(cube):
    with pytest.raises(ConfigError, match="actions of 14 numbers, and point takes 2"):
        Replay(PointEnvironment(), load(cube.root))


def test_a_trace_of_another_simulator_is_told(cube):
    environment = AlohaConfig(task="insertion", cameras=()).make()
    replayed = Replay(environment, load(cube.root)).run()
    environment.close()
    assert isinstance(replayed.fault, EnvironmentFault)
    assert not replayed.as_recorded
    assert "cannot be restored in insertion" in str(replayed)


def test_a_trace_of_another_episode_is_told(cube, tmp_path):
    root = copied(cube.root, tmp_path)
    (root / trace_path(0)).write_bytes((root / trace_path(1)).read_bytes())
    with pytest.raises(DatasetError, match="is damaged: it has 152 steps, and the episode has 156"):
        load(root)
