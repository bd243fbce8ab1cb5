"""The sink that feeds page and streams."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from time import monotonic

from taketwo.images import jpeg_of
from taketwo.live.audience import Audience
from taketwo.live.frames import Frame, Frames
from taketwo.live.state import LiveState
from taketwo.live.throttle import Throttle
from taketwo.session.events import Event, Paused, SessionStart, StepTaken, TerminalObservation
from taketwo.session.sinks import QUEUE_FRAMES


class LiveSink:
    """Has pictures made that somebody looks at, and turns each into a JPEG once."""

    name = "live page"
    lossless = False
    required = False

    def __init__(self, state: LiveState, frames: Frames, audience: Audience, *, fps: float, quality: int) -> None:
        """Nothing is watched yet.

        Args:
            fps: most pictures a second of each camera.
            quality: of the JPEG files, from 1 to 95.
        """
        self._state = state
        self._frames = frames
        self._audience = audience
        self._quality = quality
        self._due = Throttle(fps)
        self._control_hz = 1.0
        self._answered: tuple[int, frozenset[str]] = (-1, frozenset())
        self._asked: deque[tuple[int, frozenset[str]]] = deque(maxlen=2 * QUEUE_FRAMES)

    def cameras(self, frame: int) -> Collection[str]:
        """Those that somebody looks at now, where a picture is due; the same for the same frame."""
        answered, before = self._answered
        cameras = self._audience.watched.intersection(self._frames.cameras or ())
        if answered == frame and cameras <= before:
            return before
        if cameras and not self._due(monotonic()):
            cameras = frozenset()
        self._answered = frame, cameras
        if cameras:
            self._asked.append(self._answered)  # the sink's thread takes it from there
        return cameras

    def on(self, event: Event) -> None:
        """Follow the event, and encode the pictures that it brings and that were asked for."""
        changes = self._state.changes
        self._state.take(event)
        new = []
        if isinstance(event, SessionStart):
            self._control_hz = event.control_hz
            self._frames.begin(event.spec.cameras, event.control_hz)
        elif isinstance(event, Paused):
            new = [self._encoded(event, camera) for camera in self._unseen(event)]
            if new:
                self._frames.put(new)
        elif isinstance(event, StepTaken | TerminalObservation):
            self._frames.shows(event.frame)
            new = [self._encoded(event, camera) for camera in self._wanted(event.frame)]
            if new:
                self._frames.put(new)
        if new or self._state.changes != changes:
            self._audience.notify()

    def _wanted(self, frame: int) -> frozenset[str]:
        """What was asked of this frame, and is still looked at."""
        wanted: frozenset[str] = frozenset()
        while self._asked and self._asked[0][0] <= frame:
            asked, cameras = self._asked.popleft()
            if asked == frame:
                wanted = cameras
        seen = {camera for camera in wanted if self._frames.number(camera) == frame}  # in a pause before it
        return (wanted & self._audience.watched) - seen

    def _unseen(self, event: Paused) -> list[str]:
        """Cameras that somebody looks at, and whose newest picture is not of where the session stands."""
        images = event.observation.images
        drawn = [camera for camera in self._audience.watched if camera in images and images[camera].rendered]
        return [camera for camera in drawn if self._frames.number(camera) != event.frame]

    def _encoded(self, event: StepTaken | Paused | TerminalObservation, camera: str) -> Frame:
        pixels = event.observation.images[camera].pixels
        return Frame(camera, event.frame, event.frame / self._control_hz, jpeg_of(pixels, self._quality))
