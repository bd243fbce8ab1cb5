import logging
from dataclasses import replace

import numpy as np
import pytest

from taketwo.control.chunking import OpenLoop
from taketwo.control.config import ControlConfig
from taketwo.control.controller import Controller
from taketwo.control.prompt_trace import PromptTrace, TracesPrompt, excerpts
from taketwo.errors import ConfigError, PolicyError
from taketwo.policies.prompting import TellsPrompt
from taketwo.session.events import StepTaken
from taketwo.testing import PointEnvironment, check_policy, check_sink
from taketwo.types import ActionChunk, Decision, Observation, Outcome, StepResult
from tests.control.support import EPISODE, Says
from tests.support import run_session

REMARK = "the policy reads no prompt: what you send changes nothing"


class Follows(Says):
    """Reads prompts; has one of its own where it was given one."""

    def __init__(self, own_prompt=None, cameras=()):
        super().__init__(lambda k: np.zeros((10, 2)), cameras)
        self.own_prompt = own_prompt


class Tells(Says):
    """A policy that tells what it is made to, as a server may."""

    def __init__(self, prompt=None, source=None, read=None):
        super().__init__(lambda k: ActionChunk(np.zeros((10, 2)), None, prompt, source, read))


class Silent(PointEnvironment):
    """Has no prompt of its own."""

    def _observe(self):
        return replace(super()._observe(), prompt=None)


class Timeless(PointEnvironment):
    """Never says what time it is."""

    def _observe(self):
        return replace(super()._observe(), time_s=0.0)


@pytest.fixture
def shown(caplog):
    """Gives what the trace has shown by now: (step, sent, seen, who used, used)."""
    caplog.set_level(logging.INFO, logger="taketwo.prompt")

    def get():
        blocks = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
        return [parsed(block.splitlines()) for block in blocks]

    def parsed(lines):
        head, sent, seen, used = lines
        assert head.startswith("prompt at step ") and sent[:15] == "  client sent  " and seen[:15] == "  runtime saw  "
        return int(head.removeprefix("prompt at step ")), sent[15:], seen[15:], used[2:8], used[15:]

    return get


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def from_step(step, prompt, other):
    """A session's prompt that changes at a step of the first episode."""
    asked = []

    def current():
        asked.append(None)
        return prompt if len(asked) <= step else other

    return current


def traced(policy, environment=None, *, every_n=0, server=False, control=None, **options):
    """Run a session with a trace, and give what it came to."""
    environment = environment or PointEnvironment()
    trace = PromptTrace(every_n, server=server)
    policy = TracesPrompt(policy if server else TellsPrompt(policy), trace)
    controller = (control or ControlConfig(action_horizon=4)).make(policy, environment.spec)
    try:
        return run_session(environment, controller, [trace], **{"max_episode_steps": 12, "num_episodes": 1} | options)
    finally:
        controller.close()


def test_the_three_points_are_shown_side_by_side_once_while_nothing_changes(shown):
    result = traced(Follows(), prompt=lambda: "pick up the cube", num_episodes=3)
    assert result.fault is None
    cube = "'pick up the cube'"
    assert shown() == [(0, cube, cube, "policy", f"{cube} (from observation)")]


def test_they_are_shown_every_so_many_steps_where_the_policy_is_asked(shown):
    traced(Follows(), every_n=5, prompt=lambda: "go", num_episodes=2)
    assert [row[0] for row in shown()] == [0, 8, 0, 8]  # asked at 0, 4, 8; due at 0, from 5 and from 10 on


@pytest.mark.parametrize(
    "control",
    [
        ControlConfig(action_horizon=4),
        ControlConfig(executor="temporal_ensemble"),
        ControlConfig(executor="asynchronous", prefetch=4),
    ],
    ids=lambda control: control.executor,
)
@pytest.mark.parametrize("environment", [PointEnvironment, Timeless])
def test_a_prompt_that_changes_is_followed_by_every_executor_without_a_false_alarm(shown, control, environment):
    # Step k has the prompt of the k-th question, so each step has its own and no two may be mixed up.
    asked = []

    def prompt():
        asked.append(None)
        return f"prompt {len(asked) - 1}"

    result = traced(Follows(), environment(), control=control, prompt=prompt, max_episode_steps=60, max_hz=500)
    assert (result.fault, result.episodes[0].steps) == (None, 60)
    assert len(shown()) >= 5
    for step, sent, seen, _, used in shown():
        assert sent == seen == f"'prompt {step}'"
        assert used == f"'prompt {step}' (from observation)"


def test_a_change_is_shown_at_the_next_step_that_the_policy_is_asked_at(shown):
    traced(Follows(), prompt=from_step(5, "first", "second"))
    assert [(row[0], row[1]) for row in shown()] == [(0, "'first'"), (8, "'second'")]


def test_a_default_that_counts_where_nothing_was_sent_is_no_difference(shown):
    assert traced(Follows(own_prompt="fold the towel"), Silent()).fault is None
    assert traced(Tells("wipe", "default_prompt", True), Silent(), server=True).fault is None
    assert shown() == [
        (0, "(none)", "(none)", "policy", "'fold the towel' (from checkpoint)"),
        (0, "(none)", "(none)", "server", "'wipe' (from default_prompt)"),
    ]


def test_a_server_that_does_not_tell_is_said_so_and_is_no_fault(shown):
    assert traced(Tells(), server=True, prompt=lambda: "go").fault is None
    assert shown() == [(0, "'go'", "'go'", "server", "(not told)")]


def test_a_policy_that_reads_no_prompt_is_said_so_once(shown, caplog):
    assert traced(Says(lambda k: np.zeros((10, 2))), prompt=lambda: "go", num_episodes=2).fault is None
    assert warnings(caplog) == [REMARK]
    assert shown()[0][-1] == "(reads no prompt; got 'go', from observation)"


def test_a_prompt_that_a_policy_without_interest_did_not_get_is_no_fault(shown):
    assert traced(Tells(None, None, False), server=True, prompt=lambda: "go").fault is None
    assert shown()[0][-1] == "(reads no prompt; got none)"


@pytest.mark.parametrize(
    ("told", "server", "message"),
    [
        (
            ("stay", "default_prompt", True),
            True,
            "the policy server used another prompt than was sent: sent 'go', used 'stay' (from default_prompt); "
            "what was sent does not get there: look whether --policy.layout or --policy.mapping carries it",
        ),
        (
            (None, None, True),
            True,
            "the policy server used another prompt than was sent: sent 'go', used none; "
            "what was sent does not get there: look whether --policy.layout or --policy.mapping carries it",
        ),
        (
            ("Go", "observation", True),
            True,
            "the policy server used another prompt than was sent: sent 'go', used 'Go'; "
            "something on the way changes it: find it in the server's log by --prompt_id",
        ),
        (
            ("stay", "checkpoint", None),
            False,
            "the policy used another prompt than was sent: sent 'go', used 'stay' (from checkpoint); "
            "what was sent does not get there: look whether --policy.layout or --policy.mapping carries it",
        ),
    ],
)
def test_another_prompt_than_was_sent_ends_the_session_before_anything_moves(shown, told, server, message):
    result = traced(Tells(*told), server=server, prompt=lambda: "go", num_episodes=3)
    assert isinstance(result.fault, PolicyError)
    assert str(result.fault) == message
    assert [(episode.outcome, episode.steps) for episode in result.episodes] == [(Outcome.FAULT, 0)]
    (row,) = shown()
    assert row[:3] == (0, "'go'", "'go'")
    assert told[0] is None or told[0] in row[-1]


def test_another_prompt_used_by_an_asynchronous_policy_ends_the_session_too(shown):
    policy = Tells("stay", "default_prompt", True)
    control = ControlConfig(executor="asynchronous", prefetch=4)
    prompt = from_step(3, "stay", "go")
    result = traced(policy, server=True, control=control, prompt=prompt, max_episode_steps=100)
    assert "sent 'go', used 'stay'" in str(result.fault)
    assert [(row[0], row[1]) for row in shown()] == [(0, "'stay'"), (6, "'go'")]
    assert result.episodes[0].steps > 6


class Meddles(OpenLoop):
    """An executor that changes the prompt on its way from some step on."""

    def next_action(self, observation):
        if observation.time_s > 0.1:
            observation = replace(observation, prompt="something else")
        return super().next_action(observation)


def test_a_prompt_changed_between_session_and_policy_ends_the_session(shown):
    environment, trace = PointEnvironment(), PromptTrace()
    policy = TracesPrompt(TellsPrompt(Follows()), trace)
    controller = Controller(Meddles(policy, 4), environment.spec)
    result = run_session(environment, controller, [trace], num_episodes=3, max_faults=3, max_episode_steps=50)
    own = environment.spec.prompt
    assert str(result.fault) == (
        f"the prompt was changed on its way to the policy: at step 8 the runtime saw {own!r}, and the policy was sent "
        "'something else'; look at what stands between them, such as the executor"
    )
    assert [episode.outcome for episode in result.episodes] == [Outcome.FAULT]
    assert shown()[-1] == (8, "'something else'", repr(own), "policy", "'something else' (from observation)")


def taken(observation, index=0):
    action = np.zeros(2)
    return StepTaken(
        index, index, observation, Decision(action, action), StepResult(observation, 0.0, False, False), 0.0, 0.0
    )


def test_a_policy_that_begins_to_infer_after_the_step_is_compared_all_the_same(shown):
    # As on a thread of its own that the system wakes late.
    trace, state = PromptTrace(), np.zeros(2)
    trace.on(taken(Observation(np.zeros(2), prompt="other"), 2))
    trace.on(taken(Observation(state, prompt="go"), 3))
    request = trace.sent(Observation(state, prompt="go", extras={"running_chunk": None}))
    trace.answered(request, ActionChunk(np.zeros((1, 2)), None, "go", "observation", True))
    assert shown() == [(3, "'go'", "'go'", "policy", "'go' (from observation)")]
    trace.on(taken(Observation(late := np.zeros(2), prompt="go"), 4))
    with pytest.raises(PolicyError, match="at step 4 the runtime saw 'go', and the policy was sent 'stay'"):
        trace.sent(Observation(late, prompt="stay"))
    assert shown()[-1] == (4, "'stay'", "'go'", "policy", "(no answer yet)")


def test_a_request_is_compared_with_its_own_step_alone_also_where_time_stands_still(shown):
    trace, state = PromptTrace(), np.zeros(2)
    request = trace.sent(Observation(state, prompt="go"))
    trace.on(taken(Observation(np.zeros(2), prompt="other"), 2))
    trace.answered(request, ActionChunk(np.zeros((1, 2)), None, "go", "observation", True))
    assert shown() == []
    trace.on(taken(Observation(state, prompt="go"), 3))
    assert [row[:3] for row in shown()] == [(3, "'go'", "'go'")]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("a", "b", ("'a'", "'b'")),
        (None, "b", ("none", "'b'")),
        ("pick up", "pick  up\n", ("'pick up'", r"'pick  up\n'")),
        (100 * "x" + "left", 100 * "x" + "right", (f"'…{20 * 'x'}left'", f"'…{20 * 'x'}right'")),
        (100 * "x", 100 * "x" + "y", (f"'…{20 * 'x'}'", f"'…{20 * 'x'}y'")),
        ("a" + 100 * "x", "b", ("'a" + 79 * "x" + "…'", "'b'")),
    ],
)
def test_two_prompts_are_told_apart_by_what_is_quoted_of_them(first, second, expected):
    assert excerpts(first, second) == expected


def test_the_tracing_policy_forwards_every_member_and_the_chunk_as_it_is():
    inner = Tells("go", "observation", True)
    inner.cameras = ("top",)
    policy = TracesPrompt(inner, PromptTrace())
    policy.reset(EPISODE)
    observation = replace(PointEnvironment().reset(0), prompt="go")
    assert policy.infer(observation).prompt_source == "observation"
    policy.close()
    assert (policy.cameras, inner.resets, inner.closed) == (("top",), [EPISODE], 1)
    assert inner.asked == [observation]


def test_it_keeps_the_contracts_of_policies_and_sinks():
    check_policy(TracesPrompt(Follows(), PromptTrace(3)), PointEnvironment())
    check_sink(lambda: PromptTrace(3))


def test_the_trace_loses_no_step_and_the_session_cannot_do_without_it():
    trace = PromptTrace()
    assert (trace.lossless, trace.required, tuple(trace.cameras(0))) == (True, True, ())


def test_a_trace_cannot_be_shown_every_minus_one_steps():
    with pytest.raises(ConfigError, match="every 1 or more steps, not every -1"):
        PromptTrace(-1)
