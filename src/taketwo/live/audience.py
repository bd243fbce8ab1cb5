"""Who looks, and at what."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterator

TICK_S = 0.1
"""How often viewers are told of what changes all the time."""


class Viewer:
    """One connection. Belongs to the server's event loop.

    Attributes:
        cameras: names of those it looks at; some may be no cameras.
        gone: whether there is nobody to send anything to any more.
    """

    def __init__(self, cameras: Collection[str] = ()) -> None:
        self.cameras = frozenset(cameras)
        self.gone = False
        self._news = asyncio.Event()

    def wake(self) -> None:
        """There may be something new for it."""
        self._news.set()

    async def woken(self) -> None:
        """Wait until there may be something new since the last time."""
        await self._news.wait()
        self._news.clear()

    def leave(self) -> None:
        """It has gone."""
        self.gone = True
        self.wake()


class Audience:
    """All viewers. Belongs to the server's event loop, but for `watched` and `notify`.

    Attributes:
        watched: names that somebody looks at now; to be read from any thread.
        closed: whether all is over, and viewers are to take what there is and go.
    """

    def __init__(self, tick: Callable[[], object]) -> None:
        """Nobody looks.

        Args:
            tick: called on the event loop before all are woken, at each `notify` and every `TICK_S`, while there
                are viewers.
        """
        self.watched: frozenset[str] = frozenset()
        self.closed = False
        self._tick = tick
        self._viewers: set[Viewer] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ticker: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._viewers)

    @contextlib.contextmanager
    def joined(self, viewer: Viewer) -> Iterator[None]:
        """Count a viewer while it is there."""
        self._viewers.add(viewer)
        self._count_watched()
        if self._ticker is None:
            self._loop = asyncio.get_running_loop()
            self._ticker = self._loop.create_task(self._keep_ticking())
        try:
            yield
        finally:
            self._viewers.discard(viewer)
            self._count_watched()
            if not self._viewers and self._ticker is not None:
                self._ticker.cancel()
                self._ticker = None

    def watch(self, viewer: Viewer, cameras: Collection[str]) -> None:
        """A viewer looks at these from now on, and at no others."""
        viewer.cameras = frozenset(cameras)
        self._count_watched()
        viewer.wake()

    def notify(self) -> None:
        """There is something new. Callable from any thread."""
        loop = self._loop
        if loop is not None and self._viewers:
            with contextlib.suppress(RuntimeError):  # the server has ended
                loop.call_soon_threadsafe(self.wake)

    def wake(self) -> None:
        """Have all viewers look for what is new for them."""
        self._tick()
        for viewer in self._viewers:
            viewer.wake()

    def close(self) -> None:
        """Let all viewers take what there is, and go."""
        self.closed = True
        self.wake()

    def _count_watched(self) -> None:
        self.watched = frozenset().union(*(viewer.cameras for viewer in self._viewers))

    async def _keep_ticking(self) -> None:
        try:
            while True:
                self.wake()
                await asyncio.sleep(TICK_S)
        finally:
            if self._ticker is asyncio.current_task():
                self._ticker = None  # the next who joins starts it anew
