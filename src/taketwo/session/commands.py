"""What an operator wants of a running session: a mailbox that keys, buttons and signals fill and the loop empties."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Commands:
    """Callable from any thread, and from a signal handler: it holds no lock.

    The loop looks into it before each step. What concerns an episode is kept with the take that it was meant for, and
    counts for no other. An episode that is discarded and taken again is another take.

    Attributes:
        take: number of the present take, or of the last one between two; 0 before the first.
        episode: index of the episode under way; None between two.
        paused: whether the next step is to wait.
        stop_reason: why no further step may be taken; None while the session may go on.
    """

    def __init__(self, on_stop: Callable[[], None] = lambda: None) -> None:
        """Nothing is wanted yet.

        Args:
            on_stop: called at the first `stop`, on the thread or in the signal handler that asked for it.
        """
        self.take = 0
        self.episode: int | None = None
        self.paused = False
        self.stop_reason: str | None = None
        self._on_stop = on_stop
        self._discard: tuple[int, str | None] = (0, None)
        self._end: tuple[int, str | None] = (0, None)
        self._retry: tuple[int, str | None] = (0, None)
        self._mark: tuple[int, bool | None] = (0, None)

    def begin_take(self, episode: int) -> None:
        """An episode begins."""
        self.take += 1
        self.episode = episode

    def finish_take(self) -> None:
        """It is over, and no other has begun."""
        self.episode = None

    def stop(self, reason: str = "stopped by the operator") -> None:
        """End the session after the step under way. The first reason counts."""
        if self.stop_reason is None:
            self.stop_reason = reason
            self._on_stop()

    def pause(self) -> None:
        """Take no further step, and begin no episode, until `resume`; the robot stays where it was last sent."""
        self.paused = True

    def resume(self) -> None:
        """Go on."""
        self.paused = False

    def discard_episode(self, reason: str = "discarded by the operator", take: int | None = None) -> None:
        """End the episode after the step under way, keep nothing of it, and take it again with the same seed.

        Args:
            take: the one that is meant; where not given, the present one.
        """
        self._discard = self._meant(take), reason

    def end_episode(self, reason: str = "ended by the operator", take: int | None = None) -> None:
        """End the episode after the step under way, keep it, and go on with the next. `take` as above."""
        self._end = self._meant(take), reason

    def retry(self, reason: str = "asked for by the operator", take: int | None = None) -> None:
        """Have policy, chunks and filters begin again from where the robot stands. `take` as above."""
        self._retry = self._meant(take), reason

    def mark(self, success: bool | None, take: int | None = None) -> None:
        """Judge the episode, whatever the environment says of it; None takes the verdict back. `take` as above."""
        self._mark = self._meant(take), success

    def take_retry(self) -> str | None:
        """Why the policy is to begin again; told once."""
        reason, self._retry = self.retry_reason, (0, None)
        return reason

    @property
    def discard_reason(self) -> str | None:
        """Why nothing of the present take is to be kept; None where it is."""
        return self._of_now(self._discard)

    @property
    def end_reason(self) -> str | None:
        """Why the present take is to end; None while it may go on."""
        return self._of_now(self._end)

    @property
    def retry_reason(self) -> str | None:
        """Why the policy is to begin again within the present take; None where it need not."""
        return self._of_now(self._retry)

    @property
    def marked(self) -> bool | None:
        """The operator's verdict on the present take: whether it is a success; None without one."""
        return self._of_now(self._mark)

    @property
    def waits(self) -> bool:
        """Whether there is nothing to do but wait: paused, and neither episode nor session is to end."""
        return self.paused and self.stop_reason is self.discard_reason is self.end_reason is None

    def _meant(self, take: int | None) -> int:
        return self.take if take is None else take

    def _of_now(self, wanted: tuple[int, T | None]) -> T | None:
        take, value = wanted
        return value if take == self.take else None
