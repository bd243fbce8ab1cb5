"""OpenVLA (Kim et al. 2024, arXiv 2406.09246) in process: any Hugging Face checkpoint with `predict_action`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from taketwo.errors import ConfigError, PolicyError
from taketwo.policies.openvla_conventions import Conventions, Gripper, instruction_in
from taketwo.types import ActionChunk, EnvironmentSpec, EpisodeInfo, FloatArray, Observation, Pixels


@dataclass(frozen=True)
class OpenVLAConfig:
    """An OpenVLA checkpoint, in this process.

    Attributes:
        path: folder of the checkpoint, or its name on the Hugging Face Hub, such as openvla/openvla-7b.
        revision: branch, tag or commit on the Hub; a commit makes sure that its code stays the same.
        trust_remote_code: run the code that the checkpoint brings, on this machine and with your rights; OpenVLA's
            checkpoints need it.
        unnorm_key: data set whose statistics scale the actions back, such as bridge_orig or libero_object; can be left
            out where the checkpoint knows only one.
        center_crop: cut out the middle 90 % of the picture's area, for checkpoints trained with image augmentation.
        gripper: what the action's last number is made; none leaves it 0 closed to 1 open, bipolar makes it -1 closed
            or 1 open, libero makes it 1 closed or -1 open.
        camera: camera that it looks through; the only one, or agentview, where not given.
        rotate_180: turn pictures by 180 degrees, for environments that give robosuite's frames upside down.
        jpeg_roundtrip: send pictures through JPEG, as those of the training sets were.
        device: such as cuda, cuda:1 or cpu; a GPU where there is one.
        dtype: number format of the weights.
        attention: implementation of attention; flash_attention_2 needs the package flash-attn.
        embedding: give the hidden states of the last layer with each action, for failure detection.
    """

    path: str
    revision: str | None = None
    trust_remote_code: bool = False
    unnorm_key: str | None = None
    center_crop: bool = False
    gripper: Gripper = "none"
    camera: str | None = None
    rotate_180: bool = False
    jpeg_roundtrip: bool = True
    device: str | None = None
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    attention: Literal["sdpa", "flash_attention_2", "eager"] = "sdpa"
    embedding: bool = False

    def __post_init__(self) -> None:
        if not self.path.strip():
            raise ConfigError("path must name a checkpoint: a folder, or openvla/openvla-7b or the like on the Hub")
        if "image_aug" in self.path and not self.center_crop:
            raise ConfigError(
                f"center_crop must be true for {self.path!r}, which by its name was trained with image augmentation"
            )

    def make(self, spec: EnvironmentSpec) -> OpenVLAPolicy:
        """Load the checkpoint; what does not fit is told before its weights are read.

        Raises:
            ConfigError: there is no such checkpoint or camera, the checkpoint's code is not trusted, it has no such
                statistics, or its actions are not as long as the environment's.
            MissingExtraError: PyTorch or transformers is not installed.
            PolicyError: the checkpoint cannot be loaded.
        """
        conventions = Conventions.of(self, spec)
        from taketwo.policies.openvla_checkpoint import load_checkpoint

        return OpenVLAPolicy(load_checkpoint(self, spec, conventions), conventions)


class Predicts(Protocol):
    """A loaded model."""

    def predict(self, pixels: Pixels, instruction: str) -> tuple[FloatArray, NDArray[np.float32] | None]:
        """The action, (D,), in the units of the data set; and, where asked for, the hidden states behind it."""
        ...


class OpenVLAPolicy:
    """One action an answer: OpenVLA knows no chunks and keeps nothing from step to step.

    Where it is asked for, a chunk's `embedding` is (D, W) float32, for an action of D numbers (7) and a model of width
    W (4096 in OpenVLA-7B): row i is the last layer's hidden state, after the final norm, out of which the token of the
    action's number i was read. SAFE (Gu et al. 2025, arXiv 2506.09937) detects failures with such states.
    """

    own_prompt: str | None = None

    def __init__(self, model: Predicts, conventions: Conventions) -> None:
        self._model: Predicts | None = model
        self._conventions = conventions

    @property
    def cameras(self) -> tuple[str, ...]:
        """The one camera that it looks through."""
        return (self._conventions.camera,)

    def for_client(self) -> OpenVLAPolicy:
        """Another one over the same weights, which stay loaded until the last one is closed.

        Raises:
            PolicyError: this one is closed.
        """
        return OpenVLAPolicy(self._open_model(), self._conventions)

    def reset(self, episode: EpisodeInfo) -> None:
        """It keeps nothing from one episode to the next."""

    def infer(self, observation: Observation) -> ActionChunk:
        """One action, (1, D).

        Raises:
            PolicyError: the observation has no prompt, or the policy is closed.
        """
        model = self._open_model()
        instruction = instruction_in(observation)
        pixels = self._conventions.picture(observation)
        began = time.perf_counter()
        action, hidden_states = model.predict(pixels, instruction)
        infer_ms = (time.perf_counter() - began) * 1000
        return ActionChunk(
            self._conventions.environment_actions(action[np.newaxis]),
            embedding=hidden_states,
            timings_ms={"infer_ms": infer_ms},
        )

    def close(self) -> None:
        """Let go of the weights; an `infer` under way in another thread finishes first. Safe to call twice."""
        self._model = None

    def _open_model(self) -> Predicts:
        model = self._model
        if model is None:
            raise PolicyError("the OpenVLA policy is closed")
        return model
