import re

import pytest

from taketwo.control.prompt import SHOWN_CHARACTERS, PromptSource, prompt_line, shown
from taketwo.control.prompt_id import MarkedPrompt, MarksOwnPrompt, check_prompt_id, made_prompt_id, marked
from taketwo.errors import ConfigError
from taketwo.session.events import TerminalObservation
from taketwo.testing import PointEnvironment
from tests.support import Keep, run_session


def test_the_token_is_never_cut_off_where_a_prompt_is_shown_short():
    longest = 32 * "x"
    check_prompt_id(longest)
    prompt = marked(1000 * "word ", longest)
    assert prompt.startswith(f"[prompt_id={longest}] word word")
    assert f"[prompt_id={longest}] word" in shown(prompt) and len(shown(prompt)) == SHOWN_CHARACTERS
    assert f"[prompt_id={longest}] word" in prompt_line("client", 0, prompt)


def test_a_made_up_token_is_short_and_another_each_time():
    tokens = {made_prompt_id("auto") for _ in range(20)}
    assert len(tokens) == 20
    assert all(re.fullmatch("[0-9a-f]{8}", token) for token in tokens)
    assert made_prompt_id("run-7") == "run-7"


@pytest.mark.parametrize("token", ["", "a b", "a]b", "x" * 33, "ä", "line\n"])
def test_a_token_that_a_log_would_not_show_as_it_is_is_refused(token):
    with pytest.raises(ConfigError, match="prompt_id must be auto, or 1 to 32 letters"):
        check_prompt_id(token)


def test_each_new_text_gets_the_token_and_none_stays_none():
    source = PromptSource("first")
    prompt = MarkedPrompt(source, "k1")
    assert prompt() == "[prompt_id=k1] first"
    source.text = "second"
    assert prompt() == "[prompt_id=k1] second"
    source.text = None
    assert prompt() is None


def test_the_environments_own_prompt_gets_the_token_in_every_observation():
    keep = Keep()
    environment = MarksOwnPrompt(PointEnvironment(), "k1")
    run_session(environment, sinks=[keep], max_total_steps=3)
    own = "[prompt_id=k1] Move the point onto the target"
    assert environment.spec.prompt == own
    (end,) = keep.of(TerminalObservation)
    assert {step.observation.prompt for step in keep.steps} | {end.observation.prompt} == {own}


def test_a_prompt_that_is_given_replaces_the_environments_own_and_has_the_token_once():
    keep = Keep()
    environment = MarksOwnPrompt(PointEnvironment(), "k1")
    run_session(environment, sinks=[keep], prompt=MarkedPrompt(PromptSource("go"), "k1"), max_total_steps=3)
    assert {step.observation.prompt for step in keep.steps} == {"[prompt_id=k1] go"}
