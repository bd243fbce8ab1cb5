"""Many episodes in real processes: lost ones are tried again, killed commands go on, and nothing runs twice."""

import json
import os
import random
import signal
import subprocess
import time

import pytest

from taketwo.datasets.reader import Dataset
from tests.cli.support import error_of, taketwo
from tests.fleet.running import children, done, install_walking, lives, results, run, start, told, wait_for


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return install_walking(tmp_path_factory.mktemp("walking"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, path):
    """What comes of 24 trials where nothing happens to them, on one worker."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert run("eval", "--num_trials_per_task=24", cwd=folder, path=path).returncode == 0
    return results(folder / "run")


def listed(numbers):
    return ",".join(map(str, numbers))


def episodes_of(root):
    """States and actions of each episode of a dataset, as bytes, with its seed."""
    with Dataset.open(root) as dataset:
        for episode in dataset.episodes:
            rows = dataset.rows(episode.index, ["observation.state", "action"])
            yield episode.note.seed, episode.outcome, *(column.tobytes() for column in rows.values())


def test_two_workers_and_one_and_a_plain_session_make_the_same_dataset_bit_for_bit(tmp_path, path):
    common = ["--seed=3,4", "--num_trials_per_task=3"]
    for workers in (1, 2):
        (tmp_path / str(workers)).mkdir()
        made = run("collect", *common, f"--workers={workers}", cwd=tmp_path / str(workers), path=path)
        assert made.returncode == 0, made.stderr
    one, two = (list(episodes_of(tmp_path / str(workers) / "run" / "dataset")) for workers in (1, 2))
    assert one == two
    assert len(set(one)) == 6
    assert results(tmp_path / "1" / "run") == results(tmp_path / "2" / "run")
    assert set(told(tmp_path / "2" / "run", "worker")) == {"worker-0", "worker-1"}
    plain = taketwo(
        "run", "--env.type=walk", "--policy.type=waver", "--session.seed=4", "--dataset.root=plain",
        "--video.mode=off", cwd=tmp_path, PYTHONPATH=path,
    )  # fmt: skip
    assert plain.returncode == 0, plain.stderr
    assert list(episodes_of(tmp_path / "plain")) == two[3:]


def test_a_dataset_that_was_made_is_left_alone_and_its_configuration_is_that_of_a_session(tmp_path, path):
    flags = ["--num_trials_per_task=2", "--session.max_episode_steps=5", "--dataset_dir=sets", "--run_id_note=two"]
    assert run("collect", *flags, cwd=tmp_path, path=path).returncode == 0
    root = tmp_path / "sets" / "collect_walk_waver--two"
    info = root / "meta" / "info.json"
    before = info.stat()
    again = run("collect", *flags, cwd=tmp_path, path=path)
    assert again.returncode == 0
    assert (info.stat().st_ino, info.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    with Dataset.open(root) as dataset:
        config = dataset.session_config(1)
    (tmp_path / "session.yaml").write_text(json.dumps(config))
    same = taketwo(
        "run", "--config_path=session.yaml", "--dataset.root=same", cwd=tmp_path, PYTHONPATH=path
    )  # fmt: skip
    assert same.returncode == 0, same.stderr
    assert list(episodes_of(tmp_path / "same")) == list(episodes_of(root))[1:]


def test_what_crashes_and_hangs_each_time_is_in_the_table_as_a_fault_and_the_rest_is_run(tmp_path, path, undisturbed):
    crash, hang = [4, 9, 14], [6, 13]
    ended = run(
        "eval", "--num_trials_per_task=15", "--workers=2", "--max_attempts=2", "--session.step_timeout_s=2",
        f"--env.crash={listed(crash)}", f"--env.hang={listed(hang)}", cwd=tmp_path, path=path,
    )  # fmt: skip
    assert ended.returncode == 1
    folder = tmp_path / "run"
    assert [trial for trial, outcome in enumerate(told(folder, "outcome")) if outcome == "fault"] == sorted(
        crash + hang
    )
    assert [told(folder, "attempts")[trial] for trial in crash + hang] == [2] * 5
    reasons = told(folder, "reason")
    assert all("was ended by SIGSEGV; what it printed is in" in reasons[trial] for trial in crash)
    assert all("the environment's step has taken more than 2 s: it hangs" in reasons[trial] for trial in hang)
    well = [trial for trial in range(15) if trial not in crash + hang]
    assert [results(folder)[trial] for trial in well] == [undisturbed[trial] for trial in well]
    assert "5 fault; they are in no success rate" in ended.stdout
    assert f"{len(well)}/{len(well)}" in ended.stdout
    again = run(
        "eval", "--num_trials_per_task=15", "--workers=2", "--max_attempts=2", "--session.step_timeout_s=2",
        f"--env.crash={listed(crash)}", f"--env.hang={listed(hang)}", cwd=tmp_path, path=path,
    )  # fmt: skip
    assert again.returncode == 1
    assert told(folder, "reason") == reasons


def test_what_happens_once_only_costs_an_attempt(tmp_path, path, undisturbed):
    (tmp_path / "marks").mkdir()
    ended = run(
        "eval", "--num_trials_per_task=24", "--workers=2", "--env.crash=5", "--env.hang=7", "--env.fail=11",
        "--env.marks=marks", "--session.step_timeout_s=3", cwd=tmp_path, path=path,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert results(tmp_path / "run") == undisturbed
    attempts = told(tmp_path / "run", "attempts")
    assert [trial for trial, count in enumerate(attempts) if count > 1] == [5, 7, 11]
    assert "episode 5 (walk) is tried again: worker-" in ended.stderr
    assert "was given up: the environment's step has taken more than 3 s" in ended.stderr
    assert "episode 11 (walk) is tried again: the environment failed to reset: RuntimeError: no ground" in ended.stderr


def test_faults_are_run_again_only_when_asked(tmp_path, path):
    flags = ["--num_trials_per_task=3", "--env.fail=1", "--env.marks=marks", "--max_attempts=1"]
    (tmp_path / "marks").mkdir()
    assert run("eval", *flags, cwd=tmp_path, path=path).returncode == 1
    assert told(tmp_path / "run", "outcome").count("fault") == 1
    assert run("eval", *flags, "--retry_faults", cwd=tmp_path, path=path).returncode == 0
    assert told(tmp_path / "run", "outcome") == ["success"] * 3


def test_a_folder_that_is_not_a_runs_keeps_its_files(tmp_path, path):
    own = tmp_path / "run" / "work" / "thesis.txt"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    ended = run("eval", cwd=tmp_path, path=path)
    assert ended.returncode == 2
    assert error_of(ended).startswith("--output_dir: run has files, such as work, and no plan.json")
    assert own.read_text() == "mine"
    assert [entry.name for entry in (tmp_path / "run").iterdir()] == ["work"]


def test_a_dataset_without_its_faults_is_not_run_again_for_before_it_is_removed(tmp_path, path):
    flags = ["--num_trials_per_task=2", "--env.fail=1", "--env.marks=marks", "--max_attempts=1"]
    (tmp_path / "marks").mkdir()
    assert run("collect", *flags, cwd=tmp_path, path=path).returncode == 1
    again = run("collect", *flags, "--retry_faults", cwd=tmp_path, path=path)
    assert again.returncode == 2
    said = "was made without the episodes that ended as faults: remove it, and give the command again"
    assert error_of(again).endswith(said)
    assert sorted(done(tmp_path / "run")) == [0, 1]


def test_where_every_episode_is_a_fault_the_table_is_shown_before_the_dataset_is_missed(tmp_path, path):
    flags = ["--num_trials_per_task=2", "--env.fail=0,1", "--max_attempts=1"]
    ended = run("collect", *flags, cwd=tmp_path, path=path)
    assert "no trial has been recorded" in error_of(ended)
    assert "2 fault" in ended.stdout


def test_where_nothing_works_it_ends_and_leaves_all_trials_open(tmp_path, path):
    flags = ["--num_trials_per_task=30", "--max_attempts=1"]
    ended = run("eval", *flags, f"--env.fail={listed(range(3, 30))}", cwd=tmp_path, path=path)
    assert ended.returncode == 1
    assert error_of(ended) == (
        "5 trials in a row came to nothing. walk: the environment failed to reset: RuntimeError: no ground. "
        "What is left of this is left open; the same command goes on"
    )
    assert sorted(done(tmp_path / "run")) == [0, 1, 2]
    assert told(tmp_path / "run", "outcome")[:4] == ["success"] * 3 + [None]
    assert (tmp_path / "run" / "report.html").exists()


def test_killed_workers_cost_nothing_but_time(tmp_path, path, undisturbed):
    chance = random.Random(7)
    process = start(
        "eval", "--num_trials_per_task=24", "--workers=2", "--max_attempts=99", "--env.step_s=0.03",
        cwd=tmp_path, path=path,
    )  # fmt: skip
    killed = 0
    while killed < 10 and process.poll() is None:
        time.sleep(chance.uniform(0.0, 0.5))
        workers = children(process)
        if workers:
            os.kill(chance.choice(workers), signal.SIGKILL)
            killed += 1
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert killed == 10
    assert results(tmp_path / "run") == undisturbed
    assert not list((tmp_path / "run" / "work").glob("*/*/*"))


def test_a_killed_command_goes_on_and_runs_no_episode_twice(tmp_path, path, undisturbed):
    chance = random.Random(3)
    flags = ["--num_trials_per_task=24", "--workers=2", "--env.step_s=0.02"]
    before = {}
    for number in range(10):
        process = start("eval", *flags, cwd=tmp_path, path=path)
        if number % 2:
            wait_for(lambda: len(done(tmp_path / "run")) > len(before) or process.poll() is not None)  # noqa: B023
            time.sleep(chance.uniform(0.0, 0.1))
        else:
            time.sleep(chance.uniform(0.0, 1.2))
        workers = children(process)
        process.kill()
        process.communicate()
        wait_for(lambda: not any(map(lives, workers)), timeout_s=10)  # noqa: B023
        now = done(tmp_path / "run")
        assert before.items() <= now.items()
        before = now
    assert len(before) >= 5
    assert run("eval", *flags, cwd=tmp_path, path=path).returncode == 0
    after = done(tmp_path / "run")
    assert sorted(after) == list(range(24))
    assert before.items() <= after.items()
    assert results(tmp_path / "run") == undisturbed


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_begins_nothing_new_and_keeps_what_is_done(tmp_path, path, undisturbed, number, status):
    flags = ["--num_trials_per_task=12", "--env.step_s=0.02"]
    process = start("eval", *flags, cwd=tmp_path, path=path)
    wait_for(lambda: len(done(tmp_path / "run")) >= 2)
    workers = children(process)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == status
    assert "stopping; episodes under way are run again by the same command" in err
    assert not any(map(lives, workers))
    kept = done(tmp_path / "run")
    assert 2 <= len(kept) < 12
    assert f"left     {12 - len(kept)} episodes: the same command goes on" in out
    assert sum(result is not None for result in results(tmp_path / "run")) == len(kept)
    assert run("eval", *flags, cwd=tmp_path, path=path).returncode == 0
    assert kept.items() <= done(tmp_path / "run").items()
    assert results(tmp_path / "run") == undisturbed[:12]


def test_another_plan_and_a_second_command_are_refused(tmp_path, path):
    flags = ["--num_trials_per_task=24", "--env.step_s=0.05"]
    process = start("eval", *flags, cwd=tmp_path, path=path)
    wait_for(lambda: done(tmp_path / "run"))
    second = run("eval", *flags, cwd=tmp_path, path=path)
    assert second.returncode == 1
    assert error_of(second) == f"run is being run by process {process.pid}: wait for it, or stop it first"
    other = run("eval", *flags, "--seed=1", "--policy.speed=0.04", cwd=tmp_path, path=path)
    assert other.returncode == 1
    assert error_of(other) == (
        "run has another plan: --policy.speed is 0.05 there, 0.04 here; --seed is 0 there, 1 here. "
        "Give the same options to go on with it, or another --output_dir"
    )
    process.terminate()
    process.communicate()


def test_an_option_that_only_the_environment_knows_to_be_wrong_is_named_in_full(tmp_path, path):
    ended = run("eval", "--num_trials_per_task=2", "--env.width=1000", cwd=tmp_path, path=path)
    assert ended.returncode == 2
    assert error_of(ended) == "--env.width must be below 1000, not 1000"


def test_a_folder_that_cannot_be_is_told(tmp_path, path):
    (tmp_path / "run").write_text("a file")
    ended = run("eval", cwd=tmp_path, path=path)
    assert ended.returncode == 2
    where = tmp_path / "run"
    assert error_of(ended) == f"--output_dir: cannot write {where}: File exists; choose a folder, not a file"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 700 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(disk)], check=False)
    if mount.returncode != 0:
        pytest.skip("a small file system can be mounted by root only")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_is_told_and_nothing_is_lost(tmp_path, path, small_disk):
    flags = ["--num_trials_per_task=20", f"--output_dir={small_disk / 'run'}"]
    ended = run("collect", *flags, cwd=tmp_path, path=path)
    assert ended.returncode == 1
    assert "No space left on device" in error_of(ended)
    kept = done(small_disk / "run")
    assert 1 <= len(kept) < 20
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    ended = run("collect", *flags, cwd=tmp_path, path=path)
    assert ended.returncode == 0, ended.stderr
    assert kept.items() <= done(small_disk / "run").items()
    assert len(list(episodes_of(small_disk / "run" / "dataset"))) == 20
