"""The other side: LeRobot itself. A worker; runs in an environment that `scripts/peer_environment.sh` builds.

Datasets are opened as `lerobot-record` opens them: by default with frames as PNG files first, written by four threads
a camera; at its best with encoders that run while the episode does, and h264 instead of AV1.
"""

from __future__ import annotations

import inspect
import logging
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lerobot.datasets import video_utils
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from dataset_workload import (
    CAMERAS,
    FPS,
    HEIGHT,
    IMAGE_PREFIX,
    JOINTS,
    REPO_ID,
    TASK,
    WIDTH,
    Rollout,
    Row,
    psnr,
    random_steps,
    record_at_rate,
    record_unpaced,
)
from workload import serve

WRITER_THREADS_PER_CAMERA = 4
TOLERANCE_S = 1e-4

_JOINT_NAMES = [f"joint_{i}" for i in range(JOINTS)]
FEATURES: dict[str, dict[str, Any]] = {
    "observation.state": {"dtype": "float32", "shape": (JOINTS,), "names": _JOINT_NAMES},
    "action": {"dtype": "float32", "shape": (JOINTS,), "names": _JOINT_NAMES},
} | {
    IMAGE_PREFIX + camera: {"dtype": "video", "shape": (HEIGHT, WIDTH, 3), "names": ["height", "width", "channels"]}
    for camera in CAMERAS
}


class LeRobotRecorder:
    """A LeRobotDataset that is being recorded."""

    def __init__(self, dataset: LeRobotDataset) -> None:
        self._dataset = dataset

    def step(self, row: Row) -> None:
        pictures = {IMAGE_PREFIX + camera: pixels for camera, pixels in row.pictures.items()}
        self._dataset.add_frame({"observation.state": row.state, "action": row.action, "task": TASK, **pictures})

    def end_episode(self) -> None:
        self._dataset.save_episode()

    def close(self) -> None:
        self._dataset.finalize()


class LeRobotSide:
    """One of its ways to record."""

    def __init__(self, best: bool) -> None:
        self._options = _best_options() if best else {}

    def record(self, root: Path) -> LeRobotRecorder:
        dataset = LeRobotDataset.create(
            REPO_ID,
            fps=FPS,
            features=FEATURES,
            root=root,
            image_writer_threads=WRITER_THREADS_PER_CAMERA * len(CAMERAS),
            **self._options,
        )
        return LeRobotRecorder(dataset)


class Worker:
    """One process's jobs."""

    def __init__(self) -> None:
        self._rollout: Rollout | None = None

    def about(self) -> dict[str, str]:
        """Versions that matter for comparing."""
        return {name: version(name) for name in ("lerobot", "av", "torch", "torchcodec", "numpy")}

    def prepare(self, rollout: str) -> None:
        """Have everything in memory that is not the recorder's."""
        self._rollout = Rollout(Path(rollout))

    def unpaced(self, mode: str, root: str, episodes: int, rows: int) -> dict[str, Any]:
        """Record as fast as it goes."""
        assert self._rollout is not None
        return record_unpaced(LeRobotSide(mode == "best"), self._rollout, Path(root), episodes, rows)

    def at_rate(self, mode: str, root: str, episodes: int, rows: int) -> dict[str, Any]:
        """Record at 50 Hz."""
        assert self._rollout is not None
        return record_at_rate(LeRobotSide(mode == "best"), self._rollout, Path(root), episodes, rows)

    def read(self, path: str, backend: str, episodes: int, rows: int, count: int, seed: int) -> dict[str, float]:
        """Frames of a video file at random, by the function that its own datasets call, after one that opens it."""
        assert self._rollout is not None
        steps = random_steps(episodes * rows, count, seed)
        self._decode(path, 0, backend)
        meant = self._rollout.pictures["top"]
        wall_s, worst = 0.0, float("inf")
        for step in steps:
            began = time.perf_counter()
            tensor = self._decode(path, step, backend)
            wall_s += time.perf_counter() - began
            pixels = (tensor.numpy().transpose(1, 2, 0) * 255).round().astype("uint8")
            worst = min(worst, psnr(pixels, meant[step % rows]))
        return {"frames_per_s": count / wall_s, "worst_psnr": worst}

    @staticmethod
    def _decode(path: str, step: int, backend: str) -> Any:
        return video_utils.decode_video_frames(path, [step / FPS], TOLERANCE_S, backend)[0]


def _best_options() -> dict[str, Any]:
    """Encoding while recording, h264, its defaults otherwise."""
    if "vcodec" in inspect.signature(LeRobotDataset.create).parameters:
        return {"streaming_encoding": True, "vcodec": "h264"}
    from lerobot.configs.video import RGBEncoderConfig

    return {"streaming_encoding": True, "rgb_encoder": RGBEncoderConfig(vcodec="h264")}


if __name__ == "__main__":
    logging.disable(logging.INFO)
    worker = Worker()
    serve(
        {
            "about": worker.about,
            "prepare": worker.prepare,
            "unpaced": worker.unpaced,
            "at_rate": worker.at_rate,
            "read": worker.read,
        }
    )
