"""What the documentation shows works as it stands there."""

import re
from pathlib import Path

import pytest

from taketwo.control.config import ControlConfig
from taketwo.envs.gym import GymConfig
from taketwo.policies.remote import RemoteConfig
from taketwo.serving.environments import CustomConfig
from taketwo.session.config import SessionConfig
from taketwo.session.loop import Session
from taketwo.testing import SteeringController
from tests.datasets.recording import record_point
from tests.serving.support import served

DOCS = Path(__file__).parent.parent / "docs"


def python_blocks(page):
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def test_the_environment_and_its_check_in_the_guide_for_extensions_work():
    environment, check, _ = python_blocks("extending.md")
    names = {"__name__": "guide"}
    exec(environment, names)
    exec(check, names)
    names["test_the_cart_keeps_the_contract"]()


def test_the_session_from_python_in_the_guide_works(capsys):
    exec(python_blocks("extending.md")[-1], {})
    assert capsys.readouterr().out == "['success', 'success']\n"


def test_reading_a_dataset_from_python_as_the_guide_shows_it_works(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_LEROBOT_HOME", str(tmp_path))
    record_point(tmp_path / "me" / "cube", controller=SteeringController(0.0), max_episode_steps=5)
    names = {}
    exec(python_blocks("datasets.md")[-1], names)
    assert names["first"].shape == (48, 64, 3)
    assert len(names["rows"]["action"]) == 5


def test_the_policy_in_the_guide_for_policies_drives_the_mountain_car_to_its_goal_in_process_and_served():
    (policy,) = python_blocks("policies.md")
    names = {"__name__": "guide"}
    exec(policy, names)
    car = GymConfig("MountainCarContinuous-v0").make()
    in_process = _driven(car, names["SwingConfig"]().make(car.spec))
    served_as = CustomConfig(state_dim=2, action_dim=1)
    with served(lambda: names["SwingConfig"]().make(served_as.make().spec), served_as) as server:
        remote = _driven(car, RemoteConfig(port=server.port).make(car.spec))
    car.close()
    assert in_process.terminated
    assert in_process.steps == remote.steps
    assert in_process.reward_sum == remote.reward_sum


def _driven(environment, policy):
    controller = ControlConfig().make(policy, environment.spec)
    (episode,) = Session(environment, controller, SessionConfig(num_episodes=1, seed=3)).run().episodes
    controller.close()
    return episode


@pytest.mark.parametrize(
    "page", ["../README.md", "../CONTRIBUTING.md", "../docker/README.md", *(path.name for path in DOCS.glob("*.md"))]
)
def test_links_lead_somewhere(page):
    text = (DOCS / page).read_text()
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert ((DOCS / page).parent / target).exists(), target
