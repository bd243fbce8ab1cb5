"""Parts of a session: made from their configuration, and closed when it is over."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from taketwo.cli.resolve import Source, in_full
from taketwo.cli.schema import Component
from taketwo.envs.base import Environment, EnvironmentConfig, MakesOne
from taketwo.errors import (
    ConfigError,
    EnvironmentFault,
    PolicyError,
    RecordingError,
    TakeTwoError,
    blaming,
    one_of,
)

T = TypeVar("T")

log = logging.getLogger(__name__)

BLAMED: Mapping[str, tuple[type[TakeTwoError], str]] = {
    "env": (EnvironmentFault, "the environment cannot be made"),
    "policy": (PolicyError, "the policy cannot be made"),
    "protocol": (PolicyError, "the server cannot be set up"),
    "control": (PolicyError, "the controller cannot be made"),
    "video": (RecordingError, "the recording cannot be set up"),
    "dataset": (RecordingError, "the dataset cannot be set up"),
    "live": (TakeTwoError, "the live view cannot be set up"),
    "display": (TakeTwoError, "Rerun cannot be set up"),
}
"""By section: the error for an exception of unknown kind while the part is made, and how its message begins."""


def made(section: str, options: Any, source: Source, make: Callable[[], T]) -> T:
    """What `make` makes.

    Args:
        section: where its options are in the configuration, one of `BLAMED`.
        options: its configuration, an instance of a dataclass.
        source: where the options came from, for messages.

    Raises:
        ConfigError: an option does not fit; it is named in full, such as `--env.task`.
        MissingExtraError: a library is not installed.
        TakeTwoError: it fails otherwise, of the kind that `BLAMED` has for the section.
    """
    kind, what = BLAMED[section]
    try:
        with blaming(kind, what):
            return make()
    except ConfigError as error:
        raise in_full(error, f"{section}.", type(options), source) from error


def of_one(env: Component[EnvironmentConfig]) -> MakesOne:
    """The options, as those of a single environment.

    Raises:
        ConfigError: there are only several at once of this type.
    """
    if not isinstance(env.options, MakesOne):
        raise ConfigError(f"type {env.type!r} is simulated only as several environments at once; choose another")
    return env.options


def one(env: Component[EnvironmentConfig]) -> Environment:
    """A single environment.

    Raises:
        ConfigError: there are only several at once of this type.
    """
    return of_one(env).make()


def check_filmed(cameras: Sequence[str], carried: Collection[str], known: Collection[str]) -> None:
    """Tell a camera that there is, and that observations only have to carry, from one that there is not.

    Args:
        cameras: those to film.
        carried: those that observations carry.
        known: those that the environment has.

    Raises:
        ConfigError: a camera is not carried; with what to do.
    """
    unseen = [camera for camera in cameras if camera not in carried]
    for camera in unseen:
        if camera not in known:
            raise ConfigError(f"--video.cameras: {one_of('camera', camera, known)}")
    if unseen:
        raise ConfigError(
            f"--video.cameras: observations carry {', '.join(carried) or 'no camera'}, and not {', '.join(unseen)}: "
            f"give --env.cameras={','.join([*carried, *unseen])}"
        )


def closing(what: str, close: Callable[[], None]) -> None:
    """Close a part; where it fails, that is only logged.

    Args:
        what: it is called so in the message, such as `the environment`.
    """
    try:
        close()
    except Exception as error:  # noqa: BLE001 - all is over and saved; this must not look like its failure
        log.warning("%s failed to close: %s: %s", what, type(error).__name__, error)
