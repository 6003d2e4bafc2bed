"""The goals of the GPU (issue 3) beside what was reached, from a record alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from crossbow_lab.bench.cuda.kernels import MAIN
from crossbow_lab.bench.cuda.throughput import best
from crossbow_lab.bench.report import table

Results = dict[str, Any]


@dataclass(frozen=True)
class Goal:
    """One number that was asked for.

    Attributes
    ----------
    what : in words.
    at_least, aim_for : the number itself; None where nothing was asked for.
    find : finds it in the results, None where it wasn't measured.
    is_ceiling : whether less is better.
    """

    what: str
    at_least: float | None
    aim_for: float | None
    find: Callable[[Results], float | None]
    is_ceiling: bool = False

    def verdict(self, found: float | None) -> str:
        """Say how far a result reaches."""
        if found is None:
            return "not measured"
        for goal, words in ((self.aim_for, "as aimed for"), (self.at_least, "reached")):
            if goal is not None and (found <= goal if self.is_ceiling else found >= goal):
                return words
        return "missed" if self.at_least is not None else "below the aim"


def goals() -> list[Goal]:
    """List the goals."""
    listed = [Goal(f"{MAIN}: share of a copy's bandwidth", 0.85, 0.95, _bandwidth)]
    for model, least_s_sgd in (("lenet", 0.4), ("resnet-32", 0.6)):
        listed += [
            Goal(f"{model} b=16, best k: x one replica, eager", 10, None, _times(model, 16, "naive")),
            Goal(f"{model} b=2, best k: x one replica, eager", None, 60, _times(model, 2, "naive")),
            Goal(f"{model} b=16, best k: x one replica, graphed", 4, None, _times(model, 16, "graphed")),
            Goal(f"{model} b=2, best k: x one replica, graphed", None, 20, _times(model, 2, "graphed")),
            Goal(f"{model} b=16: x S-SGD compiled and graphed, same k b", least_s_sgd, 0.9, _compiled(model)),
        ]
    return [
        *listed,
        Goal("averaging's share of an iteration, resnet-32, k <= 32", 0.10, 0.05, _share, is_ceiling=True),
        Goal("norms: extra time of the update", 0.02, 0.0, _norms, is_ceiling=True),
        Goal("adjustment, first time: seconds", 1.0, None, _adjustment(is_new=True), is_ceiling=True),
        Goal("adjustment, cached: seconds", 0.05, None, _adjustment(is_new=False), is_ceiling=True),
    ]


def goal_table(results: Results) -> Table:
    """Show every goal beside its result."""
    rows = []
    for goal in goals():
        found = goal.find(results)
        shown = ["-" if number is None else f"{number:.3g}" for number in (found, goal.at_least, goal.aim_for)]
        rows.append([goal.what, *shown, goal.verdict(found)])
    return table("goals", ("", "result", "at least (at most)", "aim for", ""), rows)


def best_learners(results: Results, model: str, batch_size: int, otherwise: int) -> int:
    """Return with how many learners the fused executor was fastest; ``otherwise`` where that wasn't measured."""
    group = _group(results, model, batch_size)
    found = None if group is None else best(group, kinds=("fused",))
    return otherwise if found is None else int(found["n_learners"])


def _measured(results: Results, part: str) -> Results:
    """Return a part's result; empty where it failed or wasn't asked for."""
    found = results.get(part, {})
    return {} if "error" in found else found


def _group(results: Results, model: str, batch_size: int) -> Results | None:
    """Return the group of a model with this batch size in float32."""
    groups = _measured(results, model).get("groups", [])
    return next((group for group in groups if group["batch_size"] == batch_size and not group["amp"]), None)


def _times(model: str, batch_size: int, over: str) -> Callable[[Results], float | None]:
    """Find how many times as many images a second the best of ours does."""

    def find(results: Results) -> float | None:
        group = _group(results, model, batch_size)
        found = None if group is None else best(group)
        return None if found is None or found["times"][over] is None else float(found["times"][over]["median"])

    return find


def _compiled(model: str) -> Callable[[Results], float | None]:
    """Find the images a second over those of compiled S-SGD; None where it couldn't be compiled."""

    def find(results: Results) -> float | None:
        measured = _measured(results, "compiled").get(model)
        group = None if measured is None else next((one for one in measured["groups"] if not one["amp"]), None)
        found = None if group is None else best(group, kinds=("fused",))
        if found is None or not found["s_sgd_is_compiled"] or found["times"]["s_sgd"] is None:
            return None
        return float(found["times"]["s_sgd"]["median"])

    return find


def _bandwidth(results: Results) -> float | None:
    """Find the main kernel's share of a copy."""
    for case in _measured(results, "kernels").get("cases", []):
        if case["name"] == str(MAIN) and case["share_of_copy"] is not None:
            return float(case["share_of_copy"]["median"])
    return None


def _share(results: Results) -> float | None:
    """Find the largest share of averaging with ResNet-32."""
    rows = _measured(results, "averaging").get("rows", [])
    shares = [row["share"]["median"] for row in rows if row["model"] == "resnet-32" and row["share"] is not None]
    return max(shares, default=None)


def _norms(results: Results) -> float | None:
    """Find what norms add."""
    found = _measured(results, "kernels").get("norms_extra")
    return None if found is None else float(found["median"])


def _adjustment(*, is_new: bool) -> Callable[[Results], float | None]:
    """Find the longest adjustment to a new setting, or to one seen before."""

    def find(results: Results) -> float | None:
        rows = _measured(results, "adjust").get("rows", [])
        return max((row["adjustment_s"] for row in rows if row["is_new"] is is_new), default=None)

    return find
