"""`taketwo compare`, and what it counts."""

import json
from dataclasses import replace

import pytest

from taketwo.cli.compare import main
from taketwo.errors import ConfigError
from taketwo.fleet.comparison import ONLY_A, ONLY_B, compare
from taketwo.fleet.results import RESULTS, ResultsError, write_results
from taketwo.fleet.statistics import difference_sequence, mcnemar, paired_difference
from tests.fleet.results_support import a_run


def written(folder, run):
    folder.mkdir()
    write_results(folder / RESULTS, run)
    return str(folder)


@pytest.fixture
def two_runs(tmp_path):
    """B is better at `push` in four of five, and as good at `stack`."""
    a = a_run({"stack": "sssf", "push": "ffffs"}, name="a", config={"policy": {"type": "lerobot", "path": "me/one"}})
    b = a_run({"stack": "sssf", "push": "sssss"}, name="b", config={"policy": {"type": "lerobot", "path": "me/two"}})
    return written(tmp_path / "a", a), written(tmp_path / "b", b)


def test_runs_are_compared_in_total_and_per_task():
    comparison = compare(a_run({"stack": "ssff", "push": "ff"}), a_run({"stack": "sfsf", "push": "sf"}))
    total = comparison.total
    assert (total.both, total.only_a, total.only_b, total.neither) == (1, 1, 2, 2)
    assert total.rates == pytest.approx((2 / 6, 3 / 6))
    assert total.difference == pytest.approx(1 / 6)
    assert total.interval == paired_difference(2, 1, 6)
    assert total.test == mcnemar(2, 1)
    assert [(task.task, task.pairs) for task in comparison.tasks] == [("stack", 4), ("push", 2)]
    assert [pair.a.index for pair in comparison.differing] == [1, 2, 4]


def test_p_values_of_tasks_are_raised_for_their_number():
    comparison = compare(
        a_run({"stack": "f" * 8, "push": "sf", "lift": "sf"}), a_run({"stack": "s" * 8, "push": "sf", "lift": "sf"})
    )
    assert comparison.tasks[0].p == pytest.approx(3 * mcnemar(8, 0).mid_p)
    assert comparison.tasks[1].p == 1.0
    assert comparison.total.p == mcnemar(8, 0).mid_p


def test_order_and_index_do_not_matter_for_pairs():
    a, b = a_run({"stack": "sf", "push": "s"}), a_run({"push": "f", "stack": "sf"})
    starts = {(trial.task, trial.number): a.results[trial.index].episode_seed for trial in a.trials}
    moved = {
        trial.index: replace(b.results[trial.index], episode_seed=starts[trial.task, trial.number])
        for trial in b.trials
    }
    comparison = compare(a, replace(b, results=moved))
    assert comparison.total.pairs == 3
    assert [(pair.a.index, pair.b.index) for pair in comparison.differing] == [(2, 0)]


def test_what_does_not_pair_is_told_by_why():
    a = a_run({"stack": "ssX.s", "push": "s"})
    b = a_run({"stack": "sssss", "lift": "ss"})
    other = {**b.results, 4: replace(b.results[4], init_state=3)}
    comparison = compare(a, replace(b, results=other))
    assert comparison.total.pairs == 2
    assert comparison.unpaired[ONLY_A] == 1
    assert comparison.unpaired[ONLY_B] == 2
    assert sorted(comparison.unpaired.values()) == [1, 1, 1, 1, 2]
    assert [task.task for task in comparison.tasks] == ["stack"]


def test_runs_that_share_no_trial_are_refused():
    with pytest.raises(ResultsError, match="share no episode that both attempted"):
        compare(a_run({"stack": "s"}, name="a"), a_run({"push": "s"}, name="b"))


def test_runs_that_attempted_nothing_together_are_refused():
    with pytest.raises(ResultsError, match="1 no attempt in one of them, such as a fault"):
        compare(a_run({"stack": "X"}), a_run({"stack": "s"}))


def test_a_run_that_its_results_stopped_is_compared_by_what_holds_at_any_time():
    a, b = a_run({"stack": "f" * 20}), a_run({"stack": "s" * 20}, until="half_width:0.1")
    comparison = compare(a, b)
    assert comparison.sequential
    assert comparison.total.interval == difference_sequence(20, 0, 20)
    assert comparison.total.test is None
    assert mcnemar(20, 0).mid_p < comparison.total.p < 0.001


def test_the_command_prints_a_table_and_a_verdict(two_runs, capsys):
    assert main(two_runs) == 0
    out = capsys.readouterr().out
    assert "policy.path: me/two instead of me/one" in out
    push = next(line for line in out.splitlines() if line.startswith("push"))
    assert "20.0 %" in push
    assert "100.0 %" in push
    assert "+80.0" in push
    assert "all tasks" in out
    assert "B is better than A" in out
    assert "McNemar" in out
    assert "4 episodes, which only one of them solved" in out


def test_equal_runs_are_told_with_what_may_be_there_still(two_runs, capsys):
    main([two_runs[0], two_runs[0]])
    out = capsys.readouterr().out
    assert "no difference is shown" in out
    assert "points may be there" in out


def test_the_command_turns_round_with_its_arguments(two_runs, capsys):
    main([two_runs[1], f"{two_runs[0]}/{RESULTS}"])
    assert "A is better than B" in capsys.readouterr().out


def test_the_command_tells_programs_everything(two_runs, capsys):
    assert main([*two_runs, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["a"]["name"] == "a"
    assert told["total"]["only_b"] == 4
    assert told["total"]["mcnemar"] == {"mid_p": 0.0625, "exact": 0.125}
    assert told["interval_method"] == "tango"
    assert len(told["differing"]) == 4
    assert told["changed"] == {"policy.path": {"a": "me/one", "b": "me/two"}}


def test_more_confidence_makes_wider_intervals(two_runs, capsys):
    widths = []
    for confidence in (0.8, 0.99):
        main([*two_runs, "--json", f"--confidence={confidence}"])
        low, high = json.loads(capsys.readouterr().out)["total"]["interval"]
        widths.append(high - low)
    assert widths[0] < widths[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "needs two runs"),
        (["one"], "needs two runs"),
        (["one", "two", "three"], "'three' would be a third"),
        (["one", "two", "--confidence=95"], "confidence must be from 0.5 to below 1"),
        (["one", "two", "--confidence=nan"], "confidence must be"),
    ],
)
def test_wrong_words_are_refused(words, said):
    with pytest.raises(ConfigError, match=said):
        main(words)


def test_a_place_without_a_run_is_told(two_runs):
    with pytest.raises(ResultsError, match="does not exist"):
        main([two_runs[0], "/no/such/run"])


def test_help_tells_the_flags(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert "--confidence" in out
    assert max(map(len, out.splitlines())) <= 80
