"""The other side: a benchmark and a model server of vla-eval that do nothing.

    python fleet_vla_eval.py --address 127.0.0.1:8000      # the model server, as vla-eval's own scripts start theirs

Runs in vla-eval's own environment. The benchmark is named in the configuration of `vla-eval run`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from vla_eval.benchmarks.base import StepBenchmark, StepResult
from vla_eval.model_servers.predict import PredictModelServer
from vla_eval.model_servers.serve import run_server
from vla_eval.protocol.numpy_codec import set_image_format

from fleet_marks import Marks

DIM = 14


class StillBenchmark(StepBenchmark):
    """Shows one picture after the other, whatever the action, and records what vla-eval's LIBERO records."""

    _ALL_RECORD_FIELDS = frozenset({"reward", "done", "success", "action", "state"})

    def __init__(self, frames: str, marks: str, image_format: str = "png") -> None:
        """
        Args:
            frames: `.npy` file of (N, H, W, 3) uint8.
            marks: file for the times of the steps.
            image_format: of pictures on the wire; vla-eval has no flag for it, and sends PNG.
        """
        super().__init__()
        self._frames = np.load(frames)
        self._marks = Marks(marks)
        self._state = np.zeros(DIM, np.float32)
        if image_format != "png":
            set_image_format(image_format)  # type: ignore[arg-type]

    def get_tasks(self) -> list[dict[str, Any]]:
        return [{"name": "stand still"}]

    def reset(self, task: Any) -> Any:
        self._marks.begin()
        self._recorder.record_video(self._frames[0])
        return self._frames[0]

    def step(self, action: Any) -> StepResult:
        frame = self._frames[self._marks.step() % len(self._frames)]
        self._recorder.record_video(frame)
        self._recorder.record_step(
            reward=0.0, done=False, success=False, action=np.asarray(action["actions"], np.float32), state=self._state
        )
        return StepResult(obs=frame, reward=0.0, done=False, info={})

    def make_obs(self, raw_obs: Any, task: Any) -> Any:
        return {"images": {"top": raw_obs}, "states": self._state, "task_description": task["name"]}

    def get_step_result(self, step_result: StepResult) -> Any:
        return {"success": False}


class StillServer(PredictModelServer):
    """Answers at once, always the same."""

    def __init__(self, dim: int = DIM) -> None:
        super().__init__()
        self._answer = {"actions": np.zeros(dim, np.float32)}

    def predict(self, obs: Any, ctx: Any) -> Any:
        return self._answer


if __name__ == "__main__":
    run_server(StillServer)
