"""Peak memory of k learners of n parameters, against (3k + 4) n floats and the learners' activations."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from crossbow_lab.bench.processes import output_of
from crossbow_lab.bench.report import table
from crossbow_lab.bench.subjects import Subject

COUNTED = (
    "A fresh process's peak resident memory (VmHWM) over the first iterations of k learners, tracing and"
    " planning included, less its resident memory after imports, loading the data, two iterations of one"
    " learner of another model and one plain step of this one. What those last two leave behind when freed"
    " memory is given back ('libraries': imports on first use, code that oneDNN generates, thread pools) is"
    " shown apart. Bound: (3k + 4) n floats and k times the activations of one learner, which are what"
    " autograd saves for the backward pass of the plain module on b samples, the batch included."
)


@dataclass(frozen=True)
class Point:
    """One fresh process: which executor trains which subject, for how many iterations."""

    subject: Subject
    executor: str
    n_iterations: int = 10


POINTS = tuple(
    Point(Subject(model, dataset, n_learners, 4), executor)
    for model, dataset in (("lenet", "mnist"), ("mlp", "digits"))
    for executor in ("fused", "loop")
    for n_learners in (1, 16, 64)
)


def measure_memory(say: Callable[[str], None], *, points: Sequence[Point] = POINTS) -> dict[str, Any]:
    """Measure every point in a process of its own.

    Parameters
    ----------
    say : callable
        Gets a line of progress now and then.
    points : sequence of Point
        What to measure.

    Returns
    -------
    dict
        Plain JSON values: what is counted, and for each point the bytes measured and the bound; ``skipped``
        in their place where the system doesn't tell a process its peak.
    """
    measured = []
    for number, point in enumerate(points, start=1):
        say(f"memory {number}/{len(points)}: {point.subject}, {point.executor}")
        measured.append(measure_point(point))
    return {"counted": COUNTED, "points": measured}


def measure_point(point: Point) -> dict[str, Any]:
    """Measure one point in a fresh process.

    Parameters
    ----------
    point : Point
        What to measure.

    Returns
    -------
    dict
        Plain JSON values: the point's names and numbers, and either ``skipped`` or the bytes.

    Raises
    ------
    CrossbowError
        If the process fails.
    """
    command = [sys.executable, "-P", "-m", "crossbow_lab.bench.memory_point", json.dumps(asdict(point))]
    output = output_of(command, what=f"measuring the memory of {point.subject} ({point.executor})")
    measured: dict[str, Any] = json.loads(output)
    return {
        **asdict(point.subject),
        "executor": point.executor,
        "n_iterations": point.n_iterations,
    } | measured


def bound_bytes(n_learners: int, n_parameters: int, learner_activation_bytes: int) -> int:
    """Return the most that k learners may take: (3k + 4) n floats, and their activations.

    Examples
    --------
    >>> bound_bytes(2, 100, 1000)
    6000
    """
    return (3 * n_learners + 4) * n_parameters * 4 + n_learners * learner_activation_bytes


def activation_bytes(model: nn.Module, inputs: Tensor, targets: Tensor) -> int:
    """Count what autograd keeps between the forward and the backward pass, parameters left out.

    Parameters
    ----------
    model : nn.Module
        A plain module.
    inputs, targets : Tensor
        One learner's batch.

    Returns
    -------
    int
        Bytes of different storages; a storage saved twice counts once.
    """
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    saved: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = functional.cross_entropy(model(inputs), targets)
    total = sum(storage.nbytes() for storage in saved.values())
    del loss  # held until here: a storage that was freed could have given its address to the next one
    return total


def memory_tables(result: dict[str, Any]) -> list[Table]:
    """Show measured bytes beside the bound.

    Parameters
    ----------
    result : dict
        What `measure_memory` gave.

    Returns
    -------
    list of Table
        In MiB.
    """
    columns = ("model", "executor", "k x b", "measured MiB", "bound MiB", "measured / bound", "libraries MiB")
    return [table("peak memory", columns, [_point_row(point) for point in result["points"]])]


def _point_row(point: dict[str, Any]) -> list[str]:
    """Return the cells of one point."""
    label = [point["model"], point["executor"], f"{point['n_learners']}x{point['batch_size']}"]
    if "skipped" in point:
        return [*label, f"skipped: {point['skipped']}", "", "", ""]
    return [
        *label,
        f"{point['measured_bytes'] / 2**20:,.1f}",
        f"{point['bound_bytes'] / 2**20:,.1f}",
        f"{point['measured_bytes'] / point['bound_bytes']:.2f}",
        f"{point['library_bytes'] / 2**20:,.1f}",
    ]
