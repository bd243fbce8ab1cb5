"""What is logged, read back out of the file."""

import io
import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from taketwo.datasets.features import ACTION, CAPTURE_TIME, STATE, SUCCESS
from taketwo.datasets.reader import Dataset
from taketwo.errors import ConfigError, DatasetError, RecordingError
from tests.datasets.foreign import foreign_dataset
from tests.datasets.making import FPS, change_rows, episode, film, make_dataset, video_file
from tests.peers import VERSIONS, peer_python

pytest.importorskip("rerun")

from taketwo.viewing.blueprint import blueprint
from taketwo.viewing.rerun_log import EpisodeLog, PictureConfig
from taketwo.viewing.targets import write_rrd
from tests.viewing.rrd import Recording

AS_IT_IS = PictureConfig({"h264", "av1"})
AS_JPEG = PictureConfig((), batch_size=7, threads=2)

TOP = "observation.images.top"

LENGTH = 24


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two episodes of two cameras and two tasks, ours; not to be changed."""
    return make_ours(tmp_path_factory.mktemp("ours") / "cube")


def make_ours(folder, **options):
    episodes = [
        episode(LENGTH, cameras={"top": film(LENGTH), "wrist": film(LENGTH, seed=1)}),
        episode(30, cameras={"top": film(30, seed=2), "wrist": film(30, seed=3)}, task="pull | it"),
    ]
    return make_dataset(folder, episodes, **options)


def logged(folder, root, index=1, pictures=AS_IT_IS, tolerance_s=1e-4):
    """Write an episode into a file and read it back."""
    with Dataset.open(root) as dataset:
        log = EpisodeLog(dataset, index, "me/cube", pictures, tolerance_s)
        return Recording(written(folder, log))


def written(folder, log, stem="view"):
    return write_rrd(folder, stem, "me/cube", 1, blueprint(list(log.cameras.values()), log.signals), log.send)


def shown_frames(recording, entity):
    """The frame of the video that each row refers to."""
    (blob,) = recording.static(entity, "AssetVideo:blob")
    with av.open(io.BytesIO(bytes(blob))) as file:
        stream = file.streams.video[0]
        frames = {round(frame.pts * stream.time_base * 10**9): frame for frame in file.decode(stream)}
    first = min(frames)
    references = recording.number(entity, "VideoFrameReference:timestamp")
    return [frames[first + int(moment)].to_ndarray(format="rgb24") for moment in references]


def test_signals_are_logged_under_their_names_at_the_rows_times(tmp_path, root):
    recording = logged(tmp_path, root)
    names = [f"{key}/{name}" for key in (STATE, ACTION) for name in ("lift", "grip")]
    cameras = ["observation.images.top", "observation.images.wrist"]
    assert recording.entities == {*names, SUCCESS, CAPTURE_TIME, *cameras, "task"}
    assert recording.timelines() == {"frame_index", "timestamp"}
    with Dataset.open(root) as dataset:
        rows = dataset.rows(1)
    for number, name in enumerate(("lift", "grip")):
        assert np.array_equal(recording.number(f"{STATE}/{name}"), rows[STATE][:, number])
        assert np.array_equal(recording.number(f"{ACTION}/{name}"), rows[ACTION][:, number])
        assert recording.static(f"{ACTION}/{name}", "SeriesLines:names") == [name]
    assert np.array_equal(recording.number(SUCCESS), rows[SUCCESS].astype(float))
    for entity in (*names, SUCCESS, *cameras):
        frames, seconds = recording.times(entity)
        assert frames.tolist() == list(range(30))
        assert seconds == pytest.approx(np.arange(30) / FPS, abs=1e-9)


def test_a_joint_has_one_colour_in_every_plot_and_events_differ(tmp_path, root):
    recording = logged(tmp_path, root)
    colours = {key: recording.static(key, "SeriesLines:colors") for key in (f"{STATE}/grip", f"{ACTION}/grip")}
    assert colours[f"{STATE}/grip"] == colours[f"{ACTION}/grip"]
    assert recording.static(f"{STATE}/lift", "SeriesLines:colors") != colours[f"{STATE}/grip"]


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("camera", ["top", "wrist"])
def test_a_video_is_handed_over_as_it_is_and_each_row_shows_its_own_frame(tmp_path, root, index, camera):
    entity = f"observation.images.{camera}"
    recording = logged(tmp_path, root, index)
    with Dataset.open(root) as dataset:
        expected = list(dataset.frames(index, camera))
    frames = shown_frames(recording, entity)
    assert len(frames) == len(expected)
    for shown, frame in zip(frames, expected, strict=True):
        assert np.abs(shown.astype(int) - frame).max() <= 2
    (blob,) = recording.static(entity, "AssetVideo:blob")
    assert len(blob) < video_file(root, camera).stat().st_size, "more than its own part of the file"


@pytest.mark.parametrize("video", [True, False])
@pytest.mark.parametrize("pictures", [AS_JPEG, PictureConfig((), batch_size=100, threads=0)])
def test_pictures_become_jpeg_where_there_is_no_video_or_it_is_asked_for(tmp_path, video, pictures):
    root = make_ours(tmp_path / "cube", video=video)
    recording = logged(tmp_path, root, 0, pictures)
    coded = recording.column(TOP, "EncodedImage:blob")
    assert len(coded) == LENGTH
    assert recording.times(TOP)[0].tolist() == list(range(LENGTH))
    with Dataset.open(root) as dataset:
        frames = np.array(list(dataset.frames(0, "top")), int)
    for number, (blob,) in enumerate(coded):
        with Image.open(io.BytesIO(bytes(blob))) as picture:
            assert picture.format == "JPEG"
            errors = np.abs(np.asarray(picture) - frames).mean(axis=(1, 2, 3))
        assert errors.argmin() == number
        assert errors[number] < 15


def test_how_many_pictures_are_made_is_told(root):
    with Dataset.open(root) as dataset:
        assert EpisodeLog(dataset, 0, "cube", AS_IT_IS, 1e-4).pictures == 0
        log = EpisodeLog(dataset, 0, "cube", AS_JPEG, 1e-4)
        assert log.pictures == 2 * LENGTH
        assert log.shown_as == {"top": "jpeg", "wrist": "jpeg"}


def test_the_task_is_told_where_it_changes(tmp_path):
    root = make_ours(tmp_path / "cube")
    change_rows(root, "task_index", lambda tasks: np.array([0] * 10 + [1] * 5 + [0] * (len(tasks) - 15)))
    recording = logged(tmp_path, root, 0)
    assert recording.column("task", "TextLog:text") == [["push it"], ["pull | it"], ["push it"]]
    assert recording.times("task")[0].tolist() == [0, 10, 15]


def test_a_page_tells_of_the_episode(tmp_path, root):
    (page,) = logged(tmp_path, root).static("about", "TextDocument:text")
    assert "| dataset | me/cube |" in page
    assert "| length | 30 frames, 1.50 s at 20 fps |" in page
    assert "| task | pull \\| it |" in page
    assert "| outcome | success |" in page
    assert "| ended | told so |" in page
    assert "| seed | 1 |" in page
    assert "| cameras | top 96x64, wrist 96x64 |" in page


def test_the_layout_shows_everything_that_there_is(tmp_path, root):
    recording = logged(tmp_path, root)
    assert {"top", "wrist", "state", "action (sent)", "events", "task", "about"} <= recording.titles()
    assert "action (asked for)" not in recording.titles()
    assert recording.application == "me_cube"


def test_a_dataset_without_cameras_is_shown(tmp_path):
    root = make_dataset(tmp_path / "cube", [episode(LENGTH, cameras={})])
    recording = logged(tmp_path, root, 0)
    assert len(recording.number(f"{STATE}/lift")) == LENGTH
    assert "state" in recording.titles()


@pytest.mark.parametrize("pictures", [AS_IT_IS, AS_JPEG])
def test_a_frame_whose_time_is_not_its_rows_is_an_error_unless_tolerated(tmp_path, pictures):
    root = make_ours(tmp_path / "cube")
    change_rows(root, "timestamp", lambda stamps: stamps + np.where(np.arange(len(stamps)) == 5, 0.004, 0.0))
    with pytest.raises(DatasetError, match=r"camera top: frame 5 is shown at 0\.250000 s .* row says 0\.254000 s"):
        logged(tmp_path, root, 0, pictures)
    assert not list(tmp_path.glob("*.rrd"))
    logged(tmp_path, root, 0, pictures, tolerance_s=0.005)


def test_an_episode_that_is_not_there(tmp_path, root):
    with pytest.raises(ConfigError, match="there is no episode 7"):
        logged(tmp_path, root, 7)


def test_a_damaged_video_leaves_no_file(tmp_path):
    root = make_ours(tmp_path / "cube")
    path = video_file(root)
    path.write_bytes(path.read_bytes()[:-300])
    out = tmp_path / "out"
    with pytest.raises(DatasetError, match="camera top: 29 frames for 30 rows"):
        logged(out, root, 1, AS_JPEG)
    assert not out.exists()


def test_a_name_that_is_taken_is_numbered(tmp_path, root):
    with Dataset.open(root) as dataset:
        log = EpisodeLog(dataset, 0, "me/cube", AS_IT_IS, 1e-4)
        paths = [written(tmp_path / "new" / "folder", log) for _ in range(3)]
    assert [path.name for path in paths] == ["view.rrd", "view_2.rrd", "view_3.rrd"]
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == sorted(p.name for p in paths)
    assert len({len(Recording(path).number(f"{STATE}/lift")) for path in paths}) == 1


@contextmanager
def largest_file(size):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_takes_no_more_is_told_and_nothing_is_left(tmp_path, root):
    out = tmp_path / "out"
    with Dataset.open(root) as dataset:
        log = EpisodeLog(dataset, 1, "me/cube", AS_IT_IS, 1e-4)
        with largest_file(20_000), pytest.raises(RecordingError, match=f"cannot write {out}: File too large"):
            written(out, log)
    assert not list(out.iterdir())


def test_a_folder_that_is_a_file_is_told(tmp_path, root):
    (tmp_path / "out").write_text("")
    with Dataset.open(root) as dataset:
        log = EpisodeLog(dataset, 1, "me/cube", AS_IT_IS, 1e-4)
        with pytest.raises(RecordingError, match="choose a folder, not a file"):
            written(tmp_path / "out", log)


@pytest.mark.parametrize(("version", "kind"), [("0.4.4", "video"), ("0.6.1", "video"), ("0.6.1", "image")])
def test_a_dataset_that_lerobot_recorded(tmp_path, tmp_path_factory, version, kind):
    foreign = foreign_dataset(tmp_path_factory.getbasetemp() / "foreign", version, kind)
    recording = logged(tmp_path, foreign.root)
    with Dataset.open(foreign.root) as dataset:
        rows, cameras, names = dataset.rows(1), dataset.cameras, dataset.info.features[STATE].names
        length = dataset.episode(1).length
    for number, name in enumerate(names):
        assert np.array_equal(recording.number(f"{STATE}/{name}"), rows[STATE][:, number])
    for camera in cameras:
        column = "VideoFrameReference:timestamp" if kind == "video" else "EncodedImage:blob"
        assert len(recording.column(f"observation.images.{camera}", column)) == length


PROBE = """
import sys
from pathlib import Path
from taketwo.datasets.reader import Dataset
from taketwo.viewing.blueprint import blueprint
from taketwo.viewing.rerun_log import EpisodeLog, PictureConfig
from taketwo.viewing.targets import write_rrd

dataset = Dataset.open(Path(sys.argv[1]))
log = EpisodeLog(dataset, 1, "me/cube", PictureConfig(set(sys.argv[3].split(","))), 1e-4)
write_rrd(Path(sys.argv[2]), "view", "me/cube", 1, blueprint(list(log.cameras.values()), log.signals), log.send)
"""


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("codecs", ["h264", "none"])
def test_an_older_sdk_writes_the_same(tmp_path, root, version, codecs):
    """Those that LeRobot brings along: 0.26 and 0.33."""
    source = Path(__file__).parent.parent.parent / "src"
    words = [peer_python(version), "-c", PROBE, root, tmp_path, codecs]
    done = subprocess.run(
        list(map(str, words)), env={"PYTHONPATH": str(source)}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    theirs = Recording(tmp_path / "view.rrd")
    ours = logged(tmp_path / "ours", root, 1, AS_IT_IS if codecs == "h264" else AS_JPEG)
    assert theirs.entities == ours.entities
    assert theirs.timelines() == ours.timelines()
    for entity in ours.entities:
        assert np.array_equal(theirs.times(entity), ours.times(entity))
    assert np.array_equal(theirs.number(f"{STATE}/grip"), ours.number(f"{STATE}/grip"))
    column = "VideoFrameReference:timestamp" if codecs == "h264" else "EncodedImage:blob"
    assert theirs.column(TOP, column) == ours.column(TOP, column)
    assert theirs.titles() == ours.titles()


def test_importing_it_loads_neither_rerun_nor_a_codec():
    code = "import sys, taketwo.viewing.rerun_log, taketwo.viewing.blueprint, taketwo.viewing.targets\n"
    code += "print([name for name in ('rerun', 'av', 'pyarrow', 'PIL') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
