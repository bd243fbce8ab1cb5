"""What users get for their mistakes: one line that helps, and status 2."""

import pytest

from tests.cli.support import error_of, install_plugin, taketwo


def refused(*words, **kwargs):
    done = taketwo(*words, **kwargs)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    return error_of(done)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--env.type=alhoa"], "unknown environment 'alhoa'. Did you mean 'aloha'?"),
        (["--policy.type=script"], "unknown policy 'script'. Did you mean 'scripted'?"),
        (["--session.num_episode=3"], "unknown flag --session.num_episode. Did you mean --session.num_episodes?"),
        (["--num_episodes=3"], "unknown flag --num_episodes. Did you mean --session.num_episodes?"),
        (["--seed=3"], "unknown flag --seed. Did you mean --session.seed?"),
        (["--config=run.yaml"], "unknown flag --config. Did you mean --config_path?"),
        (
            ["--policy.host=box"],
            "--policy.host belongs to --policy.type=openvla_rest or remote or vla_eval, and --policy.type is scripted",
        ),
        (["--session.total_seconds=0"], "--session.total_seconds must be a finite number above 0, not 0.0"),
        (["--session.total_seconds", "-3"], "--session.total_seconds must be a finite number above 0, not -3.0"),
        (["--session.num_episodes=none"], "nothing ends the session: give --session.num_episodes"),
        (["--session.seed"], "--session.seed needs a value: int"),
        (["--control.ema_alpha=7"], "--control.ema_alpha must be"),
        (["--session.max_hz=inf"], "--session.max_hz must be a finite number, 0 or more, not inf"),
        (["--prompt=a", "--prompt_file=b"], "--prompt_file cannot be combined with --prompt: give one of them"),
        (["--prompt_file=none.txt"], "--prompt_file: cannot take the prompt from none.txt: No such file or directory"),
        (["--prompt_echo_every=-1"], "--prompt_echo_every must be 0 or more, not -1"),
        (["--print_config=yes"], "--print_config takes no value"),
        (["episodes"], "unexpected word 'episodes'"),
        (["--config_path=none.yaml"], "cannot read none.yaml: No such file or directory"),
    ],
)
def test_a_wrong_flag_of_run(words, expected, tmp_path):
    assert expected in refused("run", *words, cwd=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flag", ["--env.cameras=tpo", "--video.cameras=tpo"])
def test_an_unknown_camera_is_told_with_the_nearest(flag, tmp_path):
    pytest.importorskip("gym_aloha")
    assert "unknown camera 'tpo'. Did you mean 'top'?" in refused("run", flag, cwd=tmp_path)


def test_a_camera_that_observations_do_not_carry_says_what_to_add(tmp_path):
    pytest.importorskip("gym_aloha")
    message = refused("run", "--video.cameras=angle", cwd=tmp_path)
    assert message == "--video.cameras: observations carry top, and not angle: give --env.cameras=top,angle"


def test_a_yaml_value_of_a_wrong_type(tmp_path):
    (tmp_path / "run.yaml").write_text("session:\n  num_episodes: lots\n")
    message = refused("run", "--config_path=run.yaml", cwd=tmp_path)
    assert message == "session.num_episodes in run.yaml: expected int, got str 'lots'"


def test_a_key_that_is_unknown(tmp_path):
    (tmp_path / "run.yaml").write_text("sesion:\n  seed: 1\n")
    assert refused("run", "--config_path=run.yaml", cwd=tmp_path).startswith("unknown key sesion in run.yaml.")


def test_an_output_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    message = refused("run", "--output_dir=file/out", cwd=tmp_path)
    assert message.startswith("--output_dir: cannot write file/out: ")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["rnu"], "unknown command 'rnu'. Did you mean 'run'?"),
        (["--session.seed=3"], "a command comes before --session.seed=3, as in: taketwo run --session.seed=3"),
        (["doctor", "--jsn"], "unknown flag --jsn. Did you mean --json?"),
        (["doctor", "gl"], "taketwo doctor takes no argument, got 'gl'"),
        (["list", "env"], "unknown list 'env'. Did you mean 'envs'?"),
        (["list", "--all"], "unknown flag --all; taketwo list takes none"),
        (["-x"], "a command comes before -x"),
    ],
)
def test_a_wrong_command(words, expected):
    assert expected in refused(*words)


def test_a_policy_that_does_not_fit_the_environment(tmp_path):
    message = refused("run", "--env.type=gym", "--env.render=false", "--video.mode=off", cwd=tmp_path)
    assert "not CartPole-v1; choose another --policy.type" in message


def test_a_policy_that_gets_no_controller_is_closed(tmp_path):
    plugin = install_plugin(tmp_path)
    message = refused(
        "run", "--env.type=fragile", "--policy.type=still", "--policy.log=closed.txt", "--video.mode=off",
        "--control.ema_alpha={elbow: 0.5}", cwd=tmp_path, PYTHONPATH=plugin,
    )  # fmt: skip
    assert message == "control: unknown action name in ema_alpha 'elbow'. Known: joint."
    assert (tmp_path / "closed.txt").read_text() == "closed\n"


@pytest.mark.parametrize("breaks", ["making", "reset"])
def test_an_environment_that_cannot_be_made_is_a_fault_in_a_line(breaks, tmp_path):
    plugin = install_plugin(tmp_path)
    done = taketwo(
        "run", "--env.type=gym", "--env.id=still_plugin:Broken-v0", f"--env.kwargs={{breaks: {breaks}}}",
        "--policy.type=noop", cwd=tmp_path, PYTHONPATH=plugin,
    )  # fmt: skip
    assert done.returncode == 1
    assert error_of(done) == f"the environment cannot be made: RuntimeError: no robot, says {breaks}"


def test_a_policy_that_cannot_be_made_is_a_fault_in_a_line(tmp_path):
    plugin = install_plugin(tmp_path)
    done = taketwo(
        "run", "--env.type=fragile", "--policy.type=still", "--policy.log=no/such/folder", "--video.mode=off",
        cwd=tmp_path, PYTHONPATH=plugin,
    )  # fmt: skip
    assert done.returncode == 1
    assert error_of(done).startswith("the policy cannot be made: FileNotFoundError: ")


def test_a_simulator_without_a_display_is_told_in_a_line(tmp_path):
    pytest.importorskip("mujoco")
    pytest.importorskip("imageio")
    done = taketwo(
        "run", "--env.type=gym", "--env.id=InvertedPendulum-v5", "--policy.type=noop",
        cwd=tmp_path, MUJOCO_GL="glfw", DISPLAY="", WAYLAND_DISPLAY="",
    )  # fmt: skip
    assert done.returncode == 1
    assert error_of(done).startswith("the environment cannot be made: ")


def test_a_key_that_is_a_list_is_told_with_its_place(tmp_path):
    (tmp_path / "run.yaml").write_text("session:\n  [seed, 1]: 2\n")
    assert refused("run", "--config_path=run.yaml", cwd=tmp_path) == "run.yaml, line 2, column 3: found unhashable key"


def test_a_policy_server_that_is_not_there_is_a_fault_and_not_a_wrong_flag(tmp_path):
    pytest.importorskip("gym_aloha")
    done = taketwo(
        "run", "--policy.type=remote", "--policy.port=9", "--policy.connect_timeout_s=0.2", "--prompt=x", cwd=tmp_path
    )
    assert done.returncode == 1
    assert "no policy server answers" in error_of(done)


def test_a_broken_gl_is_told_in_a_line(tmp_path):
    pytest.importorskip("gym_aloha")
    done = taketwo("run", cwd=tmp_path, MUJOCO_GL="glfw", DISPLAY="", WAYLAND_DISPLAY="")
    assert done.returncode == 1
    assert error_of(done).startswith("MUJOCO_GL=glfw does not work")
