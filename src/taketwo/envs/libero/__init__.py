"""LIBERO's tasks (Liu et al. 2023, arXiv 2306.03310) in robosuite: their options. `environment` has the environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from taketwo.envs.checking import check_picture_size
from taketwo.errors import ConfigError

if TYPE_CHECKING:
    from taketwo.envs.libero.environment import LiberoEnvironment


@dataclass(frozen=True)
class LiberoConfig:
    """A Panda arm and a LIBERO task, controlled by changes of the gripper's pose at 20 Hz.

    Pictures are robosuite's, turned by 180 degrees, which is how policies were trained on them and evaluated.

    Attributes:
        suite: which of LIBERO's suites the task is from.
        task: its number in the suite, from 0, or its name.
        cameras: the pictures that observations carry, rendered only when looked at: agentview, robot0_eye_in_hand,
            frontview, birdview, sideview, galleryview, robot0_robotview.
        width: picture width in pixels.
        height: picture height in pixels.
        quality: exact pixels, or preview without multisampling (cheaper in software).
        num_steps_wait: idle steps before an episode begins, in which objects come to rest.
        init_state: which of the task's initial states every episode begins in; each in its turn where not given.
        assets: folder with LIBERO's scenes and objects; else $TAKETWO_LIBERO_ASSETS, else LIBERO's own places.
    """

    suite: Literal["libero_spatial", "libero_object", "libero_goal", "libero_10", "libero_90"] = "libero_object"
    task: int | str = 0
    cameras: tuple[str, ...] = ("agentview", "robot0_eye_in_hand")
    width: int = 256
    height: int = 256
    quality: Literal["exact", "preview"] = "exact"
    num_steps_wait: int = 10
    init_state: int | None = None
    assets: Path | None = None

    def __post_init__(self) -> None:
        check_picture_size(self.width, self.height)
        if len(set(self.cameras)) != len(self.cameras):
            raise ConfigError(f"cameras names one twice: {', '.join(self.cameras)}")
        if not 1 <= self.num_steps_wait <= 1000:
            # The controller is told where the arm is by the first step; before, it knows another initial state.
            raise ConfigError(f"num_steps_wait must be from 1 to 1000, not {self.num_steps_wait}")

    def make(self) -> LiberoEnvironment:
        """Load the task's model; a GL back-end is chosen first, since MuJoCo fixes it when it is imported.

        Raises:
            ConfigError: there is no such task, camera or initial state, or the assets are not there.
            MissingExtraError: LIBERO or robosuite is not installed.
        """
        from taketwo.envs.libero.environment import LiberoEnvironment

        return LiberoEnvironment(self)
