"""What a run comes to: counts, tables, and the file that keeps it."""

import errno
import json
import math
import os
from dataclasses import replace

import pytest

from taketwo.cli.fleet_tables import print_results
from taketwo.errors import RecordingError
from taketwo.fleet.results import RESULTS, ResultsError, read_results, write_results
from taketwo.fleet.statistics import rate_sequence, wilson
from taketwo.fleet.summary import as_plain, summarize
from taketwo.types import Outcome
from tests.fleet.results_support import a_result, a_run


def summary_of(run, **options):
    return summarize(run.trials, run.results, **options)


def test_each_task_and_all_of_them_are_counted():
    summary = summary_of(a_run({"stack": "ssf", "push": "st"}))
    assert [(task.task, task.successes, task.attempts) for task in summary.tasks] == [("stack", 2, 3), ("push", 1, 2)]
    assert (summary.total.task, summary.total.successes, summary.total.attempts) == (None, 3, 5)
    assert summary.total.rate == 0.6
    assert summary.total.interval == wilson(3, 5)


def test_faults_and_unjudged_ends_are_beside_the_success_rate():
    total = summary_of(a_run({"stack": "sfXXu."})).total
    assert (total.planned, total.ended, total.attempts, total.rate) == (6, 5, 2, 0.5)
    assert total.faults == 2
    assert total.not_attempts == {Outcome.FAULT: 2, Outcome.UNJUDGED: 1}
    assert total.interval == wilson(1, 2)


def test_means_are_those_of_attempts():
    run = a_run({"stack": "ssX"})
    results = {
        0: a_result(0, steps=10, sim_s=1.0),
        1: a_result(1, steps=20, sim_s=2.0),
        2: a_result(2, Outcome.FAULT, steps=999, sim_s=99.0),
    }
    total = summary_of(replace(run, results=results)).total
    assert (total.mean_steps, total.mean_sim_s) == (15.0, 1.5)


def test_a_run_without_attempts_has_no_rate_and_no_means():
    total = summary_of(a_run({"stack": "X."})).total
    assert (total.rate, total.mean_steps, total.mean_sim_s) == (None, None, None)
    assert (total.interval.low, total.interval.high) == (0.0, 1.0)


def test_reasons_are_counted_most_frequent_first_and_without_successes():
    total = summary_of(a_run({"stack": "sfttt"})).total
    assert list(total.reasons.values()) == [3, 1]
    assert [outcome for outcome, _ in total.reasons] == [Outcome.TIMEOUT, Outcome.FAILURE]


def test_time_that_nobody_measured_is_told_as_other():
    total = summary_of(a_run({"stack": "ss"})).total
    assert total.timings_s == {"policy": 5.0, "environment": 2.0, "other": 1.0}
    assert total.wall_s == 8.0


def test_trials_that_were_begun_twice_are_counted_whatever_came_of_them():
    run = a_run({"stack": "ss"})
    results = {0: a_result(0, attempts=3), 1: a_result(1)}
    assert summary_of(replace(run, results=results)).total.tried_again == 1


def test_a_run_that_its_results_stopped_has_confidence_sequences():
    run = a_run({"stack": "sssf"})
    summary = summary_of(run, sequential=True)
    assert summary.total.interval == rate_sequence(3, 4)
    assert as_plain(summary)["interval_method"] == "confidence_sequence"


def test_the_table_tells_the_tasks_and_keeps_faults_apart(capsys):
    print_results(a_run({"stack": "ssfX", "push": "stss"}, wall_s=75.0))
    out = capsys.readouterr().out
    lines = out.splitlines()
    stack = next(line for line in lines if line.startswith("stack"))
    assert "2/3" in stack
    assert "66.7 %" in stack
    assert stack.rstrip().endswith("1")
    assert "5/7" in next(line for line in lines if line.startswith("all tasks"))
    assert "8 of 8 planned episodes in 1 min 15 s" in out
    assert "1 fault; they are in no success rate" in out
    assert "1 fault: the worker was killed by signal 9" in out
    assert "policy" in out


def test_a_table_of_one_task_has_no_line_for_all(capsys):
    print_results(a_run({"stack": "s"}))
    assert "all tasks" not in capsys.readouterr().out


def test_a_table_of_nothing_can_be_printed(capsys):
    print_results(a_run({"stack": ".."}))
    assert "0 of 2 planned episodes" in capsys.readouterr().out


def test_results_come_back_as_they_were_written(tmp_path):
    run = a_run(
        {"stack": "sfX.", "push [red]": "tu"},
        fingerprint="abc",
        config={"policy": {"type": "noop"}},
        started_at="2025-01-01T00:00:00+00:00",
        wall_s=12.5,
        ended="all planned episodes have ended",
        until="half_width:0.05",
    )
    write_results(tmp_path / RESULTS, run)
    assert read_results(tmp_path) == run
    assert read_results(tmp_path / RESULTS) == run
    assert [path.name for path in tmp_path.iterdir()] == [RESULTS]


def test_results_are_strict_json_and_numbers_that_are_none_come_back_as_nan(tmp_path):
    run = a_run({"stack": "s"})
    results = {0: a_result(0, reward_sum=math.nan, reward_max=-math.inf)}
    write_results(tmp_path / RESULTS, replace(run, results=results))

    def refuse(constant):
        raise AssertionError(constant)

    content = json.loads((tmp_path / RESULTS).read_text(), parse_constant=refuse)
    assert content["trials"][0]["result"]["reward_sum"] is None
    assert math.isnan(read_results(tmp_path).results[0].reward_sum)


def test_an_environment_is_written_once_however_many_trials_have_it(tmp_path):
    write_results(tmp_path / RESULTS, a_run({"stack": "ssss", "push": "ss"}))
    content = json.loads((tmp_path / RESULTS).read_text())
    assert len(content["envs"]) == 2
    assert [trial["env"] for trial in content["trials"]] == [0, 0, 0, 0, 1, 1]
    assert content["summary"]["total"]["successes"] == 6


def test_results_that_cannot_be_written_leave_the_old_ones(tmp_path, monkeypatch):
    def fail(_):  # no disk is full on demand
        raise OSError(errno.ENOSPC, "No space left on device")

    write_results(tmp_path / RESULTS, a_run({"stack": "s"}))
    before = (tmp_path / RESULTS).read_bytes()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RecordingError, match=RESULTS):
        write_results(tmp_path / RESULTS, a_run({"stack": "f"}))
    assert (tmp_path / RESULTS).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [RESULTS]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "holds no results"),
        ('{"format": 2, "taketwo": "9", "trials": []}', "format 2"),
        ('{"format": 1, "trials": [{}]}', "is damaged"),
    ],
)
def test_a_file_that_is_none_is_told_in_a_line(tmp_path, text, said):
    (tmp_path / RESULTS).write_text(text)
    with pytest.raises(ResultsError, match=said) as error:
        read_results(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda trials: trials[0].update(seed="forty-two"), "seed"),
        (lambda trials: trials[0]["result"].update(outcome="won"), "outcome"),
        (lambda trials: trials[1].update(number=0), "same task, seed and number"),
        (lambda trials: trials[1].update(index=0), "same index"),
        (lambda trials: trials[0].update(env=7), "IndexError"),
    ],
)
def test_a_damaged_file_is_told_with_the_place(tmp_path, change, said):
    write_results(tmp_path / RESULTS, a_run({"stack": "ss"}))
    content = json.loads((tmp_path / RESULTS).read_text())
    change(content["trials"])
    (tmp_path / RESULTS).write_text(json.dumps(content))
    with pytest.raises(ResultsError, match=said):
        read_results(tmp_path)


def test_a_run_that_has_not_ended_is_told_from_a_folder_that_is_none(tmp_path):
    with pytest.raises(ResultsError, match="give the folder of a run"):
        read_results(tmp_path)
    (tmp_path / "plan.json").touch()
    with pytest.raises(ResultsError, match="has not ended"):
        read_results(tmp_path)
    with pytest.raises(ResultsError, match="does not exist"):
        read_results(tmp_path / "no")
