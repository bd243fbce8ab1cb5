"""Sessions that are odd but allowed, and what is made of them."""

import json
import subprocess

import numpy as np
import pyarrow.parquet as pq
import pytest

from taketwo.datasets.catalog import Catalog, load_stats
from taketwo.datasets.features import STATE
from taketwo.datasets.layout import STATS
from taketwo.datasets.reader import Dataset
from taketwo.datasets.sink import DatasetConfig
from taketwo.envs.traced import Traced
from taketwo.seeding import episode_seed
from taketwo.testing import PointEnvironment, SteeringController
from taketwo.types import Decision
from tests.datasets.recording import NumberedPoint, record_point
from tests.recording.filming import number_of
from tests.support import run_session


@pytest.fixture
def root(tmp_path):
    return tmp_path / "point"


def with_spec(environment, **changes):
    spec = environment.spec
    environment.spec = type(spec)(**{**{name: getattr(spec, name) for name in spec.__slots__}, **changes})
    return environment


class Still:
    """Holds the point where it is, whatever it is shown."""

    stalls = 0

    def reset(self, episode, observation):
        pass

    def decide(self, observation):
        return Decision(np.zeros(2), np.zeros(2))


def test_an_environment_without_a_state_has_no_such_column(root):
    class OnlyPictures(NumberedPoint):
        def _observe(self):
            seen = super()._observe()
            return type(seen)(np.zeros(0), seen.images, seen.prompt)

    environment = with_spec(OnlyPictures(), state_names=())
    record_point(root, environment=environment, controller=Still(), max_episode_steps=5)
    with Dataset.open(root) as dataset:
        assert STATE not in dataset.info.features
        assert [number_of(frame) for frame in dataset.frames(0, "top")] == [0, 1, 2, 3, 4]


def test_what_is_no_number_does_not_spoil_the_statistics(root, monkeypatch):
    monkeypatch.setattr("taketwo.session.loop.checked_result", lambda result, spec: result)  # which refuses it

    class Broken(PointEnvironment):
        def _observe(self):
            seen = super()._observe()
            state = seen.state.copy()
            if self._steps == 2:
                state[0] = np.inf
            return type(seen)(state, seen.images, seen.prompt)

    class Steady(SteeringController):
        def decide(self, observation):
            finite = type(observation)(np.nan_to_num(observation.state, posinf=0.0))
            return super().decide(finite)

    record_point(root, environment=Broken(), controller=Steady(0.02))
    text = (root / STATS).read_text()
    assert "NaN" not in text and "Infinity" not in text
    assert all(np.isfinite(json.loads(text)[STATE]["mean"]))
    with Dataset.open(root) as dataset:
        assert np.isinf(dataset.rows(0)[STATE][2, 0])


@pytest.mark.parametrize("said", ["motor 3\u2028overheated", "a\u0085b\u2029c", "/dev/ttyUSB\udcff", "two\nlines"])
def test_whatever_a_fault_says_the_dataset_can_be_read(root, said):
    class Breaks(PointEnvironment):
        def step(self, action):
            if self._steps == 3:
                raise RuntimeError(said)
            return super().step(action)

    environment = Breaks()
    sink = DatasetConfig(root=root).make(environment.spec, 50.0)
    run_session(environment, SteeringController(0.01), [sink], num_episodes=1)
    with Dataset.open(root) as dataset:
        assert dataset.episode(0).outcome == "fault"


class LargePictures(PointEnvironment):
    def __init__(self):
        super().__init__(480, 640)
        self._random = np.random.default_rng(0)

    def render(self, camera, height, width):
        return self._random.integers(0, 255, (height, width, 3), dtype=np.uint8)


def test_large_pictures_in_rows_do_not_make_a_group_that_cannot_be_read(root):
    record_point(
        root,
        environment=LargePictures(),
        controller=SteeringController(0.0),
        episodes=1,
        max_episode_steps=100,
        config=DatasetConfig(root=root, video=False),
    )
    with pq.ParquetFile(root / "data/chunk-000/file-000.parquet") as file:
        sizes = [file.metadata.row_group(number).total_byte_size for number in range(file.num_row_groups)]
    assert sum(sizes) > 80e6
    assert max(sizes) < 50e6


def test_resuming_goes_on_with_other_seeds(root):
    record_point(root, seed=7, episodes=3)
    sink = DatasetConfig(root=root).make(PointEnvironment().spec, 50.0, resume=True)
    assert sink.next_seed(7) == 3
    assert sink.next_seed(8) == 0
    sink.abandon()
    record_point(root, seed=7, episodes=2, resume=True, seed_offset=3)
    with Dataset.open(root) as dataset:
        assert [episode.note.seed for episode in dataset.episodes] == [episode_seed(7, index) for index in range(5)]


def test_statistics_that_are_gone_are_made_again_from_the_episodes(root):
    record_point(root, seed=1)
    before = load_stats(root)
    (root / STATS).unlink()
    stats = Catalog.load(root).stats
    assert stats.keys() == before.keys()
    for name in ("mean", "std", "min", "max", "count", "q50"):
        np.testing.assert_allclose(stats[STATE][name], before[STATE][name])


def test_a_state_of_another_size_is_told(root):
    class Grows(PointEnvironment):
        def _observe(self):
            seen = super()._observe()
            return type(seen)(np.zeros(4 + (self._steps > 2)), seen.images, seen.prompt)

    environment = Grows()
    sink = DatasetConfig(root=root).make(environment.spec, 50.0)
    result = run_session(environment, Still(), [sink], num_episodes=1)
    assert "the environment gave a state of shape (5,); the dataset has (4,)" in str(result.fault)


def test_a_simulator_whose_state_changes_its_shape_costs_the_trace_not_the_session(root, caplog):
    class Tells(PointEnvironment):
        def snapshot(self):
            return {"x": np.zeros(3 + (self._steps > 4))}

    environment = Tells()
    sink = DatasetConfig(root=root).make(environment.spec, 50.0)
    result = run_session(Traced(environment), SteeringController(0.01), [sink], num_episodes=2)
    assert result.fault is None
    assert "from here on without simulator trace: the simulator's state changed its parts" in caplog.text
    with Dataset.open(root) as dataset:
        assert [episode.note.traced for episode in dataset.episodes] == [False, False]


def test_a_task_beside_a_prompt_is_said_to_be_of_no_use(root, caplog):
    record_point(root, episodes=1, config=DatasetConfig(root=root, single_task="push"))
    assert (
        "dataset.single_task is not used, as observations carry the prompt 'Move the point onto the target'"
        in caplog.text
    )


def test_the_same_session_resumes_where_only_observations_tell_the_task(root):
    class Prompted(PointEnvironment):
        def _observe(self):
            seen = super()._observe()
            return type(seen)(seen.state, seen.images, "open the drawer")

    for resume in (False, True):
        environment = with_spec(Prompted(), prompt=None)
        record_point(root, environment=environment, episodes=1, resume=resume)
    with Dataset.open(root) as dataset:
        assert dataset.tasks == ["open the drawer"]
        assert len(dataset.episodes) == 2


def test_videos_on_another_disk(root, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("another disk can be mounted by root only")
    try:
        record_point(root, environment=NumberedPoint(), episodes=1)
        (root / "videos").rename(root / "videos.here")
        (disk / "videos").mkdir()
        (root / "videos").symlink_to(disk / "videos")
        subprocess.run(["cp", "-r", *(root / "videos.here").iterdir(), disk / "videos"], check=True)
        record_point(root, environment=NumberedPoint(), episodes=2, resume=True)
        with Dataset.open(root) as dataset:
            for episode in dataset.episodes:
                numbers = [number_of(frame) for frame in dataset.frames(episode.index, "top")]
                assert numbers == list(range(numbers[0], numbers[0] + episode.length))
        assert not list(disk.rglob("*.new"))
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_folder_that_is_relative_stays_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    class Wanders(PointEnvironment):
        def reset(self, seed, options=None):
            monkeypatch.chdir(elsewhere)
            return super().reset(seed, options)

    record_point("ignored", environment=Wanders(), config=DatasetConfig(root=tmp_path.relative_to(tmp_path) / "point"))
    with Dataset.open(tmp_path / "point") as dataset:
        assert len(dataset.episodes) == 3
    assert list(elsewhere.iterdir()) == []
