"""What an operator wants of a running session: a mailbox that keys, buttons and signals fill and the loop empties."""

from __future__ import annotations

from collections.abc import Callable


class Commands:
    """Callable from any thread, and from a signal handler: it holds no lock.

    The loop looks into it before each step. What concerns an episode is forgotten when the next one begins.

    Attributes:
        episode: index of the episode under way, to tell a command that comes too late; None between episodes.
        paused: whether the next step is to wait.
        stop_reason: why no further step may be taken; None while the session may go on.
        discard_reason: why nothing of the episode under way is to be kept; None where it is.
        end_reason: why the episode under way is to end; None while it may go on.
        retry_reason: why the policy is to begin again within the episode; None where it need not.
        marked: the operator's verdict on the episode under way: whether it is a success; None without one.
    """

    def __init__(self, on_stop: Callable[[], None] = lambda: None) -> None:
        """Nothing is wanted yet.

        Args:
            on_stop: called at the first `stop`, on the thread or in the signal handler that asked for it.
        """
        self.paused = False
        self.stop_reason: str | None = None
        self._on_stop = on_stop
        self.begin_episode(None)

    def begin_episode(self, episode: int | None) -> None:
        """Forget what concerned the last episode; None where no other begins at once."""
        self.episode = episode
        self.discard_reason: str | None = None
        self.end_reason: str | None = None
        self.retry_reason: str | None = None
        self.marked: bool | None = None

    def stop(self, reason: str = "stopped by the operator") -> None:
        """End the session after the step under way. The first reason counts."""
        if self.stop_reason is None:
            self.stop_reason = reason
            self._on_stop()

    def discard_episode(self, reason: str = "discarded by the operator") -> None:
        """End the episode under way after this step, keep nothing of it, and take it again with the same seed."""
        self.discard_reason = reason

    def end_episode(self, reason: str = "ended by the operator") -> None:
        """End the episode under way after this step, keep it, and go on with the next."""
        self.end_reason = reason

    def retry(self, reason: str = "asked for by the operator") -> None:
        """Have policy, chunks and filters begin again from where the robot stands, within the episode."""
        self.retry_reason = reason

    def mark(self, success: bool | None) -> None:
        """Judge the episode under way, whatever the environment says of it; None takes the verdict back."""
        self.marked = success

    def pause(self) -> None:
        """Take no further step until `resume`; the robot stays where it was last sent."""
        self.paused = True

    def resume(self) -> None:
        """Go on."""
        self.paused = False

    def take_retry(self) -> str | None:
        """Why the policy is to begin again; told once."""
        reason, self.retry_reason = self.retry_reason, None
        return reason

    @property
    def waits(self) -> bool:
        """Whether there is nothing to do but wait: paused, and neither episode nor session is to end."""
        return self.paused and self.stop_reason is self.discard_reason is self.end_reason is None
