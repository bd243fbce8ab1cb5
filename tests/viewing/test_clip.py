from fractions import Fraction

import av
import numpy as np
import pytest

from taketwo.errors import DatasetError
from taketwo.viewing.clip import codec_of, cut

FPS = 20


def shade(number):
    return 20 + 5 * number


def film(path, frames=40, codec="libx264", pixels="yuv420p", **options):
    """Frames whose brightness is their number, with a key frame every 16th."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=FPS, options={"crf": "10"} | options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        stream.codec_context.gop_size = 16
        stream.codec_context.time_base = Fraction(1, FPS)
        for number in range(frames):
            picture = np.full((48, 64, 3), shade(number), np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())
    return path


def shades(path_or_file):
    """By frame, in the order in which they are shown."""
    with av.open(path_or_file) as file:
        return [float(frame.to_ndarray(format="rgb24").mean()) for frame in file.decode(video=0)]


@pytest.mark.parametrize("options", [{"bf": "0"}, {"bf": "3", "b-pyramid": "normal"}])
@pytest.mark.parametrize(("start", "end", "key_frame"), [(0, 40, 0), (16, 32, 16), (20, 30, 16), (33, 40, 32)])
def test_every_frame_of_the_piece_is_found_by_its_time(tmp_path, start, end, key_frame, options):
    path = film(tmp_path / "film.mp4", **options, sc_threshold="0")
    clip = cut(path, start / FPS, end / FPS)
    assert clip.times_s[0] == pytest.approx(key_frame / FPS)
    (tmp_path / "clip.mp4").write_bytes(clip.mp4)
    found, original = shades(str(tmp_path / "clip.mp4")), shades(str(path))
    numbers = clip.numbers(np.arange(start, end) / FPS)
    assert len(found) == len(clip.times_s)
    assert [found[number] for number in numbers] == original[start:end]
    assert len(found) <= end - key_frame + 4, "frames of the next episode came along"


def test_times_need_not_be_exact(tmp_path):
    clip = cut(film(tmp_path / "film.mp4"), 0.0, 2.0)
    assert clip.numbers(np.array([0.02, 0.0499, 0.06, 1.97])).tolist() == [0, 1, 1, 39]


def test_a_piece_after_the_end_is_told(tmp_path):
    path = film(tmp_path / "film.mp4")
    with pytest.raises(DatasetError, match=r"film\.mp4 cannot be read, or has no frame at 9\.000 s"):
        cut(path, 9.0, 10.0)


def test_a_file_that_is_no_video_is_told(tmp_path):
    path = tmp_path / "film.mp4"
    path.write_bytes(b"nothing")
    with pytest.raises(DatasetError, match=r"film\.mp4 cannot be read"):
        codec_of(path)
    with pytest.raises(DatasetError, match=r"film\.mp4 cannot be read"):
        cut(path, 0.0, 1.0)


def test_codecs_are_named_where_players_take_their_pixels(tmp_path):
    assert codec_of(film(tmp_path / "a.mp4")) == "h264"
    assert codec_of(film(tmp_path / "b.mp4", pixels="yuv444p")) is None
