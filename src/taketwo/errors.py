"""The errors that users meet. Each message says what was wrong, what is allowed, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class TakeTwoError(Exception):
    """Base of every error whose message is for the user; printed as one line, without a traceback."""


class ConfigError(TakeTwoError):
    """A flag, a configuration key or a name that the user gave cannot be used."""


class MissingExtraError(TakeTwoError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: pip install 'taketwo[{extra}]'")


class EnvironmentFault(TakeTwoError):
    """The environment cannot start or go on."""


class RenderingError(TakeTwoError):
    """A camera picture cannot be made."""


class PolicyError(TakeTwoError):
    """The policy cannot start, cannot be reached, or gave an unusable action chunk."""


class RecordingError(TakeTwoError):
    """A recording cannot be written."""


class DatasetError(TakeTwoError):
    """A dataset cannot be read, is damaged, or is not what it should be."""


def one_of(kind: str, name: str, known: Iterable[str]) -> str:
    """Message for an unknown name: the nearest known one first, then all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"unknown {kind} {name!r}.{hint} Known: {', '.join(names) or 'none'}."


def one_line(said: object) -> str:
    """A text on one line, white space run together; for an error its message, or its type where it has none.

    What a terminal would act on, such as control characters, is shown as an escape: messages repeat what clients and
    servers say.
    """
    try:
        line = " ".join(str(said).split())
    except Exception:  # noqa: BLE001 - an error that cannot say what it is
        line = ""
    if not line.isprintable():
        line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    return line or (type(said).__name__ if isinstance(said, BaseException) else "")


def shortened(text: str, width: int) -> str:
    """A text of others, such as a client's prompt, as `one_line` has it, in at most `width` characters."""
    looked_at = 10 * width  # a text may be megabytes long
    line = one_line(text[:looked_at])
    return line if len(line) <= width and len(text) <= looked_at else f"{line[: width - 1]}…"


def quoted(text: str, width: int) -> str:
    """The same in quotation marks, which come on top of `width`."""
    line = shortened(text, width)
    mark = '"' if "'" in line else "'"
    return f"{mark}{line}{mark}"


@contextmanager
def blaming(kind: type[TakeTwoError], what: str) -> Iterator[None]:
    """Turn a foreign exception into one that says, in a line, whose it was."""
    try:
        yield
    except TakeTwoError:
        raise
    except Exception as error:
        raise kind(f"{what}: {type(error).__name__}: {error}") from error
