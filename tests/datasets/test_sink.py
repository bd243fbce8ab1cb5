"""A session as a dataset: what is in it, resuming, discarding, and what is refused."""

import json

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from taketwo.datasets.layout import SESSIONS
from taketwo.datasets.metadata import Info, load_episodes, load_notes, load_tasks
from taketwo.datasets.reader import Dataset
from taketwo.datasets.sink import DatasetConfig
from taketwo.errors import ConfigError, DatasetError, RecordingError
from taketwo.session.commands import Commands
from taketwo.session.config import SessionConfig
from taketwo.session.events import EpisodeStart, StepTaken
from taketwo.session.loop import Session
from taketwo.testing import PointEnvironment, SteeringController, check_sink
from taketwo.types import CameraSpec, Decision
from tests.datasets.recording import NumberedPoint, Truth, record_point
from tests.recording.filming import number_of
from tests.support import Keep, run_session


def snapshot_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def root(tmp_path):
    return tmp_path / "point"


def test_it_keeps_the_contract_of_sinks(tmp_path):
    numbers = iter(range(100))

    def make():
        return DatasetConfig(root=tmp_path / str(next(numbers))).make(PointEnvironment().spec, 50.0)

    check_sink(make)


def test_rows_are_what_the_session_did(root):
    truth = Truth(("top",))
    record_point(root, sinks=[truth], seed=1)
    with Dataset.open(root) as dataset:
        assert len(dataset.episodes) == 3
        for index, steps in enumerate(truth.episodes):
            rows = dataset.rows(index)
            assert len(rows["action"]) == len(steps)
            for column, values in {
                "observation.state": [step.observation.state for step in steps],
                "action": [step.decision.sent for step in steps],
                "asked_action": [step.decision.asked for step in steps],
                "next.reward": [step.result.reward for step in steps],
                "next.done": [step.result.terminated or step.result.truncated for step in steps],
                "next.success": [step.result.success for step in steps],
                "intervention": [False for _ in steps],
                "timestamp": [k / 50 for k in range(len(steps))],
                "frame_index": range(len(steps)),
                "episode_index": [index] * len(steps),
            }.items():
                np.testing.assert_allclose(rows[column], np.array(list(values), rows[column].dtype), err_msg=column)
            np.testing.assert_array_equal(rows["capture_time"], [step.time_s for step in steps])
            assert rows["capture_time"].dtype == np.float64
            for number, (step, frame) in enumerate(zip(steps, dataset.frames(index, "top"), strict=True)):
                difference = np.abs(frame.astype(int) - step.observation.images["top"].pixels)
                assert difference.mean() < 4, (index, number)
        everything = np.concatenate([dataset.rows(index)["index"] for index in range(3)])
        np.testing.assert_array_equal(everything, np.arange(len(everything)))


def test_pictures_in_rows_are_exact(root):
    truth = Truth(("top",))
    record_point(root, sinks=[truth], config=DatasetConfig(root=root, video=False))
    assert not (root / "videos").exists()
    with Dataset.open(root) as dataset:
        for index, steps in enumerate(truth.episodes):
            for step, frame in zip(steps, dataset.frames(index, "top"), strict=True):
                np.testing.assert_array_equal(frame, step.observation.images["top"].pixels)


@pytest.mark.parametrize("vcodec", ["h264", "hevc", "libsvtav1", "auto"])
def test_every_codec_has_every_frame_in_its_place(root, vcodec):
    record_point(root, environment=NumberedPoint(), config=DatasetConfig(root=root, vcodec=vcodec))
    with Dataset.open(root) as dataset:
        first = 0
        for episode in dataset.episodes:
            numbers = [number_of(frame) for frame in dataset.frames(episode.index, "top")]
            assert numbers == list(range(first, first + episode.length))
            first += episode.length + 1  # the terminal observation is no row


class Prompts:
    """Another prompt from the fifth step of each episode on."""

    def __init__(self):
        self.step = 0

    def __call__(self):
        self.step += 1
        return "first this" if self.step < 6 else "then that"


def test_the_task_is_the_prompt_of_each_row(root):
    environment = PointEnvironment()
    sink = DatasetConfig(root=root).make(environment.spec, 50.0, task="first this")
    run_session(environment, SteeringController(0.02), [sink], num_episodes=1, prompt=Prompts())
    with Dataset.open(root) as dataset:
        assert dataset.tasks == ["first this", "then that"]
        tasks = dataset.row_tasks(0)
    assert tasks[:5] == ["first this"] * 5
    assert set(tasks[5:]) == {"then that"}


def test_a_prompt_that_is_missing_is_replaced_by_the_given_task(root):
    environment = PointEnvironment()
    environment.spec = type(environment.spec)(**{**_fields(environment.spec), "prompt": None})
    record_point(root, environment=environment, config=DatasetConfig(root=root, single_task="push"), episodes=1)
    assert load_tasks(root) == ["push"]


def _fields(spec):
    return {name: getattr(spec, name) for name in spec.__slots__}


def test_what_only_we_know_is_noted(root):
    record_point(root, seed=3)
    info = Info.load(root)
    notes = load_notes(root, load_episodes(root, info))
    assert [notes[index].outcome for index in range(3)] == ["success"] * 3
    assert notes[0].success is True
    assert notes[0].measured_hz is None
    assert not notes[0].traced
    session = json.loads((root / SESSIONS / "session-000.json").read_text())
    assert session["spec"]["name"] == "point"
    assert session["seed"] == 3


class TakesOver(SteeringController):
    def decide(self, observation):
        decision = super().decide(observation)
        return Decision(decision.asked, decision.sent / 2, intervention=observation.time_s > 0.1)


def test_interventions_and_what_was_asked_are_kept_apart(root):
    record_point(root, controller=TakesOver(), episodes=1)
    with Dataset.open(root) as dataset:
        rows = dataset.rows(0)
        note = dataset.episode(0).note
    np.testing.assert_allclose(rows["action"] * 2, rows["asked_action"], rtol=1e-6)
    assert rows["intervention"].sum() == note.interventions == len(rows["action"]) - 6


def test_after_the_session_nothing_unfinished_is_left(root):
    record_point(root)
    assert sorted(path.name for path in root.iterdir()) == ["data", "meta", "videos"]
    assert len(list(root.rglob("*.mp4"))) == 1
    assert len(list((root / "data").rglob("*.parquet"))) == 1


class DiscardsTheSecond:
    """Presses ← once, in the fourth step of the second episode."""

    name, lossless, required = "operator", True, True

    def __init__(self):
        self.commands = Commands()
        self.episodes = []

    def cameras(self, frame):
        return ()

    def on(self, event):
        if isinstance(event, EpisodeStart):
            self.episodes.append(event.episode)
        if isinstance(event, StepTaken) and len(self.episodes) == 2 and event.index == 3:
            self.commands.discard_episode()


def test_a_discarded_take_leaves_no_frame_and_is_taken_again(root):
    environment = NumberedPoint()
    sink = DatasetConfig(root=root).make(environment.spec, 50.0)
    operator = DiscardsTheSecond()
    config = SessionConfig(num_episodes=3, seed=4)
    session = Session(environment, SteeringController(0.02), config, [sink, operator], commands=operator.commands)
    result = session.run()
    assert result.fault is None
    outcomes = [episode.outcome for episode in result.episodes]
    assert outcomes == ["success", "discarded", "success", "success"]
    assert [info.index for info in operator.episodes] == [0, 1, 1, 2]
    assert operator.episodes[1] == operator.episodes[2]
    kept = [episode for episode in result.episodes if episode.outcome != "discarded"]
    expected = [episode.first_frame + step for episode in kept for step in range(episode.steps)]
    (video,) = root.rglob("*.mp4")
    with av.open(str(video)) as container:
        assert [number_of(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)] == expected
    assert Info.load(root).total_frames == len(expected)
    assert sorted(path.name for path in root.iterdir()) == ["data", "meta", "videos"]


def test_resuming_adds_and_changes_nothing_that_was_there(root):
    record_point(root, seed=1)
    with Dataset.open(root) as dataset:
        before = [dataset.rows(index) for index in range(3)]
        pictures = [list(dataset.frames(index, "top")) for index in range(3)]
    record_point(root, seed=2, resume=True)
    with Dataset.open(root) as dataset:
        assert len(dataset.episodes) == 6
        for index in range(3):
            for column, values in before[index].items():
                np.testing.assert_array_equal(dataset.rows(index)[column], values)
            for was, now in zip(pictures[index], dataset.frames(index, "top"), strict=True):
                np.testing.assert_array_equal(now, was)
        assert dataset.episode(5).note.session == 1
    assert len(list(root.rglob("*.mp4"))) == 1


def test_an_existing_dataset_is_not_touched_and_both_ways_on_are_named(root):
    record_point(root)
    before = snapshot_of(root)
    with pytest.raises(DatasetError, match=r"nothing of it was touched: add to it with --resume=true, or record"):
        DatasetConfig(root=root).make(PointEnvironment().spec, 50.0)
    assert snapshot_of(root) == before


def test_a_folder_of_something_else_is_not_touched(root):
    root.mkdir()
    (root / "thesis.tex").write_text("all of it")
    with pytest.raises(DatasetError, match="is there already and is no dataset"):
        DatasetConfig(root=root).make(PointEnvironment().spec, 50.0)
    assert [path.name for path in root.iterdir()] == ["thesis.tex"]


def test_there_has_to_be_something_to_resume(root):
    with pytest.raises(DatasetError, match=r"no dataset in .* to resume: leave out --resume"):
        DatasetConfig(root=root).make(PointEnvironment().spec, 50.0, resume=True)
    assert not root.exists()


@pytest.mark.parametrize(
    ("change", "hz", "robot", "task", "told"),
    [
        ({}, 30.0, None, None, "fps is 50 there and 30 here"),
        ({}, 50.0, "so101_follower", None, "robot is point there and so101_follower here"),
        (
            {"cameras": {"top": CameraSpec(96, 64)}},
            50.0,
            None,
            None,
            r"top has shape \[48, 64, 3\] there and \[96, 64, 3\]",
        ),
        (
            {"cameras": {"top": CameraSpec(48, 64), "wrist": CameraSpec(48, 64)}},
            50.0,
            None,
            None,
            "column 'observation.images.wrist' is new",
        ),
        ({"state_names": ("x", "y")}, 50.0, None, None, r"observation.state has shape \[4\] there and \[2\] here"),
        ({}, 50.0, None, "dance", "its tasks are 'Move the point onto the target' and this one is 'dance'"),
    ],
)
def test_what_does_not_fit_is_refused_and_named(root, change, hz, robot, task, told):
    record_point(root)
    before = snapshot_of(root)
    spec = PointEnvironment().spec
    spec = type(spec)(**{**_fields(spec), **change})
    with pytest.raises(ConfigError, match=told):
        DatasetConfig(root=root).make(spec, hz, robot_type=robot, task=task or spec.prompt, resume=True)
    assert snapshot_of(root) == before
    record_point(root, resume=True, episodes=1)  # the lock is free again


def test_a_new_task_is_let_in_on_purpose(root):
    record_point(root)
    environment = PointEnvironment()
    sink = DatasetConfig(root=root, new_task=True).make(environment.spec, 50.0, task="dance", resume=True)
    run_session(environment, None, [sink], num_episodes=1, prompt=lambda: "dance")
    assert load_tasks(root) == ["Move the point onto the target", "dance"]


def test_two_at_once_the_second_is_refused(root):
    first = DatasetConfig(root=root).make(PointEnvironment().spec, 50.0)
    with pytest.raises(DatasetError, match="is being written by process"):
        DatasetConfig(root=root).make(PointEnvironment().spec, 50.0)
    first.abandon()
    assert not root.exists()


class SlowPoint(PointEnvironment):
    def step(self, action):
        import time

        time.sleep(0.02)
        return super().step(action)


def record_late(root, late):
    environment = SlowPoint()
    sink = DatasetConfig(root=root, late=late).make(environment.spec, 200.0, paced=True)
    return sink, run_session(environment, SteeringController(0.02), [sink], num_episodes=2, max_hz=200.0)


def test_a_session_slower_than_it_says_is_marked_with_what_it_did(root):
    sink, result = record_late(root, "mark")
    assert result.fault is None
    with Dataset.open(root) as dataset:
        note = dataset.episode(0).note
        times = dataset.rows(0)["capture_time"]
    assert note.late
    assert 20 < note.measured_hz < 60
    assert note.measured_hz == pytest.approx(1 / np.diff(times).mean())
    assert sink.report()["late"][0] == {"episode": 0, "measured_hz": note.measured_hz, "fps": 200.0}


def test_or_refused(root):
    _, result = record_late(root, "refuse")
    assert isinstance(result.fault, RecordingError)
    assert "Hz and its rows say 200: it is refused" in str(result.fault)
    assert not (root / "meta").exists()


def test_an_episode_without_an_action_is_no_episode(root):
    class BreaksOnce(PointEnvironment):
        resets = 0

        def reset(self, seed, options=None):
            self.resets += 1
            if self.resets == 2:
                raise RuntimeError("broken")
            return super().reset(seed, options)

    environment = BreaksOnce()
    sink = DatasetConfig(root=root).make(environment.spec, 50.0)
    run_session(environment, None, [sink], num_episodes=3, max_faults=1)
    assert sink.report()["episodes"] == 2
    assert Info.load(root).total_episodes == 2


def test_a_fault_in_the_middle_keeps_the_rows_before_it(root):
    class Breaks(PointEnvironment):
        def step(self, action):
            if self._steps == 2:
                raise RuntimeError("broken")
            return super().step(action)

    environment = Breaks()
    sink = DatasetConfig(root=root).make(environment.spec, 50.0)
    run_session(environment, SteeringController(0.01), [sink], num_episodes=1)
    with Dataset.open(root) as dataset:
        assert dataset.episode(0).outcome == "fault"
        assert dataset.episode(0).length == 2


def test_a_session_that_never_begins_leaves_nothing(root):
    sink = DatasetConfig(root=root).make(PointEnvironment().spec, 50.0)
    sink.abandon()
    sink.abandon()
    assert not root.exists()


def test_a_picture_of_another_size_is_told(root):
    class Grows(PointEnvironment):
        def render(self, camera, height, width):
            return super().render(camera, height + 2 * (self._steps > 3), width)

    environment = Grows()
    sink = DatasetConfig(root=root).make(environment.spec, 50.0)
    result = run_session(environment, SteeringController(0.01), [sink], num_episodes=1)
    assert "observation.images.top gave uint8 of shape (50, 64, 3); the dataset has uint8 (48, 64, 3)" in str(
        result.fault
    )


def test_the_loop_waits_for_an_encoder_and_the_wait_is_counted(root):
    class Large(PointEnvironment):
        def __init__(self):
            super().__init__(480, 640)
            self._noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)

        def render(self, camera, height, width):
            return np.roll(self._noise, self._steps * 7, axis=1)

    environment = Large()
    sink = DatasetConfig(root=root, vcodec="hevc").make(environment.spec, 50.0)
    result = run_session(environment, SteeringController(0.005), [sink], num_episodes=1)
    assert result.waited_s["dataset"] > 0
    assert result.dropped["dataset"] == 0
    with Dataset.open(root) as dataset:
        assert len(list(dataset.frames(0, "top"))) == result.episodes[0].steps


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"repo_id": "../x"}, "is not a dataset's name"),
        ({"repo_id": "/abs/x"}, "is not a dataset's name"),
        ({"repo_id": "me/x", "gop": 0}, "gop must be 1 or more"),
        ({"repo_id": "me/x", "crf": 99}, "crf must be 0"),
        ({"repo_id": "me/x", "late": "never"}, "unknown late 'never'"),
        ({"push_to_hub": True}, "push_to_hub needs a repo_id"),
    ],
)
def test_wrong_options(options, told):
    with pytest.raises(ConfigError, match=told):
        DatasetConfig(**options)


@pytest.mark.parametrize(
    ("options", "told"),
    [({"vcodec": "h265"}, "Did you mean 'h264'"), ({"cameras": ("left",)}, "unknown camera 'left'")],
)
def test_options_that_do_not_fit(root, options, told):
    with pytest.raises(ConfigError, match=told):
        DatasetConfig(root=root, **options).make(PointEnvironment().spec, 50.0)
    assert not root.exists()


def test_a_codec_that_this_machine_cannot_do(root):
    from taketwo.datasets.codecs import works

    if works("h264_nvenc"):
        pytest.skip("this machine has an NVIDIA encoder")
    with pytest.raises(ConfigError, match="h264_nvenc does not work on this machine: choose h264"):
        DatasetConfig(root=root, vcodec="h264_nvenc").make(PointEnvironment().spec, 50.0)


def test_only_what_is_recorded_is_rendered(root):
    environment = PointEnvironment()
    spec = type(environment.spec)(**{**_fields(environment.spec), "cameras": {}})
    sink = DatasetConfig(root=root).make(spec, 50.0)
    run_session(environment, None, [sink, Keep()], num_episodes=1)
    assert environment.pictures_made == 0
    assert not (root / "videos").exists()
    assert pq.read_table(root / "data/chunk-000/file-000.parquet").num_rows > 0
