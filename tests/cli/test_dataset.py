"""`taketwo dataset`: what its subcommands print, write and refuse."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from taketwo.cli import dataset as command
from taketwo.cli.dataset_output import said_episodes
from taketwo.cli.dataset_words import parsed_episodes
from taketwo.cli.main import main
from taketwo.cli.wording import said_count
from taketwo.datasets.layout import INFO, LEROBOT_HOME, WORK, FilePlace, video_path
from taketwo.datasets.reader import Dataset
from taketwo.datasets.sink import DatasetConfig
from taketwo.errors import ConfigError
from tests.cli.support import error_of, taketwo
from tests.datasets.recording import record_point


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Five episodes of the point, of which 1 and 3 ran out of time; not to be changed."""
    root = tmp_path_factory.mktemp("datasets") / "point"
    config = DatasetConfig(root=root)
    record_point(root, episodes=1, config=config)
    for seed, steps in ((1, 2), (2, None), (3, 2), (4, None)):
        record_point(root, episodes=1, config=config, resume=True, seed=seed, max_episode_steps=steps)
    return root


@pytest.fixture
def home(tmp_path, original, monkeypatch):
    """LeRobot's home with me/point."""
    monkeypatch.setenv(LEROBOT_HOME, str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    shutil.copytree(original, tmp_path / "home" / "me" / "point")
    return tmp_path / "home"


@pytest.fixture
def run(capsys):
    """Run a subcommand; returns exit status, what it printed, and its error."""

    def run(*words):
        status = main(["dataset", *map(str, words)])
        said = capsys.readouterr()
        assert said.err.count("\n") <= 1, said.err
        return status, said.out, said.err

    return run


def lengths(root):
    with Dataset.open(root) as dataset:
        return [episode.length for episode in dataset.episodes]


def files(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.name != "lock"
    }


def test_help_lists_the_subcommands_and_each_has_its_own():
    usage = taketwo("dataset").stdout
    assert usage == taketwo("dataset", "--help").stdout
    for name in command.SUBCOMMANDS:
        assert f"\n  {name} " in usage


@pytest.mark.parametrize("name", command.SUBCOMMANDS)
def test_help_of_a_subcommand_fits_80_columns_and_explains_every_flag(run, name):
    status, said, _ = run(name, "--help")
    assert status == 0
    assert said.startswith(f"Usage: taketwo dataset {name} ")
    assert max(map(len, said.splitlines())) <= 80
    flags = [number for number, line in enumerate(said.splitlines()) if line.startswith("  --")]
    assert all(said.splitlines()[number + 1].startswith("      ") for number in flags)


def test_a_wrong_subcommand_names_the_nearest(run):
    status, _, error = run("chekc")
    assert status == 2
    assert "Did you mean 'check'?" in error


def test_info_tells_what_is_there(run, home):
    status, said, _ = run("info", "me/point")
    assert status == 0
    facts = dict(line.split(maxsplit=1) for line in said.splitlines())
    assert facts["dataset"] == str(home / "me" / "point")
    assert facts["robot"] == "point"
    assert facts["episodes"] == "5"
    assert facts["cameras"] == "top: 64x48, h264"
    assert facts["tasks"] == "'Move the point onto the target' in 5 episodes"
    assert facts["outcomes"] == "3 success, 2 timeout"
    assert facts["success"] == "3/5 (60 %)"


def test_info_tells_of_an_unfinished_take_and_what_to_do(run, home):
    (home / "me" / "point" / WORK / "takes" / "000000").mkdir(parents=True)
    said = run("info", "me/point")[1]
    assert f"taketwo dataset repair {home / 'me' / 'point'} --discard=true removes it" in said
    assert len(json.loads(run("info", "me/point", "--json")[1])["unfinished_takes"]) == 1


def test_info_for_programs(run, home):
    plain = json.loads(run("info", "me/point", "--json")[1])
    assert plain["episodes"] == 5
    assert plain["rows"] == sum(lengths(home / "me" / "point"))
    assert plain["success_rate"] == 0.6
    assert plain["cameras"] == {"top": {"width": 64, "height": 48, "codec": "h264"}}
    assert plain["bytes"] == sum(path.stat().st_size for path in home.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "words",
    [
        ["me/point"],
        ["home/me/point"],
        ["./home/me/point"],
        ["--root=home/me/point"],
        ["you/any", "--root=home/me/point"],
        ["me/point", "--root=home"],
    ],
)
def test_a_dataset_is_named_by_repo_id_or_folder(run, home, words):
    assert json.loads(run("info", *words, "--json")[1])["root"] == str(home / "me" / "point")


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["info"], 2, "which dataset"),
        (["info", "me/nothing"], 1, "no dataset 'me/nothing'"),
        (["info", "./nothing"], 1, "no LeRobot dataset"),
        (["info", "me/../you"], 2, "is not a dataset's name"),
        (["info", "me/point", "extra"], 2, "unexpected word 'extra'"),
        (["info", "me/point", "--jason"], 2, "Did you mean --json?"),
        (["info", "me/nothing", "--root=home"], 1, "/home/me/nothing"),
        (["list", "me/nothing", "--root=home"], 1, "/home: give its folder"),
        (["list", "me/point", "--outcome=timeot"], 2, "Did you mean 'timeout'?"),
        (["list", "me/point", "--task=Fly"], 2, "unknown task 'Fly'"),
        (["check", "me/point", "--episodes=5"], 2, "has episodes 0 to 4"),
        (["delete-episodes", "me/point", "--yes"], 2, "--episodes is needed"),
        (["delete-episodes", "me/point", "--episodes=0-4", "--yes"], 2, "remove the folder"),
        (["delete-episodes", "me/point", "--episodes=0-4"], 2, "remove the folder"),
        (["delete-episodes", "me/point", "--episodes=1,x", "--yes"], 2, "such as 1,4-6"),
        (["delete-episodes", "me/point", "--episodes=3-1", "--yes"], 2, "ends before it begins"),
        (["delete-episodes", "me/point", "--episodes=0-999999999", "--yes"], 2, "no episode 999999999"),
        (["delete-episodes", "me/point", "--episodes=1"], 2, "--yes"),
        (["rename", "me/point"], 2, "two names"),
        (["rename", "me/point", "me/.."], 2, "is not a dataset's name"),
        (["rename", "me/point", "me/point"], 2, "there already"),
        (["merge", "me/point"], 2, "--into is needed"),
        (["merge", "me/point", "--into=me/new"], 2, "two datasets"),
        (["merge", "me/point", "me/point", "--into=me/new"], 2, "named twice"),
        (["export", "me/point"], 2, "--to is needed"),
        (["export", "me/point", "--to=out", "--format=xls"], 2, "csv or npz"),
        (["export", "me/point", "--to=home"], 2, "there already"),
        (["push", "home/me/point"], 2, "--repo_id"),
        (["repair", "me/nothing"], 1, "no LeRobot dataset"),
        (["--root=x", "info"], 2, "a subcommand comes before"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_is_wrong_is_told_in_a_line_and_changes_nothing(run, home, tmp_path, words, status, said):
    before = files(tmp_path)
    found, _, error = run(*words)
    assert found == status, error
    assert said in error
    assert files(tmp_path) == before


def test_list_shows_the_episodes(run, home):
    status, said, _ = run("list", "me/point")
    head, *lines = said.split("\n\n")[0].splitlines()
    assert status == 0
    assert head.split() == ["episode", "rows", "seconds", "outcome", "seed", "reward"]
    assert [line.split()[0] for line in lines] == ["0", "1", "2", "3", "4"]
    assert [line.split()[3] for line in lines] == ["success", "timeout", "success", "timeout", "success"]
    assert "5 episodes; success 3/5 (60 %)" in said
    assert "task: Move the point onto the target" in said


@pytest.mark.parametrize(
    "words", [["--failed"], ["--outcome=timeout"], ["--failed=true", "--task=Move the point onto the target"]]
)
def test_list_filters(run, home, words):
    said = run("list", *words, "me/point")[1]
    assert [line.split()[0] for line in said.split("\n\n")[0].splitlines()[1:]] == ["1", "3"]
    assert "2 of 5 episodes" in said
    plain = json.loads(run("list", "me/point", "--json", *words)[1])
    assert [episode["index"] for episode in plain] == [1, 3]
    assert {episode["outcome"] for episode in plain} == {"timeout"}


def test_list_of_rollout_videos(run, tmp_path):
    for number, success in ((12, "False"), (3, "True"), (4, "False")):
        name = f"2024_09_01-12_00_00--openvla--episode={number}--success={success}--task=pick_up_the_soup.mp4"
        (tmp_path / name).write_bytes(b"")
    status, said, _ = run("list", "--failed", tmp_path)
    assert status == 0
    lines = said.splitlines()
    assert [line.split()[:2] for line in lines[1:3]] == [["4", "failure"], ["12", "failure"]]
    assert "2 of 3 videos" in said
    assert len(json.loads(run("list", tmp_path, "--task=Pick up the soup.", "--json")[1])) == 3
    assert json.loads(run("list", tmp_path, "--task=place it", "--json")[1]) == []


def test_check_prints_and_writes_a_report_that_replaces_none(run, home, tmp_path):
    (tmp_path / "point_check.html").write_text("mine")
    status, said, _ = run("check", "me/point", "--episodes=0-2")
    assert status == 0
    assert "3 episodes checked" in said
    assert "report: point_check_2.html" in said
    assert (tmp_path / "point_check.html").read_text() == "mine"
    assert "<html" in (tmp_path / "point_check_2.html").read_text()


def test_check_ends_with_1_on_errors_and_needs_no_report(run, home, tmp_path):
    path = home / "me" / "point" / video_path("observation.images.top", FilePlace())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    status, said, _ = run("check", "me/point", "--report=none")
    assert status == 1
    assert said.startswith("error ")
    assert not list(tmp_path.glob("*.html"))


def test_repair_of_a_whole_dataset_changes_nothing(run, home):
    before = files(home)
    status, said, _ = run("repair", "me/point")
    assert status == 0
    assert "5 whole episodes" in said
    assert files(home) == before


def test_rename_within_lerobots_home(run, home):
    before = files(home / "me" / "point")
    assert run("rename", "me/point", "you/point_2")[0] == 0
    assert files(home / "you" / "point_2") == before
    assert not (home / "me" / "point").exists()


def test_rename_of_a_folder_gives_a_folder(run, home, tmp_path):
    assert run("rename", "home/me/point", "moved")[0] == 0
    assert (tmp_path / "moved" / INFO).exists()
    assert run("rename", "./moved", tmp_path / "again")[0] == 0
    assert (tmp_path / "again" / INFO).exists()


def test_delete_episodes_takes_them_out(run, home):
    before = lengths(home / "me" / "point")
    status, said, _ = run("delete_episodes", "me/point", "--episodes=1,3-4", "--yes")
    assert status == 0
    assert "deleted 3 episodes; 2 left" in said
    assert lengths(home / "me" / "point") == [before[0], before[2]]


@pytest.mark.parametrize(("answer", "left"), [("y", 4), ("n", 5), ("", 5)])
def test_delete_episodes_asks_on_a_terminal(run, home, monkeypatch, answer, left):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    asked = []
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or answer)
    status, said, _ = run("delete-episodes", "me/point", "--episodes=1")
    assert status == 0
    assert asked == ["Delete them? [y/N] "]
    assert "timeout" in said
    assert len(lengths(home / "me" / "point")) == left


def test_merge_makes_a_new_dataset(run, home):
    shutil.copytree(home / "me" / "point", home / "me" / "other")
    status, said, _ = run("merge", "me/point", "me/other", "--into=me/both")
    assert status == 0
    assert said.startswith("10 episodes ")
    assert lengths(home / "me" / "both") == lengths(home / "me" / "point") * 2
    assert not (home / "me" / "both" / WORK).exists()


def test_export_writes_plain_files(run, home, tmp_path):
    status, said, _ = run("export", "me/point", "--to=plain", "--episodes=0,2", "--format=npz")
    assert status == 0
    assert "2 episodes in plain" in said
    assert sorted(path.name for path in (tmp_path / "plain").iterdir()) == [
        "episode_000000.npz",
        "episode_000000_top.mp4",
        "episode_000002.npz",
        "episode_000002_top.mp4",
        "episodes.csv",
    ]


INTERRUPTED_EXPORT = """
import os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also where the tests run under nohup
from contextlib import contextmanager
from taketwo.cli import dataset_export
from taketwo.cli.main import main

@contextmanager
def bar(what):
    yield lambda done, total: done == 2 and os.kill(os.getpid(), {number})

dataset_export.progress_bar = bar
sys.exit(main(["dataset", "export", "me/point", "--to=plain"]))
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_an_export_and_nothing_of_it_is_left(home, tmp_path, number, status):
    code = INTERRUPTED_EXPORT.format(number=int(number))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stderr
    assert done.stderr == "error: interrupted\n"
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_push_that_fails_keeps_the_dataset_and_tells_the_command(run, home, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    before = files(home)
    status, _, error = run("push", "me/point", "--private")
    assert status == 1
    assert "not logged in" in error
    assert f"taketwo dataset push {home / 'me' / 'point'} --repo_id=me/point --private=true" in error
    assert files(home) == before


def test_the_tables_fit_a_narrow_terminal(home):
    done = taketwo("dataset", "list", "me/point", cwd=home.parent)
    assert max(map(len, done.stdout.splitlines())) <= 60


def test_the_real_command_tells_a_wrong_dataset_in_one_line(home):
    done = taketwo("dataset", "info", "me/nothing")
    assert done.returncode == 1
    assert error_of(done).startswith("there is no dataset 'me/nothing'")


@pytest.mark.parametrize(
    ("count", "said"), [(0, "has no episodes"), (1, "has episode 0 only"), (7, "has episodes 0 to 6")]
)
def test_an_episode_that_is_not_there_is_told_with_those_that_are(count, said):
    with pytest.raises(ConfigError, match=rf"^--episodes: there is no episode 7: somewhere {said}$"):
        parsed_episodes("7", count, Path("somewhere"))


def test_numbers_in_words():
    assert [said_count(number, "row") for number in (0, 1, 2, 1234567)] == [
        "0 rows",
        "1 row",
        "2 rows",
        "1 234 567 rows",
    ]


def test_episodes_are_named_by_numbers_and_ranges():
    root = Path("somewhere")
    assert parsed_episodes("1,4-6, 5 ,0", 7, root) == [0, 1, 4, 5, 6]
    assert said_episodes([0, 1, 4, 5, 6, 9]) == "0-1,4-6,9"
    for wrong in ("", "1,", "a", "-1", "1-", "1.5"):
        with pytest.raises(ConfigError, match="such as 1,4-6"):
            parsed_episodes(wrong, 7, root)
