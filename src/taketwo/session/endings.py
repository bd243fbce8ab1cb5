"""What ends an episode or a session: the environment, limits, and the operator."""

from __future__ import annotations

import math

from taketwo.session.commands import Commands
from taketwo.session.config import SessionConfig
from taketwo.session.tally import Tally
from taketwo.types import EnvironmentSpec, Outcome

Ending = tuple[Outcome, str]
"""How an episode ends, and why."""


class Endings:
    """Decides when it is over.

    Attributes:
        episode_steps: actions after which an episode is cut off; infinite where nothing limits it.
    """

    def __init__(self, config: SessionConfig, spec: EnvironmentSpec, control_hz: float, commands: Commands) -> None:
        self._config = config
        self._commands = commands
        self.episode_steps = config.max_episode_steps or spec.max_episode_steps or math.inf
        self._frame_limit = math.inf
        if config.total_seconds is not None:
            self._frame_limit = max(2, round(config.total_seconds * control_hz))

    def of_session(self, steps: int, frames: int) -> str | None:
        """Why no further step may be taken, or None.

        Args:
            steps: actions of the session so far.
            frames: frames that it has shown.
        """
        if self._commands.stop_reason is not None:
            return self._commands.stop_reason
        if self._config.max_total_steps is not None and steps >= self._config.max_total_steps:
            return f"the session reached its {self._config.max_total_steps} steps"
        if frames + 1 >= self._frame_limit:  # one frame is left for the terminal observation
            return f"the session reached its {self._config.total_seconds:g} s"
        return None

    def of_episode(self, tally: Tally, cut_short: str | None) -> Ending | None:
        """How an episode ends that no operator looks at; None while it goes on.

        Args:
            cut_short: what `of_session` says.
        """
        verdict = tally.verdict(self._config.success)
        if verdict is not None or cut_short is None:
            return verdict
        return Outcome.STOPPED, f"{cut_short}; it had been solved" if tally.solved_ever else cut_short

    def of_take(self, tally: Tally, cut_short: str | None) -> Ending | None:
        """The same, where the operator has a say."""
        if self._commands.discard_reason is not None:
            return Outcome.DISCARDED, self._commands.discard_reason
        return self.of_episode(tally, cut_short or self._commands.end_reason)

    def of_error(self, error: BaseException) -> tuple[Ending, bool]:
        """How an episode ends by an exception, and whether that is a fault.

        It is none once the operator has asked to stop: whoever stops may close what a step waits for.
        """
        stopped = self._commands.stop_reason
        if stopped is not None:
            return (Outcome.STOPPED, f"{stopped}; then: {error}"), False
        return (Outcome.FAULT, str(error) or type(error).__name__), True

    def with_mark(self, ending: Ending) -> Ending:
        """How a take ended, unless the operator says otherwise."""
        if self._commands.discard_reason is not None:
            return Outcome.DISCARDED, self._commands.discard_reason
        if self._commands.marked is None:
            return ending
        marked = Outcome.SUCCESS if self._commands.marked else Outcome.FAILURE
        return marked, f"marked a {marked} by the operator; {ending[1]}"
