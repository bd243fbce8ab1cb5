"""Sessions made of pictures that carry their own number, and a reader of those numbers in videos."""

from __future__ import annotations

import contextlib

import av
import numpy as np

from taketwo.session.events import EpisodeEnd, EpisodeStart, SessionEnd, SessionStart, StepTaken, TerminalObservation
from taketwo.session.sinks import SinkThread
from taketwo.types import (
    CameraSpec,
    Decision,
    EnvironmentSpec,
    Episode,
    EpisodeInfo,
    Image,
    Observation,
    Outcome,
    StepResult,
)

BITS = 12
HEIGHT, WIDTH = 48, 16 * BITS
ACTION = np.zeros(1)


def numbered(number, height=HEIGHT, width=WIDTH):
    """A picture with `number` as white and black bars."""
    bits = [255 * (number >> bit & 1) for bit in range(BITS)]
    row = np.repeat(np.array(bits, np.uint8), width // BITS)
    return np.repeat(np.tile(np.pad(row, (0, width - row.size), mode="edge"), (height, 1))[..., None], 3, axis=2)


def number_of(pixels, width=WIDTH):
    bar = width // BITS
    return sum(int(pixels[12, bit * bar + bar // 2].mean() > 127) << bit for bit in range(BITS))


def spec_of(name="film", cameras=None, control_hz=50.0):
    return EnvironmentSpec(
        name=name,
        action_names=("x",),
        action_units=("m",),
        action_low=np.full(1, -1.0),
        action_high=np.full(1, 1.0),
        state_names=("x",),
        control_hz=control_hz,
        cameras=cameras if cameras is not None else {"top": CameraSpec(HEIGHT, WIDTH)},
    )


def session_of(episodes, spec=None, seed=5, picture=numbered, config=None, prompt=None):
    """The events of a session; `episodes` are (steps, outcome). Each shows steps + 1 frames."""
    spec = spec or spec_of()
    yield SessionStart(spec, spec.control_hz, seed, config or {"session": {"seed": seed}})
    frame = 0
    for index, (steps, outcome) in enumerate(episodes):
        first = frame
        yield EpisodeStart(EpisodeInfo(index, seed=100 + index))
        for step in range(steps + 1):
            images = {name: Image.of(picture(frame), name) for name in spec.cameras}
            observation = Observation(np.array([frame / 10]), images, prompt)
            if step < steps:
                result = StepResult(observation, 1.0, False, False)
                yield StepTaken(step, frame, observation, Decision(ACTION, ACTION), result, 0.0, 0.0)
            else:
                yield TerminalObservation(step, frame, observation, 0.0)
            frame += 1
        yield EpisodeEnd(episode_of(index, steps, first, outcome))
    yield SessionEnd("enough")


def episode_of(index=0, steps=3, first_frame=0, outcome=Outcome.SUCCESS, **changes):
    fields = {
        "index": index,
        "seed": 100 + index,
        "steps": steps,
        "frames": steps + 1,
        "first_frame": first_frame,
        "outcome": outcome,
        "reason": "told so",
        "terminated": True,
        "truncated": False,
        "reward_sum": float(steps),
        "reward_max": 1.0,
    }
    return Episode(**fields | changes)


def play(sink, events):
    """Hand events to a sink on its thread, and return what it raised, or None."""
    thread = SinkThread(sink)
    for event in events:
        thread.put(event)
    thread.finish()
    return thread.error


def pictures_in(path):
    """Every picture of a video, up to where it is cut off."""
    pictures = []
    with av.open(str(path)) as container, contextlib.suppress(av.error.InvalidDataError):
        pictures.extend(frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))
    return pictures


def numbers_in(path):
    return [number_of(pixels) for pixels in pictures_in(path)]
