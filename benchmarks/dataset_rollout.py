"""Renders the rollout that the dataset benchmark records: `gym_aloha`, the scripted policy, two cameras."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from uuid import uuid4

import numpy as np

from dataset_workload import CAMERAS, HEIGHT, WIDTH

STEPS = 150
SEED = 5


def rollout_folder() -> Path:
    """The folder with its arrays, which are made on first use and kept."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taketwo" / "bench-dataset"
    folder = cache / f"transfer_cube-seed{SEED}-{STEPS}x{WIDTH}x{HEIGHT}-{'-'.join(CAMERAS)}"
    if not folder.exists():
        print(f"rendering {STEPS} steps into {folder}", file=sys.stderr)
        unfinished = cache / uuid4().hex
        unfinished.mkdir(parents=True)
        try:
            for name, array in _roll_out().items():
                np.save(unfinished / f"{name}.npy", array)
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _roll_out() -> dict[str, np.ndarray]:
    """Pictures (T, 480, 640, 3) uint8 by camera; `state` and `action` (T, 14) float32."""
    from taketwo.envs.aloha import AlohaConfig
    from taketwo.policies.scripted import ScriptedConfig
    from taketwo.types import EpisodeInfo

    environment = AlohaConfig(cameras=CAMERAS, width=WIDTH, height=HEIGHT).make()
    policy = ScriptedConfig().make(environment.spec)
    policy.reset(EpisodeInfo(0, SEED))
    observation = environment.reset(SEED)
    rows: dict[str, list[np.ndarray]] = {name: [] for name in (*CAMERAS, "state", "action")}
    for _ in range(STEPS):
        action = policy.infer(observation).actions[0]
        for camera in CAMERAS:
            rows[camera].append(observation.images[camera].pixels)
        rows["state"].append(observation.state.astype(np.float32))
        rows["action"].append(action.astype(np.float32))
        observation = environment.step(action).observation
    environment.close()
    return {name: np.stack(arrays) for name, arrays in rows.items()}
