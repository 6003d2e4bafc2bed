"""Runs iterations as programs with our CUDA kernels: whole iterations, several to a launch, made once per setting."""

import statistics
import time
from collections import deque
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from crossbow_lab.averaging import EAMSGD, EASGD, SMA, SSGD, algorithm_name, local_momentum, resolve_alpha
from crossbow_lab.errors import ConfigurationError, ExecutorError
from crossbow_lab.kernels.averaging import make_scalars, square_sums, write_scalars
from crossbow_lab.learners import Batches, Choice, Work, one_device
from crossbow_lab.learners.gradients import gradient_squares
from crossbow_lab.learners.lanes import current_lane
from crossbow_lab.learners.program import MOST_LANES, Program, Task, make_learning, make_program
from crossbow_lab.learners.resident import Supply
from crossbow_lab.learners.timeline import ALL, Piece, Recorder, timed
from crossbow_lab.learners.update import Rule
from crossbow_lab.learners.work import Learning
from crossbow_lab.session.setting import Setting
from crossbow_lab.session.updates import Updates

AT_ONCE = 8
"""Iterations to a replay, where as many follow each other alike. The bits don't depend on it."""

_KEPT = 12  # programs and passes: going back to one of the last settings costs no capture
_IN_FLIGHT = 3  # launches that the host may be ahead of the device: one runs, and the next ones are ready
_MEASURED = ("fused", "streams")
_ROUNDS, _RUNS = 5, 10


class DeviceIterations:
    """Iterations as programs.

    Parameters
    ----------
    work : the learners' common task
    supply : where batches come from
    batches : the same samples in the host's form, for the shapes of an example
    weight_decay : lambda
    """

    prepares_first = True
    most_at_once = AT_ONCE

    def __init__(self, work: Work, supply: Supply, batches: Batches, weight_decay: float) -> None:
        self.notices: list[str] = []
        self.recorder: Recorder | None = None
        self._task = Task(work, supply, make_scalars(work.bank.weights))
        self._batches, self._weight_decay = batches, weight_decay
        self._updates = Updates(work.bank, weight_decay)
        self._written: dict[str, float] = {}
        self._learnings: dict[tuple[str, int, int], Learning] = {}
        self._programs: dict[tuple[str, int, int, Rule, int, Recorder | None], Program] = {}
        self._last: Program | None = None
        self._in_flight: deque[torch.cuda.Event] = deque()
        self._told: set[str] = set()

    def record(self, recorder: Recorder | None) -> None:
        """Forget the programs that were made for another recorder."""
        self.recorder = recorder
        self._programs = {key: made for key, made in self._programs.items() if key[-1] in (None, recorder)}

    def prepare(self, setting: Setting, position: int, iteration: int) -> None:
        """Make the programs that `run` will ask for."""
        period = _period(setting)
        wanted = [(True, 1), (True, AT_ONCE)] if period == 1 else [(True, 1), (False, 1), (False, period - 1)]
        for synchronises, most in wanted:
            self._program(setting, position, iteration, synchronises=synchronises, most=most)
        if self.recorder is not None:
            for synchronises in sorted({synchronises for synchronises, _ in wanted}):
                self._program(setting, position, iteration, synchronises=synchronises, most=1, recorder=self.recorder)
        self._tell_of_kernels(setting)

    def choose(self, setting: Setting, position: int, iteration: int) -> Choice:
        """Time programs of one iteration; what they do to the bank is undone."""
        threads, bank = torch.get_num_threads(), self._task.work.bank
        places = [bank.weights[: setting.replicas], bank.centre, bank.centre_velocity, *bank.buffers.values()]
        if local_momentum(setting.algorithm) > 0:
            places.append(bank.local_velocity[: setting.replicas])
        before = [place.clone() for place in places]
        times_ms: dict[str, float] = {}
        refused = ""
        for name in _MEASURED:
            tried = Setting(setting.algorithm, setting.learners, setting.batch_size, setting.learning_rate, name)
            try:
                times_ms[name] = self._milliseconds(tried, position, iteration)
            except (ExecutorError, ConfigurationError) as error:
                refused += f"; {error}"
        for place, old in zip(places, before, strict=True):
            place.copy_(old)
        if not times_ms:
            return Choice("loop", threads, f"the only one that runs this model here{refused}")
        listed = ", ".join(f"{name} {ms:.3f} ms" for name, ms in times_ms.items())
        return Choice(min(times_ms, key=times_ms.__getitem__), threads, f"fastest of {listed} an iteration{refused}")

    def run(
        self, setting: Setting, position: int, iteration: int, *, synchronises: bool, n_before: int, most: int
    ) -> Tensor:
        """Launch a program; returns before the device is done.

        An iteration that is recorded is launched by itself and not as a graph, in which events couldn't tell the time:
        the same calls, so the same bits, but slower. So on a device few are.
        """
        recorder = self.recorder
        if recorder is not None and not recorder.is_due(iteration):
            most, recorder = min(most, recorder.every - iteration % recorder.every), None
        elif recorder is not None:
            most, recorder.iteration = 1, iteration
        program = self._program(setting, position, iteration, synchronises=synchronises, most=most, recorder=recorder)
        self._write_scalars(setting)
        samples, supply = program.iterations * setting.aggregate_batch, self._task.supply
        self._wait_for_room()
        supply.begin(position, iteration, samples)
        program.run()
        supply.advanced(samples, program.iterations)
        if not _has_kernel(_rule(setting, synchronises=synchronises)):
            update = partial(self._updates.update, setting, n_before, synchronises=synchronises)
            lane = current_lane(self._task.scalars.device)
            kind = "synchronisation" if synchronises else "learning"
            timed(lane, "device", recorder).do(Piece(kind, ALL, update))
        self._last = program
        return program.losses

    def distances(self, setting: Setting, *, is_recent_enough: bool = False) -> Tensor:
        """Compute distances, or finish what the last update has measured."""
        last, replicas = self._last, setting.replicas
        if is_recent_enough and last is not None and last.partials is not None and last.losses.shape[1] == replicas:
            return square_sums(last.partials)[:replicas].sqrt()
        return self._updates.distances(setting)

    def gradient_squares(self, setting: Setting, *, out: Tensor, total_n: Tensor) -> Tensor:
        """Finish what the last update has measured, or compute them from the bank."""
        last, replicas = self._last, setting.replicas
        if last is not None and last.partials is not None and last.losses.shape[1] == replicas:
            return square_sums(last.partials)[replicas:]
        return gradient_squares(self._task.work.bank.gradients[:replicas], out=out, total_n=total_n)

    def _program(
        self,
        setting: Setting,
        position: int,
        iteration: int,
        *,
        synchronises: bool,
        most: int,
        recorder: Recorder | None = None,
    ) -> Program:
        """Return the program for what comes next, made or found among the last few."""
        rule = _rule(setting, synchronises=synchronises)
        at_once = min(_at_once(setting), self._task.supply.most_iterations) if _has_kernel(rule) else 1
        own = (setting.executor, setting.replicas, setting.replica_batch)
        key = (*own, rule, at_once if most >= at_once else 1, recorder)
        program = self._programs.pop(key, None)
        if program is None:
            program = self._make(setting, position, iteration, rule, *key[-2:])
        self._programs[key] = program
        if len(self._programs) > _KEPT:
            del self._programs[next(iter(self._programs))]
        return program

    def _make(
        self,
        setting: Setting,
        position: int,
        iteration: int,
        rule: Rule,
        iterations: int,
        recorder: Recorder | None,
    ) -> Program:
        """Make a program; refuse what there is no memory for."""
        supply, executor = self._task.supply, setting.executor
        try:
            with one_device(self._task.scalars.device), torch.enable_grad():
                supply.begin(position, iteration, setting.aggregate_batch * iterations)
                learning = self._learning(setting, position)
                program = make_program(self._task, executor, learning, rule, iterations, recorder)
        except torch.OutOfMemoryError as error:
            self._learnings.pop((executor, setting.replicas, setting.replica_batch), None)
            raise ConfigurationError(
                f"the device has no memory for {setting.learners} learners with batch size {setting.batch_size} "
                f"({str(error).splitlines()[0]}); use fewer learners or a smaller batch size"
            ) from error
        if program.note and program.note not in self.notices:
            self.notices.append(program.note)
        return program

    def _learning(self, setting: Setting, position: int) -> Learning:
        """Return the learners' passes for a setting, made or found among the last few."""
        key = (setting.executor, setting.replicas, setting.replica_batch)
        learning = self._learnings.pop(key, None)
        if learning is None:
            learning = make_learning(self._task.work, *key, self._batches.take(position, 1))
        self._learnings[key] = learning
        if len(self._learnings) > _KEPT:
            del self._learnings[next(iter(self._learnings))]
        return learning

    def _tell_of_kernels(self, setting: Setting) -> None:
        """Say once of each algorithm without a kernel that torch's own operators update."""
        name = algorithm_name(setting.algorithm)
        if name not in self._told and not _has_kernel(_rule(setting, synchronises=True)):
            self._told.add(name)
            self.notices.append(f"{name} has no kernel: torch's own operators update z after an iteration's graph")

    def _wait_for_room(self) -> None:
        """Wait until few launches are ahead of the device: more would only make adjustments take effect later."""
        device = self._task.scalars.device
        if device.type != "cuda":
            return
        if len(self._in_flight) == _IN_FLIGHT:
            self._in_flight.popleft().synchronize()
        event = torch.cuda.Event(blocking=True)
        event.record(torch.cuda.current_stream(device))
        self._in_flight.append(event)

    def _write_scalars(self, setting: Setting) -> None:
        """Put learning rate and such into device memory, if they have changed."""
        algorithm = setting.algorithm
        values = {
            "learning_rate": setting.learning_rate,
            "alpha": resolve_alpha(algorithm, setting.learners),
            "momentum": algorithm.momentum if isinstance(algorithm, SMA | SSGD) else 0.0,
            "local_momentum": local_momentum(algorithm),
            "weight_decay": self._weight_decay,
        }
        if values != self._written:
            write_scalars(self._task.scalars, **values)
            self._written = values

    def _milliseconds(self, setting: Setting, position: int, iteration: int) -> float:
        """Return the median milliseconds of one iteration, first ones not counted."""
        wait = _waiting(self._task.scalars.device)
        samples = setting.aggregate_batch
        self.run(setting, position, iteration, synchronises=True, n_before=0, most=1)
        times_ms = []
        for _ in range(_ROUNDS):
            wait()
            start_s = time.perf_counter()
            for _ in range(_RUNS):
                position, iteration = position + samples, iteration + 1
                self.run(setting, position, iteration, synchronises=True, n_before=0, most=1)
            wait()
            times_ms.append((time.perf_counter() - start_s) * 1e3 / _RUNS)
        return statistics.median(times_ms)


def _waiting(device: torch.device) -> Callable[[], None]:
    """Return a function that waits until the device has done what it was given."""
    if device.type == "cuda":
        return lambda: torch.cuda.current_stream(device).synchronize()  # not the device: another session may capture
    return lambda: None


def _at_once(setting: Setting) -> int:
    """Return the iterations to a replay: fewer where each is a graph of its own for many learners."""
    if setting.executor == "streams":
        return max(1, AT_ONCE * MOST_LANES // max(MOST_LANES, setting.replicas))
    return AT_ONCE


def _rule(setting: Setting, *, synchronises: bool) -> Rule:
    """Say what follows the learners' passes."""
    algorithm = setting.algorithm
    has_local_momentum = local_momentum(algorithm) > 0
    if isinstance(algorithm, SSGD):
        return Rule("ssgd", has_local_momentum=False)
    if not synchronises and not isinstance(algorithm, EAMSGD):
        return Rule("sgd", has_local_momentum)
    if synchronises and isinstance(algorithm, SMA | EASGD):
        return Rule("easgd" if isinstance(algorithm, EASGD) else "sma", has_local_momentum)
    return Rule("none", has_local_momentum=False)


def _has_kernel(rule: Rule) -> bool:
    """Tell whether a program does the update itself; else torch's own operators do, after it."""
    return rule.name != "none"


def _period(setting: Setting) -> int:
    """Return an algorithm's synchronisation period."""
    return int(getattr(setting.algorithm, "sync_period", 1))
