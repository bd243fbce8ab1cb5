"""ManiSkill (Tao et al. 2024, arXiv:2410.00425; https://maniskill.readthedocs.io), over SAPIEN and PhysX.

- `package` imports it, finds out whether it can draw, and makes its tasks,
- `vector` has the interface of this package: N environments on a GPU, or one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from taketwo.envs.checking import check_num_envs, check_picture_size
from taketwo.errors import ConfigError, one_of

if TYPE_CHECKING:
    from taketwo.envs.base import VectorEnvironment
    from taketwo.envs.maniskill.vector import ManiSkillEnvironment

OBS_MODES = ("state", "rgb")
SIM_BACKENDS = ("auto", "cpu", "gpu")


@dataclass(frozen=True)
class ManiSkillConfig:
    """A task of ManiSkill; many at once on a GPU, one beside the other on the CPU.

    Attributes:
        id: its registered name, such as PushCube-v1.
        obs_mode: state tells all, rgb what the robot senses, with the pictures of its cameras.
        control_mode: what actions are, such as pd_joint_delta_pos or pd_ee_delta_pose; the robot's own where not given.
        sim_backend: where physics is computed; auto takes a GPU for several environments, where there is one.
        render: offer the task's own cameras, rendered only when looked at; where not given, if there is a Vulkan
            device.
        width: picture width in pixels; each camera's own where not given.
        height: picture height in pixels; each camera's own where not given.
        kwargs: further arguments of the task, as a mapping.
    """

    id: str = "PushCube-v1"
    obs_mode: Literal["state", "rgb"] = "state"
    control_mode: str | None = None
    sim_backend: Literal["auto", "cpu", "gpu"] = "auto"
    render: bool | None = None
    width: int | None = None
    height: int | None = None
    kwargs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, known in (("obs_mode", OBS_MODES), ("sim_backend", SIM_BACKENDS)):
            if getattr(self, name) not in known:
                raise ConfigError(one_of(name, getattr(self, name), known))
        check_picture_size(self.width, self.height)

    def make(self) -> ManiSkillEnvironment:
        """Make one.

        Raises:
            ConfigError: an option does not fit, or data is missing.
            MissingExtraError: ManiSkill is not installed.
        """
        from taketwo.envs.maniskill.vector import ManiSkillEnvironment

        return ManiSkillEnvironment(self)

    def make_vector(self, num_envs: int) -> VectorEnvironment:
        """Make several: one simulation on a GPU; on the CPU, where a simulation holds one, as many of those.

        Raises:
            ConfigError: an option does not fit, or data is missing.
            MissingExtraError: ManiSkill is not installed.
        """
        from taketwo.envs.maniskill.package import wants_gpu
        from taketwo.envs.maniskill.vector import ManiSkillEnvironment, ManiSkillVector
        from taketwo.envs.several import Several

        check_num_envs(num_envs)
        if wants_gpu(self, num_envs):
            return ManiSkillVector(self, num_envs)
        return Several[ManiSkillEnvironment].made_by(self.make, num_envs)
