"""What a client sends as a prompt cannot write into the server's log what it likes."""

import logging

import pytest

from taketwo.policies.prompting import EffectivePrompt
from taketwo.serving.prompt_log import SHOWN_CHARACTERS, PromptLog


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO, logger="taketwo.serve")

    def say(text):
        caplog.clear()
        PromptLog(3, 0).saw(EffectivePrompt(text, "observation", True))
        (record,) = caplog.records
        return record.getMessage()

    return say


@pytest.mark.parametrize(
    ("prompt", "line"),
    [
        ("go\nclient 1, request 9, prompt used: 'stop'", """ "go client 1, request 9, prompt used: 'stop'" """),
        ("\x1b[2Jgone", r" '\x1b[2Jgone' "),
        ("\u202etfel og", r" '\u202etfel og' "),
        ("bell\x07 and \x9b31m", r" 'bell\x07 and \x9b31m' "),
        ("\ud800", r" '\ud800' "),
        ("den Würfel greifen, 拿起方块", " 'den Würfel greifen, 拿起方块' "),
    ],
)
def test_a_prompt_is_told_on_one_line_with_what_a_terminal_would_act_on_escaped(said, prompt, line):
    message = said(prompt)
    assert message == f"client 3, request 1, prompt used:{line}(from observation)"
    assert message.isprintable()


@pytest.mark.parametrize("prompt", ["word " * 1_000_000, "\x1b" * 10_000, " " * 5_000 + "x"])
def test_a_prompt_of_any_length_takes_a_short_line(said, prompt):
    message = said(prompt)
    assert message.endswith("…' (from observation)")
    assert len(message) < SHOWN_CHARACTERS + 100
