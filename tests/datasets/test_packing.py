"""Many small files become few large ones, without a bit of them changing."""

import resource
import time
from pathlib import Path

import av
import pyarrow.parquet as pq
import pytest

from taketwo.datasets import packing, writer
from taketwo.datasets.catalog import Catalog
from taketwo.datasets.metadata import Info, load_episodes
from taketwo.datasets.reader import Dataset
from taketwo.datasets.sink import DatasetConfig
from taketwo.errors import RecordingError
from taketwo.testing import SteeringController
from tests.datasets.recording import NumberedPoint, record_point, telling
from tests.recording.filming import number_of
from tests.support import run_session


@pytest.fixture
def root(tmp_path):
    return tmp_path / "point"


def packets_of(root):
    """The packets of all videos, in order."""
    found = []
    for path in sorted(root.rglob("*.mp4")):
        with av.open(str(path)) as container:
            found += [bytes(packet) for packet in container.demux(video=0) if packet.dts is not None]
    return found


def record_loose(root, monkeypatch, episodes=5):
    """A dataset as a killed process leaves it: nothing is packed."""
    with monkeypatch.context() as patch:
        patch.setattr(writer, "pack", lambda root, catalog, *_: catalog)
        record_point(root, environment=NumberedPoint(), episodes=episodes)


def count(root, pattern):
    return len(list(root.glob(pattern)))


def test_all_files_of_a_kind_become_one_and_the_pictures_are_the_same_bytes(root, monkeypatch):
    record_loose(root, monkeypatch)
    assert count(root, "videos/*/*/*.mp4") == count(root, "data/*/*") == count(root, "meta/episodes/*/*") == 5
    before = packets_of(root)
    packing.pack(root, Catalog.load(root))
    assert count(root, "videos/*/*/*.mp4") == count(root, "data/*/*") == count(root, "meta/episodes/*/*") == 1
    assert count(root, "meta/taketwo/episodes/*/*") == 1
    assert packets_of(root) == before
    with Dataset.open(root) as dataset:
        first = 0
        for episode in dataset.episodes:
            assert episode.note is not None
            numbers = [number_of(dataset.frame(episode.index, "top", k)) for k in range(episode.length)]
            assert numbers == list(range(first, first + episode.length))
            first += episode.length + 1


def test_files_stay_below_their_size(root, monkeypatch):
    record_loose(root, monkeypatch, episodes=8)
    catalog = Catalog.load(root)
    sizes = [path.stat().st_size for path in sorted(root.rglob("*.mp4"))]
    limit = 3 * max(sizes)
    info = Info(**{**_fields(catalog.info), "video_files_size_in_mb": limit / 1024**2})
    packed = packing.pack(root, Catalog(**{**_fields(catalog), "info": info}))
    files = sorted(root.rglob("*.mp4"))
    assert 2 <= len(files) <= 4
    assert all(path.stat().st_size <= limit for path in files)
    assert packed.videos["observation.images.top"].file == len(files)
    with Dataset.open(root) as dataset:
        assert sum(1 for index in range(8) for _ in dataset.frames(index, "top")) == dataset.info.total_frames


def _fields(value):
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def test_packing_twice_changes_nothing(root):
    record_point(root, environment=NumberedPoint())
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    packing.pack(root, Catalog.load(root))
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_videos_of_different_encoders_stay_apart(root):
    record_point(root, environment=NumberedPoint(), config=DatasetConfig(root=root, vcodec="h264"), episodes=2)
    record_point(
        root, environment=NumberedPoint(), config=DatasetConfig(root=root, vcodec="hevc"), episodes=2, resume=True
    )
    assert count(root, "videos/*/*/*.mp4") == 2
    with Dataset.open(root) as dataset:
        for index in (0, 1, 2, 3):
            numbers = [number_of(frame) for frame in dataset.frames(index, "top")]
            assert numbers == list(range(numbers[0], numbers[0] + dataset.episode(index).length))


def test_a_failure_leaves_the_dataset_as_it_was(root, monkeypatch):
    record_loose(root, monkeypatch)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}

    def full(*_):
        raise RecordingError("No space left on device")

    monkeypatch.setattr(packing, "join_videos", full)
    with pytest.raises(RecordingError):
        packing.pack(root, Catalog.load(root))
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_a_long_session_is_packed_on_the_way(root, monkeypatch):
    monkeypatch.setattr(writer, "LOOSE_FILES", 4)
    most = []
    record_point(
        root,
        environment=NumberedPoint(),
        episodes=11,
        config=_Counting(root, most),
    )
    assert max(most) <= 4 + 2
    assert len(most) == 11
    assert count(root, "data/*/*") == 1
    info = Info.load(root)
    assert len(load_episodes(root, info)) == 11


class _Counting:
    """Counts data files when an episode is stored."""

    def __init__(self, root, most):
        self._root, self._most = root, most

    def make(self, spec, hz, **options):
        sink = DatasetConfig(root=self._root).make(spec, hz, **options)
        return telling(sink, lambda *_: self._most.append(count(self._root, "data/*/*")))


@pytest.mark.timeout(400)
def test_a_thousand_episodes_take_no_memory_and_open_at_once(root):
    held = []
    environment = Blind()
    sink = telling(DatasetConfig(root=root).make(environment.spec, 50.0), lambda *_: held.append(resident_bytes()))
    run_session(environment, SteeringController(0.0), [sink], num_episodes=1000, max_episode_steps=20)
    assert held[999] - held[299] < 30e6
    assert count(root, "data/*/*") == 1
    assert pq.ParquetFile(root / "data/chunk-000/file-000.parquet").metadata.num_row_groups < 50
    began, before = time.process_time(), resident_bytes()
    with Dataset.open(root) as dataset:
        assert len(dataset.episodes) == 1000
        assert dataset.rows(999)["index"][-1] == 19_999
    assert time.process_time() - began < 1.0
    assert resident_bytes() - before < 50e6
    assert Catalog.load(root).info.total_frames == 20_000


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class Blind(NumberedPoint):
    """A point that is far from its target, without a camera."""

    def __init__(self):
        super().__init__()
        self.spec = type(self.spec)(
            **{**{name: getattr(self.spec, name) for name in self.spec.__slots__}, "cameras": {}}
        )

    def reset(self, seed, options=None):
        super().reset(seed, options)
        self._position[:], self._target[:] = 0.1, 0.9
        return self._observe()
