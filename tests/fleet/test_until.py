"""Rules that end a run: when, and what they do not look at."""

import numpy as np
import pytest

from taketwo.errors import ConfigError
from taketwo.fleet.results import RESULTS, FleetResults, write_results
from taketwo.fleet.statistics import rate_sequence
from taketwo.fleet.trials import Trial
from taketwo.fleet.until import Differs, HalfWidth, Watch, in_rounds, parse_until
from taketwo.types import Outcome
from tests.fleet.results_support import a_result, a_run


def ended(run, count):
    """The first results, in the order in which trials are begun."""
    order = [trial.index for turn in in_rounds(run.trials) for trial in turn]
    return {index: run.results[index] for index in order[:count]}


def test_rounds_take_one_trial_of_each_task():
    rounds = in_rounds(a_run({"stack": "...", "push": ".."}).trials)
    assert [[trial.index for trial in turn] for turn in rounds] == [[0, 3], [1, 4], [2]]


def test_a_run_ends_once_its_interval_is_narrow_enough():
    run = a_run({"stack": "s" * 60})
    watch = Watch(HalfWidth(0.1), run.trials)
    enough = next(count for count in range(61) if rate_sequence(count, count).half_width <= 0.1)
    assert watch.reason(ended(run, enough - 1)) is None
    reason = watch.reason(ended(run, enough))
    assert f"after {enough} attempts" in reason
    assert watch.reason(ended(run, 60)) == reason


def test_the_same_results_end_a_run_at_the_same_trial_however_they_arrive():
    run = a_run({"stack": "sf" * 100, "push": "ss" * 100})
    one_by_one, at_once = Watch(HalfWidth(0.1), run.trials), Watch(HalfWidth(0.1), run.trials)
    reasons = [one_by_one.reason(ended(run, count)) for count in range(0, 401, 7)]
    assert reasons[-1] is not None
    assert at_once.reason(run.results) == reasons[-1]


def test_what_ended_early_is_not_looked_at_before_what_was_begun_earlier():
    """Else quick successes would be counted before slow failures."""
    run = a_run({"stack": "f" + "s" * 99})
    results = {index: result for index, result in run.results.items() if index}
    watch = Watch(HalfWidth(0.2), run.trials)
    assert watch.reason(results) is None
    assert watch.reason(run.results) is not None


def test_a_rule_waits_until_each_task_had_its_turn():
    run = a_run({"stack": "s" * 40, "push": "f" * 40})
    watch = Watch(HalfWidth(0.2), run.trials)
    stack = {index: result for index, result in run.results.items() if index < 40}
    assert watch.reason(stack) is None


def test_faults_are_not_counted_by_a_rule():
    run = a_run({"stack": "X" * 200})
    assert Watch(HalfWidth(0.2), run.trials).reason(run.results) is None


def test_a_run_ends_once_it_is_shown_to_differ(tmp_path):
    write_results(tmp_path / RESULTS, a_run({"stack": "f" * 30}, name="before"))
    run = a_run({"stack": "s" * 30})
    watch = Watch(parse_until(f"differs:{tmp_path}", run.trials), run.trials)
    assert watch.reason(ended(run, 5)) is None
    reason = watch.reason(run.results)
    assert "from that of before after" in reason
    assert int(reason.split("after ")[1].split()[0]) < 15


def test_a_run_like_another_goes_on_to_its_end(tmp_path):
    letters = "sfst" * 40
    write_results(tmp_path / RESULTS, a_run({"stack": letters}))
    run = a_run({"stack": letters})
    assert Watch(parse_until(f"differs:{tmp_path}", run.trials), run.trials).reason(run.results) is None


def test_a_policy_that_is_the_same_is_seldom_said_to_differ():
    """200 seeded pairs of runs of one policy over two tasks: 5 % may be said to differ, and 20 are beyond that."""
    rng = np.random.default_rng(2)
    trials = [Trial(index, f"task {index % 2}", {}, 0, index // 2) for index in range(120)]
    differing = 0
    for _ in range(200):
        solved = rng.random((2, 120)) < np.where(np.arange(120) % 2, 0.3, 0.8)
        other, own = (
            {k: a_result(k, Outcome.SUCCESS if good else Outcome.TIMEOUT) for k, good in enumerate(run)}
            for run in solved
        )
        rule = Differs(FleetResults("before", trials, other))
        differing += Watch(rule, trials).reason(own) is not None
    assert differing < 20


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "unknown rule"),
        ("half", "Did you mean 'half_width'"),
        ("half_width", "a rule and its value"),
        ("half_width:", "between 0 and 0.5"),
        ("half_width:nan", "between 0 and 0.5"),
        ("half_width:0.5", "between 0 and 0.5"),
        ("half_width:five", "'five'"),
        ("differs:/no/such/run", "does not exist"),
    ],
)
def test_a_rule_that_is_none_is_refused_in_a_line(text, said):
    with pytest.raises(ConfigError, match=said) as error:
        parse_until(text, a_run({"stack": "."}).trials)
    assert str(error.value).startswith("until")
    assert "\n" not in str(error.value)


def test_a_run_that_shares_no_trial_is_no_baseline(tmp_path):
    write_results(tmp_path / RESULTS, a_run({"push": "ss"}))
    with pytest.raises(ConfigError, match="none of this plan's trials"):
        parse_until(f"differs:{tmp_path}", a_run({"stack": ".."}).trials)
