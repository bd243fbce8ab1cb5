"""Shared data types: frozen dataclasses over NumPy.

Arrays are `float64` unless stated; times are seconds; angles are radians.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taketwo.errors import EnvironmentFault, RenderingError

FloatArray = NDArray[np.float64]
Pixels = NDArray[np.uint8]

SIMULATOR_STATE = "simulator_state"
"""Entry of `Observation.extras`: what `Snapshots.snapshot` tells of this very instant, where that is kept."""

RUNNING_CHUNK = "running_chunk"
"""Entry of `Observation.extras`: a `RunningChunk`, where the executor goes on executing while it asks."""


class Image:
    """A camera picture that is made when it is first looked at, once, and then kept.

    Pixels are made on the thread that owns the renderer, which is the one that made the image. Other
    threads may read them afterwards. A picture that nobody looked at before the environment moved on
    cannot be had any more.
    """

    __slots__ = ("_expired", "_owner", "_pixels", "_render", "camera", "height", "width")

    def __init__(
        self,
        render: Callable[[], Pixels],
        *,
        camera: str,
        height: int,
        width: int,
        expired: Callable[[], bool] = lambda: False,
    ) -> None:
        self.camera = camera
        self.height = height
        self.width = width
        self._render = render
        self._expired = expired
        self._owner = threading.get_ident()
        self._pixels: Pixels | None = None

    @classmethod
    def of(cls, pixels: Pixels, camera: str = "") -> Image:
        """An image whose (H, W, 3) uint8 RGB pixels are at hand."""
        image = cls(lambda: pixels, camera=camera, height=pixels.shape[0], width=pixels.shape[1])
        image._pixels = pixels
        return image

    @property
    def rendered(self) -> bool:
        """Whether the pixels have been made."""
        return self._pixels is not None

    @property
    def pixels(self) -> Pixels:
        """(H, W, 3) uint8, RGB, row 0 at the top.

        Raises:
            RenderingError: asked for on a foreign thread, or after the environment has moved on.
        """
        if self._pixels is None:
            if threading.get_ident() != self._owner:
                raise RenderingError(
                    f"camera {self.camera!r} was not rendered on the loop's thread: name it in the sink's `cameras`"
                )
            if self._expired():
                raise RenderingError(f"camera {self.camera!r} was not rendered before the environment moved on")
            self._pixels = self._render()
        return self._pixels


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """What the environment shows at one instant.

    Attributes:
        state: (D,) proprioception, in the order of `EnvironmentSpec.state_names`.
        images: camera name to lazy picture.
        prompt: the instruction, where there is one.
        extras: what only some environments know, such as `object_poses` (name to (7,) position and
            w-x-y-z quaternion, metres, world frame) or `contacts`.
        time_s: environment time since the episode began.
    """

    state: FloatArray
    images: Mapping[str, Image] = field(default_factory=dict)
    prompt: str | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)
    time_s: float = 0.0


@dataclass(frozen=True, slots=True)
class CameraSpec:
    """Size of a camera's pictures, in pixels."""

    height: int
    width: int


@dataclass(frozen=True, slots=True, eq=False)
class EnvironmentSpec:
    """What an environment is, before anything moves.

    Attributes:
        name: what file names and tables call it, such as `transfer_cube`.
        action_names: one name per action dimension; their number is D.
        action_units: one unit per action dimension, such as `rad`, `m`, or `normalized` (0 closed, 1 open).
        action_low: (D,) smallest action, `-inf` where unbounded.
        action_high: (D,) largest action, `inf` where unbounded.
        state_names: one name per state dimension.
        control_hz: actions per second of the environment's own time.
        cameras: the cameras whose pictures observations carry.
        max_episode_steps: the environment's own step limit; None where it has none.
        prompt: the task in words, where there is one.
        num_init_states: how many recorded initial states there are to begin from, each episode the next one; None where
            episodes begin by their seeds alone.
    """

    name: str
    action_names: tuple[str, ...]
    action_units: tuple[str, ...]
    action_low: FloatArray
    action_high: FloatArray
    state_names: tuple[str, ...]
    control_hz: float
    cameras: Mapping[str, CameraSpec] = field(default_factory=dict)
    max_episode_steps: int | None = None
    prompt: str | None = None
    num_init_states: int | None = None

    @property
    def action_dim(self) -> int:
        """D, the width of an action."""
        return len(self.action_names)


@dataclass(frozen=True, slots=True, eq=False)
class ActionChunk:
    """What a policy answers to one observation.

    Attributes:
        actions: (H, D), the first row for the observation's own step.
        embedding: optional hidden state of the policy, any shape.
        prompt_used: the prompt that the policy acted on, where it tells.
        prompt_source: where that prompt came from: `observation`, `default_prompt` or `checkpoint`.
        prompt_read: whether the policy reads prompts at all; None where it does not tell.
        timings_ms: named durations in milliseconds, such as `infer_ms`.
    """

    actions: FloatArray
    embedding: NDArray[Any] | None = None
    prompt_used: str | None = None
    prompt_source: str | None = None
    prompt_read: bool | None = None
    timings_ms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class RunningChunk:
    """What is executed while a policy infers, for real-time chunking (Black et al. 2025, arXiv:2506.07339).

    Attributes:
        actions: (K, D) the actions left, the first for the step of the observation that it comes with.
        delay_steps: how many of them will have been executed when the answer is there, as far as can be told.
    """

    actions: FloatArray
    delay_steps: int


@dataclass(frozen=True, slots=True)
class FailureEstimate:
    """What a monitor says at one step.

    Attributes:
        p_fail: probability that the episode will fail, from 0 to 1.
        high: from here on it counts as failing.
        low: down from here it no longer does.
    """

    p_fail: float
    high: float
    low: float


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """One control step's action, before and after filters and guard.

    Attributes:
        asked: (D,) what the policy wanted.
        sent: (D,) what the environment is given.
        guarded: whether the guard held dimensions back.
        intervention: whether another than the policy decided, such as a person who took over.
        prompt_used: the prompt that the chunk behind this action was made with, where known.
        prompt_read: whether the policy reads prompts at all; None where it does not tell.
        failure: what the monitor says, where there is one.
    """

    asked: FloatArray
    sent: FloatArray
    guarded: bool = False
    intervention: bool = False
    prompt_used: str | None = None
    prompt_read: bool | None = None
    failure: FailureEstimate | None = None


@dataclass(frozen=True, slots=True, eq=False)
class StepResult:
    """What the environment answers to one action.

    Attributes:
        observation: the state after the action; at an episode's end the terminal one, never a reset one.
        success: whether the task stands solved now; None where the environment does not judge.
    """

    observation: Observation
    reward: float
    terminated: bool
    truncated: bool
    success: bool | None = None
    info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class VectorStep:
    """What environments that step together answer to their actions, by the number of the environment.

    Attributes:
        results: of those that have gone on.
        begun: the first observation of an episode that an environment has begun by itself, where it does that.
        faults: why an environment could not go on; the others have.
        unseen: those of `results` whose simulator does not show the observation at the end of an episode; theirs is the
            one before.
    """

    results: Mapping[int, StepResult]
    begun: Mapping[int, Observation] = field(default_factory=dict)
    faults: Mapping[int, EnvironmentFault] = field(default_factory=dict)
    unseen: frozenset[int] = frozenset()


class Outcome(enum.StrEnum):
    """How an episode ended. Only success, failure and timeout are attempts."""

    SUCCESS = "success"
    FAILURE = "failure"
    TIMEOUT = "timeout"
    STOPPED = "stopped"
    DISCARDED = "discarded"
    FAULT = "fault"
    UNJUDGED = "unjudged"

    @property
    def is_attempt(self) -> bool:
        """Whether it counts in the success rate: a fault, an interruption or an unjudged end does not."""
        return self in (Outcome.SUCCESS, Outcome.FAILURE, Outcome.TIMEOUT)


@dataclass(frozen=True, slots=True)
class EpisodeInfo:
    """An episode that is about to begin.

    Attributes:
        index: position in the session, from 0; where several environments step together, among those of its own.
        seed: 32-bit seed for the environment and, through a stream of its own, the policy.
        env: number of its environment, where several step together.
        init_state: number of the recorded initial state that it begins from, where there are some.
        seeded: whether its environment begins it by the seed; not where a simulator goes on by itself.
    """

    index: int
    seed: int
    env: int = 0
    init_state: int | None = None
    seeded: bool = True


@dataclass(frozen=True, slots=True)
class Episode:
    """A finished episode.

    Attributes:
        steps: actions applied.
        first_frame: session-wide number of its first observation; each step shows one observation and
            the end shows one more, the terminal one.
        frames: observations shown, terminal one included where there was one.
        reason: one sentence telling why it ended so.
        guarded_steps: steps in which the guard held something back.
        interventions: how often somebody stepped in.
        prompts: the instructions that its observations carried, in order, each change once.
        env: number of its environment, where several step together; `index` and `first_frame` count its own.
        init_state: number of the recorded initial state that it began from, where there are some.
        seeded: whether its environment began it by the seed; not where a simulator went on by itself.
        metrics: figures of the episode by name, as the environment told them at its end.
    """

    index: int
    seed: int
    steps: int
    frames: int
    first_frame: int
    outcome: Outcome
    reason: str
    terminated: bool
    truncated: bool
    reward_sum: float
    reward_max: float
    guarded_steps: int = 0
    interventions: int = 0
    prompts: tuple[str, ...] = ()
    env: int = 0
    init_state: int | None = None
    seeded: bool = True
    metrics: Mapping[str, float] = field(default_factory=dict)
