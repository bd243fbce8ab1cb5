"""The configuration of `taketwo run`, by flags and by file."""

import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from taketwo.cli.config import RunConfig, source_of
from taketwo.cli.flags import read_flags
from taketwo.cli.resolve import resolve, to_plain
from taketwo.errors import ConfigError
from taketwo.policies.remote import RemoteConfig
from taketwo.session.config import SessionConfig


def configured(*words):
    return resolve(RunConfig, source_of(read_flags(words).flags))


def test_no_flag_is_three_episodes_of_the_cube_transfer_by_the_scripted_policy():
    config = configured()
    assert (config.env.type, config.env.options.task, config.policy.type) == ("aloha", "transfer_cube", "scripted")
    assert config.session == SessionConfig(seed=0, num_episodes=3)


@pytest.mark.parametrize("flag", ["--session.total_seconds=60", "--session.max_total_steps=900"])
def test_a_length_that_is_asked_for_is_not_cut_at_three_episodes(flag):
    assert configured(flag).session.num_episodes is None
    assert configured(flag, "--session.num_episodes=2").session.num_episodes == 2


@pytest.mark.parametrize("key", ["total_seconds", "total-seconds"])
def test_a_length_in_the_file_is_not_cut_at_three_episodes(tmp_path, key):
    path = tmp_path / "run.yaml"
    path.write_text(f"session: {{{key}: 60}}\n")
    config = configured(f"--config_path={path}")
    assert config.session.total_seconds == 60
    assert config.session.num_episodes is None


def test_the_commands_of_the_readme_and_of_lerobots_manner_work():
    config = configured(
        "--env.type=aloha", "--env.task", "insertion", "--session.num-episodes=3", "--output-dir=out",
        "--env.cameras=top,angle", "--control.preset=aloha", "--control.ema_alpha={'*': 0.5, '*gripper': 1}",
        "--control.max_step_delta=inf", "--video.cameras=[top, angle]", "--policy.skip_grasp_check",
    )  # fmt: skip
    assert config.env.options.task == "insertion"
    assert config.env.options.cameras == config.video.cameras == ("top", "angle")
    assert config.control.ema_alpha == {"*": 0.5, "*gripper": 1.0}
    assert config.policy.options.skip_grasp_check is True
    assert config.output_dir == Path("out")


@pytest.mark.parametrize("form", ["yaml", "json"])
@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--control.ema_alpha={'*': 0.5}", "--control.max_step_delta={'*': inf}", "--env.cameras=top,angle"],
        ["--env.type=gym", "--env.kwargs={continuous: true, size: [1, 2]}", "--policy.type=remote", "--prompt=go"],
        ["--session.total_seconds=2.5", "--control.guard=false", "--policy.grasp_noise=1e-3"],
    ],
)
def test_what_is_stored_gives_the_same_configuration_back(tmp_path, words, form):
    config = configured(*words)
    path = tmp_path / "again.yaml"
    plain = to_plain(config)
    path.write_text(yaml.safe_dump(plain) if form == "yaml" else json.dumps(plain, allow_nan=False))
    assert configured(f"--config_path={path}") == config


def test_flags_win_over_the_file_even_for_the_type(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("env: {type: gym}\nsession: {seed: 1, num_episodes: 2}\n")
    config = configured(f"--config_path={path}", "--env.type=aloha", "--session.seed=9")
    assert config.env.type == "aloha"
    assert config.session == SessionConfig(seed=9, num_episodes=2)


def test_options_of_the_files_type_do_not_pass_silently_to_another(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("env: {type: aloha, task: insertion}\n")
    with pytest.raises(ConfigError, match=r"env\.task in .* belongs to env.type aloha or libero, and env.type is gym"):
        configured(f"--config_path={path}", "--env.type=gym")


def test_an_api_key_is_never_stored():
    config = configured("--policy.type=remote", "--policy.api_key=opensesame")
    assert config.policy.options.api_key == "opensesame"
    assert "opensesame" not in json.dumps(to_plain(config))
    assert "opensesame" not in repr(config)


def test_a_token_in_the_servers_address_is_never_stored():
    config = configured("--policy.type=remote", "--policy.host=ws://box/x?token=opensesame")
    assert config.policy.options.host == "ws://box/x?token=opensesame"
    assert to_plain(config)["policy"]["host"] == "ws://box/x?***"


def test_every_option_is_stored():
    plain = to_plain(configured("--policy.type=remote"))
    assert set(plain) == {field.name for field in dataclasses.fields(RunConfig)}
    assert set(plain["policy"]) == {"type", *(field.name for field in dataclasses.fields(RemoteConfig))}
