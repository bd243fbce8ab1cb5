"""A token in the prompt, by which one instruction is found again in the logs of client, runtime and server."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from taketwo.errors import ConfigError
from taketwo.session.loop import Environment
from taketwo.types import FloatArray, Observation, StepResult

AUTO = "auto"
"""Asks for a token of random digits."""

ALLOWED = re.compile(r"[A-Za-z0-9._-]{1,32}")
"""Tokens that every log shows whole and unquoted, and that a search finds as they are."""


def check_prompt_id(prompt_id: str) -> None:
    """Raise ConfigError unless it can be a token."""
    if not ALLOWED.fullmatch(prompt_id):
        raise ConfigError(
            f"prompt_id must be {AUTO}, or 1 to 32 letters, digits, dots, dashes and underscores, not {prompt_id!r}"
        )


def made_prompt_id(prompt_id: str) -> str:
    """The token itself: eight random hexadecimal digits for `auto`."""
    return secrets.token_hex(4) if prompt_id == AUTO else prompt_id


def marked(prompt: str, prompt_id: str) -> str:
    """The prompt with the token in front, once, where nothing that shortens a prompt cuts it off."""
    token = f"[prompt_id={prompt_id}] "
    return prompt if prompt.startswith(token) else token + prompt


class MarkedPrompt:
    """An instruction that changes while a session runs, with the token. A session takes it as its `prompt`."""

    def __init__(self, source: Callable[[], str | None], prompt_id: str) -> None:
        self._source = source
        self._prompt_id = prompt_id

    def __call__(self) -> str | None:
        """The instruction as it is now; None leaves the environment's own."""
        prompt = self._source()
        return None if prompt is None else marked(prompt, self._prompt_id)


class OwnedEnvironment(Environment, Protocol):
    """An environment that whoever has it closes."""

    def close(self) -> None:
        """Free everything."""
        ...


class MarksOwnPrompt:
    """An environment whose own instruction carries the token."""

    def __init__(self, environment: OwnedEnvironment, prompt_id: str) -> None:
        self._environment = environment
        self._prompt_id = prompt_id
        own = environment.spec.prompt
        self.spec = replace(environment.spec, prompt=None if own is None else marked(own, prompt_id))

    def reset(self, seed: int, options: Mapping[str, Any] | None = None) -> Observation:
        """Begin an episode."""
        return self._with_id(self._environment.reset(seed, options))

    def step(self, action: FloatArray) -> StepResult:
        """Apply one action."""
        result = self._environment.step(action)
        return replace(result, observation=self._with_id(result.observation))

    def close(self) -> None:
        """Close the environment."""
        self._environment.close()

    def _with_id(self, observation: Observation) -> Observation:
        if observation.prompt is None:
            return observation
        return replace(observation, prompt=marked(observation.prompt, self._prompt_id))
