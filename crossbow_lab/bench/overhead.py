"""What a Session costs over its bare executor, what importing costs, how soon the command line answers."""

import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from rich.table import Table

from crossbow_lab.bench.machine import neighbours_cores, usage
from crossbow_lab.bench.measure import (
    Contender,
    Plan,
    Summary,
    Timing,
    interleave,
    summarise,
    timing_to_json,
    warm_up,
)
from crossbow_lab.bench.ours import our_training, session_run
from crossbow_lab.bench.processes import output_of
from crossbow_lab.bench.report import cores, spread, table
from crossbow_lab.bench.subjects import Subject, subject_data
from crossbow_lab.session import Session

SUBJECT = Subject("digits-cnn", "digits", 8, 16)
GOALS = {"session_percent": 3.0, "timeline_percent": 2.0, "import_s": 0.2, "help_s": 0.5}

_INSTRUMENTS: dict[str, Callable[[Session], None]] = {
    "Session with timeline": lambda session: session.timeline.start(),
    "Session with gradient noise": lambda session: session.gradient_noise.start(),
}

# Increments inside one fresh process: all see the same disk cache and the same neighbours.
_IMPORTS = """
from time import perf_counter
times = [perf_counter()]
import torch
times.append(perf_counter())
import crossbow_lab
times.append(perf_counter())
crossbow_lab.Session
times.append(perf_counter())
print(*(after - before for before, after in zip(times, times[1:])))
"""


def measure_overhead(plan: Plan, say: Callable[[str], None], *, n_processes: int) -> dict[str, Any]:
    """Measure the three overheads.

    Parameters
    ----------
    plan : Plan
        How long, for the Session.
    say : callable
        Gets a line of progress now and then.
    n_processes : int
        Fresh processes for each of the other two, at least 1.

    Returns
    -------
    dict
        Plain JSON values: ``session``, ``imports``, ``help_s`` and ``goals``.
    """
    say(f"overhead 1/3: Session over its bare executor, {SUBJECT}")
    session = session_overhead(plan)
    say(f"overhead 2/3: imports in {n_processes} fresh processes")
    imports = import_seconds(n_processes)
    say(f"overhead 3/3: crossbow-lab --help in {n_processes} fresh processes")
    return {"session": session, "imports": imports, "help_s": help_seconds(n_processes), "goals": GOALS}


def session_overhead(plan: Plan) -> dict[str, Any]:
    """Time the bare executor, a Session on its training clock, with its evaluations counted in, and with instruments.

    Parameters
    ----------
    plan : Plan
        How long.

    Returns
    -------
    dict
        Plain JSON values: the timings, by how many per cent each Session is slower than the bare executor, and each
        instrument makes a Session slower.
    """
    data = subject_data(SUBJECT)
    contenders = (
        Contender("bare executor", lambda: our_training(SUBJECT, data, "fused").run),
        Contender("Session", lambda: session_run(SUBJECT, "fused", counts_evaluations=False)),
        Contender("Session with evaluations", lambda: session_run(SUBJECT, "fused", counts_evaluations=True)),
        *(
            Contender(name, partial(session_run, SUBJECT, "fused", counts_evaluations=False, begin=begin))
            for name, begin in _INSTRUMENTS.items()
        ),
    )
    warm = [warm_up(contender, plan) for contender in contenders]
    before = usage()
    timings = interleave(warm, plan)
    neighbours = neighbours_cores(before, usage())
    bare, session = timings["bare executor"], timings["Session"]
    return {
        **asdict(SUBJECT),
        "plan": asdict(plan),
        "neighbours_cores": neighbours,
        "contenders": [
            timing_to_json(timing) | {"percent_slower": asdict(percent_slower(timing, bare))}
            for timing in timings.values()
        ],
        "instruments": {name: asdict(percent_slower(timings[name], session)) for name in _INSTRUMENTS},
    }


def percent_slower(contender: Timing, other: Timing) -> Summary:
    """Say by how many per cent an iteration takes longer than another contender's, formed in each round.

    Parameters
    ----------
    contender, other : Timing
        Of the same call of `interleave`.
    """
    pairs = zip(contender.iteration_s, other.iteration_s, strict=True)
    return summarise([100 * (own_s / other_s - 1) for own_s, other_s in pairs])


def import_seconds(n_processes: int) -> dict[str, Any]:
    """Time ``import torch``, then ``import crossbow_lab``, then the first use of ``crossbow_lab.Session``.

    Parameters
    ----------
    n_processes : int
        Fresh processes, at least 1.

    Returns
    -------
    dict
        A summary in seconds for each of the three.
    """
    command = [sys.executable, "-c", _IMPORTS]
    outputs = [output_of(command, what="timing imports") for _ in range(n_processes)]
    columns = zip(*([float(word) for word in output.split()] for output in outputs), strict=True)
    names = ("torch_s", "crossbow_lab_s", "session_s")
    return {name: asdict(summarise(column)) for name, column in zip(names, columns, strict=True)}


def help_seconds(n_processes: int) -> dict[str, Any]:
    """Time ``crossbow-lab --help``, the start of the interpreter included.

    Parameters
    ----------
    n_processes : int
        Fresh processes, at least 1.

    Returns
    -------
    dict
        A summary in seconds.
    """
    # The script of this interpreter's environment; in a mere checkout, what that script would call.
    script = shutil.which("crossbow-lab", path=str(Path(sys.executable).parent))
    program = [script] if script else [sys.executable, "-c", "from crossbow_lab.cli import main; main()"]
    seconds = []
    for _ in range(n_processes):
        started_s = perf_counter()
        output_of([*program, "--help"], what="crossbow-lab --help")
        seconds.append(perf_counter() - started_s)
    return asdict(summarise(seconds))


def overhead_tables(result: dict[str, Any]) -> list[Table]:
    """Show the three overheads beside their goals.

    Parameters
    ----------
    result : dict
        What `measure_overhead` gave.

    Returns
    -------
    list of Table
        Medians, with [least..greatest].
    """
    session, goals = result["session"], result["goals"]
    of_session: dict[str, Any] = session["instruments"]
    limits = {"Session": goals["session_percent"], "Session with timeline": goals["timeline_percent"]}
    timed = table(
        f"Session over bare executor ({session['model']}, {session['n_learners']}x{session['batch_size']}; "
        f"cores busy elsewhere: {cores(session['neighbours_cores'])})",
        ("contender", "ms/iteration", "% slower", "% over Session", "goal"),
        [
            [
                contender["name"],
                spread(contender["summary_s"], scale=1e3, digits=3),
                spread(contender["percent_slower"], digits=1),
                spread(of_session[contender["name"]], digits=1) if contender["name"] in of_session else "",
                f"at most {limits[contender['name']]:g}" if contender["name"] in limits else "",
            ]
            for contender in session["contenders"]
        ],
    )
    imports = result["imports"]
    import_goal, help_goal = f"at most {goals['import_s']:g}", f"at most {goals['help_s']:g}"
    started = table(
        "seconds in fresh processes",
        ("what", "s", "goal"),
        [
            ["import torch", spread(imports["torch_s"]), ""],
            ["then import crossbow_lab", spread(imports["crossbow_lab_s"], digits=3), import_goal],
            ["then first use of Session", spread(imports["session_s"]), ""],
            ["crossbow-lab --help", spread(result["help_s"]), help_goal],
        ],
    )
    return [timed, started]
