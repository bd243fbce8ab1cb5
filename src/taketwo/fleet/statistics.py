"""How sure a count of successes makes us: intervals, tests, and intervals that may be looked at all the time.

Everything here is a pure function of counts. Two families are kept apart:

- `wilson`, `paired_difference` and `mcnemar` are for a number of episodes that was decided beforehand.
- `rate_sequence` and `difference_sequence` are *confidence sequences*: they cover the truth at all times at once, so
  that one may look after each episode and stop because of what one sees. They are wider; that is the price of looking.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

CONFIDENCE = 0.95
"""Probability with which an interval covers the truth, unless told otherwise."""

BISECTIONS = 50
"""Halvings of a bracket of at most 2, which leaves less than 1e-14."""

BETS = 1024
"""Bets that a wealth is spread over; up to 2047 pairs, the sum is the mixture's integral (Gauss and Chebyshev)."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A closed interval of rates, or of differences of rates."""

    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half of its length."""
        return (self.high - self.low) / 2

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class McNemar:
    """Two-sided p-values of the hypothesis that neither of two runs is better.

    Attributes:
        mid_p: recommended: close to its nominal level, and not above it in all 9595 cases that its authors tried.
        exact: never above its nominal level, and mostly far below it.
    """

    mid_p: float
    exact: float


def wilson(successes: int, attempts: int, confidence: float = CONFIDENCE) -> Interval:
    """Score interval of a success rate (Wilson 1927, J. Am. Stat. Assoc. 22, 209-212); [0, 1] without attempts.

    It covers well for few attempts and for rates near 0 and 1 (Brown, Cai and DasGupta 2001, Stat. Sci. 16, 101-133).

    Raises:
        ValueError: the counts or the confidence are impossible.
    """
    _check(confidence, attempts, successes)
    if not attempts:
        return Interval(0.0, 1.0)
    z = _quantile(confidence)
    failures = attempts - successes
    middle = (successes + z * z / 2) / (attempts + z * z)
    half = z / (attempts + z * z) * math.sqrt(successes * failures / attempts + z * z / 4)
    return Interval(middle - half if successes else 0.0, middle + half if failures else 1.0)


def paired_difference(better: int, worse: int, pairs: int, confidence: float = CONFIDENCE) -> Interval:
    """Score interval of the difference of two success rates on the same trials (Tango 1998, Stat. Med. 17, 891-908).

    It holds those differences that the score test, of which McNemar's is the case 0, does not reject, and has a width
    also where no pair differs. Fagerland, Lydersen and Laake (2014, Stat. Med. 33, 2850-2875) compare it with others.

    Args:
        better: pairs that the second run solved and the first did not.
        worse: pairs that the first run solved and the second did not.
        pairs: all pairs.

    Returns:
        An interval of second minus first, within [-1, 1]; all of it without pairs.

    Raises:
        ValueError: the counts or the confidence are impossible.
    """
    _check(confidence, pairs, better, worse)
    z = _quantile(confidence)

    def rejected(difference: float) -> bool:
        return abs(_tango_score(better, worse, pairs, difference)) > z

    return _around((better - worse) / pairs, -1.0, 1.0, rejected) if pairs else Interval(-1.0, 1.0)


def mcnemar(better: int, worse: int) -> McNemar:
    """McNemar's test on the pairs that differ, each a fair coin where neither run is better.

    Exact: McNemar 1947, Psychometrika 12, 153-157, by the binomial distribution. Mid-p: Fagerland, Lydersen and Laake
    2013, BMC Med. Res. Methodol. 13:91; half of the probability of what was seen is left out. Both are 1 where as
    many pairs are better as are worse.

    Raises:
        ValueError: a count is negative.
    """
    _check(CONFIDENCE, better + worse, better, worse)
    fewer, differing = min(better, worse), better + worse
    if better == worse:
        return McNemar(1.0, 1.0)
    ratios = np.log(np.arange(differing, differing - fewer, -1) / np.arange(1, fewer + 1))
    masses = np.exp(np.concatenate([[0.0], np.cumsum(ratios)]) - differing * math.log(2))  # of 0, 1, ..., fewer
    exact = min(1.0, 2 * float(masses.sum()))
    return McNemar(exact - float(masses[-1]), exact)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values of a family of tests, raised so that the chance of any false finding is kept (Holm 1979).

    Scand. J. Stat. 6, 65-70. The order is that of the arguments.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def rate_sequence(successes: int, attempts: int, confidence: float = CONFIDENCE) -> Interval:
    """Confidence sequence of a success rate: with `confidence`, every one of them, after any number, covers it.

    It holds the rates p against which the mixture over q ~ Beta(1/2, 1/2) of the likelihood ratios q to p is below
    1 / (1 - confidence); that mixture is a martingale under p, and Ville's inequality bounds its maximum (Robbins
    1970, Ann. Math. Stat. 41, 1397-1409; Howard, Ramdas, McAuliffe and Sekhon 2021, Ann. Stat. 49, 1055-1080; the
    prior is that of Krichevsky and Trofimov 1981). Where tasks of different difficulty take turns, it covers their
    mean rate after each whole turn: the expected ratio of a turn is a product of terms whose mean is 1.

    Raises:
        ValueError: the counts or the confidence are impossible.
    """
    _check(confidence, attempts, successes)
    if not attempts:
        return Interval(0.0, 1.0)
    failures = attempts - successes
    mixture = _log_beta(successes + 0.5, failures + 0.5) - _log_beta(0.5, 0.5)
    threshold = -math.log1p(-confidence)

    def rejected(rate: float) -> bool:
        return mixture - successes * math.log(rate) - failures * math.log1p(-rate) >= threshold

    return _around(successes / attempts, 0.0, 1.0, rejected)


def difference_sequence(better: int, worse: int, pairs: int, confidence: float = CONFIDENCE) -> Interval:
    """Confidence sequence of the difference of two success rates on the same trials: second minus first.

    It holds the differences against which `difference_wealth` is below 1 / (1 - confidence).

    Args:
        better: pairs that the second run solved and the first did not.
        worse: pairs that the first run solved and the second did not.
        pairs: all pairs.

    Raises:
        ValueError: the counts or the confidence are impossible.
    """
    _check(confidence, pairs, better, worse)
    if not pairs:
        return Interval(-1.0, 1.0)
    threshold = -math.log1p(-confidence)

    def rejected(difference: float) -> bool:
        return _log_wealth(better, worse, pairs, difference) >= threshold

    return _around((better - worse) / pairs, -1.0, 1.0, rejected)


def difference_wealth(better: int, worse: int, pairs: int, difference: float = 0.0) -> float:
    """What one unit has become by betting on each pair against this difference of the success rates: an e-value.

    If the difference is the true one, no bet has an advantage, and the wealth ever reaches w with probability 1 / w
    at most; 1 / wealth is therefore a p-value at any time. Each pair, of value -1, 0 or 1, multiplies a bet's capital
    by 1 + bet (value - difference); the unit is spread over the bets that cannot lose more than all, by the arcsine
    distribution at Chebyshev's nodes (Waudby-Smith and Ramdas 2024, J. R. Stat. Soc. B 86, 1-27; Cover 1991, Math.
    Finance 1, 1-29, for the mixture). Against 0 it is a sequential sign test of the pairs that differ.

    Args:
        better: pairs that the second run solved and the first did not.
        worse: pairs that the first run solved and the second did not.
        pairs: all pairs.
        difference: between -1 and 1, exclusive.

    Raises:
        ValueError: the counts are impossible.
    """
    _check(CONFIDENCE, pairs, better, worse)
    return math.exp(min(_log_wealth(better, worse, pairs, difference), 700.0))  # e^710 is beyond a float


_NODES = (1 + np.cos((2 * np.arange(1, BETS + 1) - 1) * math.pi / (2 * BETS))) / 2


def _log_wealth(better: int, worse: int, pairs: int, difference: float) -> float:
    lowest, highest = -1 / (1 - difference), 1 / (1 + difference)
    bets = lowest + (highest - lowest) * _NODES
    capital = (
        better * np.log1p(bets * (1 - difference))
        + worse * np.log1p(-bets * (1 + difference))
        + (pairs - better - worse) * np.log1p(-bets * difference)
    )
    largest = float(capital.max())
    return largest + math.log(float(np.exp(capital - largest).mean()))


def _tango_score(better: int, worse: int, pairs: int, difference: float) -> float:
    """The score statistic; `fitted` is the likeliest probability of `worse` where the difference is this one."""
    linear = -better - worse + (2 * pairs - better + worse) * difference
    constant = -worse * difference * (1 - difference)
    fitted = (math.sqrt(max(0.0, linear * linear - 8 * pairs * constant)) - linear) / (4 * pairs)
    variance = pairs * (2 * fitted + difference * (1 - difference))
    distance = better - worse - pairs * difference
    if variance <= 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


def _around(estimate: float, lowest: float, highest: float, rejected: Callable[[float], bool]) -> Interval:
    """The values around an estimate that are not rejected; the ends of the range are, unless the estimate is one."""
    return Interval(_edge(estimate, lowest, rejected), _edge(estimate, highest, rejected))


def _edge(inside: float, outside: float, rejected: Callable[[float], bool]) -> float:
    if inside == outside:
        return outside
    for _ in range(BISECTIONS):
        middle = (inside + outside) / 2
        if middle in (inside, outside):
            break
        if rejected(middle):
            outside = middle
        else:
            inside = middle
    return inside


def _log_beta(first: float, second: float) -> float:
    return math.lgamma(first) + math.lgamma(second) - math.lgamma(first + second)


def _quantile(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _check(confidence: float, total: int, *parts: int) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"the confidence must be between 0 and 1, not {confidence}")
    if min(parts) < 0 or sum(parts) > total:
        raise ValueError(f"{parts} cannot be parts of {total}")
