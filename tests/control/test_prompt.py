import logging

import numpy as np
import pytest

from taketwo.control.config import ControlConfig
from taketwo.control.prompt import EchoesPrompt, PromptSource, RuntimePromptEcho, shortened
from taketwo.errors import ConfigError
from taketwo.testing import PointEnvironment, check_policy, check_sink
from taketwo.types import ActionChunk
from tests.control.support import EPISODE, Says
from tests.support import Keep, run_session


class UsesPrompt(Says):
    def infer(self, observation):
        self.asked.append(observation)
        return ActionChunk(np.zeros((4, 2)), prompt_used=observation.prompt)


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, logger="taketwo.prompt")

    def get(point):
        messages = [record.getMessage() for record in caplog.records if record.name == "taketwo.prompt"]
        return [message for message in messages if f"[{point}," in message]

    return get


def test_a_prompt_changed_while_running_reaches_observation_and_policy():
    source, keep, environment = PromptSource("first"), Keep(), PointEnvironment()
    controller = ControlConfig(action_horizon=2).make(UsesPrompt(None), environment.spec)

    class Changes(Keep):
        lossless = True

        def cameras(self, frame):  # called on the loop's thread, at each step
            if frame == 5:
                source.text = "second"
            return ()

    run_session(environment, controller, [keep, Changes()], prompt=source, max_total_steps=10)
    assert [step.observation.prompt for step in keep.steps] == ["first"] * 6 + ["second"] * 4
    assert [step.decision.prompt_used for step in keep.steps] == ["first"] * 6 + ["second"] * 4


def test_no_prompt_leaves_the_environments_own():
    keep, environment = Keep(), PointEnvironment()
    controller = ControlConfig().make(UsesPrompt(None), environment.spec)
    run_session(environment, controller, [keep], prompt=PromptSource(), max_total_steps=3)
    assert {step.observation.prompt for step in keep.steps} == {"Move the point onto the target"}


def test_the_prompt_is_shown_every_n_steps_at_the_client_and_in_the_runtime(lines):
    environment = PointEnvironment()
    policy = EchoesPrompt(UsesPrompt(None), every_n=10, control_hz=environment.spec.control_hz)
    controller = ControlConfig(action_horizon=4).make(policy, environment.spec)
    # Waits for the sink at every step: else it may be dropped for.
    echo = RuntimePromptEcho(every_n=10)
    echo.lossless = True
    run_session(
        environment, controller, [echo], prompt=PromptSource("pick up the cube"), max_episode_steps=25, num_episodes=2
    )
    # The policy is asked at steps 0, 4, 8, ...
    assert lines("client") == [f"prompt [client, step {step}]: pick up the cube" for step in (0, 12, 20)] * 2
    assert lines("runtime") == [f"prompt [runtime, step {step}]: pick up the cube" for step in (0, 10, 20)] * 2


def test_the_runtime_echo_never_holds_the_session_up():
    echo = RuntimePromptEcho(10)
    assert (echo.lossless, echo.required, tuple(echo.cameras(0))) == (False, False, ())


@pytest.mark.parametrize(
    ("prompt", "shown"),
    [
        (None, "(none)"),
        ("", ""),
        ("a" * 80, "a" * 80),
        ("a" * 81, "a" * 79 + "…"),
        ("pick\nup \t the cube", "pick up the cube"),
    ],
)
def test_a_prompt_is_shown_in_one_line_of_80_characters_at_most(prompt, shown):
    assert shortened(prompt) == shown


def test_the_echoing_policy_forwards_every_member_and_sends_the_prompt_uncut(lines):
    environment = PointEnvironment()
    inner = UsesPrompt(None, cameras=["top"])
    policy = EchoesPrompt(inner, every_n=1, control_hz=50.0)
    policy.reset(EPISODE)
    observation = environment.reset(0)
    long = "word " * 100
    observation = type(observation)(state=observation.state, prompt=long)
    assert policy.infer(observation).prompt_used == long
    policy.close()
    assert (policy.cameras, inner.resets, inner.closed) == (("top",), [EPISODE], 1)
    assert len(lines("client")[0]) < 120


def test_it_keeps_the_contracts_of_policies_and_sinks():
    environment = PointEnvironment()
    check_policy(EchoesPrompt(UsesPrompt(None), 3, 50.0), environment)
    check_sink(lambda: RuntimePromptEcho(3))


def test_a_prompt_cannot_be_shown_every_zero_steps():
    with pytest.raises(ConfigError, match="every 1 or more steps, not every 0"):
        RuntimePromptEcho(0)
