import pytest

from taketwo.datasets.rollout_names import RolloutName, list_rollouts, parse_rollout_name
from taketwo.errors import ConfigError

REAL = "2024_09_01-12_00_00--openvla--episode=12--success=False--task=pick_up_the_alphabet_soup.mp4"


def test_real_name():
    rest = ("2024_09_01-12_00_00", "openvla")
    assert parse_rollout_name(REAL) == RolloutName(12, False, "pick_up_the_alphabet_soup", rest)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("success=True--episode=3--task=push.mp4", RolloutName(3, True, "push")),
        (
            "task=put-the--cup-on--the-plate--episode=7--success=true.mp4",
            RolloutName(7, True, "put-the--cup-on--the-plate"),
        ),
        ("EPISODE=007--Success=FALSE--TASK=Push.MP4", RolloutName(7, False, "Push")),
        ("x--episode=1--success=None--task=push", RolloutName(1, None, "push", ("x",))),
        ("episode=1--success=True.mp4", RolloutName(1, True)),
        ("rollouts/2024_09_01/episode=1--success=True--task=v1.2.mp4", RolloutName(1, True, "v1.2")),
        ("episode=1--success=True--task=a=b--seed=7.mp4", RolloutName(1, True, "a=b", ("seed=7",))),
        ("episode=1--episode=2--success=True.mp4", RolloutName(1, True, "", ("episode=2",))),
    ],
)
def test_fields_in_any_order_and_case(name, expected):
    assert parse_rollout_name(name) == expected


@pytest.mark.parametrize(
    "name",
    [
        "",
        "holiday.mp4",
        "episode=12--task=push.mp4",
        "success=False--task=push.mp4",
        "episode=--success=False.mp4",
        "episode=-1--success=False.mp4",
        "episode=²--success=False.mp4",
        "episode=twelve--success=False.mp4",
        "episode=12--success=maybe.mp4",
        "my_episode=12--my_success=False.mp4",
    ],
)
def test_other_names_are_none(name):
    assert parse_rollout_name(name) is None


@pytest.fixture
def folder(tmp_path):
    for path in [
        f"b/{REAL}",
        "b/x--episode=9--success=True--task=push.mp4",
        "b/x--episode=2--success=None--task=push.mp4",
        "a/deep/x--episode=100--success=False--task=push.mp4",
        "a/deep/x--episode=20--success=False--task=push.MP4",
        "a/deep/x--episode=20--success=False--task=push.txt",
        "a/notes.mp4",
    ]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    return tmp_path


def test_videos_are_listed_by_folder_and_episode(folder):
    found = [(rollout.path.parent.name, rollout.name.episode) for rollout in list_rollouts(folder)]
    assert found == [("deep", 20), ("deep", 100), ("b", 2), ("b", 9), ("b", 12)]
    assert all(rollout.path.is_file() for rollout in list_rollouts(folder))


def test_folder_without_any(tmp_path):
    (tmp_path / "holiday.mp4").touch()
    assert list_rollouts(tmp_path) == []


def test_what_is_not_a_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="is not a folder"):
        list_rollouts(tmp_path / "nowhere")
