"""What was recorded, played again by a policy."""

import dataclasses
import json
import threading

import numpy as np
import pytest

from taketwo.cli.main import main
from taketwo.control.config import ControlConfig
from taketwo.datasets.layout import INFO, TAKES, trace_path
from taketwo.datasets.reader import Dataset
from taketwo.datasets.sink import DatasetConfig
from taketwo.datasets.transaction import LIST
from taketwo.envs.aloha import AlohaConfig
from taketwo.errors import ConfigError, DatasetError, PolicyError
from taketwo.policies.remote import RemoteConfig
from taketwo.policies.replay import ReplayConfig
from taketwo.serving.environments import AlohaSimConfig, CustomConfig
from taketwo.session.config import SessionConfig
from taketwo.session.events import EpisodeStart, StepTaken
from taketwo.session.loop import Session
from taketwo.testing import PointEnvironment, SteeringController, check_policy
from taketwo.types import EpisodeInfo, Observation, Outcome
from tests.datasets.recording import record_point, telling
from tests.replay.recording import copied, record_aloha, without_notes, without_trace
from tests.serving.support import served
from tests.support import Keep, run_session

SEED = 7
POINT = PointEnvironment().spec


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    """Two whole episodes of the cube's transfer with seed 7, and what was sent in them; not to be changed."""
    root = tmp_path_factory.mktemp("me") / "cube"
    keep = Keep()
    result = record_aloha(root, sinks=[keep], seed=SEED, num_episodes=2)
    assert [episode.outcome for episode in result.episodes] == [Outcome.SUCCESS] * 2
    return root, sent(keep)


@pytest.fixture(scope="module")
def point(tmp_path_factory):
    """Three episodes of the point, and what was sent in them; not to be changed."""
    root = tmp_path_factory.mktemp("me") / "point"
    keep = Keep()
    record_point(root, episodes=3, seed=SEED, sinks=[keep])
    return root, sent(keep)


@pytest.fixture(scope="module")
def aloha():
    environment = AlohaConfig(cameras=()).make()
    yield environment
    environment.close()


def sent(keep):
    """(T, D) by episode."""
    episodes = []
    for event in keep.events:
        if isinstance(event, EpisodeStart):
            episodes.append([])
        if isinstance(event, StepTaken):
            episodes[-1].append(event.decision.sent)
    return [np.array(actions) for actions in episodes]


def played(environment, replay, control=None, **session):
    """A session in which the policy acts; its result, and what was sent."""
    controller = (control or ControlConfig()).make(replay.make(environment.spec), environment.spec)
    keep = Keep()
    options = {"seed": SEED, "num_episodes": 1} | session
    result = Session(environment, controller, SessionConfig(**options), [keep]).run()
    controller.close()
    return result, sent(keep)


def at(step, spec=POINT):
    return Observation(state=np.zeros(len(spec.state_names)), time_s=step / spec.control_hz)


def edited_info(root, change):
    content = json.loads((root / INFO).read_text())
    change(content)
    (root / INFO).write_text(json.dumps(content))


def test_it_keeps_the_contract_of_policies(point):
    check_policy(ReplayConfig(root=point[0]).make(POINT), PointEnvironment())


@pytest.mark.parametrize("chunk_size", [1, 7, 1000])
def test_the_same_seed_solves_the_task_again_bit_for_bit(cube, aloha, chunk_size):
    root, recorded = cube
    result, actions = played(aloha, ReplayConfig(root=root, chunk_size=chunk_size), num_episodes=2)
    assert [episode.outcome for episode in result.episodes] == [Outcome.SUCCESS] * 2
    assert all(map(np.array_equal, actions, recorded))


@pytest.mark.parametrize(
    "control",
    [
        ControlConfig(action_horizon=10),
        ControlConfig(executor="asynchronous", blend_steps=0),
        ControlConfig(executor="asynchronous", action_horizon=20, prefetch=19, blend_steps=0),
    ],
    ids=["open_loop", "asynchronous", "asynchronous_all_the_time"],
)
def test_every_action_comes_at_its_own_step_however_chunks_are_executed(cube, aloha, control):
    root, recorded = cube
    result, actions = played(aloha, ReplayConfig(root=root), control)
    assert result.fault is None, result.fault
    assert result.episodes[0].outcome is Outcome.SUCCESS
    assert np.array_equal(actions[0], recorded[0])


@pytest.mark.parametrize(
    "control", [ControlConfig(executor="asynchronous"), ControlConfig(executor="temporal_ensemble")]
)
def test_averages_of_the_same_prediction_are_that_prediction(cube, aloha, control):
    root, recorded = cube
    result, actions = played(aloha, ReplayConfig(root=root), control)
    assert result.episodes[0].outcome is Outcome.SUCCESS
    assert np.allclose(actions[0], recorded[0], rtol=0, atol=1e-12)


def test_without_a_trace_the_actions_are_those_of_the_rows(cube, aloha, tmp_path):
    root = copied(cube[0], tmp_path)
    without_trace(root)
    result, actions = played(aloha, ReplayConfig(root=root))
    assert result.episodes[0].outcome is Outcome.SUCCESS
    assert np.array_equal(actions[0], cube[1][0].astype(np.float32))
    assert not np.array_equal(actions[0], cube[1][0])


def test_a_dataset_as_lerobot_records_it_is_played(cube, aloha, tmp_path):
    root = copied(cube[0], tmp_path)
    without_notes(root)
    _, actions = played(aloha, ReplayConfig(root=root))
    assert np.array_equal(actions[0], cube[1][0].astype(np.float32))


def test_each_episode_of_the_session_plays_the_one_of_its_number(point):
    root, recorded = point
    result, actions = played(PointEnvironment(), ReplayConfig(root=root), num_episodes=3)
    assert result.fault is None
    assert [len(played) for played in actions] == [len(actions) for actions in recorded]
    for now, then in zip(actions, recorded, strict=True):
        assert np.array_equal(now, then.astype(np.float32))


def test_a_chosen_episode_is_played_in_every_episode(point):
    root, recorded = point
    policy = ReplayConfig(root=root, episode=2, chunk_size=4).make(POINT)
    assert np.array_equal(policy.infer(at(0)).actions, recorded[2][:4].astype(np.float32))
    for index in range(5):
        policy.reset(EpisodeInfo(index, seed=index))
        assert np.array_equal(policy.infer(at(0)).actions, recorded[2][:4].astype(np.float32))


def test_an_answer_begins_with_the_action_of_the_observations_own_step(point):
    root, recorded = point
    policy = ReplayConfig(root=root, chunk_size=2).make(POINT)
    for step in (3, 0, len(recorded[0]) - 2):
        expected = recorded[0][step : step + 2].astype(np.float32)
        assert np.array_equal(policy.infer(at(step)).actions, expected)


def test_after_the_last_action_an_arm_holds_it(cube, aloha):
    root, recorded = cube
    policy = ReplayConfig(root=root, chunk_size=3).make(aloha.spec)
    last = len(recorded[0]) - 1
    for step in (last, last + 1, last + 500):
        assert np.array_equal(policy.infer(at(step, aloha.spec)).actions, [recorded[0][-1]] * 3)


def test_after_the_last_action_what_is_no_pose_is_zero(point):
    root, recorded = point
    policy = ReplayConfig(root=root, chunk_size=3).make(POINT)
    last = len(recorded[0]) - 1
    actions = policy.infer(at(last)).actions
    assert np.array_equal(actions, [recorded[0][-1].astype(np.float32), [0, 0], [0, 0]])
    assert np.array_equal(policy.infer(at(last + 500)).actions, np.zeros((3, 2)))


def test_changing_an_answer_changes_no_later_one(point):
    policy = ReplayConfig(root=point[0]).make(POINT)
    policy.infer(at(0)).actions[:] = 9
    assert np.abs(policy.infer(at(0)).actions).max() < 1


def test_it_may_be_reset_on_another_thread_and_after_it_was_closed(point):
    policy = ReplayConfig(root=point[0]).make(POINT)
    policy.close()
    thread = threading.Thread(target=policy.reset, args=(EpisodeInfo(1, 0),))
    thread.start()
    thread.join()
    assert np.array_equal(policy.infer(at(0)).actions[0], point[1][1][0].astype(np.float32))


def test_a_session_longer_than_the_dataset_ends_with_what_to_do(point):
    root, _ = point
    result, actions = played(PointEnvironment(), ReplayConfig(root=root), num_episodes=5)
    assert [len(played) > 0 for played in actions] == [True, True, True, False]
    assert isinstance(result.fault, PolicyError)
    assert str(result.fault) == (
        f"there is nothing to play in the session's episode 4: {root} has 3; "
        "give --session.num_episodes=3, or one for all by --policy.episode"
    )


def test_another_start_than_the_recorded_one_is_told(point, caplog):
    caplog.set_level("INFO", logger="taketwo")
    with Dataset.open(point[0]) as dataset:
        seed = dataset.episode(1).note.seed
    policy = ReplayConfig(root=point[0]).make(POINT)
    policy.reset(EpisodeInfo(1, seed))
    assert not caplog.messages
    policy.reset(EpisodeInfo(1, 5))
    assert caplog.messages == [f"recorded episode 1 began with seed {seed}, and this one with 5"]


def test_it_is_found_by_its_name_in_lerobots_home_and_in_a_folder(point, tmp_path, monkeypatch):
    root, recorded = point
    monkeypatch.setenv("HF_LEROBOT_HOME", str(root.parent.parent))
    name = f"{root.parent.name}/{root.name}"
    for config in (
        ReplayConfig(repo_id=name),
        ReplayConfig(repo_id=name, root=root.parent.parent),
        ReplayConfig(repo_id=name, root=root),
    ):
        assert np.array_equal(config.make(POINT).infer(at(0)).actions[0], recorded[0][0].astype(np.float32))


def test_a_missing_dataset_is_told_with_how_to_get_it(tmp_path):
    with pytest.raises(DatasetError, match=r"there is no dataset 'me/none' in .*by --policy\.root, or download it"):
        ReplayConfig(repo_id="me/none", root=tmp_path).make(POINT)
    with pytest.raises(DatasetError):
        ReplayConfig(root=tmp_path).make(POINT)


def test_without_a_name_there_is_nothing_to_open():
    with pytest.raises(ConfigError, match=r"^repo_id or root must name the dataset"):
        ReplayConfig().make(POINT)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"episode": 3}, r"^episode must be from 0 to 2, which .*/point has, not 3$"),
        ({"episode": -1}, "^episode must be 0 or more, not -1$"),
        ({"chunk_size": 0}, "^chunk_size must be 1 or more, not 0$"),
    ],
)
def test_options_out_of_range_are_named(point, options, message):
    with pytest.raises(ConfigError, match=message):
        ReplayConfig(root=point[0], **options).make(POINT)


def test_another_robots_dataset_is_refused_with_both_named(point, cube, aloha):
    with pytest.raises(ConfigError, match=r"/point has actions of 2 numbers, and transfer_cube takes 14: choose"):
        ReplayConfig(root=point[0]).make(aloha.spec)
    with pytest.raises(ConfigError, match=r"/cube has actions of 14 numbers, and point takes 2"):
        ReplayConfig(root=cube[0]).make(POINT)


def test_other_dimensions_of_the_same_number_are_refused_with_both_named(point):
    other = dataclasses.replace(POINT, action_names=("x", "speed"))
    with pytest.raises(ConfigError, match=r"action 1 is 'y' in .*/point, and 'speed' in point: choose"):
        ReplayConfig(root=point[0]).make(other)


def test_dimensions_without_names_are_taken_as_they_are(point, tmp_path):
    root = copied(point[0], tmp_path)
    edited_info(root, lambda info: info["features"]["action"].update(names=None))
    assert len(ReplayConfig(root=root).make(POINT).infer(at(0)).actions)


def test_another_rate_is_refused_with_both_named(point):
    slow = dataclasses.replace(POINT, control_hz=30.0)
    with pytest.raises(ConfigError, match=r"/point has 50 actions a second, and point takes 30: choose"):
        ReplayConfig(root=point[0]).make(slow)


def test_a_dataset_without_actions_is_refused(point, tmp_path):
    root = copied(point[0], tmp_path)
    edited_info(root, lambda info: info["features"].pop("action"))
    with pytest.raises(ConfigError, match="has no column 'action'"):
        ReplayConfig(root=root).make(POINT)


def test_a_dataset_whose_first_episode_is_not_finished_is_told(tmp_path):
    """As after a crash in the first episode."""
    (tmp_path / TAKES / "take-000").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"has no episode yet.*taketwo dataset repair"):
        ReplayConfig(repo_id="me/begun", root=tmp_path).make(POINT)


def test_a_dataset_without_an_episode_is_refused(point, tmp_path):
    """As LeRobot leaves one that nothing was recorded into."""
    info = json.loads((point[0] / INFO).read_text())
    (tmp_path / INFO).parent.mkdir()
    (tmp_path / INFO).write_text(json.dumps(info | {"total_episodes": 0, "total_frames": 0}))
    with pytest.raises(ConfigError, match=r"has no episodes: there is nothing to play"):
        ReplayConfig(root=tmp_path).make(POINT)


def test_a_dataset_in_the_middle_of_a_change_is_refused(point, tmp_path):
    root = copied(point[0], tmp_path)
    (root / LIST).parent.mkdir(exist_ok=True)
    (root / LIST).write_text("{}")
    with pytest.raises(DatasetError, match="repair"):
        ReplayConfig(root=root).make(POINT)


def test_what_was_recorded_before_the_present_episode_is_played(tmp_path):
    """A dataset whose writer is still at work has the episodes that are over."""
    root, found = tmp_path / "point", []

    def stored(index, rows):
        found.append(len(ReplayConfig(root=root, episode=index, chunk_size=rows).make(POINT).infer(at(0)).actions))

    sink = telling(DatasetConfig(root=root).make(POINT, POINT.control_hz), stored)
    result = run_session(PointEnvironment(), SteeringController(), [sink], num_episodes=3)
    assert found == [episode.steps for episode in result.episodes]


def test_a_damaged_trace_ends_the_session_with_its_name(cube, aloha, tmp_path):
    root = copied(cube[0], tmp_path)
    (root / trace_path(1)).write_bytes(b"PAR1")
    result, actions = played(aloha, ReplayConfig(root=root), num_episodes=2)
    assert [len(played) > 0 for played in actions] == [True, False]
    assert isinstance(result.fault, DatasetError)
    assert trace_path(1) in str(result.fault)


@pytest.mark.parametrize(
    "control", [ControlConfig(action_horizon=10), ControlConfig(executor="asynchronous", blend_steps=0)]
)
def test_served_it_gives_the_same_actions_in_every_episode(cube, aloha, control):
    root, recorded = cube
    replay = ReplayConfig(root=root)
    with served(lambda: replay.make(aloha.spec), AlohaSimConfig()) as server:
        remote = RemoteConfig(port=server.port, mapping={"images.cam_high": "none"})
        result, actions = played(aloha, remote, control, num_episodes=2)
    assert [episode.outcome for episode in result.episodes] == [Outcome.SUCCESS] * 2
    assert all(map(np.array_equal, actions, recorded))


def test_served_to_openpis_client_it_goes_on_by_a_chunk_a_request(point):
    root, recorded = point
    replay = ReplayConfig(root=root, chunk_size=2)
    names = {"state_names": POINT.state_names, "action_names": POINT.action_names, "control_hz": POINT.control_hz}
    with served(lambda: replay.make(POINT), CustomConfig(**names)) as server:
        client = server.client()
        answers = [client.infer({"state": np.zeros(4)})["actions"] for _ in range(3)]
    assert np.array_equal(np.concatenate(answers), recorded[0][:6].astype(np.float32))


def test_the_command_line_plays_a_dataset(cube, tmp_path, capsys):
    root, recorded = cube
    words = ["run", "--policy.type=replay", f"--policy.root={root}", f"--session.seed={SEED}", "--video.mode=off"]
    assert main([*words, "--session.num_episodes=2", f"--output_dir={tmp_path}"]) == 0
    told = json.loads((tmp_path / "session.json").read_text())
    assert [(episode["outcome"], episode["steps"]) for episode in told["episodes"]] == [
        ("success", len(actions)) for actions in recorded
    ]
    assert main([*words, "--policy.episode=2", f"--output_dir={tmp_path}"]) == 2
    assert f"error: --policy.episode must be from 0 to 1, which {root} has, not 2" in capsys.readouterr().err
