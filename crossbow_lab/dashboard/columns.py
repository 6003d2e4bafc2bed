"""The rows of one table of a live dashboard, in bounded memory: the newest in full, the older ones thinned.

Older rows are thinned by pairs: every column of a run of rows becomes its smallest and its largest value, in the
order in which they came, and the x columns become the run's first and last. So a thinned line still touches every
extreme, and a pair of pairs is the pair of both: thinning again loses no extreme either. Whenever the pairs
become too many they are thinned again, and so are later rows: a day costs no more memory than an hour.

`assets/table.js` does the same in the browser.
"""

import numpy as np
from numpy.typing import NDArray

X_AXES = ("iteration", "epoch", "samples", "elapsed_s")
"""The columns that every row of every table starts with: the choices for the x axis."""

_ROWS_AT_FIRST = 1024
_SPARE_SHARE = 4  # thinning starts a quarter of the newest rows late, so that it moves memory rarely

Floats = NDArray[np.float32]


def extremes(rows: Floats, run: int) -> Floats:
    """Thin rows to two for each ``run`` of them, keeping every column's extremes.

    Parameters
    ----------
    rows : float32 array, shape (columns, m)
        Columns 0 to 3 are the x axes, which never fall; m is a multiple of ``run``. NaN is no value.
    run : int
        Rows that become a pair, at least 2.

    Returns
    -------
    float32 array, shape (columns, 2 m / run)
        New memory. NaN where a column has no value in the whole run.

    Examples
    --------
    >>> x = np.arange(6, dtype=np.float32)
    >>> y = np.array([3, 9, 1, 5, 2, 4], np.float32)
    >>> extremes(np.array([x, x, x, x, y]), 3)[[0, 4]]
    array([[0., 2., 3., 5.],
           [9., 1., 5., 2.]], dtype=float32)
    """
    pairs = np.empty((len(rows), 2 * (rows.shape[1] // run)), np.float32)
    pairs[: len(X_AXES), 0::2] = rows[: len(X_AXES), 0::run]
    pairs[: len(X_AXES), 1::2] = rows[: len(X_AXES), run - 1 :: run]
    for column in range(len(X_AXES), len(rows)):  # one by one: all at once would take several times the table's memory
        runs = rows[column].reshape(-1, run)
        nothing = np.isnan(runs)
        ends = np.where(nothing, np.inf, runs).argmin(axis=1), np.where(nothing, -np.inf, runs).argmax(axis=1)
        picked = np.stack([np.minimum(*ends), np.maximum(*ends)], axis=1)
        pairs[column] = np.take_along_axis(runs, picked, axis=1).reshape(-1)
    return pairs


class Columns:
    """Rows of float32 columns: at least the ``newest`` as they came, the ones before them thinned.

    Parameters
    ----------
    n_columns : int
        Columns of a row, x axes included.
    newest : int
        Rows kept in full.
    older : int
        Most rows that the thinned ones take.

    Examples
    --------
    >>> table = Columns(5, newest=100, older=50)
    >>> for start in range(0, 1000, 10):
    ...     table.append(np.tile(np.arange(start, start + 10, dtype=np.float32), (5, 1)))
    >>> table.n_rows, table.everything().shape[1] <= 175, table.everything()[4, [0, -1]]
    (1000, True, array([  0., 999.], dtype=float32))
    """

    def __init__(self, n_columns: int, *, newest: int = 20_000, older: int = 8_000) -> None:
        self.n_columns, self.n_rows = n_columns, 0
        self._newest, self._older = newest, older
        self.clear()

    def clear(self) -> None:
        """Forget all rows, and count from 0 again."""
        self.n_rows = 0
        self._filled = self._thinned = 0  # rows in memory; how many of them, at the front, are pairs
        self._run = 4  # rows that the next pair stands for
        self._memory: Floats = np.empty((self.n_columns, _ROWS_AT_FIRST), np.float32)

    def append(self, rows: Floats) -> None:
        """Append rows, shape (columns, m)."""
        more = rows.shape[1]
        if self._filled + more > self._memory.shape[1]:
            needed, bound = self._filled + more, self._older + self._newest + self._newest // _SPARE_SHARE
            grown = np.empty((self.n_columns, max(needed, min(2 * needed, bound))), np.float32)
            grown[:, : self._filled] = self.everything()
            self._memory = grown
        self._memory[:, self._filled : self._filled + more] = rows
        self._filled += more
        self.n_rows += more
        if self._filled - self._thinned >= self._newest + self._newest // _SPARE_SHARE:
            self._thin()

    def everything(self) -> Floats:
        """Return all rows in memory, oldest first; a view."""
        return self._memory[:, : self._filled]

    @property
    def first_in_full(self) -> int:
        """Number of the oldest row that is as it came; rows are numbered from 0 as they are appended."""
        return self.n_rows - (self._filled - self._thinned)

    def since(self, row: int) -> Floats:
        """Return the rows from number ``row`` on, which must not be before `first_in_full`; a view."""
        return self._memory[:, self._filled - (self.n_rows - row) : self._filled]

    def summary(self, rows: int) -> Floats:
        """Return the whole history in about ``rows`` rows: the newest half in full, the others as pairs."""
        if self._filled <= rows:
            return self.everything()
        old = self._filled - rows // 2
        run = max(2, -(-4 * old // rows))
        old -= old % run
        return np.concatenate([extremes(self._memory[:, :old], run), self._memory[:, old : self._filled]], axis=1)

    def _thin(self) -> None:
        """Turn all but the newest rows into pairs; and where there are too many of those, pairs of pairs."""
        thinned, old = self._thinned, self._filled - self._newest
        old -= (old - thinned) % self._run
        pairs = extremes(self._memory[:, thinned:old], self._run)
        front = np.concatenate([self._memory[:, :thinned], pairs], axis=1)
        if front.shape[1] > self._older:
            whole = front.shape[1] - front.shape[1] % 4
            front = np.concatenate([extremes(front[:, :whole], 4), front[:, whole:]], axis=1)
            self._run *= 2
        kept = front.shape[1] + self._filled - old
        for column, values in enumerate(self._memory):
            values[front.shape[1] : kept] = values[old : self._filled]
            values[: front.shape[1]] = front[column]
        self._thinned, self._filled = front.shape[1], kept
