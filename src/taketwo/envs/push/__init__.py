"""A small multi-robot world in MuJoCo: two or more mobile robots push an object to a target. Here are its options.

- `environment` has one world with the interface of this package,
- `parallel` one world with PettingZoo's parallel interface,
- `batched` many worlds with the interface of legged_gym and of environments for Isaac Gym.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from taketwo.envs.checking import check_picture_size
from taketwo.errors import ConfigError, one_of

if TYPE_CHECKING:
    from taketwo.envs.push.environment import PushEnvironment
    from taketwo.envs.push.model import PushModel

MAX_ROBOTS = 8

OBJECTS = ("cuboid", "cylinder", "t_block")

CAMERAS = ("overview", "top")


@dataclass(frozen=True)
class PushConfig:
    """Mobile robots push an object that is too heavy for one of them to a target, in MuJoCo at 25 Hz.

    Attributes:
        object: what is pushed; the T-block also has to be turned as the target is.
        robots: how many robots there are, 1 to 8; the object moves only when two push.
        cameras: the pictures that observations carry, rendered only when looked at: overview, top.
        width: picture width in pixels.
        height: picture height in pixels.
        quality: exact pixels, or preview without shadows and multisampling (much cheaper in software).
    """

    object: Literal["cuboid", "cylinder", "t_block"] = "cuboid"
    robots: int = 2
    cameras: tuple[str, ...] = ("overview",)
    width: int = 640
    height: int = 480
    quality: Literal["exact", "preview"] = "exact"

    def __post_init__(self) -> None:
        if self.object not in OBJECTS:
            raise ConfigError(one_of("object", self.object, OBJECTS))
        if not 1 <= self.robots <= MAX_ROBOTS:
            raise ConfigError(f"robots must be from 1 to {MAX_ROBOTS}, not {self.robots}")
        for camera in self.cameras:
            if camera not in CAMERAS:
                raise ConfigError(one_of("camera", camera, CAMERAS))
        if len(set(self.cameras)) != len(self.cameras):
            raise ConfigError(f"cameras names one twice: {', '.join(self.cameras)}")
        check_picture_size(self.width, self.height)

    def make(self) -> PushEnvironment:
        """Compile the world; a GL back-end is chosen first, since MuJoCo fixes it when it is imported.

        Raises:
            MissingExtraError: MuJoCo is not installed.
        """
        from taketwo.envs.push.environment import PushEnvironment

        return PushEnvironment(self, self.build())

    def build(self) -> PushModel:
        """The compiled model alone."""
        from taketwo.envs.push.model import build
        from taketwo.gl import choose_backend

        choose_backend("push")
        return build(self.object, self.robots)
