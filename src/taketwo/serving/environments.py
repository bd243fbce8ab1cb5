"""What a server's clients are: the environments that policies are served for, by openpi's names, or one's own.

A server has no environment at hand. It knows what its clients' observations and actions are like, makes the policy for
that, and tells it to every client, which compares it with what it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from taketwo.errors import ConfigError
from taketwo.policies.layouts import REQUEST_LAYOUTS, Axes, Layout, LayoutName, build_layout
from taketwo.registry import Registry
from taketwo.types import CameraSpec, EnvironmentSpec

SERVED_ENVIRONMENTS = Registry(
    "environment",
    "taketwo.served_environments",
    {
        "ALOHA_SIM": "taketwo.serving.environments:AlohaSimConfig",
        "ALOHA": "taketwo.serving.environments:AlohaRobotConfig",
        "LIBERO": "taketwo.serving.environments:LiberoConfig",
        "DROID": "taketwo.serving.environments:DroidConfig",
        "CUSTOM": "taketwo.serving.environments:CustomConfig",
    },
)

ALOHA_JOINTS = tuple(
    f"{side}_arm_{joint}"
    for side in ("left", "right")
    for joint in ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "gripper")
)
"""The order of ALOHA's 14 joints, as gym_aloha and openpi have it."""

POSE = ("x", "y", "z", "rx", "ry", "rz")


@dataclass(frozen=True)
class ServedEnvironment:
    """What observations and actions of a server's clients are like.

    Attributes:
        spec: names, units, limits and rate; the limits and the prompt are not the server's to know.
        layout: where in a request its parts are; pictures in the size that clients are asked to send.
        layout_name: what openpi calls this layout, or custom.
        named: whether the names in `spec` mean something, so that clients can compare them with theirs.
    """

    spec: EnvironmentSpec
    layout: Layout
    layout_name: LayoutName
    named: bool = True


class ServedEnvironmentConfig(Protocol):
    """The options of a served environment, which describe it."""

    def make(self) -> ServedEnvironment:
        """Describe it.

        Raises:
            ConfigError: an option does not fit.
        """
        ...


@dataclass(frozen=True)
class AlohaSimConfig:
    """ALOHA in simulation: `gym_aloha`'s two arms, 14 joint positions at 50 Hz, one camera.

    Attributes:
        task: hand a cube over, or insert a peg into a socket.
        image_height: height of the pictures that clients are asked for, in pixels; others are taken as they come.
        image_width: width of the pictures that clients are asked for, in pixels.
    """

    task: Literal["transfer_cube", "insertion"] = "transfer_cube"
    image_height: int = 224
    image_width: int = 224

    def make(self) -> ServedEnvironment:
        """Describe it; nothing is simulated."""
        return _aloha(self.task, ("top",), self.image_height, self.image_width)


@dataclass(frozen=True)
class AlohaRobotConfig:
    """An ALOHA robot: two arms, 14 joint positions at 50 Hz, a camera above and one on each wrist.

    Attributes:
        image_height: height of the pictures that clients are asked for, in pixels; others are taken as they come.
        image_width: width of the pictures that clients are asked for, in pixels.
    """

    image_height: int = 224
    image_width: int = 224

    def make(self) -> ServedEnvironment:
        """Describe it."""
        cameras = ("cam_high", "cam_left_wrist", "cam_right_wrist")
        return _aloha("aloha", cameras, self.image_height, self.image_width)


@dataclass(frozen=True)
class LiberoConfig:
    """LIBERO's Panda arm: the gripper's pose and fingers as state, changes of pose as actions, at 20 Hz.

    Attributes:
        image_height: height of the pictures that clients are asked for, in pixels; others are taken as they come.
        image_width: width of the pictures that clients are asked for, in pixels.
    """

    image_height: int = 224
    image_width: int = 224

    def make(self) -> ServedEnvironment:
        """Describe it: robosuite's OSC_POSE actions, from -1 to 1, the gripper's with 1 closed."""
        return _served(
            name="libero",
            layout="libero",
            action_names=(*POSE, "gripper"),
            action_units=("normalized",) * 7,
            bound=1.0,
            state_names=(*POSE, "gripper_left", "gripper_right"),
            control_hz=20.0,
            cameras=("agentview", "robot0_eye_in_hand"),
            size=(self.image_height, self.image_width),
        )


@dataclass(frozen=True)
class DroidConfig:
    """DROID's Panda arm: joint positions and gripper as state, joint velocities and gripper as actions, at 15 Hz.

    Attributes:
        image_height: height of the pictures that clients are asked for, in pixels; others are taken as they come.
        image_width: width of the pictures that clients are asked for, in pixels.
    """

    image_height: int = 224
    image_width: int = 224

    def make(self) -> ServedEnvironment:
        """Describe it."""
        joints = tuple(f"joint_{number}" for number in range(1, 8))
        return _served(
            name="droid",
            layout="droid",
            action_names=(*(f"{joint}_velocity" for joint in joints), "gripper"),
            action_units=("normalized",) * 8,
            bound=np.inf,
            state_names=(*joints, "gripper"),
            control_hz=15.0,
            cameras=("exterior_image_1_left", "wrist_image_left"),
            size=(self.image_height, self.image_width),
        )


@dataclass(frozen=True)
class CustomConfig:
    """Any other: by its numbers or names, its cameras, and where in a request they are.

    Attributes:
        action_dim: numbers in an action, where action_names does not tell.
        state_dim: numbers in the state, where state_names does not tell.
        action_names: a name per number of an action; clients compare them with theirs.
        state_names: a name per number of the state; clients compare them with theirs.
        cameras: names of the cameras.
        control_hz: actions a second.
        mapping: request key to source, as for --policy.type=remote; state, prompt and images.NAME where not given.
        image_axes: order of a picture's axes that clients are asked for; both are taken.
        image_height: height of the pictures that clients are asked for, in pixels; others are taken as they come.
        image_width: width of the pictures that clients are asked for, in pixels.
    """

    action_dim: int | None = None
    state_dim: int | None = None
    action_names: tuple[str, ...] = ()
    state_names: tuple[str, ...] = ()
    cameras: tuple[str, ...] = ()
    control_hz: float = 50.0
    mapping: Mapping[str, str] = field(default_factory=dict)
    image_axes: Axes = "hwc"
    image_height: int = 224
    image_width: int = 224

    def __post_init__(self) -> None:
        for kind in ("action", "state"):
            dim, names = getattr(self, f"{kind}_dim"), getattr(self, f"{kind}_names")
            if not names and dim is None:
                raise ConfigError(f"{kind}_dim is needed for CUSTOM, or {kind}_names")
            if names and dim not in (None, len(names)):
                raise ConfigError(f"{kind}_dim is {dim}, but {kind}_names has {len(names)}: give one of them")
            if dim is not None and dim < 1:
                raise ConfigError(f"{kind}_dim must be 1 or more, not {dim}")
        if not 0 < self.control_hz < float("inf"):
            raise ConfigError(f"control_hz must be a finite number above 0, not {self.control_hz}")

    def make(self) -> ServedEnvironment:
        """Describe it.

        Raises:
            ConfigError: the mapping does not fit.
        """
        action_names = self.action_names or tuple(f"action_{k}" for k in range(self.action_dim or 0))
        state_names = self.state_names or tuple(f"state_{k}" for k in range(self.state_dim or 0))
        defaults = {"state": "state", "prompt": "prompt"} | {
            f"images.{name}": f"images.{name}" for name in self.cameras
        }
        return _served(
            name="custom",
            layout="custom",
            action_names=action_names,
            action_units=("",) * len(action_names),
            bound=np.inf,
            state_names=state_names,
            control_hz=self.control_hz,
            cameras=self.cameras,
            size=(self.image_height, self.image_width),
            mapping=self.mapping or defaults,
            axes=self.image_axes,
            named=bool(self.action_names and self.state_names),
        )


def _aloha(name: str, cameras: tuple[str, ...], height: int, width: int) -> ServedEnvironment:
    return _served(
        name=name,
        layout="aloha",
        action_names=ALOHA_JOINTS,
        action_units=tuple("normalized" if "gripper" in joint else "rad" for joint in ALOHA_JOINTS),
        bound=np.inf,
        state_names=ALOHA_JOINTS,
        control_hz=50.0,
        cameras=cameras,
        size=(height, width),
    )


def _served(
    *,
    name: str,
    layout: LayoutName,
    action_names: tuple[str, ...],
    action_units: tuple[str, ...],
    bound: float,
    state_names: tuple[str, ...],
    control_hz: float,
    cameras: tuple[str, ...],
    size: tuple[int, int],
    mapping: Mapping[str, str] | None = None,
    axes: Axes | None = None,
    named: bool = True,
) -> ServedEnvironment:
    height, width = size
    for dimension, pixels in (("image_height", height), ("image_width", width)):
        if not 1 <= pixels <= 4096:
            raise ConfigError(f"{dimension} must be from 1 to 4096 pixels, not {pixels}")
    spec = EnvironmentSpec(
        name=name,
        action_names=action_names,
        action_units=action_units,
        action_low=np.full(len(action_names), -bound),
        action_high=np.full(len(action_names), bound),
        state_names=state_names,
        control_hz=control_hz,
        cameras={camera: CameraSpec(height, width) for camera in cameras},
    )
    axes = axes or REQUEST_LAYOUTS[layout].axes
    request = build_layout(layout, mapping or {}, spec, height=height, width=width, axes=axes)
    return ServedEnvironment(spec, request, layout, named)
