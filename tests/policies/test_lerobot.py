"""LeRobot's policies in our sessions: trained by real LeRobot on what we recorded, each version in its own environment.

The trained policy is a small ACT, with far too few steps to hand over a cube: what is looked at here is that it acts as
in LeRobot's own rollouts. Diffusion and SmolVLA have random weights, as only their kind matters; SmolVLA's language
model and tokenizer are tiny stand-ins, since the real ones cannot be had without network.
"""

import os
import re
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import taketwo
from taketwo.datasets.reader import Dataset
from tests.cli.support import error_of
from tests.cli.support import taketwo as taketwo_here
from tests.peers import VERSIONS, peer_python, run_in_peer
from tests.support_server import free_port

pytestmark = pytest.mark.timeout(400)
"""LeRobot alone takes ten seconds to import."""

PROBES = Path(__file__).parent / "probes"

SOURCE = Path(taketwo.__file__).parent.parent

TAKETWO = "import sys; from taketwo.cli.main import main; sys.exit(main())"

SMALL = ["--env.quality=preview", "--env.width=64", "--env.height=48", "--video.mode=off"]

NETWORK = {
    "type": "act",
    "device": "cpu",
    "push_to_hub": "false",
    "pretrained_backbone_weights": "null",
    "use_vae": "false",
    "dim_model": 64,
    "n_heads": 2,
    "dim_feedforward": 128,
    "n_encoder_layers": 1,
    "chunk_size": 20,
    "n_action_steps": 10,
    "optimizer_lr": 1e-3,
    "optimizer_lr_backbone": 1e-4,
}
"""Seconds on a CPU."""

TRAINING = {"steps": 20, "save_freq": 20, "log_freq": 5, "batch_size": 4, "num_workers": 0, "wandb.enable": "false"}


def in_peer(version, *words, **options):
    """A command line of LeRobot's Python, which finds our source, without network."""
    own = {"PYTHONPATH": str(SOURCE), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}
    command = [str(word) for word in (peer_python(version), *words)]
    return subprocess.Popen(command, env=os.environ | own, stdout=subprocess.PIPE, text=True, **options)


def finished(process, timeout=300):
    """What it printed; it must have ended well."""
    try:
        said, errors = process.communicate(timeout=timeout)
    finally:
        process.kill()
    assert process.returncode == 0, (errors or said)[-4000:]
    return said


@pytest.fixture(scope="module", params=VERSIONS)
def version(request):
    return request.param


@pytest.fixture(scope="session")
def demos(tmp_path_factory):
    """Three scripted demonstrations, recorded by `taketwo run`."""
    root = tmp_path_factory.mktemp("lerobot") / "demos"
    recording = ["--dataset.repo_id=me/demos", f"--dataset.root={root}", f"--output_dir={root}-session"]
    done = taketwo_here("run", "--session.num_episodes=3", "--session.seed=1", *SMALL, *recording)
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture(scope="module")
def trained(version, demos, tmp_path_factory):
    """ACT, trained on the demonstrations by `lerobot-train`: the folder of its checkpoint, and the losses."""
    folder = tmp_path_factory.mktemp("act") / "train"
    options = TRAINING | {"dataset.repo_id": "me/demos", "dataset.root": demos, "output_dir": folder}
    options |= {f"policy.{name}": value for name, value in NETWORK.items()}
    flags = [f"--{name}={value}" for name, value in options.items()]
    said = finished(in_peer(version, "-m", "lerobot.scripts.lerobot_train", *flags, stderr=subprocess.STDOUT))
    losses = [float(loss) for loss in re.findall(r"\sloss:([\d.]+)", said)]
    return SimpleNamespace(path=folder / "checkpoints" / "last" / "pretrained_model", losses=losses)


@pytest.fixture(scope="module")
def act(version, trained, demos):
    """What the trained policy does by our adapter, and by LeRobot itself."""
    return run_in_peer(version, PROBES / "lerobot_act.py", SOURCE, trained.path.resolve(), demos)


@pytest.fixture(scope="module")
def kinds(version, tmp_path_factory):
    """What policies of other kinds do."""
    return run_in_peer(version, PROBES / "lerobot_kinds.py", SOURCE, tmp_path_factory.mktemp("kinds"))


@pytest.fixture
def diffusion(kinds):
    return kinds["history"]


@pytest.fixture
def smolvla(kinds):
    return kinds["language"]


def test_lerobot_learns_from_what_we_recorded(trained):
    assert len(trained.losses) == 4
    assert trained.losses[-1] < 0.8 * trained.losses[0]


def test_a_chunk_is_as_long_as_lerobot_executes_it(act):
    assert (act["shape"], act["dtype"]) == ([10, 14], "float64")
    assert act["cameras"] == ["top"]


def test_actions_are_those_of_lerobots_own_rollout(act):
    assert act["size"] > 0.5
    assert act["moves"] > 1e-3
    assert act["own_rollout"] < 1e-6


def test_n_action_steps_can_be_changed_as_in_lerobot(act):
    assert act["three_at_a_time"] < 1e-6


def test_a_batch_gives_each_observation_its_own_chunk(act):
    assert act["batches"]
    assert act["batch"] < 1e-5
    assert act["apart"] > 1e-4


def test_a_policy_without_language_says_so(act):
    assert not act["reads_prompt"]


def test_acts_own_ensembling_is_kept_and_does_not_mix_clients(act):
    assert act["ensembling"] < 1e-6
    assert act["ensembling_differs"] > 1e-4
    assert act["clients_apart"] == 0


def test_larger_pictures_of_the_same_proportions_are_scaled_to_those_of_the_training(act):
    assert act["scaled_down"] < 0.1 * act["size"]
    assert act["scaled_exactly"] < 1e-6


def test_a_camera_is_found_by_its_name_in_the_data_set_or_by_a_mapping(act):
    assert act["chosen_cameras"] == [["other"], ["other"], ["top"]]


def test_a_revision_on_the_hub_is_taken_from_its_cache_without_network(act):
    assert act["from_hub"] == 0


def test_half_precision_gives_nearly_the_same(act):
    assert 0 < act["bfloat16"] < 0.05 * act["size"]


@pytest.mark.parametrize(
    ("what", "error", "parts"),
    [
        ("actions", "ConfigError", ["gives actions of 14 numbers", "'bench' takes 7"]),
        ("state", "ConfigError", ["takes a state of 14 numbers", "'bench' has 3"]),
        ("no camera", "ConfigError", ["mapping", "'top'", "'bench' has no camera"]),
        ("two cameras", "ConfigError", ["mapping", "'top'", "has left, right", "{top: left}"]),
        ("size", "ConfigError", ["48 x 64", "48 x 80", "'top'"]),
        ("mapping", "ConfigError", ["unknown camera of the policy 'topp'", "Known: top"]),
        ("mapped camera", "ConfigError", ["unknown camera 'topp'", "Known: top"]),
        ("left out", "PolicyError", ["fails on a blank observation of 'bench'", "observation.images.top"]),
        ("no folder", "ConfigError", ["there is no folder /nowhere/at/all"]),
        ("not a checkpoint", "ConfigError", ["has no config.json: give", "last/pretrained_model"]),
        ("Hub", "ConfigError", ["path 'nobody/nothing'", "cannot be had from the Hub"]),
        ("damaged", "ConfigError", ["config.json cannot be read"]),
        ("unknown type", "ConfigError", ["config.json cannot be read", "nonsense"]),
        ("no weights", "PolicyError", ["cannot be loaded"]),
        ("too many steps", "ConfigError", ["n_action_steps 1000", "chunk_size"]),
        ("cuda", "ConfigError", ["device cuda is not available here; there is cpu"]),
        ("compiled", "ConfigError", ["compile", "act answers step by step"]),
        ("state later", "PolicyError", ["takes a state of shape (14,), got (3,)"]),
        ("picture later", "PolicyError", ["looks at camera 'top'", "no pictures"]),
        ("closed", "PolicyError", ["closed"]),
    ],
)
def test_what_does_not_fit_is_refused_by_name(act, what, error, parts):
    message = act["refused"][what]
    assert message.startswith(f"{error}: "), message
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_a_policy_with_a_history_answers_step_by_step_as_in_lerobots_own_rollout(diffusion):
    assert diffusion["chunk"] == [1, 14]
    assert diffusion["moves"] > 0.1
    assert diffusion["own_rollout"] < 1e-6
    assert diffusion["kinds"] == [True, False, False]


def test_noise_comes_from_the_episode_alone(diffusion):
    assert diffusion["same_seed"] == 0
    assert diffusion["other_seed"] > 0.1
    assert diffusion["global_noise_untouched"]


def test_clients_share_weights_but_no_history(diffusion):
    assert diffusion["weights_shared"]
    assert diffusion["beside_another_client"] == 0


def test_a_policy_that_reads_language_follows_the_observations_prompt(smolvla):
    assert smolvla["kinds"] == [False, True, True]
    assert smolvla["own_prompt"] is None
    assert smolvla["own_chunk"] < 1e-6
    assert smolvla["other_prompt"] > 1e-3
    assert smolvla["no_prompt"] == 0


def test_a_running_chunk_is_gone_on_with_as_lerobot_does(smolvla):
    assert smolvla["own_continuation"] < 1e-5
    assert smolvla["seam"]["continued"] < 0.2 * smolvla["seam"]["fresh"]


def test_what_is_executed_before_the_answer_comes_is_kept_even_beyond_the_horizon(smolvla):
    assert smolvla["held"]["continued"] < 0.2 * smolvla["held"]["fresh"]


def test_observations_with_and_without_running_chunks_can_come_together(smolvla):
    assert smolvla["together"] == [[10, 14]] * 4


@contextmanager
def serving(version, checkpoint):
    """`taketwo serve` in LeRobot's environment; gives its port."""
    port = free_port()
    words = ("serve", "--env", "ALOHA_SIM", "--env.image_height=48", "--env.image_width=64", f"--port={port}")
    policy = ("--policy.type=lerobot", f"--policy.path={checkpoint}", "--policy.device=cpu")
    process = in_peer(version, "-c", TAKETWO, *words, *policy, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 120
        while not healthy(port):
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=30)


def healthy(port):
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).status == 200
    except (urllib.error.URLError, ConnectionError):
        return False


def test_a_trained_policy_acts_the_same_in_process_and_served(version, trained, tmp_path):
    def session(name):
        folder = tmp_path / name
        limits = ["--session.num_episodes=1", "--session.seed=3", "--session.max_episode_steps=35"]
        written = [f"--dataset.root={folder}", f"--output_dir={folder}-session"]
        return ["run", *SMALL, *limits, *written]

    here = ["--policy.type=lerobot", f"--policy.path={trained.path}", "--policy.device=cpu"]
    finished(in_peer(version, "-c", TAKETWO, *session("here"), *here, stderr=subprocess.PIPE))
    with serving(version, trained.path) as port:
        there = ["--policy.type=remote", f"--policy.port={port}"]
        done = taketwo_here(*session("served"), *there)
    assert done.returncode == 0, done.stderr
    with Dataset.open(tmp_path / "here") as here, Dataset.open(tmp_path / "served") as served:
        actions = here.rows(0, ["action"])["action"]
        assert actions.shape == (35, 14)
        assert np.ptp(actions, axis=0).max() > 1e-3
        np.testing.assert_allclose(served.rows(0, ["action"])["action"], actions, rtol=0, atol=1e-6)


def test_without_lerobot_the_extra_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    done = taketwo_here("run", "--policy.type=lerobot", f"--policy.path={tmp_path}", f"--output_dir={tmp_path}")
    assert done.returncode != 0
    assert error_of(done) == "lerobot is not installed: pip install 'taketwo[lerobot]'"


def test_a_wrong_path_is_told_by_its_flag(tmp_path):
    done = taketwo_here("run", "--policy.type=lerobot", "--policy.path=/nowhere/at/all", f"--output_dir={tmp_path}")
    assert done.returncode == 2
    assert error_of(done).startswith("--policy.path must be the folder of a checkpoint, or an id on the Hub")
