"""What one environment does, as takes: an episode after the other."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

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
)
from taketwo.datasets.metadata import EpisodeNote
from taketwo.errors import EnvironmentFault, RecordingError
from taketwo.session.events import StepTaken
from taketwo.session.punctuality import KEPT_UP
from taketwo.types import SIMULATOR_STATE, Episode, EpisodeInfo, FloatArray, Observation, Outcome

if TYPE_CHECKING:
    from taketwo.datasets.take import Take, VideoEncoders
    from taketwo.datasets.writer import DatasetWriter

log = logging.getLogger(__name__)


class RowSettings(NamedTuple):
    """How a session becomes rows.

    Attributes:
        cameras: the recorded ones.
        task: of rows whose observation carries no prompt.
        paced: whether the session runs by the clock, so that its real rate means something.
        traced: whether the simulator's states are kept, where it tells them.
    """

    cameras: tuple[str, ...]
    task: str
    paced: bool
    traced: bool


class Recorder:
    """Records the episodes of one environment."""

    def __init__(self, writer: DatasetWriter, encoders: VideoEncoders, settings: RowSettings) -> None:
        """Nothing is recorded yet. The encoders are used by nobody else, and closed with it."""
        self._writer = writer
        self._encoders = encoders
        self._settings = settings
        self._tracing = settings.traced
        features = writer.info.features
        self._state_shape = features[STATE].shape if STATE in features else (0,)
        self._take: Take | None = None
        self._times: list[float] = []
        self._interventions = 0
        self._traced = False

    @property
    def under_way(self) -> bool:
        """Whether an episode has begun and not ended."""
        return self._take is not None

    def begin(self, episode: EpisodeInfo) -> None:
        """Begin an episode.

        Raises:
            RecordingError: its files cannot be written.
        """
        from taketwo.datasets.take import TakeHeader

        header = TakeHeader(
            episode.index,
            episode.seed,
            self._writer.session,
            now(),
            self._settings.paced,
            env=episode.env,
            init_state=episode.init_state,
            seeded=episode.seeded,
        )
        self._times, self._interventions, self._traced = [], 0, False
        self._take = self._writer.begin(header, self._encoders)

    def add(self, event: StepTaken) -> None:
        """Add a row.

        Raises:
            RecordingError: it does not fit, or cannot be written.
        """
        assert self._take is not None
        seen, result, decision = event.observation, event.result, event.decision
        self._trace(seen, decision.sent)
        if seen.state.shape != self._state_shape:
            raise RecordingError(
                f"the environment gave a state of shape {seen.state.shape}; the dataset has {self._state_shape}"
            )
        row = {
            **({STATE: _numbers(seen.state)} if seen.state.size else {}),
            ACTION: _numbers(decision.sent),
            ASKED: _numbers(decision.asked),
            REWARD: result.reward,
            DONE: result.terminated or result.truncated,
            SUCCESS: bool(result.success),
            INTERVENTION: decision.intervention,
            CAPTURE_TIME: event.time_s,
        }
        pictures = {IMAGE_PREFIX + camera: seen.images[camera].pixels for camera in self._settings.cameras}
        self._take.add(row, seen.prompt or self._settings.task, pictures)
        self._times.append(event.time_s)
        self._interventions += decision.intervention

    def add_terminal(self, observation: Observation) -> None:
        """Keep the simulator's last state; no row has it, as no action follows."""
        self._trace(observation, None)

    def end(self, episode: Episode) -> tuple[Take, EpisodeNote] | None:
        """The episode, which somebody else is to close and to keep; None where there is nothing to keep of it."""
        take, self._take = self._take, None
        assert take is not None
        if take.rows == 0 or episode.outcome is Outcome.DISCARDED:
            take.discard()
            return None
        return take, self._note(take, episode)

    def abandon(self) -> None:
        """Leave what there is of an episode under way on the disk."""
        if self._take is not None:
            self._take.abandon()
            self._take = None

    def close(self) -> None:
        """Close the encoders."""
        self._encoders.close()

    def _trace(self, observation: Observation, action: FloatArray | None) -> None:
        state = observation.extras.get(SIMULATOR_STATE)
        if state is None or self._take is None or not self._tracing:
            return
        try:
            self._take.trace(state, action)
            self._traced = True
        except EnvironmentFault as error:
            self._tracing = self._traced = False
            log.warning("from here on without simulator trace: %s", error)

    def _note(self, take: Take, episode: Episode) -> EpisodeNote:
        fps = self._writer.info.fps
        span = self._times[-1] - self._times[0]
        measured = (len(self._times) - 1) / span if self._settings.paced and span > 0 else None
        return EpisodeNote(
            index=0,  # the writer fills it in
            length=take.rows,
            outcome=str(episode.outcome),
            reason=episode.reason,
            success=episode.outcome is Outcome.SUCCESS if episode.outcome.is_attempt else None,
            seed=episode.seed,
            session=take.header.session,
            started_at=take.header.started_at,
            duration_s=span + 1 / fps,
            measured_hz=measured,
            late=measured is not None and measured < KEPT_UP * fps,
            reward_sum=episode.reward_sum,
            interventions=self._interventions,
            traced=self._traced,
            env=episode.env,
            init_state=episode.init_state,
            seeded=episode.seeded,
        )


def now() -> str:
    """Wall-clock time, ISO 8601 with its zone."""
    return datetime.now(UTC).astimezone().isoformat(timespec="milliseconds")


def _numbers(values: FloatArray) -> Any:
    """As a row has them: an array, or a single number."""
    return float(values[0]) if values.shape == (1,) else np.array(values, np.float32)
