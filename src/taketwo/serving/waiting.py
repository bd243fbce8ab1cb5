"""When a forward pass starts at once, and when it waits a moment for more requests.

Requests that come while a pass is under way go into the next one together; that alone makes batches. But clients
that ask, act on the answer, and ask again fall into groups that never meet: one is answered by itself while seven
queue up, then the seven while the one asks again, and so on for ever, in two passes where one would do. So a pass
waits for a client where that pays, by what was measured, without a number to set.

**Whether it pays.** k requests are queued, m more are expected within w seconds, and a pass over b requests takes
T(b). One pass for all ends after w + T(k + m), for each of the k + m. Two passes end after T(k) for the k, and
after T(k) + T(m) for the m. Waiting is right where it makes the sum over all requests smaller:

    (k + m) (w + T(k + m))  <  k T(k) + m (T(k) + T(m))

Where a pass takes as long for many as for one, that is w < T m / (k + m): one queued request waits for seven through
nearly a pass, seven wait for one through an eighth of it. Where a pass takes twice as long for twice as many, it
never holds. Nor does a client wait that is alone.

**When a client is expected.** The time from an answer to the same client's next request is estimated as TCP estimates
round trips (Jacobson 1988; RFC 6298, section 2): a moving mean with gain 1/8, a moving mean deviation with gain 1/4,
and late is what takes longer than the mean and four deviations. A late client is not waited for, a new one neither.
A gap unlike the others, as the end of an episode makes, counts as no longer than what was late already.

**How long a pass takes.** A moving mean by the number of requests that falls at once and rises with gain 1/8: the first
pass of a size may compile the model. Sizes in between are interpolated; larger ones than were seen are taken to last as
long as the largest that was, so that they are tried.

In all, no pass waits longer than a pass over what is queued takes.
"""

from __future__ import annotations

import bisect
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

MEAN_GAIN, DEVIATION_GAIN, LATE_DEVIATIONS = 1 / 8, 1 / 4, 4
"""RFC 6298's alpha, beta and K."""


@dataclass(slots=True)
class Rhythm:
    """How one client comes back. Times are seconds on one monotonic clock.

    Attributes:
        answered_s: when it got its last answer; None while one of its requests is unanswered.
        mean_s: from an answer to the next request; None while that has never been seen.
        deviation_s: mean absolute deviation of it.
    """

    answered_s: float | None = None
    mean_s: float | None = None
    deviation_s: float = 0.0

    def asked(self, now_s: float) -> None:
        """Learn from a request that came."""
        if self.answered_s is None:
            return
        gap_s = now_s - self.answered_s
        self.answered_s = None
        if gap_s < 0:  # it did not wait for the answer
            return
        if self.mean_s is None:
            self.mean_s, self.deviation_s = gap_s, gap_s / 2
            return
        error_s = min(gap_s, self.late_s) - self.mean_s
        self.deviation_s += DEVIATION_GAIN * (abs(error_s) - self.deviation_s)
        self.mean_s += MEAN_GAIN * error_s

    @property
    def late_s(self) -> float:
        """How long after its answer it is late."""
        return (self.mean_s or 0.0) + LATE_DEVIATIONS * self.deviation_s

    def expected(self, now_s: float) -> tuple[float, float] | None:
        """Seconds until its next request as far as can be told, and until it is late; None if it is not expected."""
        if self.answered_s is None or self.mean_s is None:
            return None
        away_s = now_s - self.answered_s
        if away_s >= self.late_s:
            return None
        # Nearer than the deviation its coming cannot be told.
        return max(self.mean_s - away_s, self.deviation_s), self.late_s - away_s


class PassTimes:
    """How long a forward pass takes, by the number of requests in it."""

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._seconds: dict[int, float] = {}

    def __bool__(self) -> bool:
        return bool(self._sizes)

    def took(self, size: int, seconds: float) -> None:
        """Learn from a pass."""
        known = self._seconds.get(size)
        if known is None:
            bisect.insort(self._sizes, size)
            known = seconds
        self._seconds[size] = min(seconds, known + MEAN_GAIN * (seconds - known))

    def seconds(self, size: int) -> float:
        """What a pass over that many takes, as far as can be told from those that were seen, one at least."""
        above = bisect.bisect_left(self._sizes, size)
        if above == 0:
            return self._seconds[self._sizes[0]]
        if above == len(self._sizes):
            return self._seconds[self._sizes[-1]]
        low, high = self._sizes[above - 1], self._sizes[above]
        part = (size - low) / (high - low)
        return (1 - part) * self._seconds[low] + part * self._seconds[high]


class WaitingRule:
    """Decides for one policy how long its next pass waits. Used by one thread; times are on one monotonic clock."""

    def __init__(self, max_wait_s: float | None = None) -> None:
        """With `max_wait_s` no pass waits longer than that; 0 never waits."""
        self._max_wait_s = max_wait_s
        self._rhythms: dict[Hashable, Rhythm] = {}
        self._times = PassTimes()

    @property
    def clients(self) -> int:
        """How many it knows."""
        return len(self._rhythms)

    def asked(self, client: Hashable, now_s: float) -> None:
        """A request came."""
        self._rhythms.setdefault(client, Rhythm()).asked(now_s)

    def answered(self, client: Hashable, now_s: float) -> None:
        """A client got an answer, and has no other request queued."""
        self._rhythms.setdefault(client, Rhythm()).answered_s = now_s

    def left(self, client: Hashable) -> None:
        """A client will not come back."""
        self._rhythms.pop(client, None)

    def took(self, size: int, seconds: float) -> None:
        """A pass over so many requests took so long."""
        self._times.took(size, seconds)

    def wait_s(self, queued: int, room: int, now_s: float, since_s: float) -> float:
        """How long to wait for the next request before asking again; 0 to start the pass.

        Args:
            queued: requests that are there, at least 1.
            room: how many more would fit into the pass.
            now_s: the time.
            since_s: when the pass could have begun.
        """
        if self._max_wait_s == 0 or room <= 0 or len(self._rhythms) <= queued or not self._times:
            return 0.0
        longest_s = self._times.seconds(queued)
        if self._max_wait_s is not None:
            longest_s = min(longest_s, self._max_wait_s)
        left_s = since_s + longest_s - now_s
        if left_s <= 0:
            return 0.0
        expected = sorted(filter(None, (rhythm.expected(now_s) for rhythm in self._rhythms.values())))[:room]
        return min(left_s, self._patience_s(queued, expected))

    def _patience_s(self, queued: int, expected: Sequence[tuple[float, float]]) -> float:
        """Until the first of those is late for whom waiting pays; 0 where it does not."""
        for more in range(len(expected), 0, -1):
            if self._pays(queued, more, expected[more - 1][0]):
                return min(late_s for _, late_s in expected[:more])
        return 0.0

    def _pays(self, queued: int, more: int, delay_s: float) -> bool:
        first, second = self._times.seconds(queued), self._times.seconds(more)
        together = (queued + more) * (delay_s + self._times.seconds(queued + more))
        return together < queued * first + more * (first + second)
