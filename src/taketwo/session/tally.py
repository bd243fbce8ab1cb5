"""One episode as it goes, and the verdict on it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from taketwo.types import Decision, Episode, EpisodeInfo, Observation, Outcome, StepResult


@dataclass
class Tally:
    """Counts of the episode under way."""

    first_frame: int
    steps: int = 0
    frames: int = 0
    reward_sum: float = 0.0
    reward_max: float = -math.inf
    terminated: bool = False
    truncated: bool = False
    judged: bool = False
    solved_ever: bool = False
    solved_last: bool = False
    guarded_steps: int = 0
    interventions: int = 0
    prompts: list[str] = field(default_factory=list)
    told: Mapping[str, Any] = field(default_factory=dict)

    def add(self, observation: Observation, decision: Decision, result: StepResult) -> None:
        """Count one step: what was seen, what was sent, what came of it."""
        self.steps += 1
        self.guarded_steps += decision.guarded
        prompt = observation.prompt
        if prompt is not None and (not self.prompts or prompt != self.prompts[-1]):
            self.prompts.append(prompt)
        self.reward_sum += float(result.reward)
        self.reward_max = max(self.reward_max, float(result.reward))
        self.terminated, self.truncated = result.terminated, result.truncated
        self.solved_last = bool(result.success)
        self.solved_ever |= self.solved_last
        self.judged |= result.success is not None
        self.told = result.info

    def verdict(self, success: Literal["ever", "last"]) -> tuple[Outcome, str] | None:
        """Outcome and reason once the environment or the step limit has ended it; None while it goes on."""
        if not (self.terminated or self.truncated):
            return None
        ending = "the environment ended it" if self.terminated else f"cut off after {self.steps} steps"
        if not self.judged:
            return Outcome.UNJUDGED, f"{ending}; the environment does not report success"
        if self.solved_last or (success == "ever" and self.solved_ever):
            when = "solved" if self.solved_last else "solved on the way"
            return Outcome.SUCCESS, f"{when}; {ending}"
        missed = "; was solved on the way, not at the last step" if self.solved_ever else ""
        return (Outcome.FAILURE if self.terminated else Outcome.TIMEOUT), f"{ending}{missed}"

    def finish(self, info: EpisodeInfo, outcome: Outcome, reason: str, metrics: Sequence[str] = ()) -> Episode:
        """The episode's record.

        Args:
            metrics: figures to keep out of what the environment tells, besides those that it calls metrics.
        """
        return Episode(
            index=info.index,
            seed=info.seed,
            steps=self.steps,
            frames=self.frames,
            first_frame=self.first_frame,
            outcome=outcome,
            reason=reason,
            terminated=self.terminated,
            truncated=self.truncated,
            reward_sum=self.reward_sum,
            reward_max=self.reward_max if self.steps else 0.0,
            guarded_steps=self.guarded_steps,
            interventions=self.interventions,
            prompts=tuple(self.prompts),
            env=info.env,
            init_state=info.init_state,
            seeded=info.seeded,
            metrics=metrics_of(self.told, metrics),
        )


def metrics_of(told: Mapping[str, Any], named: Sequence[str] = ()) -> dict[str, float]:
    """The figures among what an environment tells of a step: all under `metrics`, and those that are named.

    What is not there, no single number, or not finite is left out.
    """
    own = told.get("metrics")
    values = {**(own if isinstance(own, Mapping) else {}), **{name: told[name] for name in named if name in told}}
    numbers = {str(name): _number(value) for name, value in values.items()}
    return {name: number for name, number in numbers.items() if math.isfinite(number)}


def _number(value: Any) -> float:
    """A value as one number; NaN where it is none."""
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError, RuntimeError):  # the last one is PyTorch's, for several
        return math.nan


def success_rate(episodes: Iterable[Episode]) -> float | None:
    """Successes over attempts, from 0 to 1; None where there was no attempt."""
    attempts = [episode.outcome for episode in episodes if episode.outcome.is_attempt]
    return attempts.count(Outcome.SUCCESS) / len(attempts) if attempts else None
