"""Plans, the ledger, finished trials on the disk, and the order in which trials are run."""

import json
import re
import sqlite3
from dataclasses import replace

import pytest

from taketwo.cli.fleet import _compare_versions, _merge, _with_kept_rule, read_command
from taketwo.cli.fleet_config import FleetConfig
from taketwo.cli.fleet_progress import PlainFleetProgress
from taketwo.datasets.reader import Dataset
from taketwo.errors import ConfigError, RecordingError, TakeTwoError
from taketwo.fleet.episodes import Episodes, result_of
from taketwo.fleet.executor import Finished, Lost, MisfitError, Refusal, WorkerState
from taketwo.fleet.folder import RunFolder, check_new
from taketwo.fleet.ledger import Ledger
from taketwo.fleet.merging import MARK, check_target, merge_episodes
from taketwo.fleet.plan import Plan, Task, trials_of
from taketwo.fleet.results import FleetResults
from taketwo.fleet.run import ENDED, FleetRun, NothingWorksError
from taketwo.fleet.suites import tasks_of
from taketwo.fleet.trials import TrialResult
from taketwo.fleet.waiting import Waiting
from taketwo.seeding import episode_seed
from taketwo.types import Outcome
from tests.datasets.recording import record_point

POINT = {"type": "point"}


def plan_of(tasks=("a", "b"), seeds=(0,), trials=3, **recipe):
    return Plan(trials_of([Task(name, POINT) for name in tasks], seeds, trials), {"tasks": list(tasks), **recipe})


def result_for(trial, outcome=Outcome.SUCCESS, reason="solved"):
    return TrialResult(
        trial.index, outcome, reason, episode_seed(trial.seed, trial.number), steps=5, sim_s=0.1, wall_s=0.2
    )


def error_of(*words):
    with pytest.raises(ConfigError) as caught:
        read_command("eval", words, "")
    return str(caught.value)


def test_a_plan_is_every_task_from_every_seed_so_and_so_often_in_order():
    trials = trials_of([Task("a", POINT), Task("b", POINT)], (42, 43), 2)
    assert [(trial.index, trial.task, trial.seed, trial.number) for trial in trials] == [
        (0, "a", 42, 0), (1, "a", 42, 1), (2, "a", 43, 0), (3, "a", 43, 1),
        (4, "b", 42, 0), (5, "b", 42, 1), (6, "b", 43, 0), (7, "b", 43, 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seed=42,43,42"], "--seed has 42 twice: its episodes would be run twice"),
        (["--seed="], "--seed needs one seed or more, such as 42,43"),
        (["--seed=-1"], "--seed must be 0 or more, not -1"),
        (["--num_trials_per_task=0"], "--num_trials_per_task must be 1 or more, not 0"),
        (["--workers=0"], "--workers must be 1 or more, or auto, not 0"),
        (["--workers=many"], "--workers: expected int or auto, got 'many'"),
        (["--max_attempts=0"], "--max_attempts must be 1 or more, not 0"),
        (["--trial_timeout_s=0"], "--trial_timeout_s must be more than 0, not 0"),
        (["--silence_timeout_s=-2"], "--silence_timeout_s must be more than 0, not -2"),
        (["--tasks=0"], "--tasks is for --env.type=libero, and --env.type is aloha"),
        (
            ["--task_suite_name=libero_object", "--env.type=gym"],
            "--task_suite_name is for --env.type=libero, and --env.type is gym",
        ),
        (["--session.seed=4"], "unknown flag --session.seed. Did you mean --seed?"),
        (["--session.step_timeout_s=0"], "--session.step_timeout_s must be a finite number above 0, not 0.0"),
        (["--dataset_dir=a", "--dataset.root=b"], "--dataset_dir cannot be combined with --dataset.root"),
        (
            ["--center_crop"],
            "--policy.center_crop belongs to --policy.type=openvla or openvla_rest, and --policy.type is scripted",
        ),
        (["twice"], "unexpected word 'twice'"),
        (["--cluster=head:10001"], "--cluster must be ray, or an address such as ray://head:10001"),
        (["--env.type=gym_vector"], "--env.type 'gym_vector' is simulated only as several environments"),
    ],
)
def test_a_wrong_flag_is_told_in_a_line(words, said):
    assert error_of(*words).startswith(said)


def test_a_task_suite_has_its_tasks_and_a_wrong_one_is_told():
    pytest.importorskip("libero")
    env = {"type": "libero", "suite": "libero_object", "task": 3}
    assert len(tasks_of(env, "libero_spatial", ())) == 10
    some = tasks_of(env, "libero_spatial", ("1", "0"))
    assert [(task.env["suite"], task.env["task"]) for task in some] == [("libero_spatial", 1), ("libero_spatial", 0)]
    assert [task.env for task in tasks_of(env, None, ())] == [env]
    with pytest.raises(ConfigError, match=r"task_suite_name: unknown suite 'libero_objects'. Did you mean"):
        tasks_of(env, "libero_objects", ())
    with pytest.raises(ConfigError, match="tasks must be from 0 to 9, or a name: libero_spatial has no task 10"):
        tasks_of(env, "libero_spatial", ("10",))
    with pytest.raises(ConfigError, match=r"tasks has .* twice"):
        trials_of(tasks_of(env, "libero_spatial", ("1", some[0].name)), (0,), 1)


def test_how_a_plan_is_run_is_not_in_its_fingerprint_and_what_comes_of_it_is():
    def fingerprint(*words):
        return read_command("eval", words, "").plan.fingerprint

    same = fingerprint()
    for flag in ("--workers=4", "--max_attempts=1", "--output_dir=x", "--trial_timeout_s=9", "--quiet"):
        assert fingerprint(flag) == same
    for flag in ("--seed=1", "--num_trials_per_task=11", "--session.max_hz=5", "--env.width=32", "--log_dataset"):
        assert fingerprint(flag) != same


def test_a_plan_is_run_again_from_its_file(tmp_path):
    asked = read_command("eval", ["--seed=5,6", "--num_trials_per_task=2", "--env.width=32"], "")
    asked.plan.write(tmp_path)
    assert asked.plan.check_same(tmp_path)
    again = read_command("eval", [f"--config_path={tmp_path / 'plan.json'}"], "")
    assert again.plan.fingerprint == asked.plan.fingerprint


def test_the_workers_are_no_more_than_the_trials():
    assert FleetConfig(None, None, workers=8).num_workers(3) == 3
    assert FleetConfig(None, None, workers="auto").num_workers(1000) >= 1


def test_a_worker_keeps_its_task_and_a_new_one_takes_the_task_that_has_the_fewest():
    waiting = Waiting(plan_of().trials)
    first = waiting.take(None, [])
    assert first.task == "a"
    assert waiting.take(None, ["a"]).task == "b"
    assert [waiting.take("b", ["a"]).task for _ in range(2)] == ["b", "b"]
    assert waiting.take("b", ["a"]).task == "a"
    waiting.put_back(first)
    assert waiting.take("a", []) is first
    waiting.put_back(first)
    waiting.give_up("a")
    assert waiting.take("a", []) is None
    waiting.take_up("a")
    assert waiting.take("a", []) is first


def test_in_rounds_no_task_is_further_on_than_others():
    waiting = Waiting(plan_of().trials, in_rounds=True)
    taken = [waiting.take("a", []).task for _ in range(6)]
    assert taken == ["a", "b", "a", "b", "a", "b"]


def test_a_finished_trial_has_its_place_once(tmp_path):
    episodes = Episodes(tmp_path / "episodes")
    trial = plan_of().trials[2]
    first, second = (tmp_path / name for name in ("first", "second"))
    for folder in (first, second):
        folder.mkdir()
        (folder / "dataset").write_text(folder.name)
    assert episodes.commit(first, result_for(trial)).reason == "solved"
    late = episodes.commit(second, result_for(trial, Outcome.TIMEOUT, "late"))
    assert late == episodes.load(2) == result_for(trial)
    assert (episodes.folder(2) / "dataset").read_text() == "first"
    assert not second.exists()
    assert episodes.done() == {2}


def test_a_result_that_is_damaged_says_how_to_run_it_again(tmp_path):
    episodes = Episodes(tmp_path)
    episodes.folder(3).mkdir()
    (episodes.folder(3) / "result.json").write_text("{")
    with pytest.raises(TakeTwoError, match=f"remove {re.escape(str(episodes.folder(3)))}, and the trial is run again"):
        episodes.load(3)


def test_numbers_that_are_none_come_back():
    content = {"trial": 1, "outcome": "fault", "reason": "", "episode_seed": 1, "steps": 0, "sim_s": 0, "wall_s": 0}
    result = result_of({**content, "reward_sum": None, "metrics": {"far": None, "near": 1.0}})
    assert result.reward_sum != result.reward_sum
    assert result.metrics == {"near": 1.0}


def test_the_ledger_can_be_read_by_others_and_is_refused_for_another_plan(tmp_path):
    path, plan = tmp_path / "ledger.sqlite", plan_of()
    with Ledger(path, plan.fingerprint, plan.trials) as ledger:
        ledger.begin(1, "worker-0")
        ledger.begin(1, "worker-1")
        ledger.finish(result_for(plan.trials[1]))
        ledger.begin(2, "worker-0")
        assert ledger.attempts(1) == 2
        with sqlite3.connect(path) as reader:
            rows = reader.execute("select state, count(*) from trials group by state order by state").fetchall()
        assert rows == [("done", 1), ("open", 4), ("running", 1)]
    with Ledger(path, plan.fingerprint, plan.trials) as ledger:
        assert ledger.done() == {1}
    with pytest.raises(TakeTwoError, match="is the ledger of another plan: give another --output_dir"):
        Ledger(path, "other", plan.trials)


def test_a_damaged_ledger_is_told(tmp_path):
    path, plan = tmp_path / "ledger.sqlite", plan_of()
    path.write_bytes(b"no database" * 100)
    with pytest.raises(TakeTwoError, match="remove it, and it is made again from the finished episodes"):
        Ledger(path, plan.fingerprint, plan.trials)
    with pytest.raises(RecordingError, match="cannot write"):
        Ledger(tmp_path / "none" / "ledger.sqlite", plan.fingerprint, plan.trials)


class Scripted:
    """Workers that do what `act` says, at once; what is real of them are the folders that they leave."""

    def __init__(self, episodes, act, count=1):
        self._episodes, self._act = episodes, act
        self._names = [f"worker-{number}" for number in range(count)]
        self._tasks = dict.fromkeys(self._names)
        self._came = []
        self.begun = []

    @property
    def workers(self):
        return [WorkerState(name, "idle", self._tasks[name]) for name in self._names]

    def submit(self, trial, worker):
        self.begun.append(trial.index)
        self._tasks[worker] = trial.task
        came = self._act(trial)
        if isinstance(came, TrialResult) and came.outcome is not Outcome.FAULT:
            work = self._episodes.folder(trial.index).parent / f"work-{trial.index}"
            came = self._episodes.commit(work, came)
        self._came.append(Finished(trial, came) if isinstance(came, TrialResult) else Lost(trial, came))

    def next(self, timeout_s):
        return self._came.pop(0) if self._came else None

    def close(self):
        pass


def run_scripted(root, plan, act, *, max_attempts=2, workers=Scripted, **options):
    with RunFolder(root) as folder, Ledger(folder.ledger, plan.fingerprint, plan.trials) as ledger:
        executor = workers(folder.episodes, act)
        lines = []
        progress = PlainFleetProgress(lines.append)
        fleet = FleetRun(plan, folder, ledger, executor, progress, max_attempts=max_attempts, **options)
        reason = fleet.run()
        return reason, fleet.results, executor.begun


def test_a_worker_that_died_after_it_had_finished_has_finished(tmp_path):
    plan, episodes = plan_of(), Episodes(tmp_path / "episodes")

    def act(trial):
        if trial.index == 1:
            episodes.commit(tmp_path / "work-1", result_for(trial, Outcome.TIMEOUT, "too slow"))
            return "worker-0 was ended by SIGKILL"
        return result_for(trial)

    reason, results, begun = run_scripted(tmp_path, plan, act)
    assert reason == ENDED
    assert results[1].outcome is Outcome.TIMEOUT
    assert sorted(begun) == list(range(6))


def test_without_its_ledger_a_run_goes_on_and_what_was_removed_is_run_again(tmp_path):
    plan = plan_of()
    run_scripted(tmp_path, plan, result_for)
    for name in ("ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    assert run_scripted(tmp_path, plan, result_for)[2] == []
    Episodes(tmp_path / "episodes").remove(4)
    _, results, begun = run_scripted(tmp_path, plan, result_for)
    assert begun == [4]
    assert sorted(results) == list(range(6))


def test_a_task_that_never_works_is_given_up_and_left_open_and_others_are_run(tmp_path):
    plan = plan_of(tasks=("broken", "well"), trials=9)

    def act(trial):
        return "its model is broken" if trial.task == "broken" else result_for(trial)

    with pytest.raises(NothingWorksError, match=r"5 trials in a row came to nothing\. broken: its model is broken"):
        run_scripted(tmp_path, plan, act)
    assert Episodes(tmp_path / "episodes").done() == {trial.index for trial in plan.tasks["well"]}
    _, results, begun = run_scripted(tmp_path, plan, result_for)
    assert begun == [trial.index for trial in plan.tasks["broken"]]
    assert all(results[trial].attempts == 1 for trial in begun)


def test_it_is_enough_when_the_results_say_so(tmp_path):
    def enough(results):
        return "three will do" if len(results) >= 3 else None

    reason, results, begun = run_scripted(tmp_path, plan_of(), result_for, enough=enough)
    assert reason == "three will do"
    assert begun == [0, 3, 4]
    assert sorted(results) == [0, 3, 4]


def test_it_waits_for_workers_that_are_not_there_yet(tmp_path):
    class Late(Scripted):
        looks = 0

        @property
        def workers(self):
            return super().workers if self.looks > 2 else [WorkerState("worker-0", "starting")]

        def next(self, timeout_s):
            self.looks += 1
            return super().next(timeout_s)

    reason, results, _ = run_scripted(tmp_path, plan_of(), result_for, workers=Late)
    assert reason == ENDED
    assert sorted(results) == list(range(6))


def test_it_stops_when_somebody_says_so(tmp_path):
    reason, results, begun = run_scripted(tmp_path, plan_of(), result_for, stopped=lambda: "stopped by the operator")
    assert (reason, results, begun) == ("stopped by the operator", {}, [])


def test_the_episodes_become_one_dataset_in_order_which_is_made_once(tmp_path):
    sources = [tmp_path / name for name in ("b", "a", "c")]
    for seed, source in enumerate(sources):
        record_point(source, episodes=1, seed=seed)
    target, work = tmp_path / "all", tmp_path / "work"
    assert merge_episodes(sources, target, work, "plan")
    assert not merge_episodes(sources, target, work, "plan")
    assert not work.exists()
    with Dataset.open(target) as whole:
        seeds = [episode.note.seed for episode in whole.episodes]
    expected = []
    for source in sources:
        with Dataset.open(source) as one:
            expected += [episode.note.seed for episode in one.episodes]
    assert seeds == expected
    with pytest.raises(ConfigError, match="is there already, and nothing of it was touched"):
        merge_episodes(sources, target, work, "another plan")
    with pytest.raises(ConfigError, match="was made of 3 episodes of this run, and there are 2 now: remove it"):
        merge_episodes(sources[:2], target, work, "plan")
    assert merge_episodes(sources[:1], tmp_path / "one", work, "plan")
    with Dataset.open(tmp_path / "one") as one:
        assert len(one.episodes) == 1


def test_an_error_of_a_worker_comes_back_as_what_it_was():
    back = Refusal.of(MisfitError("env", "width must be less")).error()
    assert isinstance(back, MisfitError)
    assert (back.section, str(back)) == ("env", "width must be less")
    assert isinstance(Refusal.of(RecordingError("full")).error(), RecordingError)


def test_plain_progress_tells_counts_interval_pace_and_workers():
    lines, now = [], [0.0]
    progress = PlainFleetProgress(lines.append, lambda: now[0])
    trials = plan_of().trials
    progress.begin(trials, [])
    for trial in trials[:3]:
        now[0] += 10
        progress.ended(result_for(trial, Outcome.TIMEOUT if trial.index else Outcome.SUCCESS))
        progress.look([WorkerState("worker-0", "running", "a", trial.index + 1, 17), WorkerState("worker-1", "idle")])
    progress.ended(result_for(trials[3], Outcome.FAULT, "lost"))
    progress.close()
    assert lines == [
        "1/6 episodes: success 1/1 100.0 % (20.7 to 100.0 %); 6.0 a minute, 50.0 s left | "
        "worker-0 episode 1 step 17, worker-1 idle",
        "2/6 episodes: success 1/2 50.0 % (9.5 to 90.5 %); 6.0 a minute, 40.0 s left | "
        "worker-0 episode 2 step 17, worker-1 idle",
        "3/6 episodes: success 1/3 33.3 % (6.1 to 79.2 %); 6.0 a minute, 30.0 s left | "
        "worker-0 episode 3 step 17, worker-1 idle",
        "episode 3 is a fault after 1 attempt: lost",
        "4/6 episodes: success 1/3 33.3 % (6.1 to 79.2 %), 1 fault; 8.0 a minute, 15.0 s left",
    ]


def test_dataset_dir_counts_where_the_dataset_has_a_name_on_the_hub_too(tmp_path):
    asked = read_command("collect", ["--dataset.repo_id=me/set", f"--dataset_dir={tmp_path}", "--run_id_note=x"], "")
    assert asked.config.dataset_folder("collect").parent == tmp_path


def test_episodes_of_another_plan_are_not_taken_for_ones_own(tmp_path):
    run_scripted(tmp_path, plan_of(), result_for)
    (tmp_path / "ledger.sqlite").unlink()
    with pytest.raises(TakeTwoError, match=r"000000 has an episode of another plan: give another --output_dir"):
        run_scripted(tmp_path, plan_of(seeds=(1,)), result_for)


def test_only_a_folder_without_anybodys_files_is_a_new_one(tmp_path):
    check_new(tmp_path / "none")
    RunFolder(tmp_path).release()
    check_new(tmp_path)
    (tmp_path / "work").mkdir()
    with pytest.raises(ConfigError, match=r"has files, such as work, and no plan\.json"):
        check_new(tmp_path)


def test_what_was_under_way_when_a_command_ended_is_not_an_attempt(tmp_path):
    plan = plan_of()

    class Silent(Scripted):
        def next(self, timeout_s):
            return None

    looks = []

    def stopped():
        looks.append(None)
        return "stopped" if len(looks) > 1 else None

    _, _, begun = run_scripted(tmp_path, plan, lambda trial: "never told", workers=Silent, stopped=stopped)
    assert begun == [0]
    with Ledger(tmp_path / "ledger.sqlite", plan.fingerprint, plan.trials) as ledger:
        assert ledger.attempts(0) == 0
        ledger.begin(0, "worker-0")  # and is killed
    _, results, _ = run_scripted(tmp_path, plan, result_for)
    assert results[0].attempts == 1


def test_a_change_that_the_disk_does_not_take_is_told(tmp_path):
    plan = plan_of()
    with Ledger(tmp_path / "ledger.sqlite", plan.fingerprint, plan.trials) as ledger:

        def full(name, value):  # SQLite ends the transaction by itself then
            ledger._file.execute("rollback")
            raise sqlite3.OperationalError("database or disk is full")

        ledger._set_fact = full
        with pytest.raises(RecordingError, match="database or disk is full"):
            ledger.set_fact("wall_s", "1")


@pytest.mark.parametrize("mark", ["[]", '{"fingerprint": "plan"}', "null"])
def test_a_dataset_with_an_odd_mark_is_refused(tmp_path, mark):
    (tmp_path / "meta" / "taketwo").mkdir(parents=True)
    (tmp_path / MARK).write_text(mark)
    with pytest.raises(ConfigError):
        check_target(tmp_path, "plan", 3)


def test_a_run_of_another_version_is_warned_of(tmp_path, caplog):
    plan = plan_of()
    plan.write(tmp_path)
    _compare_versions(tmp_path)
    assert not caplog.records
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"taketwo": "0.0.1"}))
    _compare_versions(tmp_path)
    assert "the run was begun by Take Two 0.0.1, and this is" in caplog.text


def test_an_episode_that_is_let_go_is_gone_as_a_whole(tmp_path):
    episodes = Episodes(tmp_path / "episodes")
    episodes.commit(tmp_path / "written", result_for(plan_of().trials[2]))
    episodes.remove(2)
    assert episodes.load(2) is None
    assert not list((tmp_path / "work").iterdir())


def test_the_rule_of_a_run_is_kept_and_another_one_is_refused(tmp_path):
    asked = read_command("eval", ["--until=half_width:0.1"], "")
    with Ledger(tmp_path / "ledger.sqlite", asked.plan.fingerprint, asked.plan.trials) as ledger:
        _with_kept_rule(asked, ledger)
        assert _with_kept_rule(read_command("eval", [], ""), ledger).config.until == "half_width:0.1"
        with pytest.raises(ConfigError, match=r"--until: the run has the rule half_width:0\.1"):
            _with_kept_rule(read_command("eval", ["--until=half_width:0.2"], ""), ledger)


def test_a_dataset_is_sent_until_that_has_worked_and_not_again(tmp_path, monkeypatch):
    sent = []

    def push(root, repo_id, **options):  # stands for the Hub, which is away at first
        sent.append(repo_id)
        if len(sent) == 1:
            raise TakeTwoError("no network")

    monkeypatch.setattr("taketwo.datasets.hub.push_to_hub", push)
    asked = read_command(
        "collect", ["--dataset.repo_id=me/set", "--dataset.push_to_hub", "--num_trials_per_task=1"], ""
    )
    (trial,) = asked.plan.trials
    record_point(tmp_path / "episodes" / "000000" / "dataset", episodes=1)
    results = FleetResults("run", [trial], {0: replace(result_for(trial), recorded=5)})
    with RunFolder(tmp_path) as folder, Ledger(folder.ledger, asked.plan.fingerprint, [trial]) as ledger:
        with pytest.raises(TakeTwoError, match="no network"):
            _merge(asked, folder, ledger, results, tmp_path / "all")
        for _ in range(2):
            _merge(asked, folder, ledger, results, tmp_path / "all")
    assert sent == ["me/set"] * 2


def test_a_run_folder_is_held_by_one(tmp_path):
    with RunFolder(tmp_path), pytest.raises(TakeTwoError, match="is being run by process"):
        RunFolder(tmp_path)
    RunFolder(tmp_path).release()
