"""Statistics are what NumPy says of all values at once."""

import numpy as np
import pytest

from taketwo.datasets.statistics import QUANTILES, PixelStatistics, combined, of_column, plain_stats

NAMES = {"min", "max", "mean", "std", "count", *QUANTILES}


def test_of_a_column_of_vectors():
    values = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32)
    stats = of_column(values)
    assert stats.keys() == NAMES
    assert stats["count"].tolist() == [500]
    wide = values.astype(np.float64)
    for name, expected in (("min", wide.min(0)), ("max", wide.max(0)), ("mean", wide.mean(0)), ("std", wide.std(0))):
        np.testing.assert_allclose(stats[name], expected)
    for name, quantile in QUANTILES.items():
        np.testing.assert_allclose(stats[name], np.quantile(wide, quantile, axis=0))


def test_what_is_no_finite_number_is_left_out():
    values = np.array([[1.0, np.nan], [np.inf, np.nan], [3.0, np.nan]])
    stats = of_column(values)
    assert stats["mean"].tolist() == [2.0, 0.0]
    assert stats["max"].tolist() == [3.0, 0.0]
    assert stats["count"].tolist() == [3]


def test_of_truths():
    stats = of_column(np.array([False, True, True, True]))
    assert stats["mean"].tolist() == [0.75]
    assert stats["min"].tolist() == [0.0]
    assert stats["max"].tolist() == [1.0]


def test_of_small_pictures_is_exact():
    pictures = np.random.default_rng(1).integers(0, 200, (20, 48, 64, 3), dtype=np.uint8)
    pictures[..., 2] += 50
    statistics = PixelStatistics(48, 64)
    for picture in pictures:
        statistics.add(picture)
    stats = statistics.result()
    values = pictures.reshape(-1, 3) / 255
    assert stats.keys() == NAMES
    assert stats["count"].tolist() == [20]
    assert all(value.shape == (3, 1, 1) for name, value in stats.items() if name != "count")
    for name, expected in (
        ("min", values.min(0)),
        ("max", values.max(0)),
        ("mean", values.mean(0)),
        ("std", values.std(0)),
    ):
        np.testing.assert_allclose(stats[name].ravel(), expected, atol=1e-12)
    for name, quantile in QUANTILES.items():
        np.testing.assert_allclose(
            stats[name].ravel(), np.quantile(values, quantile, axis=0, method="inverted_cdf"), atol=1e-12
        )


def test_of_large_pictures_comes_near():
    pictures = np.random.default_rng(1).integers(0, 256, (5, 480, 640, 3), dtype=np.uint8)
    statistics = PixelStatistics(480, 640)
    for picture in pictures:
        statistics.add(picture)
    np.testing.assert_allclose(statistics.result()["mean"].ravel(), 0.5, atol=0.01)
    np.testing.assert_allclose(statistics.result()["q90"].ravel(), 0.9, atol=0.02)


@pytest.mark.parametrize("cut", [1, 100, 499])
def test_two_halves_combine_to_the_whole(cut):
    values = np.random.default_rng(0).normal(size=(500, 3))
    whole = of_column(values)
    both = combined({"x": of_column(values[:cut])}, {"x": of_column(values[cut:])})["x"]
    for name in ("min", "max", "mean", "std", "count"):
        np.testing.assert_allclose(both[name], whole[name], err_msg=name)


def test_combining_with_nothing_changes_nothing():
    stats = plain_stats({"x": of_column(np.arange(4.0))})
    assert combined({}, stats) == stats
    assert combined(stats, {}) == stats


def test_plain_values_combine_as_arrays_do():
    """`stats.json` of a dataset that is resumed comes as lists."""
    first, second = of_column(np.arange(4.0)), of_column(np.arange(10.0))
    plain = plain_stats({"x": first})
    assert plain_stats(combined(plain, {"x": second})) == plain_stats(combined({"x": first}, {"x": second}))
