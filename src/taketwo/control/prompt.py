"""The instruction: changeable while a session runs, and shown at the points it passes through."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from pathlib import Path

from taketwo.errors import ConfigError, one_line, shortened
from taketwo.policies.base import Policy
from taketwo.policies.wrapping import PolicyWrapper
from taketwo.session.events import EpisodeStart, Event, StepTaken
from taketwo.types import ActionChunk, EpisodeInfo, Observation

log = logging.getLogger("taketwo.prompt")

SHOWN_CHARACTERS = 80
"""Length at which a prompt is cut off when it is shown; what is sent is never cut."""

LOOK_EVERY_S = 0.2
"""Seconds between two looks at a prompt file, so that the loop is not slowed by the file system."""


class PromptSource:
    """The instruction that goes into every observation. A session takes it as its `prompt`.

    It may be changed from any thread and takes effect with the next observation; a policy that executes
    chunks acts on it when it is asked the next time.

    Attributes:
        text: the instruction; None leaves the environment's own.
    """

    def __init__(self, text: str | None = None) -> None:
        self.text = text  # replacing an attribute is atomic, so no lock is needed

    def __call__(self) -> str | None:
        """The instruction as it is now."""
        return self.text


class PromptFile:
    """The instruction in a text file, read again when the file changes. A session takes it as its `prompt`.

    A file that is gone, empty or unreadable while the session runs leaves the last instruction, with a warning.
    """

    def __init__(self, path: Path, now: Callable[[], float] = time.monotonic) -> None:
        """Read the file.

        Args:
            now: gives seconds on a clock that never goes back.

        Raises:
            ConfigError: it cannot be read, or holds no text.
        """
        self._path = path
        self._now = now
        self._looked = now()
        try:
            self._state = self._state_of_file()
            self._text = self._read()
        except (OSError, ValueError) as error:
            raise ConfigError(f"cannot take the prompt from {path}: {_reason(error)}") from error
        self._warned = False

    def __call__(self) -> str:
        """The instruction as it is now; the file is looked at every `LOOK_EVERY_S` at most."""
        now = self._now()
        if now - self._looked >= LOOK_EVERY_S:
            self._looked = now
            self._refresh()
        return self._text

    def _refresh(self) -> None:
        try:
            state = self._state_of_file()
            if state == self._state:
                return
            text = self._read()
        except (OSError, ValueError) as error:
            if not self._warned:
                log.warning("the prompt stays as it was: cannot read %s: %s", self._path, _reason(error))
            self._state, self._warned = None, True
            return
        self._state, self._warned = state, False
        if text != self._text:
            log.info("the prompt is now: %s", shown(text))
        self._text = text

    def _state_of_file(self) -> tuple[int, int, int] | None:
        """What changes when the file is written or replaced. Taken before reading, so that no change is missed."""
        status = self._path.stat()
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _read(self) -> str:
        text = self._path.read_text(encoding="utf-8").strip()
        if not text:
            raise ValueError("it is empty")
        return text


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not text in UTF-8"
    return (isinstance(error, OSError) and error.strerror) or one_line(error)


class EveryNSteps:
    """Says when a prompt is due: at an episode's first step, and at or after every n-th that follows.

    "Or after", since neither a policy that is asked once a chunk nor a viewer that steps are dropped for
    meets every step.
    """

    def __init__(self, every_n: int) -> None:
        if every_n < 1:
            raise ConfigError(f"a prompt can be shown every 1 or more steps, not every {every_n}")
        self._every_n = every_n
        self._due = 0

    def reset(self) -> None:
        """Begin an episode."""
        self._due = 0

    def __call__(self, step: int) -> bool:
        """Whether the prompt is due at this step of the episode."""
        if step < self._due:
            return False
        self._due = step - step % self._every_n + self._every_n
        return True


class EchoesPrompt(PolicyWrapper):
    """A policy that shows the prompt just before it is sent: what the client asks for."""

    def __init__(self, policy: Policy, every_n: int, control_hz: float) -> None:
        """Wrap a policy.

        Args:
            every_n: steps between two lines.
            control_hz: `EnvironmentSpec.control_hz`; gives the step that an observation's time stands for.
        """
        super().__init__(policy)
        self._is_due = EveryNSteps(every_n)
        self._control_hz = control_hz

    def reset(self, episode: EpisodeInfo) -> None:
        """Reset the policy, and show the next prompt."""
        self._is_due.reset()
        super().reset(episode)

    def infer(self, observation: Observation) -> ActionChunk:
        """Show the prompt if it is due, and ask the policy."""
        step = round(observation.time_s * self._control_hz)
        if self._is_due(step):
            log.info("%s", prompt_line("client", step, observation.prompt))
        return super().infer(observation)


class RuntimePromptEcho:
    """A sink that shows the prompt as the runtime's observations carry it."""

    name = "prompt echo"
    lossless = False
    required = False

    def __init__(self, every_n: int) -> None:
        """Show it every `every_n` steps of an episode."""
        self._is_due = EveryNSteps(every_n)

    def cameras(self, frame: int) -> Collection[str]:
        """None."""
        return ()

    def on(self, event: Event) -> None:
        """Show the prompt of a step if it is due."""
        if isinstance(event, EpisodeStart):
            self._is_due.reset()
        elif isinstance(event, StepTaken) and self._is_due(event.index):
            log.info("%s", prompt_line("runtime", event.index, event.observation.prompt))


def prompt_line(point: str, step: int, prompt: str | None) -> str:
    """One line telling which prompt was seen at a point, cut off at `SHOWN_CHARACTERS`."""
    return f"prompt [{point}, step {step}]: {shown(prompt)}"


def shown(prompt: str | None) -> str:
    """A prompt in one line of at most `SHOWN_CHARACTERS`, its white space run together."""
    return "(none)" if prompt is None else shortened(prompt, SHOWN_CHARACTERS)
