"""The files in docker/, as far as they can be tried without a daemon; scripts/check_docker.sh does the rest."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
DOCKER = ROOT / "docker"
COMPOSE = ROOT / ".venv-docker" / "bin" / "docker-compose"
KEY = "TAKETWO_API_KEY"

PRINT_WORDS = [sys.executable, "-c", "import json, sys; print(json.dumps(sys.argv[1:]))"]


@pytest.fixture(scope="module")
def services():
    return yaml.safe_load((DOCKER / "compose.yml").read_text())["services"]


def environment(**variables):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {name: text for name, text in os.environ.items() if name != KEY} | {"PATH": path} | variables


def with_arguments(command, folder=None, **variables):
    return subprocess.run(
        ["sh", DOCKER / "with_arguments.sh", *command],
        env=environment(**variables),
        cwd=folder,
        capture_output=True,
        text=True,
    )


def instructions(name):
    """(instruction, rest) of a Dockerfile's lines."""
    text = re.sub(r"\\\n\s*", " ", (DOCKER / name).read_text())
    return [line.split(" ", 1) for line in text.splitlines() if line and not line.startswith("#")]


def command_of(name):
    (command,) = (json.loads(rest) for instruction, rest in instructions(name) if instruction == "CMD")
    return command


def default_of(variable, text):
    """What a compose value is when the variable is not set."""
    return re.fullmatch(rf"\$\{{{variable}:-(.*)\}}", text)[1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            '--env ALOHA_SIM --default_prompt "Insert the peg"',
            ["--env", "ALOHA_SIM", "--default_prompt", "Insert the peg"],
        ),
        ("--default_prompt='Insert the peg'", ["--default_prompt=Insert the peg"]),
        (r"--default_prompt Insert\ the\ peg", ["--default_prompt", "Insert the peg"]),
        ("""--prompt "the robot's arm" """, ["--prompt", "the robot's arm"]),
        ("""--control.ema_alpha='{"*": 0.6, "*gripper": 1}'""", ['--control.ema_alpha={"*": 0.6, "*gripper": 1}']),
        ("--a=1\n  --b=2\t--c=3\n", ["--a=1", "--b=2", "--c=3"]),
        ('--prompt ""', ["--prompt", ""]),
        ('--prompt "größer, 右"', ["--prompt", "größer, 右"]),
        ("", []),
        ("   ", []),
    ],
)
def test_words_in_quotes_arrive_as_one(text, words):
    done = with_arguments(["ARGS", *PRINT_WORDS, "first"], ARGS=text)
    assert json.loads(done.stdout) == ["first", *words]


def test_a_variable_that_is_not_set_adds_nothing():
    assert json.loads(with_arguments(["SURELY_NOT_SET", *PRINT_WORDS, "a b"]).stdout) == ["a b"]


def test_nothing_in_the_variable_is_expanded_or_run(tmp_path):
    text = r"""* $HOME "$(touch ran)" `touch ran` ; touch ran && touch ran # end"""
    done = with_arguments(["ARGS", *PRINT_WORDS], tmp_path, ARGS=text)
    assert json.loads(done.stdout) == shlex.split(text)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "text", "message"),
    [
        (PRINT_WORDS, '--prompt "Insert the peg', "error: ARGS cannot be taken apart: No closing quotation"),
        (["no-such-command"], "", "error: no-such-command: No such file or directory"),
    ],
)
def test_what_cannot_be_run_is_told_in_one_line(command, text, message):
    done = with_arguments(["ARGS", *command], ARGS=text)
    assert done.returncode == 1
    assert done.stderr.strip() == message
    assert not done.stdout


def test_the_command_takes_the_scripts_place_so_that_it_gets_the_signals():
    command = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"]
    process = subprocess.Popen(
        ["sh", DOCKER / "with_arguments.sh", "ARGS", *command], env=environment(), stdout=subprocess.PIPE, text=True
    )
    assert int(process.stdout.readline()) == process.pid
    process.terminate()
    assert process.wait() == -signal.SIGTERM
    process.stdout.close()


@contextmanager
def served(words, **variables):
    """The server's image's command with a free port; yields where it listens."""
    text = shlex.join([*words, "--port=0"])
    process = subprocess.Popen(
        ["sh", DOCKER / "with_arguments.sh", *command_of("server.Dockerfile")[1:]],
        env=environment(SERVER_ARGS=text, **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        port = None
        while port is None and (line := process.stdout.readline()):
            port = re.search(r"at ws://0\.0\.0\.0:(\d+)", line)
        assert port, f"the server did not start: {process.wait()}"
        yield int(port[1])
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_both_commands_as_compose_starts_them_play_an_episode(services, tmp_path):
    words = shlex.split(default_of("SERVER_ARGS", services["server"]["environment"]["SERVER_ARGS"]))
    with served(words, **{KEY: "secret"}) as port:
        check = [word.replace(":8000/", f":{port}/") for word in services["server"]["healthcheck"]["test"][1:]]
        assert subprocess.run(check, env=environment()).returncode == 0
        flags = f"--policy.host=127.0.0.1 --policy.port={port} --session.num_episodes=1 --session.max_episode_steps=20"
        command = command_of("runtime.Dockerfile")[1:]
        text = f"{flags} --video.mode=off --prompt 'pass the cube'"
        done = with_arguments(command, tmp_path, RUN_ARGS=text, **{KEY: "secret"})
        assert done.returncode == 0, done.stderr
        other = with_arguments(command, tmp_path, RUN_ARGS=text, **{KEY: "another"})
        assert other.returncode == 1
        assert "API key" in other.stderr
    assert subprocess.run(check, env=environment(), capture_output=True).returncode == 1
    told = json.loads((tmp_path / "outputs" / "session.json").read_text())
    assert [(episode["steps"], episode["prompts"]) for episode in told["episodes"]] == [(20, ["pass the cube"])]


def test_the_servers_command_refuses_to_start_without_a_key():
    command = command_of("server.Dockerfile")[1:]
    done = with_arguments(command, SERVER_ARGS="--env ALOHA_SIM --policy.type=scripted --port=0")
    assert done.returncode == 2
    assert KEY in done.stderr


def test_the_runtime_waits_until_the_server_is_healthy(services):
    assert services["runtime"]["depends_on"] == {"server": {"condition": "service_healthy"}}
    assert "/healthz" in services["server"]["healthcheck"]["test"][-1]


def test_the_commands_variables_are_those_that_compose_gives(services):
    for service in ("server", "runtime"):
        script, variable, *_ = command_of(f"{service}.Dockerfile")
        assert script == "with_arguments.sh"
        assert variable in services[service]["environment"]
        assert KEY in services[service]["environment"]


def test_the_port_is_published_to_this_machine_alone_unless_told_otherwise(services):
    (port,) = services["server"]["ports"]
    assert port == "${SERVER_BIND:-127.0.0.1}:${SERVER_PORT:-8000}:8000"
    assert "--port=8000" in command_of("server.Dockerfile")
    assert ["EXPOSE", "8000"] in instructions("server.Dockerfile")


@pytest.mark.parametrize("service", ["server", "runtime"])
def test_a_service_runs_as_a_user_that_owns_its_volumes(services, service):
    assert services[service]["init"] is True
    image = dict(instructions(f"{service}.Dockerfile"))
    assert image["USER"] == "${UID}"
    assert image["WORKDIR"] == "/data"
    (made,) = (rest for _, rest in instructions(f"{service}.Dockerfile") if "useradd" in rest)
    for volume in services[service]["volumes"]:
        assert volume.rpartition(":")[2] in made.split()


def copied(name):
    return [source for word, rest in instructions(name) if word == "COPY" for source in rest.split()[:-1]]


@pytest.mark.parametrize("name", ["server.Dockerfile", "runtime.Dockerfile"])
def test_everything_copied_is_in_the_repository_and_let_through(name):
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    ).stdout.splitlines()
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_through = [rule[1:] for rule in rules if rule.startswith("!")]
    for source in copied(name):
        assert any(path == source or path.startswith(f"{source}/") for path in listed), source
        assert any(source == path or source.startswith(f"{path}/") for path in let_through), source
    for path in let_through:
        assert any(path == source for name in ("server", "runtime") for source in copied(f"{name}.Dockerfile")), path


def test_both_images_have_the_same_exact_base():
    bases = {dict(instructions(f"{name}.Dockerfile"))["FROM"] for name in ("server", "runtime")}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.1[123]\.\d+-slim-bookworm", bases.pop())


def test_the_guide_has_every_variable_with_its_default():
    guide = (DOCKER / "README.md").read_text()
    for path in DOCKER.glob("compose*.yml"):
        for name, default in re.findall(r"\$\{(\w+)(?::-([^}]*))?", path.read_text()):
            assert f"`{name}`" in guide, name
            assert not default or f"`{default}`" in guide, default


@pytest.fixture
def composed(tmp_path):
    """Docker Compose's own reading of compose.yml, with variables from the shell or a file of them."""
    if not COMPOSE.exists():
        pytest.skip("Docker Compose is not here: make check-docker fetches it")

    def read(env_file="", files=("compose.yml",), **variables):
        (tmp_path / ".env").write_text(env_file)
        words = [word for file in files for word in ("-f", DOCKER / file)]
        known = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
        done = subprocess.run(
            [COMPOSE, "--env-file", tmp_path / ".env", *words, "config", "--format=json"],
            env=known | variables,
            capture_output=True,
            text=True,
        )
        return json.loads(done.stdout)["services"] if done.returncode == 0 else done.stderr

    return read


SPOKEN = '--env ALOHA_SIM --default_prompt "Insert the peg for $5, it\\"s * small"'


@pytest.mark.parametrize("in_file", [False, True], ids=["from_the_shell", "from_a_file"])
def test_a_prompt_with_spaces_goes_through_compose_into_the_command(composed, in_file):
    services = (
        composed(f"{KEY}=k\nSERVER_ARGS='{SPOKEN}'\n") if in_file else composed(**{KEY: "k", "SERVER_ARGS": SPOKEN})
    )
    text = services["server"]["environment"]["SERVER_ARGS"].replace("$$", "$")  # Compose shows each $ as $$
    done = with_arguments(["SERVER_ARGS", *PRINT_WORDS], SERVER_ARGS=text)
    assert json.loads(done.stdout) == ["--env", "ALOHA_SIM", "--default_prompt", 'Insert the peg for $5, it"s * small']


def test_compose_says_which_variable_is_missing_and_what_it_is_for(composed):
    said = composed()
    assert f"required variable {KEY} is missing a value" in said
    assert "DISPLAY is missing a value" in composed(files=("compose.yml", "compose.x11.yml"), **{KEY: "k"})


def test_outputs_are_a_volume_or_a_folder_of_ones_own(composed, tmp_path):
    def outputs(**variables):
        volumes = composed(**{KEY: "k"}, **variables)["runtime"]["volumes"]
        (found,) = (volume for volume in volumes if volume["target"] == "/data/outputs")
        return found["type"], found["source"]

    assert outputs() == ("volume", "outputs")
    assert outputs(OUTPUTS=str(tmp_path)) == ("bind", str(tmp_path))


def test_a_gpu_and_a_screen_are_given_only_on_request(composed):
    plain = composed(**{KEY: "k", "DISPLAY": ":1"})
    assert "deploy" not in plain["server"]
    assert "DISPLAY" not in plain["runtime"]["environment"]
    files = ("compose.yml", "compose.gpu.yml", "compose.x11.yml")
    full = composed(files=files, **{KEY: "k", "DISPLAY": ":1"})
    (device,) = full["server"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    runtime = full["runtime"]
    assert (runtime["environment"]["DISPLAY"], runtime["environment"]["QT_X11_NO_MITSHM"]) == (":1", "1")
    assert "/tmp/.X11-unix" in [volume["source"] for volume in runtime["volumes"]]
    assert "deploy" not in runtime
