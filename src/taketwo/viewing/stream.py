"""A running session in Rerun."""

from __future__ import annotations

import ipaddress
import logging
import math
import re
import socket
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from taketwo.datasets.features import (
    ACTION,
    ASKED,
    CAPTURE_TIME,
    DONE,
    IMAGE_PREFIX,
    INTERVENTION,
    REWARD,
    STATE,
    SUCCESS,
    session_features,
)
from taketwo.errors import ConfigError
from taketwo.gl import has_display
from taketwo.session.events import (
    EpisodeEnd,
    EpisodeStart,
    Event,
    Intervention,
    SessionEnd,
    SessionStart,
    StepTaken,
    TerminalObservation,
)
from taketwo.types import EnvironmentSpec, FloatArray, Observation, Pixels
from taketwo.viewing.about import about_session
from taketwo.viewing.blueprint import ABOUT, TASK, blueprint
from taketwo.viewing.columns import describe_signal, jpeg, send_signal, time_columns
from taketwo.viewing.link import ViewerLink
from taketwo.viewing.sdk import load_rerun
from taketwo.viewing.signals import Signal, signals_of
from taketwo.viewing.targets import THIS_MACHINE, listens, near, start_server, start_viewer

if TYPE_CHECKING:
    import rerun as rr
    import rerun.blueprint as rrb

log = logging.getLogger(__name__)

EPISODES = "episodes"
"""The entity that tells where episodes begin and end, and of interventions."""

LOGS = (TASK, EPISODES)

P_FAIL = Signal("p_fail", ("p_fail", "high", "low"))
"""What a monitor says, and its thresholds."""

SEND_S = 0.1
"""How often numbers are sent, at most; each time costs the loop's interpreter a millisecond or two."""

MEMORY = re.compile(r"\d+(\.\d+)?\s*(%|[kKMGT]i?B)")


@dataclass(frozen=True)
class DisplayConfig:
    """How a running session is shown in Rerun.

    Attributes:
        ip: address of the machine whose viewer is open; with `serve` the interface to listen at. Where not given, a
            viewer is opened on this machine, and only this machine may look at what is served.
        port: where that viewer listens, or where data is served.
        serve: serve to browsers and viewers instead, while the session runs.
        web_port: where the web viewer is served.
        compressed_images: send pictures as JPEG.
        fps: pictures of each camera a second, at most.
        memory_limit: what a viewer or server that is started here may take, such as 2GB or 10%; then it forgets what
            is oldest.
    """

    ip: str | None = None
    port: int = 9876
    serve: bool = False
    web_port: int = 9090
    compressed_images: bool = True
    fps: float = 10.0
    memory_limit: str = "2GB"

    def __post_init__(self) -> None:
        for name in ("port", "web_port"):
            if not 1 <= getattr(self, name) <= 65535:
                raise ConfigError(f"{name} must be from 1 to 65535, not {getattr(self, name)}")
        if self.serve and self.port == self.web_port:
            raise ConfigError(f"web_port and port cannot both be {self.port}")
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise ConfigError(f"fps must be a finite number above 0, not {self.fps}")
        if not MEMORY.fullmatch(self.memory_limit):
            raise ConfigError(
                f"memory_limit must be a size such as 2GB, or a part such as 10%, not {self.memory_limit!r}"
            )

    def make(self, spec: EnvironmentSpec) -> RerunSink:
        """Open or find the viewer, and make the sink that streams to it.

        Raises:
            MissingExtraError: Rerun is not installed.
            ConfigError: there is no display for a viewer, none listens, or a port is taken; with what to do.
            TakeTwoError: the viewer or the server cannot start.
        """
        rerun = load_rerun()
        with ExitStack() as not_made:
            host = self._reach_viewer(not_made)
            recording = rerun.RecordingStream(spec.name.replace("/", "_"))
            recording.send_recording_name(f"{spec.name}, live")
            link = ViewerLink(recording, host, self.port, layout(spec))
            if not self.serve:
                not_made.pop_all()  # a viewer stays open
            return RerunSink(
                link, spec, fps=self.fps, compressed=self.compressed_images, on_close=not_made.pop_all().close
            )

    def _reach_viewer(self, stack: ExitStack) -> str:
        """The address where a viewer or a server listens; what was started for it is closed with the stack."""
        if self.serve:
            return self._serve(stack)
        if self.ip is not None:
            if not listens(self.ip, self.port):
                raise ConfigError(
                    f"ip {self.ip}: no Rerun viewer listens there at port {self.port}: start one on that machine by "
                    f"rerun --port {self.port} --memory-limit {self.memory_limit}"
                )
            return self.ip
        if not listens(THIS_MACHINE, self.port):
            _check_display()
            viewer = start_viewer(self.port, self.memory_limit)
            stack.callback(viewer.close)
        return THIS_MACHINE

    def _serve(self, stack: ExitStack) -> str:
        host = _address(self.ip or THIS_MACHINE)
        for name, port in (("port", self.port), ("web_port", self.web_port)):
            if listens(near(host), port):
                raise ConfigError(f"{name} {port} is in use at {host}: give another, or end what uses it")
        server = start_server(host, self.port, self.web_port, self.memory_limit)
        stack.callback(server.close)
        everywhere = ipaddress.ip_address(host).is_unspecified
        here = socket.gethostname() if everywhere else f"[{host}]" if ":" in host else host
        data = f"rerun+http://{here}:{self.port}/proxy"
        page = f"http://{here}:{self.web_port}/?url={data.replace('+', '%2B').replace(':', '%3A').replace('/', '%2F')}"
        log.info("Rerun: %s in a browser, or: rerun --memory-limit %s %s", page, self.memory_limit, data)
        return near(host)


class Link(Protocol):
    """Where a recording goes.

    Attributes:
        recording: what is logged there is sent.
    """

    recording: rr.RecordingStream

    def flush(self) -> None:
        """Wait until everything is sent; raises `TakeTwoError` where that is not to be."""
        ...

    def close(self) -> None:
        """Send what is left, where that is possible, and end the connection."""
        ...


class RerunSink:
    """Streams the session, under the names that a recorded one has in `EpisodeLog`, episode after episode.

    `frame_index` counts the session's frames, and `timestamp` is that number at the control rate. Pictures come at
    `fps` in wall time at most, and none is rendered before the viewer has taken the last one, so that nothing piles up.
    """

    name = "Rerun"
    lossless = False
    required = False

    def __init__(
        self,
        link: Link,
        spec: EnvironmentSpec,
        *,
        fps: float = 10.0,
        compressed: bool = True,
        on_close: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Stream to a link, which is closed at the session's end.

        Args:
            fps: pictures of each camera a second of `clock`, at most.
            compressed: send them as JPEG.
            on_close: called after the link was closed.
        """
        self._link = link
        self._recording = link.recording
        self._spec = spec
        self._period_s = 1 / fps
        self._compressed = compressed
        self._on_close = on_close
        self._clock = clock
        self._is_open = True
        self._control_hz = spec.control_hz
        self._signals = session_signals(spec)
        self._rows: dict[str, list[tuple[int, FloatArray]]] = {}
        self._prompt: str | None = None
        self._next_frame = 0
        self._asked: int | None = None  # the frame whose pictures were asked for, until it has come
        self._due_s = self._sent_s = -math.inf

    def cameras(self, frame: int) -> Collection[str]:
        """All, where pictures are due and the last ones have been taken."""
        now = self._clock()
        if not self._is_open or self._asked is not None or now < self._due_s:
            return ()
        self._due_s = now + self._period_s
        self._asked = frame
        return self._spec.cameras.keys()

    def on(self, event: Event) -> None:
        """Send one event.

        Raises:
            TakeTwoError: the viewer takes nothing any more, or was closed.
        """
        try:
            self._take(event)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Send what is left and end the connection, if it is still open."""
        if self._is_open:
            self._is_open = False
            self._link.close()
            self._on_close()

    def _take(self, event: Event) -> None:
        match event:
            case SessionStart():
                self._begin(event)
            case EpisodeStart(episode):
                self._prompt = None
                self._tell(EPISODES, self._next_frame, f"episode {episode.index} begins (seed {episode.seed})")
            case StepTaken():
                self._take_step(event)
                self._take_frame(event.frame, event.observation)
            case TerminalObservation():
                self._take_frame(event.frame, event.observation)
            case Intervention():
                self._tell(EPISODES, event.frame, f"{event.kind}: {event.reason}", "WARN")
            case EpisodeEnd(episode):
                said = f"episode {episode.index}: {episode.outcome} after {episode.steps} steps: {episode.reason}"
                self._tell(EPISODES, max(0, self._next_frame - 1), said)
                self._send()
            case SessionEnd(reason):
                self._tell(EPISODES, max(0, self._next_frame - 1), f"the session ends: {reason}")
                self._send_rows()
                self.close()

    def _begin(self, start: SessionStart) -> None:
        import rerun as rr

        self._control_hz = start.control_hz
        page = rr.TextDocument(about_session(start, self._spec.name), media_type="text/markdown")
        self._recording.log(ABOUT, page, static=True)
        for signal in self._signals.values():
            describe_signal(self._recording, signal)

    def _take_step(self, event: StepTaken) -> None:
        decision, result = event.decision, event.result
        row = {
            ACTION: decision.sent,
            ASKED: decision.asked,
            REWARD: result.reward,
            DONE: result.terminated or result.truncated,
            SUCCESS: bool(result.success),
            INTERVENTION: decision.intervention,
            CAPTURE_TIME: event.time_s,
        }
        if decision.failure is not None:
            if P_FAIL.key not in self._signals:
                self._add_monitor()
            row[P_FAIL.key] = [decision.failure.p_fail, decision.failure.high, decision.failure.low]
        for key, value in row.items():
            self._add(key, event.frame, value)

    def _add_monitor(self) -> None:
        """There is a monitor: show what it says."""
        self._signals[P_FAIL.key] = P_FAIL
        describe_signal(self._recording, P_FAIL)
        self._recording.send_blueprint(layout(self._spec, with_monitor=True))

    def _add(self, key: str, frame: int, value: object) -> None:
        self._rows.setdefault(key, []).append((frame, np.atleast_1d(np.asarray(value, np.float64))))

    def _take_frame(self, frame: int, observation: Observation) -> None:
        self._next_frame = frame + 1
        if STATE in self._signals:
            self._add(STATE, frame, observation.state)
        if observation.prompt != self._prompt:
            self._prompt = observation.prompt
            self._tell(TASK, frame, observation.prompt or "(none)")
        asked = self._asked
        if asked is not None and frame >= asked:  # it may have been dropped on its way
            if frame == asked:
                self._send_pictures(frame, observation)
            self._send()
            self._asked = None
        elif self._clock() - self._sent_s >= SEND_S:
            self._send()

    def _send_pictures(self, frame: int, observation: Observation) -> None:
        import rerun as rr

        for camera in self._spec.cameras:
            image = observation.images[camera]
            if image.rendered:
                columns = _jpeg_columns(image.pixels) if self._compressed else _raw_columns(image.pixels)
                entity = rr.new_entity_path([IMAGE_PREFIX + camera])
                self._recording.send_columns(entity, self._times([frame]), columns)

    def _send(self) -> None:
        self._send_rows()
        self._link.flush()
        self._sent_s = self._clock()

    def _send_rows(self) -> None:
        rows, self._rows = self._rows, {}
        for key, values in rows.items():
            frames = [frame for frame, _ in values]
            send_signal(
                self._recording, self._signals[key], self._times(frames), np.stack([value for _, value in values])
            )

    def _tell(self, entity: str, frame: int, text: str, level: str = "INFO") -> None:
        import rerun as rr

        self._recording.send_columns(entity, self._times([frame]), rr.TextLog.columns(text=[text], level=[level]))

    def _times(self, frames: Sequence[int]) -> list[rr.TimeColumn]:
        return time_columns(frames, np.array(frames, np.float64) / self._control_hz)


def session_signals(spec: EnvironmentSpec) -> dict[str, Signal]:
    """By key, what of a session is drawn as curves: the columns that a dataset of it would have."""
    return {signal.key: signal for signal in signals_of(session_features(spec, (), video=False))}


def layout(spec: EnvironmentSpec, with_monitor: bool = False) -> rrb.Blueprint:
    """The viewer's window for a session.

    Args:
        with_monitor: show its failure probability.
    """
    signals = [*session_signals(spec).values(), *([P_FAIL] if with_monitor else [])]
    return blueprint([IMAGE_PREFIX + camera for camera in spec.cameras], signals, LOGS)


def _jpeg_columns(pixels: Pixels) -> rr.ComponentColumnList:
    import rerun as rr

    return rr.EncodedImage.columns(blob=[jpeg(pixels)], media_type=["image/jpeg"])


def _raw_columns(pixels: Pixels) -> rr.ComponentColumnList:
    import rerun as rr

    size = rr.components.ImageFormat(
        width=pixels.shape[1], height=pixels.shape[0], color_model="RGB", channel_datatype="U8"
    )
    return rr.Image.columns(buffer=[pixels.tobytes()], format=[size])


def _check_display() -> None:
    if not has_display():
        raise ConfigError(
            "there is no display for the Rerun viewer here: give --display.ip, the address of a machine whose viewer "
            "is open, or --display.serve=true to look from another machine"
        )


def _address(host: str) -> str:
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise ConfigError(f"ip {host!r} is no address of this machine: {error.strerror}") from error
