"""The sinks of a session, each on its thread."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from taketwo.errors import RecordingError, RenderingError, TakeTwoError, blaming, one_of
from taketwo.session.events import Event, SessionStart
from taketwo.session.sinks import Sink, SinkThread
from taketwo.types import Image, Observation


@dataclass
class Drawn:
    """The pictures of a camera that were made for sinks.

    Attributes:
        seconds: how long that took.
    """

    pictures: int = 0
    seconds: float = 0.0


class Watchers:
    """Hands events to all of them, and makes the pictures that they want.

    Attributes:
        drawn: what was made, by camera; what a policy had looked at before is not counted.
    """

    def __init__(self, sinks: Sequence[Sink]) -> None:
        """Start their threads."""
        self._threads = [SinkThread(sink) for sink in sinks]
        self.drawn: dict[str, Drawn] = {}

    @property
    def waited_s(self) -> Mapping[str, float]:
        """How long the loop has waited for each, by name."""
        return {thread.sink.name: thread.waited_s for thread in self._threads}

    @property
    def dropped(self) -> Mapping[str, int]:
        """Frames that each did not get, by name."""
        return {thread.sink.name: thread.dropped for thread in self._threads}

    @property
    def failure(self) -> TakeTwoError | None:
        """The error of a sink that the session cannot do without, or None."""
        for thread in self._threads:
            if thread.sink.required and thread.error is not None:
                error = thread.error
                if isinstance(error, TakeTwoError):
                    return error
                return RecordingError(f"{thread.sink.name} failed: {type(error).__name__}: {error}")
        return None

    def begin(self, event: SessionStart) -> None:
        """Tell them that the session begins, and wait until those that lose nothing have opened their files."""
        self.publish(event)
        for thread in self._threads:
            thread.settle()

    def publish(self, event: Event) -> None:
        """Hand over one event."""
        for thread in self._threads:
            thread.put(event)

    def look(self, observation: Observation, frame: int) -> None:
        """Make the pictures that they want of the coming frame, while the environment still shows it.

        Raises:
            RenderingError: one cannot be made.
        """
        for thread in self._threads:
            if thread.error is not None:
                continue
            try:
                wanted = [observation.images[camera] for camera in thread.sink.cameras(frame)]
            except KeyError as error:
                thread.fail(RecordingError(one_of("camera", error.args[0], observation.images)))
                continue
            except Exception as error:  # noqa: BLE001 - a sink's fault, not the session's
                thread.fail(error)
                continue
            for image in wanted:
                if not image.rendered:
                    self._draw(image)

    def _draw(self, image: Image) -> None:
        began = time.perf_counter()
        with blaming(RenderingError, f"camera {image.camera!r} cannot be drawn"):
            _ = image.pixels
        drawn = self.drawn.setdefault(image.camera, Drawn())
        drawn.pictures += 1
        drawn.seconds += time.perf_counter() - began

    def finish(self) -> None:
        """Wait until they have taken everything, and end their threads."""
        for thread in self._threads:
            thread.finish()
