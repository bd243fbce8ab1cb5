"""Intervals and tests, against published values, exact sums and seeded simulations."""

import math

import numpy as np
import pytest

from taketwo.fleet.statistics import (
    Interval,
    difference_sequence,
    difference_wealth,
    holm,
    mcnemar,
    paired_difference,
    rate_sequence,
    wilson,
)


@pytest.mark.parametrize(
    ("successes", "attempts", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_intervals(successes, attempts, low, high):
    """Newcombe 1998, Stat. Med. 17, 857-872, table I, method 3."""
    interval = wilson(successes, attempts)
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


def test_wilson_without_attempts_says_nothing():
    assert wilson(0, 0) == Interval(0.0, 1.0)


def test_wilson_ends_at_the_ends_of_the_scale():
    assert wilson(0, 7).low == 0.0
    assert wilson(7, 7).high == 1.0


@pytest.mark.parametrize("counts", [(3, 2), (-1, 2)])
def test_impossible_counts_are_refused(counts):
    with pytest.raises(ValueError, match="parts of 2"):
        wilson(*counts)


@pytest.mark.parametrize("confidence", [0.0, 1.0, math.nan])
def test_an_impossible_confidence_is_refused(confidence):
    with pytest.raises(ValueError, match="confidence"):
        wilson(1, 2, confidence)


@pytest.mark.parametrize(
    ("better", "worse", "pairs", "confidence", "low", "high"),
    [
        (6, 16, 161, 0.95, -0.1240, -0.0054),
        (1, 7, 21, 0.95, -0.5172, -0.0260),
        (28, 25, 618, 0.90, -0.0148, 0.0247),
    ],
)
def test_the_paired_difference_gives_published_intervals(better, worse, pairs, confidence, low, high):
    """The first two: Fagerland, Lydersen and Laake, Statistical Analysis of Contingency Tables, 2017, chapter 8, as the
    R package contingencytables prints them; the last: `scoreci.mp` of the R package PropCIs."""
    interval = paired_difference(better, worse, pairs, confidence)
    assert interval.low == pytest.approx(low, abs=6e-5)
    assert interval.high == pytest.approx(high, abs=6e-5)


def test_the_paired_difference_turns_round_with_the_runs():
    one, other = paired_difference(9, 2, 40), paired_difference(2, 9, 40)
    assert one.low == pytest.approx(-other.high, abs=1e-12)
    assert one.high == pytest.approx(-other.low, abs=1e-12)


def test_the_paired_difference_of_equal_runs_has_the_width_that_wilson_gives_to_none():
    """With no pair that differs, the score is the same as that of 0 successes."""
    interval = paired_difference(0, 0, 50)
    assert interval.high == pytest.approx(wilson(0, 50).high)
    assert interval.low == pytest.approx(-interval.high)


def test_the_paired_difference_ends_at_the_ends_of_the_scale():
    assert paired_difference(8, 0, 8).high == 1.0
    assert paired_difference(0, 8, 8).low == -1.0
    assert paired_difference(0, 0, 0) == Interval(-1.0, 1.0)


def test_the_paired_difference_covers_the_truth_as_often_as_it_says():
    """Exact: a sum over all outcomes of 30 pairs, of which 20 % are better and 10 % worse."""
    pairs, up, down = 30, 0.2, 0.1
    covered = 0.0
    for better in range(pairs + 1):
        for worse in range(pairs - better + 1):
            ways = math.comb(pairs, better) * math.comb(pairs - better, worse)
            mass = ways * up**better * down**worse * (1 - up - down) ** (pairs - better - worse)
            if mass > 1e-7:
                covered += mass * (up - down in paired_difference(better, worse, pairs))
    assert 0.93 < covered < 0.98


@pytest.mark.parametrize(
    ("better", "worse", "exact", "mid_p"), [(6, 16, 0.052479, 0.034690), (7, 1, 0.0703125, 0.0390625)]
)
def test_mcnemar_gives_published_values(better, worse, exact, mid_p):
    """Fagerland, Lydersen and Laake 2013, and their book of 2017, chapter 8."""
    for test in (mcnemar(better, worse), mcnemar(worse, better)):
        assert test.exact == pytest.approx(exact, abs=6e-7)
        assert test.mid_p == pytest.approx(mid_p, abs=6e-7)


@pytest.mark.parametrize("count", [0, 1, 9])
def test_mcnemar_is_1_where_as_many_are_better_as_are_worse(count):
    test = mcnemar(count, count)
    assert (test.exact, test.mid_p) == (1.0, 1.0)


def test_mcnemar_of_many_pairs_agrees_with_exact_sums():
    expected = 2 * sum(math.comb(1060, fewer) for fewer in range(501)) / 2**1060
    assert mcnemar(560, 500).exact == pytest.approx(expected, rel=1e-10)
    assert mcnemar(600_000, 500_000).exact == 0.0


def test_holm_gives_the_values_of_its_rule():
    """The smallest times 4, the next times 3, and none below one before it."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.9])
def test_a_confidence_sequence_covers_the_rate_after_each_of_400_episodes(rate):
    """Exact: the chance that any of the intervals misses, by summing over all paths that were never missed."""
    alive, missed = np.array([1.0]), 0.0
    for attempts in range(1, 401):
        alive = np.append(alive * (1 - rate), 0.0) + np.append(0.0, alive * rate)
        for successes in np.flatnonzero(alive > 1e-12):
            if not _covers(int(successes), attempts, rate):
                missed += alive[successes]
                alive[successes] = 0.0
    assert 0.0 < missed < 0.05


def test_wilson_would_not_cover_the_rate_if_it_were_looked_at_after_each_episode():
    """Why there are sequences at all: the same sum is far above 5 %."""
    alive, missed = np.array([1.0]), 0.0
    for attempts in range(1, 401):
        alive = np.append(alive * 0.5, 0.0) + np.append(0.0, alive * 0.5)
        for successes in np.flatnonzero(alive > 1e-12):
            if 0.5 not in wilson(int(successes), attempts):
                missed += alive[successes]
                alive[successes] = 0.0
    assert missed > 0.25


def test_a_confidence_sequence_covers_the_mean_rate_of_tasks_that_take_turns():
    """Ten tasks, of which half are always solved and half never: after each round, the mean is what it should be."""
    for rounds in range(1, 60):
        assert 0.5 in rate_sequence(5 * rounds, 10 * rounds)
    rng = np.random.default_rng(0)
    rates = np.linspace(0.05, 0.95, 10)
    solved = (rng.random((400, 40, 10)) < rates).sum(axis=2).cumsum(axis=1)
    missed = sum(any(not _covers(int(count), 10 * (turn + 1), 0.5) for turn, count in enumerate(run)) for run in solved)
    assert missed <= 20


def test_a_confidence_sequence_is_an_interval_around_the_rate_and_becomes_narrow():
    widths = []
    for attempts in (0, 10, 100, 1000, 10_000):
        interval = rate_sequence(attempts * 7 // 10, attempts)
        assert 0.7 in interval
        widths.append(interval.half_width)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.02
    assert rate_sequence(0, 30).low == 0.0
    assert rate_sequence(30, 30).high == 1.0


def test_a_confidence_sequence_is_wider_than_wilson():
    for successes, attempts in ((0, 10), (5, 10), (90, 100), (500, 1000)):
        assert rate_sequence(successes, attempts).half_width > wilson(successes, attempts).half_width


@pytest.mark.parametrize(("up", "down"), [(0.15, 0.15), (0.3, 0.05), (0.0, 0.02)])
def test_nobody_becomes_rich_by_betting_against_the_true_difference(up, down):
    """300 seeded runs of 200 pairs; 5 % may reach 20 units, and 28 of 300 is beyond 3 standard deviations of that."""
    rng = np.random.default_rng(1)
    draws = rng.random((300, 200))
    better, worse = (draws < up).cumsum(axis=1), (draws > 1 - down).cumsum(axis=1)
    rich = 0
    for run in range(300):
        looks = range(0, 200, 4)
        rich += any(difference_wealth(int(better[run, k]), int(worse[run, k]), k + 1, up - down) >= 20 for k in looks)
    assert rich < 28


def test_the_wealth_against_no_difference_is_the_sign_test_of_a_beta_mixture():
    """B(b + 1/2, w + 1/2) / B(1/2, 1/2) times 2 to the number of pairs that differ, by Gauss's quadrature."""
    better, worse = 19, 6
    log_beta = math.lgamma(19.5) + math.lgamma(6.5) - math.lgamma(26) - math.log(math.pi)
    expected = math.exp(log_beta + 25 * math.log(2))
    assert difference_wealth(better, worse, 40) == pytest.approx(expected, rel=1e-9)
    assert difference_wealth(better, worse, 25) == pytest.approx(expected, rel=1e-9)


def test_the_sequence_of_a_difference_holds_what_nobody_became_rich_against():
    better, worse, pairs = 30, 12, 120
    interval = difference_sequence(better, worse, pairs)
    for difference in np.linspace(-0.99, 0.99, 199):
        inside = difference_wealth(better, worse, pairs, float(difference)) < 20
        assert inside == (float(difference) in interval)


def test_the_sequence_of_a_difference_says_nothing_at_first_and_much_in_the_end():
    assert difference_sequence(0, 0, 0) == Interval(-1.0, 1.0)
    assert 0.0 in difference_sequence(5, 0, 5)
    assert 0.0 not in difference_sequence(60, 10, 200)
    assert difference_sequence(2000, 1000, 10_000).half_width < 0.03
    assert difference_sequence(10, 0, 10).high == 1.0
    assert difference_sequence(0, 10, 10).low == -1.0


def _covers(successes, attempts, rate):
    """Whether the rate is inside, by the rule that the interval's ends are found by, which is quicker than finding."""
    failures = attempts - successes
    mixture = math.lgamma(successes + 0.5) + math.lgamma(failures + 0.5) - math.lgamma(attempts + 1) - math.log(math.pi)
    inside = mixture - successes * math.log(rate) - failures * math.log(1 - rate) < math.log(20)
    if attempts % 40 == 0:  # and that it is the same rule
        assert inside == (rate in rate_sequence(successes, attempts))
    return inside
