"""What is seen of one moment of a landscape, as numbers for a page."""

from typing import TYPE_CHECKING, Any

import numpy as np

from crossbow_lab.averaging import algorithm_name, has_field
from crossbow_lab.dashboard.figures import COLOURS
from crossbow_lab.landscape.course import TRAILED, Change
from crossbow_lab.landscape.figures import thinned, trails_of
from crossbow_lab.landscape.surfaces import Array

if TYPE_CHECKING:
    from crossbow_lab.landscape.landscape import Landscape

_MARKS = 200
_PLAYED_ARROWS = 64  # learners up to which the next iteration is told while it plays, too


def moment_of(lab: "Landscape") -> tuple[object, ...]:
    """Return something that is another when there is something else to see."""
    return lab.generation, lab.iteration, lab.head, lab.course.branch, len(lab.course.changes), lab.settings


def marks_of(lab: "Landscape") -> list[tuple[int, str, str]]:
    """Return what was done until the head: (iteration, in words, kind), one for each iteration."""
    done: dict[int, list[Change]] = {}
    for one in lab.course.changes:
        if one.iteration <= lab.head:
            done.setdefault(one.iteration, []).append(one)
    return [
        (at, "; ".join(one.detail for one in several), "restart" if _restarts(several) else "adjustment")
        for at, several in list(done.items())[-_MARKS:]
    ]


def _restarts(changes: list[Change]) -> bool:
    """Tell whether one of several changes is a restart."""
    return any(one.kind == "restart" for one in changes)


def frame_of(lab: "Landscape", *, is_playing: bool) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return a moment: JSON values, and arrays by name.

    Returns
    -------
    (dict, dict)
        Arrays: learners (k, 2); trails (learners, iterations, 2); centres and means (n, 2), from the start to now;
        centre, mean (2,); and where the next iteration is told, steps, corrections, gradients (k, 2) and moves
        (2, 2), which z moves by.
    """
    state, settings, t = lab.state, lab.settings, lab.iteration
    k, algorithm = len(state.learners), settings.algorithm
    gamma, alpha, mu, mu_l, _ = settings.scalars(k)
    trail = lab.course.trail()
    n = int(np.searchsorted(trail.iterations, t, side="right"))
    start, mean = np.array([lab.start]), state.learners.mean(axis=0)
    trails = trails_of(lab.course, t, state.learners, TRAILED)
    parts = {
        "learners": state.learners,
        "trails": trails,
        "centres": np.concatenate([start, thinned(trail.centres[:n]), state.centre[None]]),
        "means": np.concatenate([start, thinned(trail.means[:n]), mean[None]]),
        "centre": state.centre,
        "mean": mean,
    }
    if (not is_playing or k <= _PLAYED_ARROWS) and not lab.has_diverged:
        one = lab.next_iteration()
        parts |= {"steps": one.steps, "corrections": one.corrections, "gradients": one.gradients}
        parts["moves"] = np.stack([one.centre_step, one.centre_momentum])
    about = {
        "iteration": t,
        "head": lab.head,
        "playing": is_playing,
        "k": k,
        "colour": COLOURS[algorithm_name(algorithm)],
        "start": list(lab.start),
        "marks": marks_of(lab),
        "trail_length": trails.shape[1],
        "gamma": f"{gamma:.4g}",
        "alpha": f"{alpha:.4g}",
        "mu": f"{mu:.4g}",
        "has_local_momentum": mu_l > 0,
        "has_corrections": has_field(algorithm, "alpha"),
        "synchronises": (t + 1) % settings.sync_period == 0,
    }
    return about, parts
