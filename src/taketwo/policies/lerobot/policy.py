"""LeRobot policies as policies: in chunks where one observation is enough, step by step where it is not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from taketwo.errors import PolicyError, blaming
from taketwo.policies.lerobot.checkpoint import Checkpoint
from taketwo.policies.lerobot.inputs import Inputs
from taketwo.policies.lerobot.real_time import can_continue, continuation, enable
from taketwo.seeding import policy_generator
from taketwo.types import RUNNING_CHUNK, ActionChunk, EnvironmentSpec, EpisodeInfo, FloatArray, Observation


class LeRobotPolicy(ABC):
    """What all have in common.

    Noise, where a policy draws any, comes from the episode's seed: an episode is repeated exactly where the same
    observations come one at a time, to the same PyTorch on the same kind of device. PyTorch's own random numbers stay
    as they are.
    """

    def __init__(self, checkpoint: Checkpoint, inputs: Inputs, action_dim: int) -> None:
        self._checkpoint: Checkpoint | None = checkpoint
        self._inputs = inputs
        self._action_dim = action_dim
        self._generator = policy_generator(0)

    @property
    def cameras(self) -> tuple[str, ...]:
        """The environment's cameras that its features stand for."""
        return self._inputs.cameras

    def reset(self, episode: EpisodeInfo) -> None:
        """Empty LeRobot's queues and histories, and begin the episode's own noise."""
        self._loaded.reset()
        self._generator = policy_generator(episode.seed)

    @abstractmethod
    def infer(self, observation: Observation) -> ActionChunk:
        """The next actions, (H, D), in the environment's units."""

    def close(self) -> None:
        """Let go of the weights; an inference that runs ends first."""
        self._checkpoint = None

    @property
    def _loaded(self) -> Checkpoint:
        if self._checkpoint is None:
            raise PolicyError("the policy is closed")
        return self._checkpoint

    def _seed(self) -> int:
        return int(self._generator.integers(2**63))

    def _finished(self, checkpoint: Checkpoint, actions: Any) -> FloatArray:
        """Actions (B, D) of the policy in real units: float64, (B, D)."""
        done: FloatArray = checkpoint.postprocessor(actions.float()).double().cpu().numpy()
        if done.shape != (len(actions), self._action_dim):
            raise PolicyError(f"{checkpoint.name} gave actions of shape {done.shape[1:]}, not ({self._action_dim},)")
        return done


class ChunkPolicy(LeRobotPolicy):
    """One that needs a single observation: gives the first `n_action_steps` of its chunk, as LeRobot executes them.

    It keeps nothing between requests, so several observations go into one forward pass. Where LeRobot has real-time
    chunking for it, and an observation tells the running chunk, it goes on with that.
    """

    def __init__(self, checkpoint: Checkpoint, inputs: Inputs, action_dim: int) -> None:
        super().__init__(checkpoint, inputs, action_dim)
        self._continues = can_continue(checkpoint.policy)
        if self._continues:
            enable(checkpoint.policy)

    @property
    def extras(self) -> tuple[str, ...]:
        """The running chunk, where LeRobot can go on with it."""
        return (RUNNING_CHUNK,) if self._continues else ()

    def infer(self, observation: Observation) -> ActionChunk:
        """The next actions, (H, D), in the environment's units."""
        return self.infer_batch([observation])[0]

    def infer_batch(self, observations: Sequence[Observation]) -> Sequence[ActionChunk]:
        """The chunk for each observation; one forward pass for all that can share it.

        Observations cannot where they have running chunks of different lengths or delays, or pictures of different
        sizes that the policy scales itself.
        """
        checkpoint = self._loaded
        groups: dict[Any, list[int]] = {}
        for index, observation in enumerate(observations):
            groups.setdefault(self._company(observation), []).append(index)
        chunks: dict[int, ActionChunk] = {}
        for indices in groups.values():
            with blaming(PolicyError, checkpoint.name):
                actions = self._forward(checkpoint, [observations[index] for index in indices])
            chunks.update((index, ActionChunk(row)) for index, row in zip(indices, actions, strict=True))
        return [chunks[index] for index in range(len(observations))]

    def _company(self, observation: Observation) -> Any:
        running = observation.extras.get(RUNNING_CHUNK) if self._continues else None
        return self._inputs.shapes(observation), running and (running.actions.shape, running.delay_steps)

    def _forward(self, checkpoint: Checkpoint, observations: Sequence[Observation]) -> FloatArray:
        """(B, H, D) float64."""
        running = [o.extras[RUNNING_CHUNK] for o in observations if self._continues and RUNNING_CHUNK in o.extras]
        batch = self._inputs.batch(observations)
        with checkpoint.inferring(self._seed()):
            further: dict[str, Any] = {}
            if running:
                batch, further = continuation(checkpoint, batch, running)
            else:
                batch = checkpoint.preprocessor(batch)
            chunk = checkpoint.policy.predict_action_chunk(batch, **further)
            steps = chunk[:, : getattr(checkpoint.config, "n_action_steps", None)]
            # Row by row, as LeRobot's own rollouts: not every postprocessor takes chunks.
            return np.stack([self._finished(checkpoint, steps[:, step]) for step in range(steps.shape[1])], axis=1)


class StepPolicy(LeRobotPolicy):
    """One that has to see every observation, such as Diffusion with its history: gives one action at a time.

    LeRobot's own `select_action` keeps the history and executes `n_action_steps` of each chunk, so that most answers
    cost nothing.
    """

    def infer(self, observation: Observation) -> ActionChunk:
        """The next action, (1, D), in the environment's units."""
        checkpoint = self._loaded
        batch = self._inputs.batch([observation])
        with blaming(PolicyError, checkpoint.name), checkpoint.inferring(self._seed()):
            action = checkpoint.policy.select_action(checkpoint.preprocessor(batch))
            return ActionChunk(self._finished(checkpoint, action))

    def for_client(self) -> StepPolicy:
        """One with a history of its own, over the same weights."""
        return type(self)(self._loaded.with_own_state(), self._inputs, self._action_dim)


class LanguageChunkPolicy(ChunkPolicy):
    """The same, and the instruction decides what it does; LeRobot's checkpoints have none of their own."""

    own_prompt: str | None = None


class LanguageStepPolicy(StepPolicy):
    """The same, and the instruction decides what it does; LeRobot's checkpoints have none of their own."""

    own_prompt: str | None = None


def policy_of(checkpoint: Checkpoint, inputs: Inputs, spec: EnvironmentSpec) -> LeRobotPolicy:
    """The kind of policy that a checkpoint makes, fitted to an environment."""
    kinds: dict[tuple[bool, bool], type[LeRobotPolicy]] = {
        (False, False): ChunkPolicy,
        (False, True): LanguageChunkPolicy,
        (True, False): StepPolicy,
        (True, True): LanguageStepPolicy,
    }
    kind = kinds[checkpoint.needs_every_observation, checkpoint.reads_language]
    return kind(checkpoint, inputs, spec.action_dim)
