import multiprocessing
import random
from fractions import Fraction

import av
import numpy as np
import pytest

from taketwo.datasets.decoding import VideoReader, decode_picture
from taketwo.datasets.open_files import OpenFiles
from taketwo.errors import DatasetError
from tests.recording.filming import WIDTH, number_of, numbered

FPS = 25
FRAMES = 60
PERIOD = 1 / FPS

ENCODINGS = {
    "h264, short groups": ("libx264", 8, {"tune": "zerolatency"}),
    "h264, frames out of order": ("libx264", 30, {"bf": "3", "b-pyramid": "normal"}),
    "h264, open groups": ("libx264", 12, {"x264-params": "open-gop=1:bframes=3:scenecut=0"}),
    "h264, one key frame": ("libx264", 1000, {"sc_threshold": "0"}),
    "hevc, open groups": ("libx265", 10, {"x265-params": "log-level=error:open-gop=1:bframes=3"}),
    "av1": ("libsvtav1", 2, {"preset": "12", "crf": "30"}),
}


def write_video(path, codec="libx264", group=8, options=None, numbers=range(FRAMES), picture=numbered, tags=None):
    """Frame k is shown at `numbers[k] / FPS`."""
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream(codec, rate=FPS, options=options or {})
        stream.width, stream.height, stream.pix_fmt = WIDTH, 64, "yuv420p"
        stream.codec_context.gop_size = group
        stream.codec_context.time_base = Fraction(1, FPS)
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        for number in numbers:
            frame = av.VideoFrame.from_ndarray(picture(number, 64, WIDTH), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            if tags:
                frame = frame.reformat(
                    format="yuv420p", dst_colorspace=tags["colorspace"], dst_color_range=tags["color_range"]
                )
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module", params=ENCODINGS)
def video(request, tmp_path_factory):
    codec, group, options = ENCODINGS[request.param]
    return write_video(tmp_path_factory.mktemp("video") / "film.mp4", codec, group, options)


def number_at(file, number):
    return number_of(file.frame_at(number * PERIOD, PERIOD))


def test_any_frame_in_any_order(video):
    file = VideoReader(video)
    order = [*range(FRAMES), *random.Random(0).choices(range(FRAMES), k=120), *reversed(range(FRAMES))]
    assert [number_at(file, number) for number in order] == order


def test_pixels_are_those_of_decoding_in_order(video):
    with av.open(str(video)) as container:
        straight = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    file = VideoReader(video)
    for number in (31, 30, 2, 59, 32, 33):
        difference = np.abs(file.frame_at(number * PERIOD, PERIOD).astype(int) - straight[number])
        assert difference.max() <= 1


def test_a_time_may_be_off_by_less_than_half_a_frame(video):
    file = VideoReader(video)
    assert [number_of(file.frame_at((k + off) * PERIOD, PERIOD)) for k in (7, 20) for off in (-0.4, 0.4)] == [
        7,
        7,
        20,
        20,
    ]


def test_there_is_nothing_before_the_first_and_after_the_last_frame(video):
    file = VideoReader(video)
    assert file.frame_at(FRAMES * PERIOD, PERIOD) is None
    assert file.frame_at(1e6, PERIOD) is None
    assert number_at(file, FRAMES - 1) == FRAMES - 1
    assert file.frame_at(-PERIOD, PERIOD) is None
    assert number_at(file, 0) == 0


def test_times_as_the_file_has_them(video):
    file = VideoReader(video)
    assert number_at(file, 40) == 40
    np.testing.assert_allclose(file.frame_times(9.5 * PERIOD, 30.5 * PERIOD), np.arange(10, 31) * PERIOD, atol=1e-6)
    assert number_at(file, 41) == 41
    assert file.frame_times(-0.5 * PERIOD, 1e6).size == FRAMES
    assert file.frame_times(1e6, 2e6).size == 0


def test_a_frame_that_the_file_lacks_is_none_and_its_neighbours_are_there(tmp_path):
    there = [number for number in range(FRAMES) if number not in (20, 21, 22)]
    file = VideoReader(write_video(tmp_path / "gap.mp4", numbers=there))
    for ask in (list(range(15, 28)), [21, 22, 20, 23, 19, 21, 50, 21]):
        found = [file.frame_at(number * PERIOD, PERIOD) for number in ask]
        assert [None if pixels is None else number_of(pixels) for pixels in found] == [
            number if number in there else None for number in ask
        ]
    assert file.frame_times(18.5 * PERIOD, 24.5 * PERIOD).size == 3


def test_an_array_is_the_callers_own(tmp_path):
    file = VideoReader(write_video(tmp_path / "film.mp4"))
    first = file.frame_at(0, PERIOD)
    first[:] = 0
    assert file.frame_at(3 * PERIOD, PERIOD).max() > 0
    assert number_at(file, 0) == 0 and file.frame_at(1 * PERIOD, PERIOD) is not first
    again = file.frame_at(1 * PERIOD, PERIOD)
    again[:] = 7
    assert number_at(file, 1) == 1


COLOURS = np.array([[220, 30, 30], [30, 220, 30], [30, 30, 220], [200, 200, 40]], np.uint8)


def patches(number, height, width):
    return np.repeat(np.tile(np.repeat(COLOURS, width // 4, axis=0)[None], (height, 1, 1)), 1, axis=0)


@pytest.mark.parametrize("matrix", [1, 5, 6])
@pytest.mark.parametrize("span", [1, 2])
def test_colours_are_those_that_the_file_is_tagged_with(tmp_path, matrix, span):
    tags = {"colorspace": 1 if matrix == 1 else 5, "color_range": span}
    path = write_video(tmp_path / "c.mp4", options={"crf": "5"}, numbers=range(3), picture=patches, tags=tags)
    shown = VideoReader(path).frame_at(0, PERIOD)
    for number, colour in enumerate(COLOURS):
        middle = shown[20:40, number * (WIDTH // 4) + WIDTH // 8]
        assert np.abs(middle.astype(int) - colour).max() <= 4


@pytest.mark.parametrize("content", [b"", b"no film", b"\0" * 5000])
def test_what_is_no_video_is_told_in_a_line(tmp_path, content):
    path = tmp_path / "film.mp4"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"film.mp4 is damaged: [^\n]+$"):
        VideoReader(path)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(DatasetError, match=r"film.mp4 is missing$"):
        VideoReader(tmp_path / "film.mp4")


def test_sound_alone_is_no_video(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(DatasetError, match="no video in it"):
        VideoReader(path)


def test_a_file_that_was_cut_off_has_its_first_frames(tmp_path):
    path = write_video(tmp_path / "film.mp4", group=8)
    path.write_bytes(path.read_bytes()[: int(0.6 * path.stat().st_size)])
    file = VideoReader(path)
    assert number_at(file, 3) == 3
    assert lost(file, FRAMES - 1)
    assert number_at(file, 2) == 2


@pytest.mark.parametrize("after_key_frame", [0, 3])
def test_what_depends_on_scribbles_is_not_shown(tmp_path, after_key_frame):
    path = write_video(tmp_path / "film.mp4", options={"tune": "zerolatency", "sc_threshold": "0"})
    scribble(path, 16 + after_key_frame)
    file = VideoReader(path)
    for number in (16 + after_key_frame, 23, 22, 16 + after_key_frame):
        assert lost(file, number)
    others = [number for number in range(FRAMES) if not 16 <= number < 24]
    assert [number_at(file, number) for number in others] == others
    assert not after_key_frame or number_at(file, 18) == 18


def scribble(path, frame):
    """Spoil a frame of a file in which frames lie in their order."""
    with av.open(str(path)) as container:
        place = [packet.pos for packet in container.demux(video=0)][frame]
    content = bytearray(path.read_bytes())
    content[place + 12 : place + 60] = b"\xa5" * 48
    path.write_bytes(content)


def lost(file, number):
    try:
        return file.frame_at(number * PERIOD, PERIOD) is None
    except DatasetError as error:
        return "is damaged" in str(error)


def test_a_broken_picture_is_told():
    with pytest.raises(DatasetError, match=r"^the picture is damaged: "):
        decode_picture(b"\x89PNG\r\n\x1a\nno", "the picture")


class Opened:
    def __init__(self, path):
        self.path, self.closed = path, False

    def close(self):
        self.closed = True


def test_the_file_unused_for_longest_is_closed_for_a_new_one():
    files = OpenFiles(Opened, 2)
    a, b = files.get("a"), files.get("b")
    assert files.get("a") is a
    c = files.get("c")
    assert (a.closed, b.closed, c.closed) == (False, True, False)
    assert files.get("b") is not b
    files.close()
    assert a.closed and c.closed
    assert not files.get("a").closed


def test_a_forked_process_has_files_of_its_own(tmp_path):
    path = write_video(tmp_path / "film.mp4", group=1000)
    files = OpenFiles(VideoReader, 2)
    assert number_at(files.get(path), 10) == 10
    answers = multiprocessing.get_context("fork").SimpleQueue()

    def child():
        answers.put([number_at(files.get(path), number) for number in range(11, 40)])
        files.close()

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    here = [number_at(files.get(path), number) for number in range(11, 40)]
    there = answers.get()
    process.join()
    assert here == there == list(range(11, 40))
    assert process.exitcode == 0
