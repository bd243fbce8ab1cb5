"""What the prompt flags of `taketwo run` put around session, environment and policy."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from taketwo.cli.config import RunConfig
from taketwo.control.prompt import EchoesPrompt, PromptFile, PromptSource, RuntimePromptEcho
from taketwo.control.prompt_id import MarkedPrompt, MarksOwnPrompt, made_prompt_id, marked
from taketwo.control.prompt_trace import PromptTrace, TracesPrompt
from taketwo.envs.base import Environment
from taketwo.errors import ConfigError
from taketwo.policies.base import Policy, RelaysPrompt
from taketwo.policies.prompting import TellsPrompt
from taketwo.session.sinks import Sink
from taketwo.types import EnvironmentSpec

log = logging.getLogger(__name__)

Prompt = Callable[[], str | None]


def with_prompt_id(config: RunConfig) -> RunConfig:
    """The same, with the token itself where one is to be made up; it is told here, once."""
    if config.prompt_id is None:
        return config
    config = replace(config, prompt_id=made_prompt_id(config.prompt_id))
    log.info("every prompt begins with %s", marked("", config.prompt_id or "").rstrip())
    return config


def prompt_source(config: RunConfig) -> PromptSource | PromptFile:
    """Where the prompt for each observation comes from.

    Raises:
        ConfigError: there is no prompt in the file.
    """
    if config.prompt_file is None:
        return PromptSource(config.prompt)
    try:
        return PromptFile(config.prompt_file)
    except ConfigError as error:
        raise ConfigError(f"--prompt_file: {error}") from error


def with_token(config: RunConfig, prompt: Prompt) -> Prompt:
    """The same prompt, with the token where there is to be one."""
    return prompt if config.prompt_id is None else MarkedPrompt(prompt, config.prompt_id)


def prompting(config: RunConfig, environment: Environment, prompt: Prompt) -> Environment:
    """The environment, its own prompt with the token where there is to be one.

    Raises:
        ConfigError: there is no prompt that the token could stand in.
    """
    if config.prompt_id is None:
        return environment
    spec = environment.spec
    if spec.prompt is None and prompt() is None:
        raise ConfigError(
            f"--prompt_id needs a prompt to stand in, and environment {spec.name!r} has none of its own: "
            "give --prompt or --prompt_file"
        )
    return MarksOwnPrompt(environment, config.prompt_id)


def watched(
    config: RunConfig, policy: Policy, spec: EnvironmentSpec, made: Policy | None = None
) -> tuple[Policy, list[Sink]]:
    """The policy as the prompt flags have it, and the sinks that belong to it.

    Its chunks tell their prompt. Those of a policy that asks a server tell what that server said, and nothing where
    it said nothing.

    Args:
        made: the policy as it was made, where others stand between.
    """
    server = isinstance(policy if made is None else made, RelaysPrompt)
    policy = TellsPrompt(policy, made)
    if config.prompt_trace:
        trace = PromptTrace(config.prompt_echo_every, server=server)
        return TracesPrompt(policy, trace), [trace]
    if config.prompt_echo_every:
        every_n = config.prompt_echo_every
        return EchoesPrompt(policy, every_n, spec.control_hz), [RuntimePromptEcho(every_n)]
    return policy, []
