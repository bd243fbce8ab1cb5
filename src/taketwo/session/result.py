"""What a session came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from taketwo.session.clock import Pacer
from taketwo.session.watchers import Drawn, Watchers
from taketwo.types import Episode


@dataclass(frozen=True)
class LoopStats:
    """How the loop kept time.

    Attributes:
        overruns: steps that began late because the one before took too long.
        jitter_ms_p50: how late steps began, median; None when the session was not paced.
        jitter_ms_p99: the same, 99th percentile.
        stalls: waits for an action that was not ready.
        lost_s: time given up after delays too long to catch up with.
        wall_s: from the first reset to the last episode's end, without pauses.
        paused_s: how long the operator had it pause.
        drawn: the pictures that were made for sinks, by camera.
    """

    overruns: int
    jitter_ms_p50: float | None
    jitter_ms_p99: float | None
    stalls: int
    lost_s: float
    wall_s: float
    paused_s: float = 0.0
    drawn: Mapping[str, Drawn] = field(default_factory=dict)


@dataclass(frozen=True)
class SessionResult:
    """What a session came to.

    Attributes:
        reason: why it ended.
        fault: the exception that ended it, or None.
        waited_s: per sink, how long the loop waited for it.
        dropped: per sink, steps it did not get.
    """

    episodes: tuple[Episode, ...]
    reason: str
    fault: BaseException | None
    loop: LoopStats
    waited_s: Mapping[str, float]
    dropped: Mapping[str, int]


@dataclass(frozen=True)
class Times:
    """Of a session.

    Attributes:
        wall_s: from its beginning to its end, pauses included.
        paused_s: of it in pauses.
    """

    wall_s: float
    paused_s: float


def result_of(
    episodes: Sequence[Episode],
    reason: str,
    fault: BaseException | None,
    *,
    pacer: Pacer,
    stalls: int,
    times: Times,
    watchers: Sequence[Watchers],
) -> SessionResult:
    """The result of a session that is over."""
    drawn: dict[str, Drawn] = {}
    for own in watchers:
        for camera, more in own.drawn.items():
            so_far = drawn.get(camera, Drawn())
            drawn[camera] = Drawn(so_far.pictures + more.pictures, so_far.seconds + more.seconds)
    return SessionResult(
        episodes=tuple(episodes),
        reason=reason,
        fault=fault,
        loop=LoopStats(
            overruns=pacer.overruns,
            jitter_ms_p50=pacer.jitter_ms(50),
            jitter_ms_p99=pacer.jitter_ms(99),
            stalls=stalls,
            lost_s=pacer.lost_s,
            wall_s=times.wall_s - times.paused_s,
            paused_s=times.paused_s,
            drawn=drawn,
        ),
        waited_s={name: waited for own in watchers for name, waited in own.waited_s.items()},
        dropped={name: dropped for own in watchers for name, dropped in own.dropped.items()},
    )
