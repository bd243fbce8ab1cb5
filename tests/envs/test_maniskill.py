"""ManiSkill's tasks by `--env.type=maniskill`: the real ones, in an environment of their own.

States are tested as on a machine without any Vulkan device, also where there is one. Pictures need one: that in
software which `scripts/lavapipe.sh` fetches, or else the system's.
"""

import pytest
from gymnasium.spaces import Box

from taketwo.envs.maniskill import ManiSkillConfig, vector
from taketwo.envs.maniskill.vector import ManiSkillVector
from taketwo.errors import ConfigError, MissingExtraError
from tests.envs.maniskill_support.environment import NO_DEVICE, printed_by, run_in_maniskill


@pytest.fixture(scope="module")
def states():
    return run_in_maniskill("states", devices=NO_DEVICE)


@pytest.fixture(scope="module")
def pictures():
    told = run_in_maniskill("pictures", devices=printed_by("lavapipe.sh"))
    if told is None:
        pytest.skip("there is no Vulkan device that SAPIEN can draw with; scripts/lavapipe.sh fetches one in software")
    return told


def test_the_spec_is_that_of_the_task(states):
    assert states["spec"] == ["PushCube-v1", 20.0, 50, 8, []]
    assert states["limits"] == [[-1.0] * 8, [1.0] * 8]
    assert states["state_names"][:2] == ["agent.qpos_0", "agent.qpos_1"]
    assert states["state_names"][-1] == "extra.obj_pose_6" and len(states["state_names"]) == 35


def test_an_episode_is_what_maniskill_makes_of_it(states):
    assert states["rollouts"][0] == states["by_hand"]


def test_each_episode_begins_by_its_own_seed(states):
    first, other, again = states["rollouts"]
    assert first == again
    assert first[0] != other[0]


def test_success_ends_an_episode(states):
    assert [row[3] for row in states["rollouts"][0][1:]] == [False] * 10
    assert states["solved"] == [True, True, False]


def test_the_contract_is_kept(states):
    assert states["contract"] is None
    assert states["several"] == "Several" and states["contract_of_2"] is None


def test_without_a_vulkan_device_there_are_states_and_one_line(states):
    assert not states["can_render"]
    assert len(states["warnings"]) == 1
    assert "no Vulkan device" in states["warnings"][0] and "states only" in states["warnings"][0]


def test_other_tasks_and_control_modes_are_made_without_a_vulkan_device(states):
    assert states["other_tasks"] == {"StackCube-v1": None, "MS-CartpoleBalance-v1": None}


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("id", "unknown id 'PushCub-v1'. Did you mean 'PushCube-v1'?"),
        ("control_mode", "pd_joint not in supported modes: ['pd_joint_delta_pos'"),
        ("kwargs", "'spin'"),
        ("rgb", "no Vulkan device"),
        ("rgb", "--env.obs_mode=state does without"),
        ("render", "--env.render=false does without"),
        ("assets", "python -m mani_skill.utils.download_asset PickSingleYCB-v1"),
    ],
)
def test_options_that_do_not_fit_are_a_line(states, what, said):
    assert states["faults"][what].startswith("ConfigError: ")
    assert said in states["faults"][what] and "\n" not in states["faults"][what]


def test_a_gpu_that_is_not_there_is_a_line(states):
    told = states["faults"]["gpu"]
    assert told is None or "sim_backend gpu needs an NVIDIA GPU" in told


def test_pictures_are_those_of_the_cameras(pictures):
    assert pictures["cameras"] == {"base_camera": [32, 48], "render_camera": [32, 48]}
    assert pictures["lazy"] == [True, True]
    assert set(map(tuple, pictures["pixels"].values())) == {("uint8", 32, 48, 3)}
    assert min(pictures["spread"].values()) > 10, "a picture is blank"
    assert pictures["same_seed"] == [True, True]
    assert pictures["own_sizes"] == {"render_camera": [512, 512]}
    assert pictures["none"] == []


def test_a_policy_that_sees_is_not_told_where_things_are(pictures):
    assert any(name.startswith("agent.qpos") for name in pictures["state_names"])
    assert not any("obj_pose" in name for name in pictures["state_names"])


def test_the_contract_is_kept_with_pictures(pictures):
    assert pictures["contract"] is None


def test_a_gpu_steps_all_in_one_simulation(states):
    if not states["has_gpu"]:
        pytest.skip("PyTorch sees no GPU")
    told = run_in_maniskill("gpu", devices=NO_DEVICE)
    assert told == {"batch": True, "num_envs": 4, "contract": None}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"obs_mode": "rgbd"}, "unknown obs_mode 'rgbd'. Did you mean 'rgb'"),
        ({"sim_backend": "cuda"}, "unknown sim_backend 'cuda'"),
        ({"width": 8}, "width must be from 16 to 4096 pixels, not 8"),
    ],
)
def test_options_are_checked_before_anything_is_imported(options, said):
    with pytest.raises(ConfigError, match=said):
        ManiSkillConfig(**options)


def test_maniskill_missing_is_a_line(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mani_skill", None)
    with pytest.raises(MissingExtraError, match="mani_skill"):
        ManiSkillConfig().make()
    with pytest.raises(ConfigError, match="num_envs must be 1 or more, not 0"):
        ManiSkillConfig().make_vector(0)


def test_a_scene_that_cannot_be_looked_at_is_taken_down(monkeypatch):
    """ManiSkill is not needed to see that: the scene stands for its own."""
    closed = []

    class Scene:
        single_action_space = Box(-1, 1, (2,))

        def reset(self, seed):
            raise RuntimeError("out of memory")

        def close(self):
            closed.append(self)

    monkeypatch.setattr(vector, "make", lambda config, num_envs: Scene())
    with pytest.raises(RuntimeError, match="out of memory"):
        ManiSkillVector(ManiSkillConfig(), 2)
    assert len(closed) == 1
