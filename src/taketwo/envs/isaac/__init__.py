"""Simulators that step all environments at once with tensors, and begin the next episode by themselves.

- `building` makes the environment that an option names,
- `simulator` seeds it and speaks its dialect, legged_gym's or Isaac Lab's,
- `pictures` and `verdicts` read what it shows and tells,
- `vector` has the interface of this package.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from taketwo.envs.checking import check_picture_size, check_positive
from taketwo.errors import ConfigError, one_of

if TYPE_CHECKING:
    from taketwo.envs.isaac.vector import IsaacVector

APIS = ("auto", "isaac_lab", "legged_gym")


@dataclass(frozen=True)
class IsaacConfig:
    """An environment of Isaac Lab, Isaac Gym or legged_gym, under any wrappers: N of them step together with tensors.

    Attributes:
        entry: module:callable that builds it; called with num_envs, with seed if it takes one, and with kwargs.
        id: the name that it is registered by with Gymnasium, such as Isaac-Lift-Cube-Franka-v0, in place of entry.
        module: what to import before id is looked up; of Isaac Lab, one that starts its app.
        kwargs: further arguments of entry or gymnasium.make, as a mapping.
        api: what reset and step return; auto sees it at the first reset.
        control_hz: actions per second; what the environment tells of its time step where not given.
        success_key: where extras tell success, (N,), dotted inside mappings, or the name of a termination term of Isaac
            Lab; it must be there in every step; success or is_success, whichever is there, where not given.
        obs_group: which group of observations is the state; policy or obs where not given. critic is legged_gym's
            privileged_obs.
        action_limit: the greatest action in either direction, where the environment states none.
        capture: its own method that takes a picture, such as capture, render or rendering_camera.get_observation;
            called only when the picture is looked at, with those of env, camera, height and width that it takes.
        cameras: the names of the pictures, and what capture is asked for.
        width: picture width in pixels, where capture takes one.
        height: picture height in pixels, where capture takes one.
        name: what recordings call it; the id, or the callable of entry (its module, where that is called make,
            make_env or create), where not given.
    """

    entry: str | None = None
    id: str | None = None
    module: str | None = None
    kwargs: dict[str, Any] = field(default_factory=dict)
    api: Literal["auto", "isaac_lab", "legged_gym"] = "auto"
    control_hz: float | None = None
    success_key: str | None = None
    obs_group: str | None = None
    action_limit: float | None = None
    capture: str | None = None
    cameras: tuple[str, ...] = ("camera",)
    width: int = 640
    height: int = 480
    name: str | None = None

    def __post_init__(self) -> None:
        if self.entry is None and self.id is None:
            raise ConfigError(
                "entry must be given, such as my_module:make (a callable that builds the environment), "
                "or --env.id, the name of a registered one"
            )
        if self.entry is not None and self.id is not None:
            raise ConfigError("entry and --env.id both name an environment: give one of them")
        if self.entry is not None and not all(self.entry.partition(":")):
            raise ConfigError(f"entry must be module:callable, not {self.entry!r}")
        if self.module is not None and self.id is None:
            raise ConfigError("module goes with id; entry names its own")
        if self.api not in APIS:
            raise ConfigError(one_of("api", self.api, APIS))
        check_positive(control_hz=self.control_hz, action_limit=self.action_limit)
        check_picture_size(self.width, self.height)
        if not self.cameras or len(set(self.cameras)) != len(self.cameras):
            raise ConfigError(f"cameras must be different names, not {', '.join(self.cameras) or 'none'}")
        if self.capture is not None and any(not part or part[0] == "_" for part in self.capture.split(".")):
            raise ConfigError(f"capture must be the name of a public method, not {self.capture!r}")

    def make_vector(self, num_envs: int) -> IsaacVector:
        """Build the simulator, and reset it once to see what it shows.

        Raises:
            ConfigError: an option does not fit, or it cannot be built.
        """
        from taketwo.envs.isaac.vector import IsaacVector

        return IsaacVector(self, num_envs)
