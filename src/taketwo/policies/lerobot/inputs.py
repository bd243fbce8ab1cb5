"""What a LeRobot policy looks at, out of an environment's observations."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from taketwo.errors import ConfigError, PolicyError, one_of
from taketwo.images import resize_with_pad
from taketwo.types import CameraSpec, EnvironmentSpec, Observation, Pixels

log = logging.getLogger(__name__)

STATE = "observation.state"
IMAGES = ("observation.images.", "observation.")
"""What stands before a camera's name; a single one can be called `observation.image`."""

EMPTY_CAMERA = "empty_camera_"
"""How LeRobot calls places for cameras that a policy was trained without."""

OWN_RESIZING = (
    "resize_imgs_with_padding",
    "image_resolution",
    "resize_shape",
    "image_resize_shape",
    "resize_images_to",
    "image_size",
    "image_min_pixels",
)
"""Settings by which policies bring pictures of any size to the one that they want."""


@dataclass(frozen=True)
class Picture:
    """A camera of the policy.

    Attributes:
        key: the policy's feature.
        camera: the environment's.
        size: which pictures it was trained on; None where it takes any, and scales them itself.
    """

    key: str
    camera: str
    size: CameraSpec | None

    def of(self, observation: Observation) -> Pixels:
        """The pixels, (H, W, 3) uint8, in the size that the policy takes.

        Raises:
            PolicyError: there is no such picture, or it has other proportions.
        """
        if self.camera not in observation.images:
            there = ", ".join(observation.images) or "no pictures"
            raise PolicyError(f"the policy looks at camera {self.camera!r}, the observation has {there}")
        pixels = observation.images[self.camera].pixels
        if self.size is None:
            return pixels
        if not _same_proportions(self.size, pixels.shape[0], pixels.shape[1]):
            raise PolicyError(
                f"the policy takes pictures of {self.size.height} x {self.size.width} pixels from camera "
                f"{self.camera!r}, the observation's is {pixels.shape[0]} x {pixels.shape[1]}"
            )
        return resize_with_pad(pixels, self.size.height, self.size.width)


@dataclass(frozen=True)
class Inputs:
    """The features of a policy, fitted to an environment.

    Attributes:
        state_dim: numbers of the state; None where the policy does not look at it.
    """

    state_dim: int | None
    pictures: tuple[Picture, ...]

    @property
    def cameras(self) -> tuple[str, ...]:
        """The cameras that it looks at."""
        return tuple(dict.fromkeys(picture.camera for picture in self.pictures))

    def shapes(self, observation: Observation) -> tuple[tuple[int, ...], ...]:
        """Sizes of the pictures where the policy takes any: only equal ones go into one batch."""
        free = (picture for picture in self.pictures if picture.size is None)
        return tuple(picture.of(observation).shape for picture in free)

    def batch(self, observations: Sequence[Observation]) -> dict[str, Any]:
        """The observations as LeRobot's preprocessors take them.

        The state as float32 (B, D); pictures as float32 (B, 3, H, W) from 0 to 1; `task`, a text for each.

        Raises:
            PolicyError: the state has another length, or a picture is missing or of a wrong size.
        """
        import torch

        batch: dict[str, Any] = {"task": [observation.prompt or "" for observation in observations]}
        if self.state_dim is not None:
            for observation in observations:
                if observation.state.shape != (self.state_dim,):
                    raise PolicyError(
                        f"the policy takes a state of shape ({self.state_dim},), got {observation.state.shape}"
                    )
            batch[STATE] = torch.from_numpy(np.stack([o.state for o in observations])).float()
        for picture in self.pictures:
            pixels = torch.from_numpy(np.stack([picture.of(observation) for observation in observations]))
            batch[picture.key] = (pixels.float() / 255).permute(0, 3, 1, 2).contiguous()
        return batch


def fit_inputs(config: Any, folder: Path, mapping: Mapping[str, str], spec: EnvironmentSpec) -> Inputs:
    """The features of a policy's configuration, checked against an environment.

    Args:
        folder: of the checkpoint; its preprocessor may say what the cameras were called before.
        mapping: the policy's camera to the environment's, or to `none`.

    Raises:
        ConfigError: an action, a state or a camera does not fit; both sides are named.
    """
    what = f"{config.type} of {folder}"
    action, state = config.action_feature, config.robot_state_feature
    if action is None:
        raise ConfigError(f"path must be a policy; {what} has no action")
    _check_numbers(what, "gives actions", action.shape, spec.name, "takes", spec.action_dim)
    if state is not None:
        _check_numbers(what, "takes a state", state.shape, spec.name, "has", len(spec.state_names))
    unknown = sorted(set(config.input_features or {}) - set(config.image_features) - {STATE})
    if unknown:
        raise ConfigError(f"path: {what} needs {', '.join(unknown)}, which environment {spec.name!r} does not have")
    _compare_names(what, getattr(config, "action_feature_names", None), spec)
    pictures = _fit_cameras(what, config, _former_names(folder), mapping, spec)
    return Inputs(None if state is None else state.shape[0], pictures)


def _check_numbers(what: str, does: str, shape: Sequence[int], name: str, has: str, number: int) -> None:
    if tuple(shape) != (number,):
        raise ConfigError(
            f"path: {what} {does} of {' x '.join(map(str, shape))} numbers, environment {name!r} {has} {number}"
        )


def _compare_names(what: str, names: Sequence[str] | None, spec: EnvironmentSpec) -> None:
    """Names are no reason to refuse: the same joints are called differently by different robots' drivers."""
    if names and tuple(names) != spec.action_names:
        log.warning(
            "%s calls its actions %s, environment %r %s: they must mean the same, in this order",
            what,
            ", ".join(names),
            spec.name,
            ", ".join(spec.action_names),
        )


def _fit_cameras(
    what: str, config: Any, former: Mapping[str, str], mapping: Mapping[str, str], spec: EnvironmentSpec
) -> tuple[Picture, ...]:
    features = {_short(key): key for key in config.image_features if not _short(key).startswith(EMPTY_CAMERA)}
    chosen = _chosen(features, mapping, spec)
    for name, key in features.items():
        if name not in chosen:
            same = [camera for camera in (name, former.get(key, name)) if camera in spec.cameras]
            if not same and len(features) == len(spec.cameras) == 1:
                same = list(spec.cameras)
            if not same:
                there, example = ", ".join(spec.cameras) or "no camera", next(iter(spec.cameras), "none")
                raise ConfigError(
                    f"mapping must name a camera for {name!r}, which {what} looks at; environment {spec.name!r} has "
                    f"{there}, so give such as {{{name}: {example}}}"
                )
            chosen[name] = same[0]
    any_size = any(getattr(config, setting, None) is not None for setting in OWN_RESIZING)
    return tuple(
        Picture(key, chosen[name], None if any_size else _size(what, key, config, chosen[name], spec))
        for name, key in features.items()
        if chosen[name] != "none"
    )


def _chosen(features: Mapping[str, str], mapping: Mapping[str, str], spec: EnvironmentSpec) -> dict[str, str]:
    for key, camera in mapping.items():
        if _short(key) not in features:
            raise ConfigError(f"mapping of {key!r}: {one_of('camera of the policy', _short(key), features)}")
        if camera != "none" and camera not in spec.cameras:
            raise ConfigError(f"mapping of {key!r}: {one_of('camera', camera, spec.cameras)}")
    return {_short(key): camera for key, camera in mapping.items()}


def _size(what: str, key: str, config: Any, camera: str, spec: EnvironmentSpec) -> CameraSpec:
    channels, height, width = config.image_features[key].shape
    if channels != 3:
        raise ConfigError(f"path: {what} takes pictures of {channels} channels for {_short(key)!r}; cameras give 3")
    size, given = CameraSpec(height, width), spec.cameras.get(camera, CameraSpec(height, width))
    if not _same_proportions(size, given.height, given.width):
        raise ConfigError(
            f"path: {what} takes pictures of {height} x {width} pixels for {_short(key)!r}, camera {camera!r} of "
            f"environment {spec.name!r} gives {given.height} x {given.width}: give the camera the proportions of the "
            "training"
        )
    return size


def _same_proportions(size: CameraSpec, height: int, width: int) -> bool:
    return size.height * width == size.width * height


def _short(key: str) -> str:
    for beginning in IMAGES:
        if key.startswith(beginning):
            return key.removeprefix(beginning)
    return key


def _former_names(folder: Path) -> dict[str, str]:
    """The policy's feature to the camera's name in the data set, where the training renamed it."""
    file = folder / "policy_preprocessor.json"
    if not file.is_file():
        return {}
    try:
        steps = json.loads(file.read_text())["steps"]
        renamed = [step.get("config", {}).get("rename_map", {}) for step in steps]
        return {new: _short(old) for names in renamed for old, new in names.items()}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ConfigError(f"path must be a policy of LeRobot; {file} cannot be read: {error}") from error
