"""A model's memory plan: naive, offline and online, what our engine takes, and how many learners fit."""

from dataclasses import dataclass, replace

import pandas as pd

from crossbow_lab.bench.memory import Point, measure_point
from crossbow_lab.bench.subjects import Subject
from crossbow_lab.errors import ConfigurationError
from crossbow_lab.memory.buffers import Assignment, Operator, Sharing, naive_bytes
from crossbow_lab.memory.engine import Engine, largest_that_fits
from crossbow_lab.session.checks import check_whole
from crossbow_lab.workloads import DATASET_NAMES, MODEL_NAMES

_MIB = 2**20


@dataclass(frozen=True)
class MemoryPlan:
    """The memory of m learners of one device, planned. Made by `memory_plan`.

    Attributes
    ----------
    model, dataset : names, for `measured` and to be read.
    learners, batch_size : m and b.
    operators : one learner's iteration.
    offline : which buffer each operator's output is in.
    online : which buffers of the common pools each learner takes.
    stagger : operators by which learners follow each other.
    engine : what our engine takes, which is not the online plan: see `engine_table`.
    measured_bytes : what m learners took in a fresh process; None before `measured`.
    """

    model: str
    dataset: str
    learners: int
    batch_size: int
    operators: tuple[Operator, ...]
    offline: Assignment
    online: Sharing
    stagger: int
    engine: Engine
    measured_bytes: int | None = None

    @property
    def naive_bytes(self) -> int:
        """One learner's outputs, each in memory of its own."""
        return naive_bytes(self.operators)

    @property
    def table(self) -> pd.DataFrame:
        """The paper's plans of operators' outputs: one row each, ``bytes`` of all m learners."""
        totals = {
            "naive": self.learners * self.naive_bytes,
            "offline": self.learners * self.offline.total_bytes,
            "offline + online": self.online.total_bytes,
        }
        rows = [
            {
                "bytes": total,
                "bytes_per_learner": total / self.learners,
                "of_naive_percent": 100 * total / totals["naive"],
            }
            for total in totals.values()
        ]
        return pd.DataFrame(rows, index=pd.Index(totals, name="plan"))

    @property
    def operator_table(self) -> pd.DataFrame:
        """One row for each operator that has an output of its own: its bytes, its last reader and its buffer."""
        rows = [
            {
                "position": position,
                "operator": operator.name,
                "output_bytes": operator.output_bytes,
                "last_reader": self.offline.last_reader[position],
                "buffer": self.offline.buffer_of[position],
            }
            for position, operator in enumerate(self.operators)
            if operator.output_bytes
        ]
        columns = ["position", "operator", "output_bytes", "last_reader", "buffer"]
        return pd.DataFrame(rows, columns=columns).set_index("position")

    @property
    def engine_table(self) -> pd.DataFrame:
        """What m learners take in our engine, by what it is for; ``predicted`` in all, ``measured`` where it was."""
        rows = self.engine.parts_bytes(self.learners) | {"predicted": self.predicted_bytes()}
        if self.measured_bytes is not None:
            rows["measured"] = self.measured_bytes
        return pd.DataFrame({"bytes": rows.values()}, index=pd.Index(rows, name="memory"))

    def predicted_bytes(self, learners: int | None = None) -> int:
        """Return what learners take in our engine, beyond what the process has before: libraries and data.

        Parameters
        ----------
        learners : int >= 1, optional
            Another m.
        """
        return self.engine.bytes_for(self.learners if learners is None else check_whole("learners", learners))

    def largest(self, budget_bytes: int) -> int:
        """Return the largest m that fits into a budget, by `predicted_bytes`.

        Parameters
        ----------
        budget_bytes : int >= 1
            What learners may take, beyond what the process has before.

        Raises
        ------
        ConfigurationError
            If the budget is no whole number of bytes, or not even one learner fits.
        """
        return largest_that_fits(self.engine, check_whole("budget_bytes", budget_bytes))

    def measured(self) -> "MemoryPlan":
        """Return the plan with what m learners took in a fresh process that trained ten iterations on a CPU.

        Raises
        ------
        ConfigurationError
            If model or data have no name that a fresh process knows, or the executor or the system can't be measured.
        """
        if self.model not in MODEL_NAMES or self.dataset not in DATASET_NAMES or self.engine.executor == "streams":
            raise ConfigurationError(
                f"{self.model} on {self.dataset} with executor {self.engine.executor!r} can't be measured: a fresh "
                "process knows models and data sets by name, with executor 'fused' or 'loop'"
            )
        subject = Subject(self.model, self.dataset, self.learners, self.batch_size)
        found = measure_point(Point(subject, self.engine.executor))
        if "skipped" in found:
            raise ConfigurationError(f"memory can't be measured here: {found['skipped']}")
        return replace(self, measured_bytes=found["measured_bytes"])

    def __repr__(self) -> str:
        head = (
            f"<MemoryPlan {self.model} on {self.dataset}: {self.learners} learners x {self.batch_size}, "
            f"{self.stagger} operators apart"
        )
        lines = [
            f"  {name:<17}{row.bytes / _MIB:>9.2f} MiB of outputs, {row.of_naive_percent:.0f} % of naive"
            for name, row in self.table.iterrows()
        ]
        predicted = f"{self.predicted_bytes() / _MIB:>9.2f} MiB with executor {self.engine.executor}, models included"
        lines.append(f"  {'predicted':<17}{predicted}")
        if self.measured_bytes is not None:
            lines.append(f"  {'measured':<17}{self.measured_bytes / _MIB:>9.2f} MiB in a fresh process")
        return "\n".join([head, *lines]) + ">"
