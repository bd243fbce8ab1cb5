"""A dataset as plain files says the same as the dataset."""

import csv
import io

import av
import numpy as np
import pytest
from PIL import Image

from taketwo.datasets.export import export
from taketwo.datasets.layout import FilePlace, video_path
from taketwo.datasets.reader import Dataset
from taketwo.datasets.sink import DatasetConfig
from taketwo.errors import ConfigError, DatasetError
from tests.datasets.recording import record_point


@pytest.fixture(scope="module", params=[True, False], ids=["video", "images"])
def dataset(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("export") / "point"
    record_point(root, config=DatasetConfig(root=root, video=request.param))
    with Dataset.open(root) as opened:
        yield opened


@pytest.fixture
def video_dataset(tmp_path):
    record_point(tmp_path / "point")
    with Dataset.open(tmp_path / "point") as opened:
        yield opened


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_csv_has_every_number_exactly_and_the_task(dataset, tmp_path):
    export(dataset, tmp_path / "out", [2])
    lines = read_csv(tmp_path / "out" / "episode_000002.csv")
    rows = dataset.rows(2)
    assert len(lines) == dataset.episode(2).length
    assert [line["task"] for line in lines] == dataset.row_tasks(2)
    for number, name in enumerate(("x", "y", "target_x", "target_y")):
        state = np.array([line[f"observation.state.{name}"] for line in lines], np.float32)
        assert np.array_equal(state, rows["observation.state"][:, number])
    assert np.array_equal(np.array([line["capture_time"] for line in lines], np.float64), rows["capture_time"])
    assert [line["next.success"] == "true" for line in lines] == rows["next.success"].tolist()
    assert [int(line["index"]) for line in lines] == rows["index"].tolist()


def test_npz_has_the_arrays(dataset, tmp_path):
    export(dataset, tmp_path / "out", [0], format="npz")
    with np.load(tmp_path / "out" / "episode_000000.npz", allow_pickle=False) as arrays:
        for key, values in dataset.rows(0).items():
            assert arrays[key].dtype == values.dtype
            assert np.array_equal(arrays[key], values)
        assert arrays["task"].tolist() == dataset.row_tasks(0)


def test_pictures_are_those_of_the_dataset(dataset, tmp_path):
    export(dataset, tmp_path / "out", [1])
    frames = list(dataset.frames(1, "top"))
    video = tmp_path / "out" / "episode_000001_top.mp4"
    if video.exists():
        with av.open(str(video)) as container:
            found = [frame.to_ndarray(format="yuv420p") for frame in container.decode(video=0)]
        first = dataset.episode(1).entry.first_row
        with av.open(str(dataset.root / video_path("observation.images.top", FilePlace()))) as container:
            whole = [frame.to_ndarray(format="yuv420p") for frame in container.decode(video=0)]
        assert np.array_equal(found, whole[first : first + len(frames)])
    else:
        paths = sorted((tmp_path / "out" / "episode_000001_top").iterdir())
        assert [path.name for path in paths] == [f"{row:06d}.png" for row in range(len(frames))]
        assert np.array_equal([np.array(Image.open(io.BytesIO(path.read_bytes()))) for path in paths], frames)


def test_all_episodes_are_told_of(dataset, tmp_path):
    export(dataset, tmp_path / "out")
    lines = read_csv(tmp_path / "out" / "episodes.csv")
    assert [int(line["episode_index"]) for line in lines] == [0, 1, 2]
    for line, episode in zip(lines, dataset.episodes, strict=True):
        assert int(line["length"]) == episode.length
        assert float(line["seconds"]) == pytest.approx(episode.length / 50, abs=1e-3)
        assert (line["outcome"], line["success"]) == ("success", "true")
        assert int(line["seed"]) == episode.note.seed
        assert line["task"] == "Move the point onto the target"
    assert len(list((tmp_path / "out").glob("episode_*.csv"))) == 3


def test_nothing_is_overwritten(dataset, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("text")
    with pytest.raises(ConfigError, match="there already"):
        export(dataset, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_empty_folder_is_used(dataset, tmp_path):
    (tmp_path / "out").mkdir()
    export(dataset, tmp_path / "out", [0])
    assert (tmp_path / "out" / "episode_000000.csv").exists()


def test_a_wrong_episode_writes_nothing(dataset, tmp_path):
    with pytest.raises(ConfigError, match="no episode 3"):
        export(dataset, tmp_path / "out", [0, 3])
    assert not list(tmp_path.iterdir())


def test_a_damaged_video_leaves_nothing_behind(video_dataset, tmp_path):
    path = video_dataset.root / video_path("observation.images.top", FilePlace())
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DatasetError, match="cannot be read"):
        export(video_dataset, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["point"]


def test_progress_is_told(dataset, tmp_path):
    told = []
    export(dataset, tmp_path / "out", [0, 2], progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]
