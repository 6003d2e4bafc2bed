"""What our engine takes for m learners: predicted from one learner's operators, without training.

The bank has rows of weights and gradients, and of local momentum where that is used, on CUDA always; z has two. Scratch
of the update rule is at most 4 MiB on a CPU. For operators' outputs, executors differ:

* ``fused`` holds all learners' outputs at once. Those it can place are planned as `offline_plan` has it, others stay
  where torch puts them until the next iteration replaces them: there is an old and a new one of the largest at a time,
  and torch's convolutions copy what they read and write.
* ``loop`` runs one learner after the other: all share the memory of one, and gradients are computed there first.
* ``streams`` runs learners side by side, each in memory of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from crossbow_lab.averaging import SMA, Algorithm, local_momentum
from crossbow_lab.errors import ConfigurationError
from crossbow_lab.memory.buffers import Operator, close_fit, naive_bytes, offline_plan, peak_bytes

_SCRATCH_BYTES = 4 * 2**20
# Calibrated on a CPU with glibc's allocator and one thread, in fresh processes: predictions above 40 MB came within
# 9 % of what lenet and mlp took, and within 13 % for digits-cnn and residual networks, whose own repetitions differ
# by 8 %. The libraries and the batches' order leave behind 2 to 4 MiB; each traced operator some 40 KiB more: its node,
# its call, and the code that oneDNN generates for it.
_LEFT_BEHIND_BYTES = 5 * 2**19
_OPERATOR_BYTES = 40 * 2**10
# Freed memory between outputs, too small for the next one: measured -5 to 35 % of them, and next to none once glibc is
# made to map each output by itself (MALLOC_MMAP_THRESHOLD_).
_FRAGMENTATION = 1.15


@dataclass(frozen=True)
class Engine:
    """One learner's needs, and how learners are run.

    Attributes
    ----------
    executor : "fused", "loop" or "streams".
    row_bytes : of a row of the bank.
    rows : of the bank per learner: 2, and 3 with local momentum or on CUDA.
    buffer_bytes, batch_bytes : the model's buffers, and inputs and targets, of one learner.
    planned_bytes, unplanned_bytes : outputs that the fused executor places, and those it leaves to torch.
    transient_bytes : the most that torch takes besides, while one of the latter is computed.
    peak_bytes : the most outputs live at once in one learner.
    n_operators : traced.
    """

    executor: str
    row_bytes: int
    rows: int
    buffer_bytes: int
    batch_bytes: int
    planned_bytes: int
    unplanned_bytes: int
    transient_bytes: int
    peak_bytes: int
    n_operators: int

    def parts_bytes(self, learners: int) -> dict[str, int]:
        """Return the bytes of m learners' memory by what it is for.

        Parameters
        ----------
        learners : int >= 1
            m.
        """
        own_bytes = self.peak_bytes + self.row_bytes + self.transient_bytes
        together_bytes = self.planned_bytes + self.unplanned_bytes + self.transient_bytes
        outputs_bytes = {
            "fused": int(_FRAGMENTATION * learners * together_bytes),
            "loop": own_bytes,
            "streams": learners * own_bytes,
        }[self.executor]
        return {
            "learners": learners * (self.rows * self.row_bytes + self.buffer_bytes),
            "central average model": 2 * self.row_bytes,
            "update": min(_SCRATCH_BYTES, learners * self.row_bytes),
            "batches": 2 * learners * self.batch_bytes,
            "operators' outputs": outputs_bytes,
            "left behind": _LEFT_BEHIND_BYTES + (self.n_operators * _OPERATOR_BYTES if self.executor == "fused" else 0),
        }

    def bytes_for(self, learners: int) -> int:
        """Return the bytes of m learners' memory."""
        return sum(self.parts_bytes(learners).values())


def make_engine(
    operators: Sequence[Operator],
    executor: str,
    *,
    row_bytes: int,
    buffer_bytes: int,
    batch_bytes: int,
    algorithm: Algorithm | None = None,
    on_cuda: bool = False,
) -> Engine:
    """Return what one learner needs.

    Parameters
    ----------
    operators : sequence of Operator
        One learner's iteration.
    executor, row_bytes, buffer_bytes, batch_bytes
        As in `Engine`.
    algorithm : Algorithm, optional
        For its local momentum; SMA's default has none.
    on_cuda : bool
        Whether rows that are never touched take memory, as on CUDA.
    """
    left = [operator for operator in operators if not operator.is_planned]
    placed = [
        operator if operator.is_planned else replace(operator, output_bytes=0) for operator in operators
    ]  # the same positions, so that reads stay right
    return Engine(
        executor=executor,
        row_bytes=row_bytes,
        rows=3 if local_momentum(algorithm or SMA()) or on_cuda else 2,
        buffer_bytes=buffer_bytes,
        batch_bytes=batch_bytes,
        planned_bytes=offline_plan(placed, close_fit).total_bytes,
        unplanned_bytes=naive_bytes(left),
        transient_bytes=max((_transient_bytes(operators, operator) for operator in left), default=0),
        peak_bytes=peak_bytes(operators),
        n_operators=len(operators),
    )


def largest_that_fits(engine: Engine, budget_bytes: int) -> int:
    """Return the largest m whose memory fits into a budget.

    Raises
    ------
    ConfigurationError
        If not even one learner fits.
    """
    if engine.bytes_for(1) > budget_bytes:
        raise ConfigurationError(
            f"one learner takes {engine.bytes_for(1)} bytes, the budget is {budget_bytes}; give a larger budget, or a "
            "smaller batch_size"
        )
    least, beyond = 1, 2
    while engine.bytes_for(beyond) <= budget_bytes:
        least, beyond = beyond, 2 * beyond
    while beyond - least > 1:
        middle = (least + beyond) // 2
        least, beyond = (middle, beyond) if engine.bytes_for(middle) <= budget_bytes else (least, middle)
    return least


def _transient_bytes(operators: Sequence[Operator], operator: Operator) -> int:
    """Return what torch takes while it computes an output: a second one, and copies of all that is read and written."""
    return 2 * operator.output_bytes + sum(operators[source].output_bytes for source in operator.reads)
