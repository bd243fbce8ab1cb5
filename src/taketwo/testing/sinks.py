"""`check_sink`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from taketwo.session.events import (
    EpisodeEnd,
    EpisodeStart,
    Event,
    SessionEnd,
    SessionStart,
    StepTaken,
    TerminalObservation,
)
from taketwo.session.sinks import Sink, SinkThread
from taketwo.session.tally import Tally
from taketwo.testing.contract import ContractError, require
from taketwo.testing.point import PointEnvironment
from taketwo.types import Decision, EpisodeInfo, Observation, Outcome


def check_sink(make: Callable[[], Sink]) -> None:
    """Whether a sink keeps the contract of `taketwo.session.sinks.Sink`.

    It is given, on a thread as in a session, a session of three episodes: a whole one, one that ends by a
    fault without a terminal observation, and one that fails before its first step.

    Raises:
        ContractError: with what was broken.
    """
    sink = make()
    require(sink.name, "name is empty")
    require(isinstance(sink.lossless, bool) and isinstance(sink.required, bool), "lossless or required is no bool")
    thread = SinkThread(sink)
    environment = PointEnvironment()
    for event in _session(sink, environment):
        thread.put(event)
    thread.finish()
    if thread.error is not None:
        raise ContractError(f"raises in an ordinary session: {thread.error!r}") from thread.error


def _session(sink: Sink, environment: PointEnvironment) -> Iterator[Event]:
    yield SessionStart(environment.spec, environment.spec.control_hz, 0, {"session": {"seed": 0}})
    frame = 0
    for index, (steps, outcome) in enumerate(((20, Outcome.TIMEOUT), (5, Outcome.FAULT), (0, Outcome.FAULT))):
        info = EpisodeInfo(index, seed=index)
        tally = Tally(first_frame=frame)
        yield EpisodeStart(info)
        observation = environment.reset(info.seed)
        for step in range(steps):
            _look(sink, observation, frame)
            action = np.full(2, 0.001)
            decision = Decision(action, action)
            result = environment.step(action)
            tally.add(observation, decision, result)
            yield StepTaken(step, frame, observation, decision, result, step / 50, 0.0)
            observation = result.observation
            frame += 1
        if outcome is Outcome.TIMEOUT:
            _look(sink, observation, frame)
            yield TerminalObservation(steps, frame, observation, steps / 50)
            frame += 1
        tally.frames = frame - tally.first_frame
        yield EpisodeEnd(tally.finish(info, outcome, "checked"))
    yield SessionEnd("checked")


def _look(sink: Sink, observation: Observation, frame: int) -> None:
    for camera in sink.cameras(frame):
        require(camera in observation.images, f"cameras names {camera!r}, which the environment does not have")
        _ = observation.images[camera].pixels
