"""What a server adds to observations before its policy is asked; the replay of a recording adds it again."""

from __future__ import annotations

from dataclasses import replace

from taketwo.policies.prompting import EffectivePrompt, PromptRule
from taketwo.types import EpisodeInfo, Observation

UNTOLD_EPISODE = EpisodeInfo(index=0, seed=0)
"""Of a client that tells no episodes, such as openpi's: its connection is one."""


class EpisodeClock:
    """The time in an episode, for clients that do not tell it: each chunk is taken to have been executed whole."""

    def __init__(self, control_hz: float) -> None:
        self._control_hz = control_hz
        self._steps = 0

    def reset(self) -> None:
        """An episode begins."""
        self._steps = 0

    def timed(self, observation: Observation, told: bool) -> Observation:
        """The observation with its time.

        Args:
            told: whether it has the client's own, which is left as it is.
        """
        return observation if told else replace(observation, time_s=self._steps / self._control_hz)

    def answered(self, actions: int) -> None:
        """A chunk of so many actions was given."""
        self._steps += actions


def prompted(rule: PromptRule, observation: Observation) -> tuple[Observation, EffectivePrompt]:
    """The observation as a policy is to get it, and the prompt that counts.

    A policy follows its own prompt by itself; the server's default one it gets with the observation.
    """
    prompt = rule(observation)
    if prompt.source == "default_prompt":
        observation = replace(observation, prompt=prompt.text)
    return observation, prompt
