"""Several devices: bytes in a synchronisation, an iteration on two processes against one, an adjustment, a lost worker.

On processes of the CPU, so that it can be measured anywhere. Both processes have one thread each, as the one has that
they are held against: on a machine with two free cores a perfect group takes as long for an iteration of twice as many
learners.
"""

import os
import signal
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from rich.table import Table

from crossbow_lab.bench.machine import neighbours_cores, usage
from crossbow_lab.bench.measure import summarise
from crossbow_lab.bench.report import cores, spread, table
from crossbow_lab.devices.group import Group
from crossbow_lab.session import Session
from crossbow_lab.session.group.updates import overlap

TWO = ["cpu", "cpu"]
_LOOPBACK = Path("/proc/net/dev")
_POLL_S = 0.0005
_PATIENCE_S = 60.0
_NEVER = 1e9  # epochs between evaluations


@dataclass(frozen=True)
class Extent:
    """How much to measure.

    Attributes
    ----------
    models : of the zoo, on the digits.
    learners, batch_size : of each device.
    rounds, iterations : interleaved bursts, and the iterations of each.
    adjustments, losses : how often each is timed.
    lost_after_s : of a stopped worker.
    """

    models: tuple[str, ...] = ("digits-cnn", "mlp", "resnet-8")
    learners: int = 4
    batch_size: int = 16
    rounds: int = 7
    iterations: int = 40
    adjustments: int = 20
    losses: int = 3
    lost_after_s: float = 8.0


QUICK = Extent(models=("mlp",), rounds=1, iterations=3, adjustments=2, losses=1, lost_after_s=1.0)


def measure_devices(extent: Extent, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure all four.

    Parameters
    ----------
    extent : Extent
    say : callable
        Gets a line of progress now and then.

    Returns
    -------
    dict
        Plain JSON values: ``iterations`` and ``bytes`` by model, ``adjustment_ms``, ``detection_s`` and ``extent``.
    """
    iterations, sent = {}, {}
    for number, model in enumerate(extent.models, start=1):
        say(f"devices 1/3: {model} on two processes against one ({number} of {len(extent.models)})")
        with _session(model, extent) as one, _session(model, extent, devices=TWO) as two:
            iterations[model] = iteration_milliseconds(one, two, extent)
            sent[model] = bytes_sent(two, extent)
    say("devices 2/3: adjustments of a session that trains")
    adjustment = {name: adjustment_milliseconds(devices, extent) for name, devices in (("one", None), ("two", TWO))}
    say("devices 3/3: workers that are killed and stopped")
    detection = {name: detection_seconds(name, extent) for name in ("SIGKILL", "SIGSTOP")}
    return {
        "extent": asdict(extent),
        "iterations": iterations,
        "bytes": sent,
        "adjustment_ms": adjustment,
        "detection_s": detection,
    }


def iteration_milliseconds(one: Session, two: Session, extent: Extent) -> dict[str, Any]:
    """Time iterations in interleaved bursts: one device, two with sums beside the passes, two with sums after them.

    Returns
    -------
    dict
        Summaries in ms: ``one_ms``, ``two_overlapped_ms``, ``two_ms``; ratios formed in each round: ``times_as_long``
        with overlap, ``overlap_saves_ms``; and ``neighbours_cores``, which other programs kept busy.
    """
    trainer = two._loop.trainer
    times: dict[str, list[float]] = {"one_ms": [], "two_overlapped_ms": [], "two_ms": []}
    (worker,) = _pids(two)
    before, worker_s, started_s = usage(), _cpu_s(worker), perf_counter()
    for _ in range(extent.rounds + 1):
        for name in times:
            if name != "one_ms":
                overlap(trainer, on=name == "two_overlapped_ms")
            times[name].append(_burst_ms(one if name == "one_ms" else two, extent.iterations))
    busy, workers_cores = neighbours_cores(before, usage()), (_cpu_s(worker) - worker_s) / (perf_counter() - started_s)
    kept = {name: values[1:] for name, values in times.items()}  # the first round has warmed up
    pairs = list(zip(kept["two_overlapped_ms"], kept["one_ms"], kept["two_ms"], strict=True))
    return {
        **{name: asdict(summarise(values)) for name, values in kept.items()},
        "times_as_long": asdict(summarise([both / alone for both, alone, _ in pairs])),
        "overlap_saves_ms": asdict(summarise([after - beside for beside, _, after in pairs])),
        "neighbours_cores": None if busy is None else max(0.0, busy - workers_cores),
    }


def bytes_sent(two: Session, extent: Extent) -> dict[str, Any]:
    """Count what a device hands over in a synchronisation, with one learner and with several.

    Returns
    -------
    dict
        ``model`` bytes of one learner's weights; ``payload`` handed to the sum, by learners per device; ``wire`` as the
        system counts on the loopback interface, orders and other programs included, halved for two devices; or None.
    """
    group = _group(two)
    bank = two._loop.trainer.bank
    found: dict[str, Any] = {"model": bank.n_parameters * bank.centre.element_size(), "payload": {}, "wire": {}}
    for learners in (1, extent.learners):
        if two.snapshot.learners != learners:
            two.adjust(learners=learners)
        payload, wire = group.bytes_reduced, _loopback_bytes()
        two.run(iterations=extent.iterations)
        after = _loopback_bytes()
        found["payload"][str(learners)] = (group.bytes_reduced - payload) / extent.iterations
        counted = None if wire is None or after is None else (after - wire) / extent.iterations / 2
        found["wire"][str(learners)] = counted
    return found


def adjustment_milliseconds(devices: list[str] | None, extent: Extent) -> dict[str, Any]:
    """Time from asking for other learners until they train, while the session trains: a summary in ms."""
    times_ms = []
    with _session("mlp", extent, devices=devices) as session:
        session.start()
        _wait(lambda: session.snapshot.iteration > 5)
        for number in range(extent.adjustments):
            started_s = perf_counter()
            session.adjust(learners=extent.learners + 1 - number % 2)
            _wait(lambda: not session.snapshot.requested)
            times_ms.append((perf_counter() - started_s) * 1e3)
        session.stop()
    return asdict(summarise(times_ms))


def detection_seconds(name: str, extent: Extent) -> dict[str, Any]:
    """Time from a signal to a worker until its session has failed and its processes are gone: a summary in seconds."""
    times_s = []
    for _ in range(extent.losses):
        with _session("mlp", extent, devices=TWO, lost_after_s=extent.lost_after_s) as session:
            session.start()
            _wait(lambda session=session: session.snapshot.iteration > 5)  # type: ignore[misc]
            started_s = perf_counter()
            os.kill(_pids(session)[0], signal.Signals[name])
            _wait(lambda session=session: session.state == "failed")  # type: ignore[misc]
            times_s.append(perf_counter() - started_s)
    return asdict(summarise(times_s))


def devices_tables(result: dict[str, Any]) -> list[Table]:
    """Show what was measured.

    Parameters
    ----------
    result : dict
        What `measure_devices` gave.
    """
    extent = result["extent"]
    columns = ("model", "1 process", "2, sums beside", "2, sums after", "times as long", "cores busy elsewhere")
    rows = [
        [
            model,
            spread(found["one_ms"]),
            spread(found["two_overlapped_ms"]),
            spread(found["two_ms"]),
            spread(found["times_as_long"]),
            cores(found["neighbours_cores"]),
        ]
        for model, found in result["iterations"].items()
    ]
    of = f"{extent['learners']} learners x {extent['batch_size']} a process"
    sent = [
        [model, f"{found['model']:,}", learners, f"{payload:,.0f}", _counted(found["wire"][learners])]
        for model, found in result["bytes"].items()
        for learners, payload in found["payload"].items()
    ]
    others = [
        ["adjustment, one device (ms)", spread(result["adjustment_ms"]["one"])],
        ["adjustment, two devices (ms)", spread(result["adjustment_ms"]["two"])],
        ["killed worker noticed (s)", spread(result["detection_s"]["SIGKILL"])],
        [f"stopped worker, lost after {extent['lost_after_s']:g} s (s)", spread(result["detection_s"]["SIGSTOP"])],
    ]
    return [
        table(f"devices: ms of an iteration, {of}", columns, rows),
        table("devices: bytes in a synchronisation", ("model", "weights", "learners", "summed", "sent"), sent),
        table("devices: time until it is done", ("what", "median (range)"), others),
    ]


def _session(model: str, extent: Extent, **settings: Any) -> Session:
    """Return a session on the digits that never looks at z."""
    chosen = {name: value for name, value in settings.items() if value is not None}
    return Session(
        model,
        "digits",
        learners=extent.learners,
        batch_size=extent.batch_size,
        executor="loop",
        threads=1,
        evaluate_every=_NEVER,
        **chosen,
    )


def _group(session: Session) -> Group:
    """Return a session's devices."""
    group = session._loop.trainer.together.group
    assert group is not None  # noqa: S101 (it has several)
    return group


def _pids(session: Session) -> list[int]:
    """Return the process numbers of a session's other devices."""
    workers = _group(session).workers
    assert workers is not None  # noqa: S101 (this process has started them)
    return workers.pids


def _burst_ms(session: Session, iterations: int) -> float:
    """Return the milliseconds of one iteration, on the training clock."""
    before_s = session.snapshot.elapsed_s
    session.run(iterations=iterations)
    return (session.snapshot.elapsed_s - before_s) * 1e3 / iterations


def _cpu_s(pid: int) -> float:
    """Return the seconds of a core that a process has computed for; 0 where nobody counts."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _loopback_bytes() -> int | None:
    """Return what the loopback interface has sent since the machine started; None where nobody counts."""
    try:
        lines = _LOOPBACK.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split(":")[1].split()[8]) for line in lines if line.strip().startswith("lo:")), None)


def _counted(wire: float | None) -> str:
    """Write a number of bytes that may be unknown."""
    return "?" if wire is None else f"{wire:,.0f}"


def _wait(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    end_s = perf_counter() + _PATIENCE_S
    while not holds():
        if perf_counter() > end_s:
            raise RuntimeError(f"waited for {_PATIENCE_S:g} s in vain")
        sleep(_POLL_S)
