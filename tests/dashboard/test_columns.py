"""Rows in bounded memory: the newest as they came, the older ones thinned with their extremes."""

import numpy as np
import pytest

from crossbow_lab.dashboard.columns import Columns, extremes


def rows(start: int, stop: int, *values: np.ndarray) -> np.ndarray:
    """Return rows whose x axes all count, with columns of values."""
    x = np.arange(start, stop, dtype=np.float32)
    return np.array([x, x, x, x, *values], np.float32)


def noise(n: int) -> np.ndarray:
    """Return n values between 0 and 1."""
    return np.random.default_rng(0).random(n, dtype=np.float32)


def filled(n: int, values: np.ndarray, *, newest: int, older: int, step: int = 7) -> Columns:
    """Return a table to which n rows came a few at a time."""
    table = Columns(5, newest=newest, older=older)
    for start in range(0, n, step):
        stop = min(n, start + step)
        table.append(rows(start, stop, values[start:stop]))
    return table


def test_a_run_of_rows_becomes_its_extremes_in_their_order():
    """Of each column by itself; x becomes the run's ends."""
    thin = extremes(rows(0, 8, np.array([5, 1, 9, 2, 3, 8, 7, 0])), 4)

    assert thin[4].tolist() == [1, 9, 8, 0]
    assert thin[0].tolist() == [0, 3, 4, 7]


def test_no_value_is_no_extreme():
    """NaN is left out where a run has a value, and stays where it has none."""
    nan = np.nan
    thin = extremes(rows(0, 6, np.array([nan, 2, 1, nan, nan, nan])), 3)

    np.testing.assert_array_equal(thin[4], [2, 1, nan, nan])


def test_the_newest_rows_stay_as_they_came():
    """At least as many as were asked for, whatever became of the older ones."""
    values = noise(5_000)
    table = filled(5_000, values, newest=300, older=100)

    assert table.n_rows == 5_000
    assert table.n_rows - table.first_in_full >= 300
    np.testing.assert_array_equal(table.since(4_700), rows(4_700, 5_000, values[4_700:]))
    np.testing.assert_array_equal(table.everything()[:, -300:], table.since(4_700))


def test_memory_is_bounded_however_many_rows_come():
    """A hundred times as many rows take no more of it."""
    table = filled(200_000, noise(200_000), newest=1_000, older=400, step=50)

    assert table.everything().shape[1] <= 400 + 1_250 + 50
    assert table._memory.nbytes <= 4 * 5 * 2 * (400 + 1_250)


def test_thinning_again_and_again_keeps_every_extreme():
    """A spike of one row is still there after a day, at about its time, and x never falls."""
    values = noise(100_000)
    values[[1_234, 50_001, 99_000]] = [9, -7, 8]
    table = filled(100_000, values, newest=1_000, older=400, step=50)
    x, y = table.everything()[[0, 4]]

    assert y.max() == 9
    assert y.min() == -7
    assert abs(x[y.argmax()] - 1_234) < 100_000 / 100
    assert (np.diff(x) >= 0).all()
    assert (x[0], x[-1]) == (0, 99_999)


def test_a_summary_is_short_and_whole():
    """It has about the rows asked for, the newest as they came, and every extreme."""
    values = noise(10_000)
    values[2_000] = 9
    summary = filled(10_000, values, newest=20_000, older=8_000).summary(500)

    assert 450 <= summary.shape[1] <= 550
    assert summary[4].max() == 9
    assert (summary[0, 0], summary[0, -1]) == (0, 9_999)
    np.testing.assert_array_equal(summary[:, -250:], rows(9_750, 10_000, values[9_750:]))


@pytest.mark.parametrize("n", [0, 1, 400])
def test_a_short_history_is_its_own_summary(n):
    """Nothing is thinned that isn't long."""
    values = noise(n)
    np.testing.assert_array_equal(filled(n, values, newest=1_000, older=400).summary(500), rows(0, n, values))


def test_a_large_block_is_taken_as_a_whole():
    """Such as the past of a session whose dashboard opens late."""
    values = noise(30_000)
    table = Columns(5, newest=1_000, older=400)
    table.append(rows(0, 30_000, values))

    assert table.n_rows == 30_000
    assert table.everything()[4].max() == values.max()
    np.testing.assert_array_equal(table.since(29_000), rows(29_000, 30_000, values[29_000:]))


def test_clearing_counts_from_nothing():
    """As a new table does."""
    table = filled(5_000, noise(5_000), newest=300, older=100)
    table.clear()
    table.append(rows(0, 3, np.ones(3)))

    assert (table.n_rows, table.first_in_full, table.everything().shape[1]) == (3, 0, 3)
