"""Options of a LeRobot policy, and which kind of policy they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from taketwo.errors import ConfigError, PolicyError
from taketwo.types import EnvironmentSpec, EpisodeInfo, Image, Observation

if TYPE_CHECKING:
    from taketwo.policies.lerobot.policy import LeRobotPolicy


@dataclass(frozen=True)
class LeRobotConfig:
    """A policy that LeRobot trained, in this process, with the processors of its checkpoint.

    Attributes:
        path: folder of a checkpoint, such as outputs/train/checkpoints/last/pretrained_model, or an id on the Hub.
        revision: branch, tag or commit of a checkpoint on the Hub.
        device: auto takes cuda, else mps, else cpu.
        dtype: number format of the forward pass; as the checkpoint is stored where not given.
        compile: speed up by torch.compile; the first inference takes minutes, before the session begins.
        mapping: the policy's camera to the environment's, such as {camera1: top}, or to none, which leaves it out;
            cameras of the same name need none.
        n_action_steps: actions of each chunk to give; the checkpoint's own n_action_steps where not given.
    """

    path: str
    revision: str | None = None
    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    compile: bool = False
    mapping: Mapping[str, str] = field(default_factory=dict)
    n_action_steps: int | None = None

    def __post_init__(self) -> None:
        if not self.path:
            raise ConfigError("path must be the folder of a checkpoint or its id on the Hub, not empty")
        if self.n_action_steps is not None and self.n_action_steps < 1:
            raise ConfigError(f"n_action_steps must be 1 or more, not {self.n_action_steps}")

    def make(self, spec: EnvironmentSpec) -> LeRobotPolicy:
        """Load it, and try it on a blank observation, so that what does not fit is told before anything moves.

        Raises:
            ConfigError: there is no checkpoint, or sizes, cameras or names do not fit the environment.
            MissingExtraError: LeRobot is not installed.
            PolicyError: it cannot be loaded, or fails on an observation of this environment.
        """
        from taketwo.policies.lerobot.checkpoint import find_checkpoint, load, read_config
        from taketwo.policies.lerobot.inputs import fit_inputs
        from taketwo.policies.lerobot.policy import policy_of

        folder = find_checkpoint(self.path, self.revision)
        stored = read_config(folder, self.device, self.n_action_steps)
        inputs = fit_inputs(stored, folder, self.mapping, spec)
        checkpoint = load(stored, folder, dtype=self.dtype, compiled=self.compile)
        policy = policy_of(checkpoint, inputs, spec)
        try:
            policy.infer(_blank(spec))
        except PolicyError as error:
            raise PolicyError(f"the policy fails on a blank observation of {spec.name!r}: {error}") from error
        policy.reset(EpisodeInfo(index=0, seed=0))
        return policy


def _blank(spec: EnvironmentSpec) -> Observation:
    return Observation(
        state=np.zeros(len(spec.state_names)),
        images={
            name: Image.of(np.zeros((camera.height, camera.width, 3), np.uint8), name)
            for name, camera in spec.cameras.items()
        },
        prompt=spec.prompt,
    )
