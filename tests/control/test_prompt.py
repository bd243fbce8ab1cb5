import logging
import os

import numpy as np
import pytest

from taketwo.control.config import ControlConfig
from taketwo.control.prompt import LOOK_EVERY_S, EchoesPrompt, PromptFile, PromptSource, RuntimePromptEcho, shown
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
    ("prompt", "line"),
    [
        (None, "(none)"),
        ("", ""),
        ("a" * 80, "a" * 80),
        ("a" * 81, "a" * 79 + "…"),
        ("pick\nup \t the cube", "pick up the cube"),
        ("pick\x1b[2J up", r"pick\x1b[2J up"),
    ],
)
def test_a_prompt_is_shown_in_one_line_of_80_characters_at_most(prompt, line):
    assert shown(prompt) == line


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


class Watched:
    """A prompt file, its source, and a clock that moves far enough for a look at each question."""

    def __init__(self, folder, text="pick up the cube\n"):
        self.path = folder / "prompt.txt"
        self.path.write_text(text)
        self.now = 0.0
        self.source = PromptFile(self.path, lambda: self.now)

    def later(self):
        self.now += 2 * LOOK_EVERY_S
        return self.source()


@pytest.fixture
def watched(tmp_path):
    return Watched(tmp_path)


def test_a_prompt_file_is_read_again_when_it_changes(watched):
    assert watched.source() == watched.later() == "pick up the cube"
    watched.path.write_text("  pick up\nthe peg \n")
    assert watched.later() == "pick up\nthe peg"


def test_a_prompt_file_that_is_replaced_by_one_just_as_old_and_long_is_read(watched):
    status = watched.path.stat()
    other = watched.path.with_name("other")
    other.write_text("pick up the disc\n"[: status.st_size])
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(watched.path)
    assert watched.later() == "pick up the disc"


def test_a_prompt_file_is_not_looked_at_in_each_step(watched, monkeypatch):
    looks = []
    stat = type(watched.path).stat
    monkeypatch.setattr(type(watched.path), "stat", lambda path, **how: looks.append(path) or stat(path, **how))
    for _ in range(100):
        watched.now += LOOK_EVERY_S / 10
        watched.source()
    assert 9 <= len(looks) <= 10


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe"], ids=["gone", "empty", "blank", "no text"])
def test_a_prompt_file_that_gets_lost_leaves_the_last_prompt_and_warns_once(watched, caplog, content):
    for times in (1, 2):
        watched.path.unlink() if content is None else watched.path.write_bytes(content)
        assert [watched.later() for _ in range(3)] == ["pick up the cube"] * 3
        warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert len(warnings) == times
        assert f"the prompt stays as it was: cannot read {watched.path}: " in warnings[0]
        watched.path.write_text("pick up the cube")
        assert watched.later() == "pick up the cube"  # and the next loss warns again


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "No such file"), (b"\n", "it is empty"), (b"\xff\xfe", "it is not text in UTF-8")]
)
def test_a_prompt_file_without_a_prompt_is_refused_at_once(tmp_path, content, reason):
    path = tmp_path / "prompt.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"cannot take the prompt from .*prompt\.txt: {reason}"):
        PromptFile(path)
