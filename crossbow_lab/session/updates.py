"""Updates of learners and z on torch's own operators, any device, with scratch memory made once."""

from torch import Tensor

from crossbow_lab.averaging import Rows, explore, make_scratch, squared_distances, synchronise
from crossbow_lab.learners import Bank
from crossbow_lab.session.setting import Setting


class Updates:
    """The rules, bound to a bank.

    Parameters
    ----------
    bank : the learners
    weight_decay : lambda
    """

    def __init__(self, bank: Bank, weight_decay: float) -> None:
        self._bank, self._weight_decay = bank, weight_decay
        self._rows: dict[int, Rows] = {}

    def begin(self, setting: Setting, *, synchronises: bool) -> None:
        """Do nothing: one device waits for no other."""

    def update(self, setting: Setting, n_before: int, *, synchronises: bool) -> None:
        """Update the learners, and z where they synchronise; ``n_before`` as in `averaging.synchronise`."""
        rows, rate, decay = self.rows_of(setting), setting.learning_rate, self._weight_decay
        if synchronises:
            synchronise(setting.algorithm, rows, learning_rate=rate, weight_decay=decay, n_before=n_before)
        else:
            explore(setting.algorithm, rows, learning_rate=rate, weight_decay=decay)

    def distances(self, setting: Setting) -> Tensor:
        """Return every learner's Euclidean distance to z: (replicas,)."""
        rows = self.rows_of(setting)
        return squared_distances(rows.weights, rows.centre, scratch=rows.scratch).sqrt()

    def rows_of(self, setting: Setting) -> Rows:
        """Return the rows that train, with scratch memory for so many."""
        bank, k = self._bank, setting.replicas
        if k not in self._rows:
            rows = Rows(
                weights=bank.weights[:k],
                gradients=bank.gradients[:k],
                centre=bank.centre,
                centre_velocity=bank.centre_velocity,
                local_velocity=bank.local_velocity[:k],
                scratch=make_scratch(bank.weights[:k]),
            )
            self._rows = {k: rows}
        return self._rows[k]
