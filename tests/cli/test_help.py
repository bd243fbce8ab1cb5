import subprocess
import sys

import pytest

from tests.cli.support import taketwo

HEAVY = {"mujoco", "gym_aloha", "dm_control", "mink", "gymnasium", "av", "PIL", "rich", "websockets", "scipy"}


def modules_after(*words):
    """Top-level names of what a command line imports."""
    code = (
        "import sys\nfrom taketwo.cli.main import main\n"
        f"main({list(words)!r})\nprint('|' + ' '.join({{name.split('.')[0] for name in sys.modules}}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("|")[2].split())


def test_help_imports_nothing_but_the_standard_library():
    assert not modules_after("--help") & (HEAVY | {"numpy", "msgspec", "yaml"})


@pytest.mark.parametrize("words", [["run", "--help"], ["run", "--env.type=gym", "--policy.type=remote", "--help"]])
def test_help_of_run_imports_no_simulator_and_no_codec(words):
    assert not modules_after(*words) & HEAVY


def test_help_names_the_commands():
    done = taketwo("--help")
    assert done.returncode == 0
    assert all(f"\n  {command} " in done.stdout for command in ("run", "list", "doctor"))
    assert taketwo().stdout == done.stdout


def test_version():
    from taketwo import __version__

    assert taketwo("--version").stdout == f"taketwo {__version__}\n"


def test_help_of_run_shows_the_chosen_types_flags_and_fits_80_columns():
    default = taketwo("run", "--help").stdout
    assert "--env.task  transfer_cube | insertion  [transfer_cube]" in default
    assert "--session.num_episodes  int  [3]" in default
    assert "--policy.host" not in default
    other = taketwo("run", "--policy.type=remote", "--help").stdout
    assert "--policy.host  text  [127.0.0.1]" in other
    assert max(len(line) for line in (default + other).splitlines()) <= 80


def test_every_flag_has_a_line_of_help():
    from taketwo.cli.config import RunConfig
    from taketwo.cli.schema import options_of

    for env in ("aloha", "gym"):
        for policy in ("scripted", "remote", "noop", "random"):
            options = options_of(RunConfig, {"env": env, "policy": policy})
            assert not [name for name, option in options.items() if not option.help]


def test_list_names_components_tasks_and_extras():
    done = taketwo("list")
    assert done.returncode == 0
    assert "aloha" in done.stdout
    assert "tasks: transfer_cube, insertion" in done.stdout
    assert "scripted" in done.stdout
    assert "remote" not in taketwo("list", "envs").stdout


def test_the_list_says_what_gym_needs_its_extra_for():
    lines = [line for line in taketwo("list", "envs", COLUMNS="200").stdout.splitlines() if "extra gym" in line]
    assert len(lines) == 2  # gym and gym_vector
    assert all("extra gym, for render() of classic control, such as CartPole-v1, is " in line for line in lines)
