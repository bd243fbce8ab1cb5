"""Small datasets out of arrays, recorded by the real writer, and ways to damage them."""

from __future__ import annotations

import json
from fractions import Fraction

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from taketwo.datasets.camera import VideoSettings
from taketwo.datasets.codecs import find_codec
from taketwo.datasets.features import (
    ACTION,
    BOOKKEEPING,
    CAPTURE_TIME,
    IMAGE_PREFIX,
    STATE,
    SUCCESS,
    Feature,
)
from taketwo.datasets.layout import STATS, FilePlace, data_path, video_path
from taketwo.datasets.metadata import EpisodeNote, Info
from taketwo.datasets.take import TakeHeader, VideoEncoders
from taketwo.datasets.writer import DatasetWriter

FPS = 20
HEIGHT, WIDTH = 64, 96
STARTED = "2026-01-02T03:04:05+00:00"


def wave(length=60, width=2, speed=0.05, phase=0.0):
    """(T, D) smooth motion between -1 and 1."""
    t = np.arange(length)[:, None]
    return np.sin(speed * t + phase + np.arange(width)).astype(np.float32)


def texture(seed=0, height=HEIGHT, width=WIDTH):
    """(H, W, 3) a picture with a lot to see in it."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 216, (height // 4, width // 4, 3), dtype=np.uint8)
    return coarse.repeat(4, axis=0).repeat(4, axis=1)


def film(length=60, seed=0):
    """Pictures of a patch that wanders over a texture, one a row."""
    ground = texture(seed)
    pictures = []
    for row in range(length):
        picture = ground.copy()
        left = (3 * row) % (WIDTH - 24)
        picture[20:44, left : left + 24] = texture(99, 24, 24)
        pictures.append(picture)
    return pictures


def episode(length=60, **changes):
    """What `make_dataset` takes for an episode; nothing is wrong with it."""
    plain = {
        "state": wave(length),
        "action": wave(length, phase=0.1),
        "capture_time": np.arange(length) / FPS,
        "success": np.arange(length) == length - 1,
        "cameras": {"top": film(length)},
        "task": "push it",
        "note": {},
    }
    return plain | changes


def make_dataset(root, episodes, *, video=True, names=("lift", "grip"), notes=True, leave_out=(), file_mb=100):
    """Record episodes as `episode` makes them.

    Args:
        names: of the dimensions of state and action.
        notes: keep what only we know of episodes; without, it is as LeRobot would have written it.
        leave_out: columns that the dataset does not have.
        file_mb: size of its files; 0 for one per episode.
    """
    first = episodes[0]
    columns = {
        STATE: Feature("float32", first["state"].shape[1:], list(names)),
        ACTION: Feature("float32", first["action"].shape[1:], list(names)),
        SUCCESS: Feature("bool", (1,)),
        CAPTURE_TIME: Feature("float64", (1,)),
    }
    for camera, pictures in first["cameras"].items():
        columns[IMAGE_PREFIX + camera] = Feature("video" if video else "image", pictures[0].shape)
    features = {key: feature for key, feature in columns.items() if key not in leave_out} | BOOKKEEPING
    info = Info(FPS, features, data_files_size_in_mb=file_mb, video_files_size_in_mb=file_mb)
    writer = DatasetWriter.create(root, info)
    encoders = VideoEncoders(Fraction(FPS), VideoSettings(find_codec("h264"), 23, FPS))
    for number, plain in enumerate(episodes):
        take = writer.begin(TakeHeader(number, number, 0, STARTED), encoders)
        for row in range(len(plain["action"])):
            pictures = {IMAGE_PREFIX + camera: frames[row] for camera, frames in plain["cameras"].items()}
            values = {
                STATE: plain["state"][row],
                ACTION: plain["action"][row],
                SUCCESS: plain["success"][row],
                CAPTURE_TIME: plain["capture_time"][row],
            }
            take.add({key: value for key, value in values.items() if key in features}, plain["task"], pictures)
        writer.keep(take.folder, note_of(plain, number), take.finish())
    writer.close()
    if not notes:
        for path in (root / "meta/taketwo/episodes").rglob("*.jsonl"):
            path.unlink()
    return root


def note_of(plain, number):
    length = len(plain["action"])
    success = bool(plain["success"].any())
    fields = {
        "index": number,
        "length": length,
        "outcome": "success" if success else "timeout",
        "reason": "told so",
        "success": success,
        "seed": number,
        "session": 0,
        "started_at": STARTED,
        "duration_s": length / FPS,
        "measured_hz": float(FPS),
    }
    return EpisodeNote(**fields | plain["note"])


def change_rows(root, column, change):
    """Replace a column of the data file by what `change` makes of its values, (T, ...)."""
    path = data_file(root)
    table = pq.read_table(path, partitioning=None)
    values = change(np.array(table.column(column).to_pylist()))
    field = table.schema.field(column)
    changed = pa.array(values.tolist(), field.type)
    pq.write_table(table.set_column(table.schema.get_field_index(column), field, changed), path)


def change_stats(root, change):
    """Let `change` work on the mapping of `stats.json`."""
    path = root / STATS
    stats = json.loads(path.read_text())
    change(stats)
    path.write_text(json.dumps(stats))


def change_video(root, change, camera="top"):
    """Copy the packets of the video file, each as `change` makes it of its number and itself; None leaves it out."""
    path = video_file(root, camera)
    written = path.with_suffix(".new.mp4")
    with av.open(str(path)) as source, av.open(str(written), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0], opaque=True)
        packets = [packet for packet in source.demux(video=0) if packet.dts is not None]
        for number, packet in enumerate(packets):
            changed = change(number, packet)
            if changed is not None:
                changed.stream = stream
                target.mux(changed)
    written.replace(path)


def video_file(root, camera="top", number=0):
    """The MP4 of a camera."""
    return root / video_path(IMAGE_PREFIX + camera, FilePlace(0, number))


def data_file(root, number=0):
    """The Parquet file of rows."""
    return root / data_path(FilePlace(0, number))
