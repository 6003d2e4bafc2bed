"""How fast learners move on a loss surface: the lab as it is used, against plain NumPy of the same work."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.table import Table

from crossbow_lab.bench.machine import neighbours_cores, usage
from crossbow_lab.bench.measure import Contender, Plan, Run, interleave, times_as_fast, timing_to_json, warm_up
from crossbow_lab.bench.report import cores, spread, table
from crossbow_lab.landscape import Landscape, surface

N_LEARNERS = 10_000
SURFACE = "rastrigin"
GOAL_S = 1.0
"""For 1,000 iterations of 10,000 learners on two cores."""

TIMED = (
    "Iterations of SMA with noise: gradients, corrections, z; losses and positions recorded at every tenth. The lab's"
    " noise is a function of (seed, learner, iteration), so that it can be gone back to; it keeps states as well. Plain"
    " NumPy draws its normal numbers from its own generator, in one stream, and keeps losses only."
)


def measure_landscape(plan: Plan, say: Callable[[str], None], *, n_learners: int = N_LEARNERS) -> dict[str, Any]:
    """Time the lab and plain NumPy, taking turns.

    Parameters
    ----------
    plan : Plan
        How long.
    say : callable
        Gets a line of progress.
    n_learners : int
        k.

    Returns
    -------
    dict
        Plain JSON values: the timings in seconds an iteration, and how many times as fast the lab is.
    """
    say(f"landscape 1/1: {n_learners:,} learners on {SURFACE}")
    contenders = (
        Contender("landscape", lambda: _lab(n_learners)),
        Contender("plain NumPy", lambda: _plain(n_learners)),
    )
    warm = [warm_up(contender, plan) for contender in contenders]
    before = usage()
    timings = interleave(warm, plan)
    return {
        "timed": TIMED,
        "surface": SURFACE,
        "n_learners": n_learners,
        "goal_s": GOAL_S,
        "plan": asdict(plan),
        "neighbours_cores": neighbours_cores(before, usage()),
        "contenders": [timing_to_json(timing) for timing in timings.values()],
        "times_as_fast": asdict(times_as_fast(timings["landscape"], timings["plain NumPy"])),
    }


def _lab(n_learners: int) -> Run:
    """Return what runs the lab from the start."""
    lab = Landscape(SURFACE, learners=n_learners)

    def run(iterations: int) -> None:
        lab.reset().run(iterations)

    return run


def _plain(n_learners: int) -> Run:
    """Return what runs plain NumPy from the start."""

    def run(iterations: int) -> None:
        plain_losses(n_learners, iterations, noise=surface(SURFACE).noise)

    return run


def plain_losses(n_learners: int, iterations: int, *, noise: float) -> list[tuple[float, float]]:
    """Return loss at z and mean loss of the learners at every tenth iteration, as one would write it in NumPy."""
    here = surface(SURFACE)
    generator = np.random.default_rng(0)
    gamma, alpha, mu = here.learning_rate, 1.0 / n_learners, 0.9

    def loss(w: Any) -> Any:
        return (w * w - 10.0 * np.cos(2.0 * np.pi * w)).sum(axis=1) + 20.0

    w, z, z_prev = np.tile(here.start, (n_learners, 1)), np.array(here.start), np.array(here.start)
    rows = []
    for t in range(iterations):
        g = 2.0 * w + 20.0 * np.pi * np.sin(2.0 * np.pi * w) + noise * generator.normal(size=w.shape)
        c = alpha * (w - z)
        w = w - gamma * g - c
        z, z_prev = z + c.sum(axis=0) + mu * (z - z_prev), z
        if (t + 1) % 10 == 0:
            rows.append((float(loss(z[None])[0]), float(loss(w).mean())))
    return rows


def landscape_tables(result: dict[str, Any]) -> list[Table]:
    """Show seconds for 1,000 iterations.

    Parameters
    ----------
    result : dict
        What `measure_landscape` gave.

    Returns
    -------
    list of Table
        Medians with the least and the greatest.
    """
    rows = [
        [
            one["name"],
            spread(one["summary_s"], scale=1e3),
            f"{result['n_learners'] / one['summary_s']['median'] / 1e6:.1f}",
        ]
        for one in result["contenders"]
    ]
    rows[0].append(spread(result["times_as_fast"]))
    rows[1].append("1")
    title = (
        f"{result['n_learners']:,} learners on {result['surface']}; goal: {result['goal_s']:g} s; other processes kept "
        f"{cores(result['neighbours_cores'])} cores busy"
    )
    columns = ("", "s for 1,000 iterations", "million steps/s", "times as fast")
    return [table(title, columns, rows)]
