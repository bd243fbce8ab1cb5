"""Small policies and environments in words, for the tests of control."""

import numpy as np

from taketwo.types import ActionChunk, CameraSpec, EnvironmentSpec, EpisodeInfo, Observation

ARM = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "gripper")
ALOHA_NAMES = tuple(f"{side}_arm_{name}" for side in ("left", "right") for name in ARM)
ALOHA_UNITS = ("rad",) * 6 + ("normalized",) + ("rad",) * 6 + ("normalized",)
EPISODE = EpisodeInfo(index=0, seed=1)


def make_spec(names=("a", "b"), state_names=None, name="bench", units=None, cameras=(), low=-np.inf, high=np.inf):
    return EnvironmentSpec(
        name=name,
        action_names=tuple(names),
        action_units=tuple(units or ("rad",) * len(names)),
        action_low=np.full(len(names), low),
        action_high=np.full(len(names), high),
        state_names=tuple(names if state_names is None else state_names),
        control_hz=50.0,
        cameras={camera: CameraSpec(4, 6) for camera in cameras},
    )


def aloha_spec(name="transfer_cube"):
    return make_spec(ALOHA_NAMES, name=name, units=ALOHA_UNITS)


def observe(*state, **more):
    return Observation(state=np.array(state, dtype=float), **more)


class Says:
    """A policy whose answers are given as a function of how often it was asked since its reset."""

    def __init__(self, answer, cameras=()):
        self.cameras = tuple(cameras)
        self._answer = answer
        self.asked = []
        self.resets = []
        self.closed = 0

    def reset(self, episode):
        self.resets.append(episode)
        self.asked = []

    def infer(self, observation):
        self.asked.append(observation)
        answer = self._answer(len(self.asked) - 1)
        return answer if isinstance(answer, ActionChunk) else ActionChunk(np.asarray(answer))

    def close(self):
        self.closed += 1


def numbered(height, width=1):
    """Chunk k holds the actions 100 k, 100 k + 1, ... in every dimension."""
    return lambda k: np.repeat(100.0 * k + np.arange(height)[:, None], width, axis=1)
