"""Mappings and lists on the command line can be written as they are meant."""

import pytest

from taketwo.cli.convert import from_text
from taketwo.cli.schema import REQUIRED, Option
from taketwo.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{state: state[0:7]}", {"state": "state[0:7]"}),
        ("{a: images.top, joints: state[:7], p: prompt}", {"a": "images.top", "joints": "state[:7]", "p": "prompt"}),
        ("{position: delta_xyz[3], gripper: binary[1]}", {"position": "delta_xyz[3]", "gripper": "binary[1]"}),
        ('{state: "state[0:7]"}', {"state": "state[0:7]"}),
        ("{a: b}", {"a": "b"}),
    ],
)
def test_brackets_at_the_end_of_a_text_need_no_quotes(text, value):
    assert from_text(Option("mapping", dict[str, str], REQUIRED, ""), text) == value


def test_lists_in_a_mapping_stay_lists():
    assert from_text(Option("m", dict[str, list[int]], REQUIRED, ""), "{a: [1, 2]}") == {"a": [1, 2]}


@pytest.mark.parametrize(("type_", "example"), [(dict[str, str], "{a: b}"), (dict[str, float], "{a: 0.5}")])
def test_the_example_in_the_message_is_of_the_type(type_, example):
    with pytest.raises(ConfigError, match="such as ") as refused:
        from_text(Option("m", type_, REQUIRED, ""), "{a: }b")
    assert example in str(refused.value)
