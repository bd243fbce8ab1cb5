"""Our side: a session's dataset sink on its thread, fed with events. A worker; runs in the benchmark's environment."""

from __future__ import annotations

import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import av
import numpy as np

import taketwo.datasets.writer  # noqa: F401 - which the sink imports when it is made: no memory of its own
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
from taketwo.datasets.reader import Dataset
from taketwo.datasets.sink import DatasetConfig
from taketwo.session.events import EpisodeEnd, EpisodeStart, SessionEnd, SessionStart, StepTaken, TerminalObservation
from taketwo.session.punctuality import short_collections
from taketwo.session.sinks import SinkThread
from taketwo.types import (
    CameraSpec,
    Decision,
    EnvironmentSpec,
    Episode,
    EpisodeInfo,
    Image,
    Observation,
    Outcome,
    StepResult,
)
from workload import serve

FINE_CRF = 25

_NAMES = tuple(f"joint_{i}" for i in range(JOINTS))
_BOUND = np.full(JOINTS, np.inf)
SPEC = EnvironmentSpec(
    name="transfer_cube",
    action_names=_NAMES,
    action_units=("rad",) * JOINTS,
    action_low=-_BOUND,
    action_high=_BOUND,
    state_names=_NAMES,
    control_hz=FPS,
    cameras={camera: CameraSpec(HEIGHT, WIDTH) for camera in CAMERAS},
    prompt=TASK,
)


class SessionRecorder:
    """Publishes rows as the events of a session."""

    def __init__(self, config: DatasetConfig) -> None:
        self._sink = config.make(SPEC, FPS, task=TASK)
        self._thread = SinkThread(self._sink)
        self._thread.put(SessionStart(SPEC, FPS, seed=0, config={}))
        self._thread.settle()
        self._episodes = self._steps = self._frames = 0

    def step(self, row: Row) -> None:
        if self._steps == 0:
            self._thread.put(EpisodeStart(EpisodeInfo(self._episodes, seed=self._episodes)))
        images = {camera: Image.of(pixels, camera) for camera, pixels in row.pictures.items()}
        self._seen = Observation(row.state.astype(np.float64), images, TASK)
        result = StepResult(self._seen, reward=0.0, terminated=False, truncated=False, success=False)
        action = row.action.astype(np.float64)
        decision = Decision(action, action)
        self._thread.put(
            StepTaken(self._steps, self._frames, self._seen, decision, result, self._steps / FPS, late_s=0.0)
        )
        self._steps += 1
        self._frames += 1

    def end_episode(self) -> None:
        self._thread.put(TerminalObservation(self._steps, self._frames, self._seen, self._steps / FPS))
        self._frames += 1
        episode = Episode(
            index=self._episodes,
            seed=self._episodes,
            steps=self._steps,
            frames=self._steps + 1,
            first_frame=self._frames - self._steps - 1,
            outcome=Outcome.TIMEOUT,
            reason="the step limit",
            terminated=False,
            truncated=True,
            reward_sum=0.0,
            reward_max=0.0,
        )
        self._thread.put(EpisodeEnd(episode))
        self._episodes += 1
        self._steps = 0

    def close(self) -> None:
        self._thread.put(SessionEnd("all episodes done"))
        self._thread.finish()
        if self._thread.error is not None:
            raise self._thread.error


class OurSide:
    """As its options come, or with pictures at least as good as those of LeRobot's default mode."""

    def __init__(self, fine: bool) -> None:
        self._crf = FINE_CRF if fine else None

    def record(self, root: Path) -> SessionRecorder:
        return SessionRecorder(DatasetConfig(repo_id=REPO_ID, root=root, crf=self._crf))


class Worker:
    """One process's jobs."""

    def __init__(self) -> None:
        self._rollout: Rollout | None = None

    def about(self) -> dict[str, str]:
        """Versions that matter for comparing."""
        return {name: version(name) for name in ("taketwo", "av", "pyarrow", "numpy")}

    def prepare(self, rollout: str) -> None:
        """Have everything in memory that is not the recorder's."""
        self._rollout = Rollout(Path(rollout))

    def unpaced(self, mode: str, root: str, episodes: int, rows: int) -> dict[str, Any]:
        """Record as fast as it goes."""
        assert self._rollout is not None
        with short_collections():
            return record_unpaced(OurSide(mode == "fine"), self._rollout, Path(root), episodes, rows)

    def at_rate(self, mode: str, root: str, episodes: int, rows: int) -> dict[str, Any]:
        """Record at 50 Hz."""
        assert self._rollout is not None
        with short_collections():
            return record_at_rate(OurSide(mode == "fine"), self._rollout, Path(root), episodes, rows)

    def read(self, root: str, count: int, seed: int) -> dict[str, float]:
        """Frames of a dataset's first camera at random, by our reader, after one that opens the file."""
        assert self._rollout is not None
        with Dataset.open(Path(root)) as dataset:
            places = [(episode.index, step) for episode in dataset.episodes for step in range(episode.length)]
            chosen = [places[number] for number in random_steps(len(places), count, seed)]
            dataset.frame(0, "top", 0)
            meant = self._rollout.pictures["top"]
            wall_s, worst = 0.0, float("inf")
            for episode, step in chosen:
                began = time.perf_counter()
                frame = dataset.frame(episode, "top", step)
                wall_s += time.perf_counter() - began
                worst = min(worst, psnr(frame, meant[step]))
        return {"frames_per_s": count / wall_s, "worst_psnr": worst}

    def quality(self, root: str, episodes: int, rows: int) -> dict[str, float]:
        """What became of the pictures of anybody's dataset: mean PSNR, bytes on the disk, frames that are missing."""
        assert self._rollout is not None
        ratios: list[float] = []
        size = missing = 0
        for camera in CAMERAS:
            paths = sorted(Path(root, "videos", IMAGE_PREFIX + camera).rglob("*.mp4"))
            meant = (self._rollout.pictures[camera][step] for _ in range(episodes) for step in range(rows))
            decoded = (frame.to_ndarray(format="rgb24") for path in paths for frame in _decode(path))
            here = [psnr(frame, picture) for frame, picture in zip(decoded, meant, strict=False)]
            ratios += here
            missing += episodes * rows - len(here)
            size += sum(path.stat().st_size for path in paths)
        return {"psnr": float(np.mean(ratios)), "mb": size / 1e6, "missing": missing, "files": len(paths)}


def _decode(path: Path) -> Any:
    with av.open(str(path)) as container:
        yield from container.decode(video=0)


if __name__ == "__main__":
    worker = Worker()
    serve(
        {
            "about": worker.about,
            "prepare": worker.prepare,
            "unpaced": worker.unpaced,
            "at_rate": worker.at_rate,
            "read": worker.read,
            "quality": worker.quality,
        }
    )
