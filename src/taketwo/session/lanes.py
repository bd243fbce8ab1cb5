"""Where each of several environments stands."""

from __future__ import annotations

from dataclasses import dataclass

from taketwo.session.tally import Tally
from taketwo.types import EpisodeInfo, Observation


@dataclass
class Rollout:
    """An episode under way.

    Attributes:
        observation: the present one.
        own_prompt: the one that the environment put into it.
        began: when, in the clock's seconds.
        unseen: whether there is no observation to show at its end: the first has not come yet, or the simulator does
            not show the last.
    """

    info: EpisodeInfo
    tally: Tally
    observation: Observation
    own_prompt: str | None = None
    began: float = 0.0
    unseen: bool = True


@dataclass
class Lane:
    """One environment, over all its episodes.

    Attributes:
        frames: shown so far.
        kept: episodes that count.
        first: the first observation of an episode that it has begun by itself, and that is not gone into yet.
        rollout: the episode under way; None between two.
    """

    env: int
    frames: int = 0
    kept: int = 0
    first: Observation | None = None
    rollout: Rollout | None = None


@dataclass
class Faults:
    """What went wrong so far.

    Attributes:
        last: the one that ends the session, if it does.
    """

    allowed: int
    count: int = 0
    last: BaseException | None = None

    def add(self, fault: BaseException) -> None:
        """Count one."""
        self.count += 1
        if self.count > self.allowed and self.last is None:
            self.last = fault
