"""What OpenVLA's training made of pictures and grippers, which whoever runs a checkpoint has to repeat.

The facts are those of OpenVLA's own evaluation (github.com/openvla/openvla, `experiments/robot/`: `openvla_utils.py`,
`robot_utils.py`, `libero/libero_utils.py`). Its server does none of this, so the client of the server does it too.
"""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from taketwo.errors import ConfigError, PolicyError, one_of
from taketwo.types import EnvironmentSpec, FloatArray, Observation, Pixels

if TYPE_CHECKING:
    from taketwo.policies.openvla import OpenVLAConfig
    from taketwo.policies.openvla_rest import OpenVLARestConfig

log = logging.getLogger(__name__)

IMAGE_SIZE = 224
"""Height and width of the pictures that the released checkpoints take."""

CROP_AREA = 0.9
"""Part of a picture's area that training with augmentation left, and that is cut out of the middle when it runs."""

JPEG_QUALITY = 95
"""TensorFlow's own, with which the training sets were written."""

CAMERAS = ("agentview", "image")
"""What environments call the camera that OpenVLA looks through, where they have several."""

Gripper = Literal["none", "bipolar", "libero"]


@dataclass(frozen=True)
class Conventions:
    """How pictures get to OpenVLA and its actions to the environment.

    Attributes:
        camera: the camera that it looks through.
        rotate_180: turn pictures upside down first: robosuite's raw frames, and so LIBERO's, are upside down.
        jpeg_roundtrip: through JPEG, as the pictures of the training sets went.
        center_crop: cut `CROP_AREA` out of the middle.
        gripper: what an action's last number is made: `none` leaves it as it is, 0 closed to 1 open; `bipolar` makes
            it -1 closed or 1 open; `libero` makes it 1 closed or -1 open, as robosuite and LIBERO have it.
    """

    camera: str
    rotate_180: bool
    jpeg_roundtrip: bool
    center_crop: bool
    gripper: Gripper

    @classmethod
    def of(cls, config: OpenVLAConfig | OpenVLARestConfig, spec: EnvironmentSpec) -> Conventions:
        """Those that a policy's options ask for in an environment.

        Raises:
            ConfigError: there is no such camera, or none that is sure to be meant.
        """
        return cls(
            camera=chosen_camera(config.camera, spec),
            rotate_180=config.rotate_180,
            jpeg_roundtrip=config.jpeg_roundtrip,
            center_crop=config.center_crop,
            gripper=config.gripper,
        )

    def picture(self, observation: Observation) -> Pixels:
        """The picture that the model is shown, (224, 224, 3) uint8 RGB; other proportions are stretched."""
        pixels = observation.images[self.camera].pixels
        if self.rotate_180:
            pixels = pixels[::-1, ::-1]
        if self.jpeg_roundtrip:
            pixels = through_jpeg(pixels)
        pixels = resized(pixels)
        return center_cropped(pixels) if self.center_crop else pixels

    def environment_actions(self, actions: FloatArray) -> FloatArray:
        """The model's actions, (H, D), as the environment takes them: a new array with another gripper."""
        sent = np.array(actions, dtype=np.float64)
        if self.gripper != "none":
            bipolar = np.sign(2 * sent[..., -1] - 1)
            sent[..., -1] = -bipolar if self.gripper == "libero" else bipolar
        return sent


def through_jpeg(pixels: Pixels) -> Pixels:
    """(H, W, 3) uint8, encoded as TensorFlow's `encode_jpeg` does by default, and decoded again."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", quality=JPEG_QUALITY, subsampling="4:2:0")
    return np.asarray(Image.open(file).convert("RGB"))


def resized(pixels: Pixels) -> Pixels:
    """(224, 224, 3) uint8 out of (H, W, 3), by an antialiased Lanczos filter of three lobes."""
    from PIL import Image

    if pixels.shape[:2] == (IMAGE_SIZE, IMAGE_SIZE):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.LANCZOS))


def center_cropped(pixels: Pixels) -> Pixels:
    """The middle of a picture, (N, N, 3) uint8, in the size of the whole.

    Samples and rounds as TensorFlow's `image.crop_and_resize` and `image.convert_image_dtype` do, with which the
    checkpoints were evaluated: bilinear between the centres of pixels, the first and the last on the cut's edges.
    """
    weights = _crop_weights(len(pixels))
    cut = np.einsum("ih,hwc,jw->ijc", weights, pixels.astype(np.float64) / 255, weights, optimize=True)
    sampled: Pixels = np.clip(cut * 255.5, 0, 255).astype(np.uint8)
    return sampled


def _crop_weights(size: int) -> FloatArray:
    """(N, N): each new row as a mean of two old ones."""
    margin = (1 - np.sqrt(CROP_AREA)) / 2
    places = np.linspace(margin, 1 - margin, size) * (size - 1)
    below = np.floor(places).astype(np.intp)
    weights = np.zeros((size, size))
    rows = np.arange(size)
    weights[rows, below] = 1 - (places - below)
    weights[rows, below + 1] = places - below
    return weights


def chosen_camera(camera: str | None, spec: EnvironmentSpec) -> str:
    """The camera to look through: the one that is named, else the only one, else one of `CAMERAS`.

    Raises:
        ConfigError: there is no such camera, or none that is sure to be meant.
    """
    if camera is not None:
        if camera not in spec.cameras:
            raise ConfigError(f"camera: {one_of('camera', camera, spec.cameras)}")
        return camera
    if not spec.cameras:
        raise ConfigError(f"camera: OpenVLA needs a picture, and environment {spec.name!r} gives none")
    likely = [*spec.cameras] if len(spec.cameras) == 1 else [name for name in CAMERAS if name in spec.cameras]
    if not likely:
        raise ConfigError(f"camera must be given: environment {spec.name!r} has {', '.join(sorted(spec.cameras))}")
    return likely[0]


def instruction_in(observation: Observation) -> str:
    """The instruction, without which OpenVLA cannot act.

    Raises:
        PolicyError: there is none.
    """
    if not observation.prompt or not observation.prompt.strip():
        raise PolicyError("OpenVLA needs an instruction and the observation has none: give --prompt 'pick up the cube'")
    return observation.prompt


def warn_of_mismatch(unnorm_key: str, conventions: Conventions) -> None:
    """Log a warning where actions are to be LIBERO's, and pictures or gripper are not."""
    if not unnorm_key.startswith("libero"):
        return
    wanted = []
    if not conventions.center_crop:
        wanted.append("--policy.center_crop=true (its published checkpoints were trained with augmentation)")
    if conventions.gripper != "libero":
        wanted.append("--policy.gripper=libero (there 1 closes and -1 opens)")
    if wanted:
        log.warning("unnorm_key %r is one of LIBERO's, which usually needs %s", unnorm_key, " and ".join(wanted))
