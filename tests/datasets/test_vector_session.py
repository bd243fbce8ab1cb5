"""Sessions of several environments as datasets."""

import os
import signal
import subprocess
import sys
import time
from collections import defaultdict

import numpy as np
import pytest

from taketwo.datasets import writer
from taketwo.datasets.layout import WORK
from taketwo.datasets.lock import DatasetLock
from taketwo.datasets.reader import Dataset
from taketwo.datasets.recorder import Recorder
from taketwo.datasets.repair import inspect, repair
from taketwo.datasets.sink import DatasetConfig
from taketwo.datasets.trace import Trace
from taketwo.envs.push import PushConfig
from taketwo.envs.several import Several
from taketwo.envs.traced import Traced
from taketwo.errors import RecordingError
from taketwo.policies.push import PushPolicyConfig
from taketwo.seeding import episode_seed
from taketwo.session.commands import Commands
from taketwo.session.events import EpisodeEnd, EpisodeStart, StepTaken
from taketwo.testing import PointEnvironment, SteeringController
from taketwo.types import Decision, EpisodeInfo
from tests.datasets.recording import NumberedPoint
from tests.recording.filming import number_of
from tests.session.vector_support import Each, env_of, run_vector
from tests.support import Keep

SPEEDS = (0.05, 0.02, 0.035)


class Truth(Keep):
    """Keeps the steps of every episode, by environment and index; those of a discarded take are forgotten."""

    def __init__(self, cameras=("top",)):
        super().__init__(cameras=cameras)
        self.steps_of = defaultdict(list)
        self._index = {}

    def on(self, event):
        if isinstance(event, EpisodeStart):
            self._index[event.episode.env] = event.episode.index
            self.steps_of[event.episode.env, event.episode.index] = []
        if isinstance(event, StepTaken):
            self.steps_of[event.env, self._index[event.env]].append(event)
        super().on(event)


def record(root, *, episodes=2, resume=False, video=True, sinks=(), controller=None, **options):
    several = Several([NumberedPoint() for _ in SPEEDS])
    sink = DatasetConfig(root=root, video=video).make(several.spec, 50.0, resume=resume)
    controller = controller or Each([SteeringController(speed) for speed in SPEEDS])
    result = run_vector(several, controller, [sink, *sinks], num_episodes=episodes, **options)
    assert result.fault is None, result.fault
    return sink, result


def check_rows(dataset, episode, steps):
    """The rows and pictures of an episode are those of these steps."""
    rows = dataset.rows(episode.index)
    assert episode.length == len(steps)
    np.testing.assert_array_equal(rows["action"], np.float32([step.decision.sent for step in steps]))
    np.testing.assert_array_equal(rows["observation.state"], np.float32([step.observation.state for step in steps]))
    np.testing.assert_array_equal(rows["next.reward"].ravel(), np.float32([step.result.reward for step in steps]))
    assert rows["frame_index"].ravel().tolist() == list(range(len(steps)))
    for camera in dataset.cameras:
        shown = [number_of(frame) for frame in dataset.frames(episode.index, camera)]
        assert shown == [number_of(step.observation.images[camera].pixels) for step in steps]


@pytest.mark.parametrize("video", [True, False])
def test_rows_of_environments_that_step_together_are_never_mixed(tmp_path, video):
    truth, commands = Truth(), Commands()

    class Discards(SteeringController):
        left = 4

        def decide(self, observation):
            self.left -= 1
            if self.left == 0:
                commands.discard_episode()
            return super().decide(observation)

    controllers = Each([Discards(0.02), *map(SteeringController, SPEEDS[1:])])
    sink, result = record(
        tmp_path / "points", video=video, sinks=[truth], controller=controllers, seed=5, commands=commands
    )
    kept = [episode for episode in result.episodes if episode.outcome != "discarded"]
    assert len(result.episodes) == len(kept) + 1 == 7
    assert sink.report()["episodes"] == 6
    with Dataset.open(tmp_path / "points") as dataset:
        assert len(dataset.episodes) == 6
        for recorded, episode in zip(dataset.episodes, kept, strict=True):  # in the order in which they ended
            note = recorded.note
            assert (note.env, note.seed, note.outcome) == (episode.env, episode.seed, episode.outcome)
            check_rows(dataset, recorded, truth.steps_of[episode.env, episode.index])
        assert {note.env for note in (episode.note for episode in dataset.episodes)} == {0, 1, 2}
        assert dataset.info.total_frames == sum(episode.steps for episode in kept)
    assert not (tmp_path / "points" / WORK).exists()


def test_resume_takes_new_seeds_for_every_environment(tmp_path):
    root = tmp_path / "points"
    record(root, episodes=2, seed=5)
    _, other = record(root, episodes=1, resume=True, seed=6)
    with Dataset.open(root) as dataset:
        before = {episode.note.seed for episode in dataset.episodes}
    sink = DatasetConfig(root=root).make(NumberedPoint().spec, 50.0, resume=True)
    assert (sink.next_seed(5), sink.next_seed(6), sink.next_seed(7)) == (2, 1, 0)
    sink.abandon()
    _, result = record(root, episodes=2, resume=True, seed=5, seed_offset=2)
    assert not {episode.seed for episode in result.episodes} & before
    assert {episode.seed for episode in result.episodes} == {
        episode_seed(5, index, env) for index in (2, 3) for env in range(3)
    }
    with Dataset.open(root) as dataset:
        assert len(dataset.episodes) == 15
        assert [episode.note.session for episode in dataset.episodes] == [0] * 6 + [1] * 3 + [2] * 6
    assert len(other.episodes) == 3


def test_an_environment_that_is_ahead_counts_for_the_next_seed(tmp_path):
    """The session ended when one had done two episodes and another had not finished any."""
    root = tmp_path / "points"
    controller = Each([SteeringController(0.0005), SteeringController(0.05), SteeringController(0.0005)])
    record(root, episodes=None, max_total_steps=90, controller=controller, seed=5)
    sink = DatasetConfig(root=root).make(NumberedPoint().spec, 50.0, resume=True)
    with Dataset.open(root) as dataset:
        furthest = max(sum(episode.note.env == env for episode in dataset.episodes) for env in range(3))
    assert sink.next_seed(5) == furthest > 1
    sink.abandon()


def test_push_is_traced_and_every_environments_trace_is_its_own(tmp_path):
    truth = Truth(cameras=())
    options = PushConfig(quality="preview", width=64, height=48)
    several = Several.made_by(lambda: Traced(options.make()), 2)
    try:
        spec = several.spec
        sink = DatasetConfig(root=tmp_path / "push", cameras=(), video=False).make(spec, spec.control_hz)
        policies = [PushPolicyConfig().make(spec) for _ in range(2)]
        result = run_vector(several, Each([Asks(policy) for policy in policies]), [sink, truth],
                            num_episodes=1, max_episode_steps=6, seed=5)  # fmt: skip
        assert result.fault is None, result.fault
    finally:
        several.close()
    with Dataset.open(tmp_path / "push") as dataset:
        assert len(dataset.episodes) == 2
        for episode in dataset.episodes:
            assert episode.note.traced
            trace = Trace.load(tmp_path / "push" / f"traces/chunk-000/episode-{episode.index:06d}.parquet")
            steps = truth.steps_of[episode.note.env, 0]
            assert len(trace) == len(steps) == 6
            for number, step in enumerate(steps):
                expected, found = step.observation.extras["simulator_state"], trace.state(number)
                assert found.keys() == expected.keys()
                for name, value in expected.items():
                    np.testing.assert_array_equal(found[name], value)


class Asks:
    """The first action of each of a policy's chunks."""

    stalls = 0

    def __init__(self, policy):
        self._policy = policy

    def reset(self, episode, observation):
        self._policy.reset(episode)

    def decide(self, observation):
        action = self._policy.infer(observation).actions[0]
        return Decision(asked=action, sent=action)


RECORD = """
import sys
from pathlib import Path
from taketwo.datasets.sink import DatasetConfig
from taketwo.envs.several import Several
from taketwo.testing import SteeringController
from tests.datasets.recording import NumberedPoint
from tests.session.vector_support import Each, run_vector

several = Several([NumberedPoint() for _ in range(3)])
sink = DatasetConfig(root=Path(sys.argv[1]), video=sys.argv[2] == "video").make(several.spec, 50.0)
print("begun", flush=True)
run_vector(several, Each([SteeringController(0.0002)] * 3), [sink], num_episodes=3, max_hz=50.0, max_episode_steps=5000)
"""


@pytest.mark.parametrize("video", [True, False])
def test_a_crash_in_several_takes_loses_none_of_them(tmp_path, video):
    root = tmp_path / "points"
    words = [str(root), "video" if video else "images"]
    process = subprocess.Popen(
        [sys.executable, "-c", RECORD, *words], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout.readline() == "begun\n"
        deadline = time.monotonic() + 30
        while not whole_seconds(root) >= [1, 1, 1]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    lines = repair(root, salvage=True)
    assert sum(line.startswith("saved ") for line in lines) == 3
    with Dataset.open(root) as dataset:
        assert sorted(episode.note.env for episode in dataset.episodes) == [0, 1, 2]
        for episode in dataset.episodes:
            note = episode.note
            assert (note.salvaged, note.outcome, note.seed) == (True, "fault", episode_seed(0, 0, note.env))
            assert episode.length >= 50
            numbers = [number_of(frame) for frame in dataset.frames(episode.index, "top")]
            assert numbers == list(range(episode.length))
            target = dataset.rows(episode.index)["observation.state"][:, 2:]
            first = NumberedPoint().reset(note.seed).state[2:]
            np.testing.assert_array_equal(target, np.tile(np.float32(first), (episode.length, 1)))
    assert not (root / WORK).exists()
    sink = DatasetConfig(root=root, video=video).make(NumberedPoint().spec, 50.0, resume=True)
    assert sink.next_seed(0) == 1
    sink.abandon()


def whole_seconds(root):
    """Of each take under way; nothing where it cannot be told yet."""
    try:
        return sorted(take.seconds for take in inspect(root).takes)
    except Exception:  # noqa: BLE001 - it is being written
        return []


def test_events_of_all_come_to_the_dataset_and_each_episode_ends_once(tmp_path):
    keep = Keep()
    record(tmp_path / "points", episodes=1, sinks=[keep])
    ends = keep.of(EpisodeEnd)
    assert sorted(env_of(event) for event in ends) == [0, 1, 2]


class SlowPoint(PointEnvironment):
    def step(self, action):
        time.sleep(0.01)
        return super().step(action)


def test_a_refused_episode_is_told_with_its_environment(tmp_path):
    several = Several([SlowPoint(), SlowPoint()])
    sink = DatasetConfig(root=tmp_path / "points", late="refuse", video=False).make(several.spec, 500.0, paced=True)
    controller = Each([SteeringController(0.01), SteeringController(0.05)])
    result = run_vector(several, controller, [sink], num_episodes=1, max_hz=500.0)
    assert str(result.fault).startswith("environment 1's episode 1 ran at ")


def begun(root):
    """A sink that has begun an episode in each of three environments."""
    sink = DatasetConfig(root=root, video=False).make(NumberedPoint().spec, 50.0)
    for env in range(3):
        sink.on(EpisodeStart(EpisodeInfo(0, seed=env, env=env)))
    return sink


def failing(monkeypatch, name):
    """Has every recorder's method of this name fail, after its work; returns those of which it was called."""
    called, method = [], getattr(Recorder, name)

    def fails(self):
        called.append(self)
        method(self)
        raise RecordingError("the disk is full")

    monkeypatch.setattr(Recorder, name, fails)
    return called


@pytest.mark.parametrize("name", ["abandon", "close"])
def test_where_one_recorder_fails_to_end_the_others_do_and_the_dataset_is_let_go(tmp_path, monkeypatch, name):
    sink, called = begun(tmp_path / "points"), failing(monkeypatch, name)
    with pytest.raises(RecordingError, match="the disk is full"):
        sink.abandon()
    assert len(set(called)) == 3
    DatasetLock(tmp_path / "points").release()


def test_nor_does_it_at_the_end_of_the_session(tmp_path, monkeypatch):
    called = failing(monkeypatch, "close")
    several = Several([NumberedPoint() for _ in SPEEDS])
    sink = DatasetConfig(root=tmp_path / "points").make(several.spec, 50.0)
    result = run_vector(several, Each([SteeringController(speed) for speed in SPEEDS]), [sink], num_episodes=1)
    assert str(result.fault).startswith("the disk is full. 3 whole episodes are safe in ")
    assert len(set(called)) == 3
    DatasetLock(tmp_path / "points").release()
    with Dataset.open(tmp_path / "points") as dataset:
        assert len(dataset.episodes) == 3


def test_an_error_is_told_although_what_is_open_fails_to_close_too(tmp_path, monkeypatch):
    sink, called = begun(tmp_path / "points"), failing(monkeypatch, "abandon")

    def full(self, event):
        raise RecordingError("no such row")

    monkeypatch.setattr(Recorder, "add", full)
    with pytest.raises(RecordingError, match="no such row"):
        sink.on(StepTaken(*[None] * 7, env=1))
    assert len(set(called)) == 3


def test_seeds_are_looked_for_until_all_are_found(tmp_path, monkeypatch):
    root = tmp_path / "points"
    record(root, episodes=2, seed=5)
    asked = []

    def counted(*arguments):
        asked.append(arguments)
        return episode_seed(*arguments)

    monkeypatch.setattr(writer, "episode_seed", counted)
    sink = DatasetConfig(root=root).make(NumberedPoint().spec, 50.0, resume=True)
    assert sink.next_seed(5) == 2
    assert len(asked) == 2 * 3
    assert sink.next_seed(6) == 0
    sink.abandon()
