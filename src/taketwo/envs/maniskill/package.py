"""ManiSkill itself: imported, asked whether it can draw, and made to make a task."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from taketwo.errors import ConfigError, MissingExtraError, TakeTwoError, one_of

if TYPE_CHECKING:
    from taketwo.envs.maniskill import ManiSkillConfig

log = logging.getLogger(__name__)

NO_VULKAN = (
    "SAPIEN finds no Vulkan device, so that ManiSkill draws no pictures: a GPU's driver brings one, and Mesa's "
    "lavapipe, from Mesa 24.3 on, is one in software"
)


def load() -> Any:
    """The module of its registry, with all of its tasks.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import mani_skill.envs  # type: ignore[import-not-found, unused-ignore]  # noqa: F401 - registers the tasks
        from mani_skill.utils import registration  # type: ignore[import-not-found, unused-ignore]
    except ModuleNotFoundError as error:
        raise MissingExtraError("mani_skill", "maniskill") from error
    return registration


def wants_gpu(config: ManiSkillConfig, num_envs: int) -> bool:
    """Whether physics is to be computed on a GPU.

    Raises:
        ConfigError: it is to be, and there is none.
        MissingExtraError: ManiSkill is not installed.
    """
    load()
    has_gpu = _has_gpu()
    if config.sim_backend == "gpu" and not has_gpu:
        raise ConfigError("sim_backend gpu needs an NVIDIA GPU that PyTorch sees; --env.sim_backend=cpu does without")
    return config.sim_backend == "gpu" or (config.sim_backend == "auto" and num_envs > 1 and has_gpu)


def make(config: ManiSkillConfig, num_envs: int) -> Any:
    """A task without its own time limit, since the session keeps that.

    Raises:
        ConfigError: it cannot be made as it is wanted.
        MissingExtraError: ManiSkill is not installed.
    """
    registration = load()
    if config.id not in registration.REGISTERED_ENVS:
        raise ConfigError(one_of("id", config.id, registration.REGISTERED_ENVS))
    options = _options(config, num_envs)
    try:
        with _no_questions():
            return registration.make(config.id, **options)
    except EOFError as error:
        raise ConfigError(
            f"id {config.id!r} needs data that is not here: python -m mani_skill.utils.download_asset {config.id}"
        ) from error
    except TakeTwoError:
        raise
    except Exception as error:
        raise ConfigError(f"id {config.id!r} cannot be made: {type(error).__name__}: {error}") from error


def renders(config: ManiSkillConfig) -> bool:
    """Whether its pictures are to be drawn.

    Raises:
        ConfigError: they are to be, and there is no device to do it.
    """
    wanted = config.render or config.obs_mode == "rgb"
    if can_render():
        return wanted or config.render is None
    if wanted:
        without = "render=false" if config.obs_mode == "state" else "obs_mode=state"
        raise ConfigError(f"{NO_VULKAN}; --env.{without} does without")
    if config.render is None:
        _warn_once()
    return False


@cache
def can_render() -> bool:
    """Whether SAPIEN finds a device to draw with.

    Tasks make materials even where nothing is drawn, and SAPIEN makes none without a device. So where there is none,
    its class of materials is replaced, for the rest of this process and wherever it is looked up, by one that holds
    nothing.
    """
    load()
    import sapien  # type: ignore[import-not-found, unused-ignore]

    material = sapien.render.RenderMaterial
    try:
        material()
    except RuntimeError:
        theirs = [module for name, module in sys.modules.items() if name.partition(".")[0] in ("sapien", "mani_skill")]
        for module in theirs:
            if getattr(module, "RenderMaterial", None) is material:
                module.RenderMaterial = _NoMaterial  # type: ignore[attr-defined]
        return False
    return True


@cache
def _warn_once() -> None:
    log.warning("%s; this session has states only", NO_VULKAN)


class _NoMaterial:
    """Takes what a material takes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass


def _options(config: ManiSkillConfig, num_envs: int) -> dict[str, Any]:
    size = {name: getattr(config, name) for name in ("width", "height") if getattr(config, name) is not None}
    on_gpu = wants_gpu(config, num_envs)
    drawn = renders(config)
    own: dict[str, Any] = {
        "num_envs": num_envs,
        "obs_mode": "state_dict" if config.obs_mode == "state" else config.obs_mode,  # the same numbers, with names
        "sim_backend": "physx_cuda" if on_gpu else "physx_cpu",
        "render_backend": ("gpu" if _has_gpu() else "cpu") if drawn else "none",
        "sensor_configs": dict(size),
        "human_render_camera_configs": dict(size),
    }
    if config.control_mode is not None:
        own["control_mode"] = config.control_mode
    return own | config.kwargs


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


@contextlib.contextmanager
def _no_questions() -> Iterator[None]:
    """Where data is missing ManiSkill asks whether to download it; here it meets the end of its input instead."""
    kept = sys.stdin
    sys.stdin = io.StringIO()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        sys.stdin = kept
