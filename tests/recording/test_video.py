import json
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from taketwo.errors import ConfigError, RecordingError
from taketwo.recording.remux import chapters_supported, top_level_boxes
from taketwo.recording.video import VideoConfig
from taketwo.testing import check_sink
from taketwo.testing.point import PointEnvironment
from taketwo.types import CameraSpec, Outcome
from tests.recording.filming import (
    HEIGHT,
    WIDTH,
    number_of,
    numbered,
    numbers_in,
    pictures_in,
    play,
    session_of,
    spec_of,
)

THREE = [(10, Outcome.SUCCESS), (7, Outcome.TIMEOUT), (12, Outcome.FAILURE)]
NEEDS_CHAPTERS = pytest.mark.skipif(not chapters_supported(), reason="PyAV before 16.1 cannot write chapters")


def filmed(folder, episodes=THREE, spec=None, seed=5, picture=numbered, prompt=None, **options):
    spec = spec or spec_of()
    sink = VideoConfig(**options).make(spec, folder)
    events = list(session_of(episodes, spec, seed, picture, prompt=prompt))
    error = play(sink, events)
    assert error is None, error
    return sink.report(sum(hasattr(event, "frame") for event in events))


def test_a_session_is_one_video_with_every_frame_in_order(tmp_path):
    report = filmed(tmp_path)
    assert Path(report["path"]).name == "film_seed5_3eps.mp4"
    assert numbers_in(report["path"]) == list(range(32))
    assert report["frames"] == 32
    assert report["fps"] == 50
    assert report["duration_s"] == pytest.approx(32 / 50)
    assert report["dropped"] == 0
    assert report["files"] == [report["path"]]
    assert [path.name for path in tmp_path.iterdir()] == ["film_seed5_3eps.mp4"]


@pytest.mark.parametrize("subsample", [1, 2, 3, 7])
def test_subsampling_keeps_every_nth_frame_and_the_duration(tmp_path, subsample):
    report = filmed(tmp_path, subsample=subsample)
    assert numbers_in(report["path"]) == list(range(0, 32, subsample))
    with av.open(report["path"]) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == Fraction(50, subsample)
        assert stream.duration * stream.time_base == Fraction(report["frames"] * subsample, 50)
        assert abs(stream.duration * stream.time_base - Fraction(32, 50)) < Fraction(subsample, 50)
    assert report["duration_s"] == pytest.approx(report["frames"] * subsample / 50)


@pytest.mark.parametrize(
    ("control_hz", "fps"), [(12.5, Fraction(25, 2)), (1 / 0.03, Fraction(100, 3)), (2.5, Fraction(5, 2))]
)
def test_odd_control_rates_are_exact_fractions(tmp_path, control_hz, fps):
    report = filmed(tmp_path, spec=spec_of(control_hz=control_hz))
    with av.open(report["path"]) as container:
        assert container.streams.video[0].average_rate == fps
        times = [frame.pts * frame.time_base for frame in container.decode(video=0)]
    assert times == [index / fps for index in range(32)]


def test_the_sink_asks_for_pictures_of_kept_frames_only():
    sink = VideoConfig(subsample=3).make(spec_of(), Path("unused"))
    assert [list(sink.cameras(frame)) for frame in range(4)] == [["top"], [], [], ["top"]]


def test_the_sink_keeps_the_contract_of_sinks(tmp_path):
    check_sink(lambda: VideoConfig(mode="both", subsample=2).make(PointEnvironment().spec, tmp_path))


@pytest.mark.parametrize("mode", ["episode", "both"])
def test_each_episode_is_a_video_of_its_own(tmp_path, mode):
    report = filmed(tmp_path, mode=mode, subsample=2)
    folder = tmp_path / "film_seed5_episodes"
    wanted = {
        "film_seed5_ep000_success.mp4": [0, 2, 4, 6, 8, 10],
        "film_seed5_ep001_timeout.mp4": [12, 14, 16, 18],
        "film_seed5_ep002_failure.mp4": [20, 22, 24, 26, 28, 30],
    }
    assert {path.name: numbers_in(path) for path in folder.iterdir()} == wanted
    if mode == "both":
        assert numbers_in(report["path"]) == list(range(0, 32, 2))
        assert len(report["files"]) == 4
    else:
        assert report["path"] == str(folder)
        assert len(report["files"]) == 3
    assert report["frames"] == 16


def test_an_episodes_pictures_are_those_of_the_session_bit_for_bit(tmp_path):
    report = filmed(tmp_path, mode="both")
    whole = pictures_in(report["path"])
    parts = [pixels for path in sorted(report["files"]) if "_ep0" in path for pixels in pictures_in(path)]
    assert len(whole) == len(parts) == 32
    assert all(map(np.array_equal, whole, parts))


def test_mode_off_makes_no_sink(tmp_path):
    assert VideoConfig(mode="off").make(spec_of(), tmp_path) is None


def test_several_cameras_stand_side_by_side(tmp_path):
    cameras = {"top": CameraSpec(HEIGHT, WIDTH), "left": CameraSpec(24, WIDTH)}

    spec = spec_of(cameras=cameras)
    sink = VideoConfig(cameras=("left", "top")).make(spec, tmp_path)
    error = play(sink, (_resized(event, cameras) for event in session_of([(3, Outcome.SUCCESS)], spec)))
    assert error is None
    pictures = pictures_in(sink.path)
    assert pictures[0].shape == (HEIGHT, 2 * WIDTH, 3)
    assert [number_of(pixels[:, WIDTH:]) for pixels in pictures] == [0, 1, 2, 3]
    assert [number_of(pixels[12:, :WIDTH]) for pixels in pictures] == [0, 1, 2, 3]
    assert pictures[3][:8, :WIDTH].max() < 40


def _resized(event, cameras):
    from taketwo.types import Image

    if hasattr(event, "observation"):
        for name, size in cameras.items():
            event.observation.images[name] = Image.of(numbered(event.frame, size.height, size.width), name)
    return event


def test_odd_sizes_are_padded_to_even_ones(tmp_path):
    spec = spec_of(cameras={"top": CameraSpec(47, WIDTH + 1)})
    report = filmed(tmp_path, spec=spec, picture=lambda number: numbered(number, 47, WIDTH + 1))
    assert pictures_in(report["path"])[0].shape == (48, WIDTH + 2, 3)
    assert numbers_in(report["path"]) == list(range(32))


def test_colours_come_back_as_they_were(tmp_path):
    colours = np.array([[250, 30, 20], [20, 220, 40], [30, 60, 240], [128, 128, 128]], np.uint8)
    picture = np.repeat(np.repeat(colours[None], HEIGHT, axis=0), WIDTH // 4, axis=1)
    report = filmed(tmp_path, picture=lambda number: picture, crf=10)
    back = pictures_in(report["path"])[0][HEIGHT // 2, WIDTH // 8 :: WIDTH // 4].astype(int)
    assert np.abs(back - colours).max() <= 6


@NEEDS_CHAPTERS
def test_chapters_tell_the_episodes(tmp_path):
    report = filmed(tmp_path, subsample=2)
    titles = [
        "Episode 1: success (seed 100, 10 steps)",
        "Episode 2: timeout (seed 101, 7 steps)",
        "Episode 3: failure (seed 102, 12 steps)",
    ]
    bounds = [(0.0, 0.24), (0.24, 0.4), (0.4, 0.64)]
    with av.open(report["path"]) as container:
        chapters = container.chapters()
    assert [chapter["metadata"]["title"] for chapter in chapters] == titles
    times = [(chapter["start"] * chapter["time_base"], chapter["end"] * chapter["time_base"]) for chapter in chapters]
    assert [(float(start), float(end)) for start, end in times] == bounds


@NEEDS_CHAPTERS
def test_three_hundred_chapters_are_all_there(tmp_path):
    report = filmed(tmp_path, [(1, Outcome.SUCCESS)] * 300)
    with av.open(report["path"]) as container:
        chapters = container.chapters()
    assert chapters[-1]["metadata"]["title"] == "Episode 300: success (seed 399, 1 step)"
    assert len(chapters) == 300


@NEEDS_CHAPTERS
@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="ffprobe is not installed")
def test_ffprobe_reads_chapters_metadata_and_rate(tmp_path):
    report = filmed(tmp_path, subsample=2)
    command = ["ffprobe", "-v", "error", "-of", "json", "-show_chapters", "-show_format", "-show_streams"]
    told = json.loads(subprocess.run([*command, report["path"]], capture_output=True, check=True).stdout)
    assert told["chapters"][0]["tags"]["title"] == "Episode 1: success (seed 100, 10 steps)"
    assert [float(chapter["start_time"]) for chapter in told["chapters"]] == [0.0, 0.24, 0.4]
    video = told["streams"][0]
    assert (video["codec_name"], video["pix_fmt"], video["avg_frame_rate"]) == ("h264", "yuv420p", "25/1")
    assert json.loads(told["format"]["tags"]["comment"])["seed"] == 5
    assert float(told["format"]["duration"]) == pytest.approx(0.64)


def test_metadata_tells_seed_and_configuration(tmp_path):
    spec = spec_of()
    sink = VideoConfig().make(spec, tmp_path)
    config = {"session": {"seed": 5, "max_hz": float("inf")}, "prompt": "Würfel übergeben"}
    assert play(sink, session_of(THREE, spec, config=config)) is None
    with av.open(sink.path) as container:
        told = json.loads(container.metadata["comment"])
        assert container.metadata["title"] == "film, seed 5, 3 episodes"
    assert told["seed"] == 5
    assert told["config"] == {"session": {"seed": 5, "max_hz": None}, "prompt": "Würfel übergeben"}


def test_the_index_is_before_the_pictures(tmp_path):
    report = filmed(tmp_path)
    with Path(report["path"]).open("rb") as file:
        boxes = [kind for kind, _, _ in top_level_boxes(file)]
    assert boxes.index("moov") < boxes.index("mdat")
    assert "moof" not in boxes


def test_a_key_frame_comes_at_least_every_second_and_at_each_episode(tmp_path):
    report = filmed(tmp_path, [(70, Outcome.SUCCESS), (70, Outcome.SUCCESS)], spec=spec_of(control_hz=20.0))
    with av.open(report["path"]) as container:
        keys = [index for index, packet in enumerate(container.demux(video=0)) if packet.is_keyframe]
    assert 71 in keys
    assert max(np.diff([*keys, 142])) <= 20


def test_the_same_session_again_gets_a_new_number_and_nothing_is_overwritten(tmp_path):
    first = filmed(tmp_path, mode="both")
    before = {path: Path(path).read_bytes() for path in first["files"]}
    second, third = filmed(tmp_path, mode="both"), filmed(tmp_path)
    assert Path(second["path"]).name == "film_seed5_3eps_2.mp4"
    assert Path(third["path"]).name == "film_seed5_3eps_3.mp4"
    assert {Path(path).parent.name for path in second["files"]} == {tmp_path.name, "film_seed5_episodes_2"}
    assert {path: Path(path).read_bytes() for path in first["files"]} == before


def test_a_name_with_a_slash_becomes_one_file_name(tmp_path):
    report = filmed(tmp_path, [(2, Outcome.SUCCESS)], spec=spec_of(name="ALE/Pong-v5"))
    assert [path.name for path in tmp_path.iterdir()] == ["ALE_Pong-v5_seed5_1eps.mp4"]
    assert report["frames"] == 3


def test_a_session_without_frames_leaves_no_file(tmp_path):
    for mode in ("session", "episode", "both"):
        report = filmed(tmp_path, [], mode=mode)
        assert report["path"] is None
        assert report["files"] == []
        assert list(tmp_path.iterdir()) == []


def test_a_missing_frame_is_counted_and_the_rest_keeps_its_time(tmp_path):
    spec = spec_of()
    sink = VideoConfig().make(spec, tmp_path)
    events = [event for event in session_of(THREE, spec) if getattr(event, "frame", None) != 4]
    assert play(sink, events) is None
    report = sink.report(32)
    assert (report["frames"], report["dropped"]) == (31, 1)
    assert numbers_in(report["path"]) == [*range(4), *range(5, 32)]
    with av.open(report["path"]) as container:
        assert [round(frame.time * 50) for frame in container.decode(video=0)] == [*range(4), *range(5, 32)]


def test_the_overlay_changes_the_lower_edge_and_not_the_environments_picture(tmp_path):
    grey = np.full((120, WIDTH, 3), 180, np.uint8)
    grey.flags.writeable = False
    spec = spec_of(cameras={"top": CameraSpec(120, WIDTH)})
    report = filmed(tmp_path, spec=spec, picture=lambda _: grey, overlay=True, prompt="Put it there " * 9)
    pictures = pictures_in(report["path"])
    assert np.abs(pictures[5][:80].astype(int) - 180).max() <= 3
    assert pictures[5][-18:].min() < 90
    assert pictures[5][-18:].max() > 200
    assert not np.array_equal(pictures[5][-18:], pictures[8][-18:])


@pytest.mark.parametrize("height", [8, 24, 480])
def test_the_overlay_fits_any_picture(height):
    from taketwo.recording.overlay import Overlay

    drawn = Overlay(height).draw(np.full((height, 40, 3), 99, np.uint8), 1, 2, "a prompt that does not fit")
    assert drawn.shape == (height, 40, 3)


def test_a_picture_of_another_size_is_refused_by_name(tmp_path):
    spec = spec_of()
    sink = VideoConfig().make(spec, tmp_path)
    error = play(sink, session_of(THREE, spec, picture=lambda n: numbered(n) if n < 6 else numbered(n, 32)))
    assert isinstance(error, RecordingError)
    assert "camera 'top' gave a picture of 192x32" in str(error)
    report = sink.report(32)
    assert numbers_in(report["path"]) == list(range(6))
    assert (report["frames"], report["dropped"]) == (6, 26)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "sesion"}, "Did you mean 'session'"),
        ({"subsample": 0}, "subsample must be 1 or more"),
        ({"crf": 0}, "crf must be 1"),
        ({"preset": "fastest"}, "unknown preset"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        VideoConfig(**options)


def test_unknown_and_missing_cameras_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"unknown camera 'topp'. Did you mean 'top'\?"):
        VideoConfig(cameras=("topp",)).make(spec_of(), tmp_path)
    with pytest.raises(ConfigError, match="film has none; set mode to off"):
        VideoConfig().make(spec_of(cameras={}), tmp_path)
