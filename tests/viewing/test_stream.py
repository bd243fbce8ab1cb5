"""A running session in Rerun: into files that are read back, and to Rerun's own server."""

import http.client
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from taketwo.errors import ConfigError, MissingExtraError, TakeTwoError
from taketwo.session.commands import Commands
from taketwo.session.events import EpisodeEnd, EpisodeStart, StepTaken, TerminalObservation
from taketwo.session.sinks import QUEUE_FRAMES
from taketwo.testing import PointEnvironment, SteeringController, check_sink
from taketwo.types import FailureEstimate
from tests.peers import VERSIONS, peer_python
from tests.support import Keep, run_session

pytest.importorskip("rerun")

import rerun

from taketwo.viewing.link import ViewerLink
from taketwo.viewing.stream import DisplayConfig, RerunSink, layout
from taketwo.viewing.targets import listens, start_server
from tests.viewing.rrd import Recording

PATIENCE_S = 30

NAMES = {
    "observation.state": ("x", "y", "target_x", "target_y"),
    "action": ("x", "y"),
    "asked_action": ("x", "y"),
}
NUMBERS = ("next.reward", "next.done", "next.success", "intervention", "capture_time")

TOP = "observation.images.top"

JPEG = b"\xff\xd8\xff"
"""What a JPEG file begins with. (Numbers and texts are compressed on their way.)"""

SOURCE = Path(__file__).parents[2]


class FileLink:
    """A recording that goes into a file."""

    def __init__(self, path, spec):
        self.recording = rerun.RecordingStream(spec.name)
        self.recording.save(path, default_blueprint=layout(spec))
        self.flush = self.recording.flush
        self.close = self.recording.disconnect


def streamed(path, environment=None, controller=None, fps=1e6, **options):
    """Run a session and read back what came of it: the recording, and the events."""
    environment = environment or PointEnvironment()
    compressed = options.pop("compressed", True)
    sink = RerunSink(FileLink(path, environment.spec), environment.spec, fps=fps, compressed=compressed)
    sink.lossless = True  # on a busy machine too, everything is in the file
    keep = Keep()
    result = run_session(environment, controller, [sink, keep], **options)
    assert result.fault is None
    return Recording(path), keep


def free_ports(count):
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports


def until(condition, what):
    end = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.02)
    return value


def test_a_session_is_streamed_under_the_names_of_a_recorded_one(tmp_path):
    recording, keep = streamed(tmp_path / "live.rrd", num_episodes=2)
    curves = {f"{key}/{name}" for key, names in NAMES.items() for name in names}
    assert recording.entities == {*curves, *NUMBERS, TOP, "task", "episodes"}
    assert recording.timelines() == {"frame_index", "timestamp"}
    assert recording.application == "point"
    steps = keep.steps
    for number, name in enumerate(NAMES["action"]):
        assert np.array_equal(recording.number(f"action/{name}"), [step.decision.sent[number] for step in steps])
        assert np.array_equal(recording.number(f"asked_action/{name}"), [step.decision.asked[number] for step in steps])
    assert np.array_equal(recording.number("next.reward"), [step.result.reward for step in steps])
    assert np.array_equal(recording.number("next.success"), [bool(step.result.success) for step in steps])
    frames, seconds = recording.times("action/x")
    assert frames.tolist() == [step.frame for step in steps]
    assert seconds == pytest.approx(frames / 50, abs=1e-9)
    assert recording.static("action/x", "SeriesLines:names") == ["x"]


def test_the_state_is_told_of_every_observation_the_last_one_of_an_episode_included(tmp_path):
    recording, keep = streamed(tmp_path / "live.rrd", num_episodes=2)
    shown = [event for event in keep.events if isinstance(event, StepTaken | TerminalObservation)]
    assert recording.times("observation.state/x")[0].tolist() == list(range(len(shown)))
    assert np.array_equal(recording.number("observation.state/x"), [event.observation.state[0] for event in shown])


def test_pictures_are_jpeg_of_the_frame_that_they_are_logged_at(tmp_path):
    recording, keep = streamed(tmp_path / "live.rrd", controller=SteeringController(0.004), num_episodes=1, max_hz=50)
    shown = {e.frame: e for e in keep.events if isinstance(e, StepTaken | TerminalObservation)}
    coded, (frames, _) = recording.column(TOP, "EncodedImage:blob"), recording.times(TOP)
    assert len(coded) > 2
    for frame, (blob,) in zip(frames, coded, strict=True):
        with Image.open(io.BytesIO(bytes(blob))) as picture:
            assert picture.format == "JPEG"
            off = np.asarray(picture).astype(int) - shown[frame].observation.images["top"].pixels
        assert np.abs(off).mean() < 3


def test_pictures_are_sent_as_they_are_where_that_is_asked_for(tmp_path):
    slow = SteeringController(0.004)
    recording, keep = streamed(tmp_path / "live.rrd", controller=slow, num_episodes=1, max_hz=50, compressed=False)
    shown = {e.frame: e for e in keep.events if isinstance(e, StepTaken | TerminalObservation)}
    buffers, (frames, _) = recording.column(TOP, "Image:buffer"), recording.times(TOP)
    assert len(buffers) > 2
    for frame, (buffer,) in zip(frames, buffers, strict=True):
        pixels = np.frombuffer(bytes(buffer), np.uint8).reshape(48, 64, 3)
        assert np.array_equal(pixels, shown[frame].observation.images["top"].pixels)


def test_episodes_interventions_and_prompts_are_told_where_they_happen(tmp_path):
    commands = Commands()
    prompts = iter(["push"] * 5 + ["pull"] * 1000)

    class Retrying(SteeringController):
        def decide(self, observation):
            if observation.time_s == 0.06:
                commands.retry("it was stuck")
            return super().decide(observation)

    recording, keep = streamed(
        tmp_path / "live.rrd",
        controller=Retrying(speed=0.01),
        num_episodes=2,
        max_episode_steps=10,
        commands=commands,
        prompt=lambda: next(prompts),
    )
    seeds = [event.episode.seed for event in keep.of(EpisodeStart)]
    told = [text for (text,) in recording.column("episodes", "TextLog:text")]
    first, second = (event.episode for event in keep.of(EpisodeEnd))
    assert told == [
        f"episode 0 begins (seed {seeds[0]})",
        "retry: it was stuck",
        f"episode 0: timeout after 10 steps: {first.reason}",
        f"episode 1 begins (seed {seeds[1]})",
        "retry: it was stuck",
        f"episode 1: timeout after 10 steps: {second.reason}",
        "the session ends: all episodes done",
    ]
    assert recording.times("episodes")[0].tolist() == [0, 4, 10, 11, 15, 21, 21]
    assert [text for (text,) in recording.column("task", "TextLog:text")] == ["push", "pull", "pull"]
    (page,) = recording.static("about", "TextDocument:text")
    assert "| session | point |" in page
    assert "| cameras | top 64x48 |" in page
    assert {"top", "state", "action (sent)", "events", "task, episodes", "about"} <= recording.titles()


def test_what_a_monitor_says_is_shown_with_its_thresholds(tmp_path):
    class Monitored(SteeringController):
        def decide(self, observation):
            return replace(super().decide(observation), failure=FailureEstimate(observation.time_s, 0.8, 0.4))

    path = tmp_path / "live.rrd"
    recording, keep = streamed(path, controller=Monitored(), num_episodes=1)
    assert np.array_equal(recording.number("p_fail/p_fail"), [step.observation.time_s for step in keep.steps])
    assert set(recording.number("p_fail/high")) == {0.8}
    assert set(recording.number("p_fail/low")) == {0.4}
    assert recording.times("p_fail/high")[0].tolist() == [step.frame for step in keep.steps]


class Moments:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self):
        return self.now


class Followed(RerunSink):
    """Tells which of the session's frames it has taken."""

    taken = -1

    def on(self, event):
        super().on(event)
        self.taken = getattr(event, "frame", self.taken)


def test_no_more_pictures_are_rendered_than_are_sent(tmp_path):
    environment, clock = PointEnvironment(), Moments()
    sink = Followed(FileLink(tmp_path / "live.rrd", environment.spec), environment.spec, fps=10, clock=clock)

    class Ticking(SteeringController):
        steps = 0

        def decide(self, observation):
            """50 decisions a second of the sink's clock; the sink has taken all before, however busy the machine."""
            until(lambda: sink.taken == self.steps - 1, "the sink takes the last frame")
            self.steps += 1
            clock.now += 0.02
            return super().decide(observation)

    run_session(environment, Ticking(speed=0.001), [sink], num_episodes=1)
    recording = Recording(tmp_path / "live.rrd")
    assert len(recording.number("action/x")) == 100
    # 100 steps are 2 s.
    assert 19 <= environment.pictures_made <= 21
    assert len(recording.column(TOP, "EncodedImage:blob")) == environment.pictures_made


def test_pictures_go_on_after_a_frame_that_was_dropped(tmp_path):
    environment, clock = PointEnvironment(), Moments()
    sink = RerunSink(FileLink(tmp_path / "live.rrd", environment.spec), environment.spec, fps=10, clock=clock)
    observation = environment.reset(0)
    assert set(sink.cameras(0)) == {"top"}
    clock.now = 1.0
    assert not sink.cameras(1), "asked again before the viewer has taken the last picture"
    sink.on(TerminalObservation(5, 5, observation, 0.1))  # frames 0 to 4 were dropped
    assert set(sink.cameras(6)) == {"top"}
    sink.close()


def test_a_stream_keeps_the_contract_of_sinks(tmp_path):
    spec = PointEnvironment().spec
    check_sink(lambda: RerunSink(FileLink(tmp_path / "live.rrd", spec), spec))


class Serving:
    """Rerun's server, as a viewer on another machine."""

    def __init__(self):
        self.port, web = free_ports(2)
        self.process = start_server("127.0.0.1", self.port, web, "200MB")
        self.pid = self.process._process.pid

    def end(self):
        os.kill(self.pid, signal.SIGKILL)
        self.process.close()


@pytest.fixture
def viewer():
    viewer = Serving()
    yield viewer
    viewer.end()


def served(port, wanted):
    """Ask the server for what it has, as the web viewer does (gRPC-web), until all that is wanted has come."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    path = "/rerun.sdk_comms.v1alpha1.MessageProxyService/ReadMessages"
    connection.request("POST", path, body=bytes(5), headers={"content-type": "application/grpc-web+proto"})
    answer = connection.getresponse()
    got = b""
    end = time.monotonic() + PATIENCE_S
    while not all(word in got for word in wanted):
        assert time.monotonic() < end, f"not within {PATIENCE_S} s: {wanted}"
        more = answer.read1(1 << 16)
        assert more, f"the server ended after {len(got)} bytes"
        got += more
    connection.close()


def test_a_viewer_elsewhere_gets_the_session(viewer):
    environment = PointEnvironment()
    sink = DisplayConfig(ip="127.0.0.1", port=viewer.port).make(environment.spec)
    assert run_session(environment, None, [sink], num_episodes=1).fault is None
    served(viewer.port, [b"point", b"observation.images.top", b"target_x", b"episodes", JPEG])
    assert listens("127.0.0.1", viewer.port), "the viewer stays open"


def test_a_viewer_that_is_open_on_this_machine_is_used(viewer, monkeypatch):
    monkeypatch.setenv("DISPLAY", "")
    environment = PointEnvironment()
    sink = DisplayConfig(port=viewer.port).make(environment.spec)
    assert run_session(environment, None, [sink], num_episodes=1).fault is None
    served(viewer.port, [b"point", b"target_x"])


def test_a_session_is_served_while_it_runs_within_the_memory_that_it_may_take(caplog):
    caplog.set_level("INFO")
    data, web = free_ports(2)
    environment, commands = PointEnvironment(), Commands()
    sink = DisplayConfig(serve=True, port=data, web_port=web, memory_limit="123MB").make(environment.spec)
    assert f"http://127.0.0.1:{web}/?url=rerun%2Bhttp%3A%2F%2F127.0.0.1%3A{data}%2Fproxy" in caplog.text
    words = [command_line(pid) for pid in Path("/proc").glob("[0-9]*")]
    (server,) = (line for line in words if f"--port {data} " in line)
    assert "--bind 127.0.0.1 " in server
    assert "--server-memory-limit 123MB" in server
    session = threading.Thread(
        target=run_session,
        args=(environment, SteeringController(speed=0.0001), [sink]),
        kwargs={"commands": commands, "max_hz": 50, "num_episodes": 1000},
    )
    session.start()
    try:
        served(data, [b"observation.images.top", b"episodes", JPEG])
        assert session.is_alive()
    finally:
        commands.stop()
        session.join(PATIENCE_S)
    assert not session.is_alive()
    assert not listens("127.0.0.1", data)
    assert not listens("127.0.0.1", web)


def command_line(process):
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def test_a_viewer_that_is_closed_is_told_and_the_session_goes_on(viewer, caplog):
    environment = PointEnvironment()
    sink = DisplayConfig(ip="127.0.0.1", port=viewer.port).make(environment.spec)

    class Closing(SteeringController):
        def decide(self, observation):
            if observation.time_s == 0.2:
                os.kill(viewer.pid, signal.SIGKILL)
            return super().decide(observation)

    result = run_session(environment, Closing(speed=0.001), [sink], num_episodes=1, max_hz=100)
    assert result.fault is None
    (line,) = (line for line in caplog.messages if "Rerun" in line)
    assert line == (
        f"Rerun failed and is detached; the session goes on: the Rerun viewer at 127.0.0.1, port {viewer.port} was "
        "closed, or cannot be reached any more"
    )
    assert not sink.cameras(10_000)


HANGING = """
import logging, os, signal, sys
import rerun
from taketwo.session.commands import Commands
from taketwo.testing import PointEnvironment, SteeringController
from taketwo.viewing.link import ViewerLink
from taketwo.viewing.stream import RerunSink, layout
from tests.support import run_session

commands = Commands()
steps = pictures = steps_at_picture = 0

class Hanging(SteeringController):
    def decide(self, observation):
        global steps, pictures, steps_at_picture
        steps += 1
        if environment.pictures_made > pictures:
            pictures, steps_at_picture = environment.pictures_made, steps
            if pictures == 2:
                os.kill(int(sys.argv[2]), signal.SIGSTOP)
        return super().decide(observation)

class EndWhenTold(logging.Handler):
    def emit(self, record):
        print(steps - steps_at_picture, record.getMessage(), flush=True)
        commands.stop()

logging.getLogger().addHandler(EndWhenTold())
environment = PointEnvironment(480, 640)
spec = environment.spec
link = ViewerLink(rerun.RecordingStream("point"), "127.0.0.1", int(sys.argv[1]), layout(spec), stalled_s=4.0)
sink = RerunSink(link, spec, fps=50, compressed=False)
result = run_session(environment, Hanging(speed=0.0001), [sink], total_seconds=1e4, max_hz=50, commands=commands)
print(result.fault, result.reason)
"""


def test_a_viewer_that_hangs_holds_up_neither_the_session_nor_the_end_of_the_process(viewer):
    """The SDK itself keeps what it cannot send, and waits for the viewer when the process ends."""
    words = [sys.executable, "-c", HANGING, str(viewer.port), str(viewer.pid)]
    try:
        done = subprocess.run(words, cwd=SOURCE, capture_output=True, text=True, timeout=120, check=False)
    finally:
        os.kill(viewer.pid, signal.SIGCONT)
    assert done.returncode == 0, done.stderr
    told, ended = done.stdout.splitlines()
    steps, _, said = told.partition(" ")
    assert said == (
        "Rerun failed and is detached; the session goes on: "
        f"the Rerun viewer at 127.0.0.1, port {viewer.port} has taken nothing for 4 s"
    )
    # 4 s without a picture are 200 steps. A session that waits takes at most as many as the sink's queue holds.
    assert int(steps) > QUEUE_FRAMES + 10
    assert ended == "None stopped by the operator"


def test_nothing_is_left_to_send_when_a_flush_is_over(viewer):
    """So what the SDK holds is bounded by what is sent at a time."""
    spec = PointEnvironment().spec
    link = ViewerLink(rerun.RecordingStream("point"), "127.0.0.1", viewer.port, layout(spec), stalled_s=1.0)
    link.recording.log("the_first_one", rerun.TextLog("it"))
    link.flush()
    served(viewer.port, [b"the_first_one"])
    os.kill(viewer.pid, signal.SIGSTOP)
    try:
        with pytest.raises(TakeTwoError, match="has taken nothing for 1 s"):
            for _ in range(20):  # the sockets' own buffers take some
                blob = os.urandom(5_000_000)
                link.recording.log("second", rerun.EncodedImage(contents=blob, media_type="image/jpeg"))
                link.flush()
        began = time.monotonic()
        link.close()
        assert time.monotonic() - began < 10
    finally:
        os.kill(viewer.pid, signal.SIGCONT)


def test_where_there_is_no_viewer_it_is_told_what_to_do(monkeypatch):
    monkeypatch.setenv("DISPLAY", "")
    monkeypatch.setenv("WAYLAND_DISPLAY", "")
    spec = PointEnvironment().spec
    (port,) = free_ports(1)
    with pytest.raises(
        ConfigError, match=r"no display for the Rerun viewer here: give --display.ip, .* or --display.serve=true"
    ):
        DisplayConfig(port=port).make(spec)
    with pytest.raises(ConfigError, match=f"ip 127.0.0.1: no Rerun viewer listens there at port {port}: start one"):
        DisplayConfig(ip="127.0.0.1", port=port).make(spec)


def test_a_viewer_that_cannot_start_is_told(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":6399")
    monkeypatch.setenv("WAYLAND_DISPLAY", "")
    (port,) = free_ports(1)
    with pytest.raises(TakeTwoError, match="the Rerun viewer cannot start: "):
        DisplayConfig(port=port).make(PointEnvironment().spec)
    assert not listens("127.0.0.1", port)


@pytest.mark.parametrize("name", ["port", "web_port"])
def test_a_port_in_use_is_told(name):
    data, web = free_ports(2)
    config = DisplayConfig(serve=True, port=data, web_port=web)
    taken = getattr(config, name)
    with (
        socket.create_server(("127.0.0.1", taken)),
        pytest.raises(ConfigError, match=f"^{name} {taken} is in use at 127.0.0.1"),
    ):
        config.make(PointEnvironment().spec)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"port": 0}, "port must be from 1 to 65535, not 0"),
        ({"fps": 0}, "fps must be a finite number above 0, not 0"),
        ({"fps": float("nan")}, "fps must be a finite number above 0, not nan"),
        ({"memory_limit": "much"}, "memory_limit must be a size such as 2GB, or a part such as 10%, not 'much'"),
        ({"serve": True, "web_port": 9876}, "web_port and port cannot both be 9876"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, said):
    with pytest.raises(ConfigError) as error:
        DisplayConfig(**options)
    assert str(error.value) == said


def test_without_rerun_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(MissingExtraError, match=r"rerun-sdk is not installed: pip install 'taketwo\[view\]'"):
        DisplayConfig().make(PointEnvironment().spec)


PROBE = """
import sys
import rerun
from taketwo.testing import PointEnvironment
from taketwo.viewing.link import ViewerLink
from taketwo.viewing.stream import RerunSink, layout
from tests.support import run_session

class FileLink:
    def __init__(self, path, spec):
        self.recording = rerun.RecordingStream(spec.name)
        self.recording.save(path, default_blueprint=layout(spec))
        self.flush = self.recording.flush
        self.close = self.recording.disconnect

environment = PointEnvironment()
spec = environment.spec
for link in (
    FileLink(sys.argv[1], spec),
    ViewerLink(rerun.RecordingStream("point"), "127.0.0.1", int(sys.argv[2]), layout(spec)),
):
    sink = RerunSink(link, spec, fps=1e6)
    result = run_session(environment, None, [sink], num_episodes=1, seed=3)
    assert result.fault is None
    assert sink.name in result.dropped
"""


@pytest.mark.parametrize("version", VERSIONS)
def test_an_older_sdk_streams_the_same(tmp_path, viewer, version):
    """Those that LeRobot brings along: 0.26 and 0.33."""
    words = [peer_python(version), "-c", PROBE, tmp_path / "theirs.rrd", viewer.port]
    done = subprocess.run(
        list(map(str, words)),
        cwd=SOURCE,
        env={"PYTHONPATH": f"{SOURCE / 'src'}:{SOURCE}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "detached" not in done.stderr
    served(viewer.port, [b"target_x", JPEG])
    theirs = Recording(tmp_path / "theirs.rrd")
    ours, _ = streamed(tmp_path / "ours.rrd", num_episodes=1, seed=3)
    assert theirs.entities == ours.entities
    assert theirs.timelines() == ours.timelines()
    assert np.array_equal(theirs.number("action/x"), ours.number("action/x"))
