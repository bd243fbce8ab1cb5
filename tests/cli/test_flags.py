import pytest

from taketwo.cli.flags import read_flags
from taketwo.errors import ConfigError


def test_both_ways_of_giving_a_value_are_the_same():
    assert read_flags(["--session.seed=5"]).flags == read_flags(["--session.seed", "5"]).flags == {"session.seed": "5"}


def test_dashes_and_underscores_are_alike_in_names_but_not_in_values():
    assert read_flags(["--output-dir=my-run", "--env.type", "my-env"]).flags == {
        "output_dir": "my-run",
        "env.type": "my-env",
    }


def test_a_flag_alone_has_no_value_even_before_another_flag():
    assert read_flags(["--control.clip", "--quiet"]).flags == {"control.clip": None, "quiet": None}


def test_negative_numbers_are_values():
    assert read_flags(["--session.total_seconds", "-3"]).flags == {"session.total_seconds": "-3"}


def test_a_value_may_hold_an_equals_sign_and_be_empty():
    assert read_flags(["--prompt=a=b", "--x="]).flags == {"prompt": "a=b", "x": ""}


def test_the_last_of_a_flag_given_twice_wins():
    assert read_flags(["--session.seed=1", "--session.seed=2"]).flags == {"session.seed": "2"}


def test_switches_leave_the_next_word_alone():
    line = read_flags(["--json", "envs"], switches=("json",))
    assert line.flags == {"json": None}
    assert line.arguments == ["envs"]


def test_a_single_dash_is_refused_with_what_to_write():
    with pytest.raises(ConfigError, match="two dashes, as in --seed=5"):
        read_flags(["-seed=5"])


def test_h_is_help():
    assert "help" in read_flags(["--env.type=gym", "-h"]).flags
