"""LIBERO the whole way, as a user goes it: the console script, the real simulator, the dataset in LeRobot."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from taketwo.envs.libero import LiberoConfig
from taketwo.envs.libero.package import ASSETS_VARIABLE
from taketwo.seeding import episode_seed
from tests.envs.libero_support import ASSETS, needs_libero
from tests.peers import run_in_peer

pytestmark = [needs_libero, pytest.mark.timeout(400)]
"""LeRobot alone takes eight seconds to import."""

TAKETWO = str(Path(sys.executable).with_name("taketwo"))
SIZE = 96
EPISODES = 2
PROMPT = "pick up the alphabet soup and place it in the basket"
SHOWN = 25.0
"""dB between a picture and its video; another picture of the scene, or the same turned or flipped, is below 20."""


def taketwo_run(folder, *flags):
    command = [TAKETWO, "run", "--env.type=libero", f"--output_dir={folder / 'out'}", *flags]
    places = {ASSETS_VARIABLE: str(ASSETS), "HF_LEROBOT_HOME": str(folder / "lerobot")}
    return subprocess.run(command, env=os.environ | places, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    folder = tmp_path_factory.mktemp("libero")
    done = taketwo_run(
        folder,
        *("--env.suite=libero_object", "--env.task=0", "--policy.type=scripted", "--dataset.repo_id=me/libero"),
        *(f"--env.width={SIZE}", f"--env.height={SIZE}", "--env.quality=preview"),
        f"--session.num_episodes={EPISODES}",
    )
    assert done.returncode == 0, done.stderr
    told = json.loads((folder / "out" / "session.json").read_text())
    return SimpleNamespace(folder=folder, told=told, said=done.stdout + done.stderr)


@pytest.fixture(scope="module")
def first_pictures():
    """Those that the session begins with, by camera."""
    environment = LiberoConfig(width=SIZE, height=SIZE, quality="preview", assets=ASSETS).make()
    images = environment.reset(episode_seed(0, 0), {"init_state": 0}).images
    pictures = {camera: image.pixels for camera, image in images.items()}
    environment.close()
    return pictures


def psnr(one, other):
    return 10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2))


def shown_as_it_is(picture, original):
    """Whether a picture is another one, neither turned nor flipped."""
    turned = [original[::-1], original[:, ::-1], original[::-1, ::-1]]
    assert all(psnr(way, original) < SHOWN - 5 for way in turned), "the picture does not tell which way up it is"
    return psnr(picture, original) > SHOWN


def test_every_episode_succeeds_and_is_told_of(session):
    episodes = session.told["episodes"]
    assert [episode["outcome"] for episode in episodes] == ["success"] * EPISODES
    assert [episode["init_state"] for episode in episodes] == list(range(EPISODES))
    assert all(episode["prompts"] == [PROMPT] for episode in episodes)
    assert f"Stored episode {EPISODES}/{EPISODES}" in session.said
    assert session.told["complete"] is True


def test_the_video_shows_the_first_camera_the_right_way_up(session, first_pictures):
    path = Path(session.told["video"]["path"])
    assert path.name == f"libero_object_0_seed0_{EPISODES}eps.mp4"
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == sum(episode["steps"] for episode in session.told["episodes"]) + EPISODES
    assert shown_as_it_is(frames[0], first_pictures["agentview"])


def test_the_dataset_loads_in_lerobot_with_two_cameras(session, first_pictures):
    pictures = session.folder / "pictures.npz"
    root = session.folder / "lerobot" / "me" / "libero"
    probe = Path(__file__).parent / "libero_support" / "lerobot_sees.py"
    found = run_in_peer("0.6.1", probe, root, "me/libero", pictures)
    assert found == {
        "episodes": EPISODES,
        "rows": sum(episode["steps"] for episode in session.told["episodes"]),
        "fps": 20,
        "cameras": ["observation.images.agentview", "observation.images.robot0_eye_in_hand"],
        "task": PROMPT,
        "sizes": {"observation.state": [8], "action": [7]},
        "succeeded": True,
    }
    with np.load(pictures) as shown:
        assert all(shown_as_it_is(shown[camera], original) for camera, original in first_pictures.items())


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--env.suite=libero_objekt", "--env.suite: expected .*Did you mean 'libero_object'"),
        ("--env.task=10", "--env.task must be from 0 to 9, or a name: libero_object has no task 10"),
        ("--env.assets=/nowhere", "--env.assets must be a folder with LIBERO's scenes"),
        ("--env.init_state=50", "--env.init_state must be from 0 to 49, not 50"),
    ],
)
def test_a_wrong_flag_is_one_clear_line(tmp_path, flag, said):
    done = taketwo_run(tmp_path, flag)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert re.search(said, line), line
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
