"""Makes the environment that an option names."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from taketwo.envs.unwrapping import find
from taketwo.errors import ConfigError, MissingExtraError, TakeTwoError, one_of

if TYPE_CHECKING:
    from taketwo.envs.isaac import IsaacConfig


class Factory:
    """Builds the environment, as often as it is asked to.

    Attributes:
        takes_seed: whether the one who builds it wants a seed.
    """

    def __init__(self, config: IsaacConfig, num_envs: int) -> None:
        """Import what is named; nothing is built yet.

        Raises:
            ConfigError: it is not there.
        """
        self._num_envs = num_envs
        if config.entry is not None:
            self._what = f"entry {config.entry!r}"
            self._call = _imported(config.entry)
            self.takes_seed = "seed" in _parameters(self._call)
        else:
            self._what = f"id {config.id!r}"
            self._call = partial(_registered, config)
            self.takes_seed = False
        self._kwargs = config.kwargs

    def build(self, seed: int) -> Any:
        """Build it.

        Raises:
            ConfigError: it cannot be built, or has another number of environments.
        """
        kwargs = {"num_envs": self._num_envs} | ({"seed": seed} if self.takes_seed else {}) | self._kwargs
        try:
            env = self._call(**kwargs)
        except TakeTwoError:
            raise
        except Exception as error:
            raise ConfigError(f"{self._what} cannot be built: {type(error).__name__}: {error}") from error
        count = find(env, "num_envs")
        if count != self._num_envs:
            has = "does not tell its num_envs" if count is None else f"has {count} environments"
            raise ConfigError(f"num_envs is {self._num_envs}, but what {self._what} builds {has}")
        return env


def takes(call: Callable[..., Any], name: str) -> bool:
    """Whether it has a parameter of this name."""
    return name in _parameters(call)


def _parameters(call: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(call).parameters)
    except (TypeError, ValueError):  # built in, and tells none
        return {}


def _imported(entry: str) -> Callable[..., Any]:
    module, _, name = entry.partition(":")
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"entry {entry!r}: {error}; a module in the present folder is found with PYTHONPATH=."
        ) from error
    call = getattr(found, name, None)
    if not callable(call):
        known = [key for key, value in vars(found).items() if callable(value) and not key.startswith("_")]
        raise ConfigError(f"entry {entry!r}: {one_of('callable', name, known)}")
    return call  # type: ignore[no-any-return]


def _registered(config: IsaacConfig, num_envs: int, **kwargs: Any) -> Any:
    try:
        import gymnasium
    except ModuleNotFoundError as error:
        raise MissingExtraError("gymnasium", "gym") from error
    try:
        if config.module is not None:
            importlib.import_module(config.module)
        registered = gymnasium.spec(config.id or "")
    except ImportError as error:
        raise ConfigError(f"module {config.module!r}: {error}") from error
    except gymnasium.error.Error as error:
        raise ConfigError(
            f"id {config.id!r} is not registered with Gymnasium; --env.module imports what does"
        ) from error
    if "env_cfg_entry_point" in registered.kwargs:  # Isaac Lab's tasks are told their number in a configuration
        from isaaclab_tasks.utils import parse_env_cfg  # type: ignore[import-not-found, unused-ignore]

        kwargs = {"cfg": parse_env_cfg(config.id, num_envs=num_envs)} | kwargs
    else:
        kwargs = {"num_envs": num_envs} | kwargs
    if config.capture == "render":
        kwargs.setdefault("render_mode", "rgb_array")
    return gymnasium.make(registered, disable_env_checker=True, **kwargs)
