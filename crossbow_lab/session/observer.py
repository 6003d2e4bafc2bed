"""What is known about a session while it trains: the snapshot, the evaluations, and the record of both."""

import math
import time
from dataclasses import dataclass, field

from torch import Tensor

from crossbow_lab.averaging import algorithm_name
from crossbow_lab.errors import DivergedError
from crossbow_lab.learners.timeline import ALL, Recorder
from crossbow_lab.session.checkpoint import Memory
from crossbow_lab.session.evaluation import evaluate
from crossbow_lab.session.fetch import Fetch
from crossbow_lab.session.history import Event, LearnerRow, Record, Row, time_to_accuracy
from crossbow_lab.session.instruments import REMEDIES, Clock, Losses, LossSums, Throughput
from crossbow_lab.session.limits import Accuracy, Limits
from crossbow_lab.session.noise_meter import NoiseMeter
from crossbow_lab.session.setting import Setting
from crossbow_lab.session.trainer import Trainer

_LOOK_EVERY_S = 0.05
_LOOK_SHARE = 50  # a look may take a fiftieth of the time: distances of many large learners cost milliseconds


@dataclass(frozen=True)
class Snapshot:
    """How a session stands; immutable, replaced as a whole about every 50 ms while it trains.

    Attributes
    ----------
    state : "ready", "running", "paused", "finished", "stopped" or "failed".
    iteration, epoch, samples : how far training has come.
    elapsed_s, evaluation_s : the training clock, and the evaluation clock.
    samples_per_s : throughput, smoothed over about a second; NaN before there is one.
    train_loss : mean over learners and over the iterations since the snapshot before; NaN before the first.
    losses, distances : of each learner of all devices, the latest; distance is Euclidean, to z. S-SGD has one replica
        on each device. A loss is NaN until the learner has trained.
    test_accuracy : of z at the last evaluation; NaN before the first.
    learners, batch_size, learning_rate, algorithm, executor : the setting in force; learners are those of each device.
    devices : how many devices train; each has the same part of samples_per_s.
    setting : the same as an object, with all of the algorithm.
    epoch_samples : samples in an epoch.
    has_accuracy : whether evaluations find a test accuracy.
    noise_scale_learners, noise_scale_probe : as in `crossbow_lab.session.Row`, the latest.
    limits : where training stops, or stopped the last time.
    requested : changes asked for that no iteration boundary has taken yet.
    tuner : what the auto-tuner does, as `AutoTuner.status`; empty while it is off.
    error : why the session failed; None otherwise.
    """

    state: str
    iteration: int
    epoch: float
    samples: int
    elapsed_s: float
    evaluation_s: float
    samples_per_s: float
    train_loss: float
    losses: tuple[float, ...]
    distances: tuple[float, ...]
    test_accuracy: float
    learners: int
    batch_size: int
    learning_rate: float
    algorithm: str
    executor: str
    setting: Setting
    epoch_samples: int
    has_accuracy: bool
    noise_scale_learners: float = math.nan
    noise_scale_probe: float = math.nan
    limits: Limits = field(default_factory=Limits)
    requested: tuple[tuple[str, object], ...] = ()
    tuner: str = ""
    error: str | None = None
    devices: int = 1


class Observer:
    """Watches a trainer. Nothing that it does changes what the trainer does next.

    Parameters
    ----------
    trainer : Trainer
    record : Record
        Gets a row per evaluation, and the events.
    memory : Memory or None
        What a checkpoint kept of an observer.

    Attributes
    ----------
    snapshot : the latest; replaced, never changed. Its state is that of when it was made.
    state : the session's state at present.
    clock, evaluation_clock : training time, and time spent in evaluations.
    next_evaluation : the position in the stream of samples at which z is evaluated next.
    noise : measures gradient noise, where it is on.
    recorder : what recorded the timeline last; None before it was ever on.
    """

    def __init__(self, trainer: Trainer, record: Record, memory: Memory | None) -> None:
        self._trainer, self._record = trainer, record
        self.state = "ready" if memory is None else "paused"
        self.clock = Clock(memory.elapsed_s if memory else 0.0)
        self.evaluation_clock = Clock(memory.evaluation_s if memory else 0.0)
        past = memory.losses if memory else LossSums()
        self._losses = Losses(trainer.bank.centre, trainer.recipe.max_learners, past, trainer.join_losses)
        self._throughput = Throughput()
        self._fetch = Fetch()
        self._distances: tuple[float, ...] = ()
        self._test_accuracy = record.rows.entries[-1].test_accuracy if record.rows.entries else math.nan
        self._next_look_s = 0.0
        self.noise = NoiseMeter(trainer)
        self.recorder: Recorder | None = None
        self.next_evaluation = self._evaluation_after(trainer.progress.position)
        self.snapshot = self._snapshot()

    @property
    def memory(self) -> Memory:
        """What a checkpoint must keep; losses must have been read."""
        return Memory(self.clock.elapsed_s, self.evaluation_clock.elapsed_s, self._losses.sums)

    @property
    def most_iterations(self) -> int:
        """How many iterations' losses may come before someone must look."""
        return self._losses.room

    @property
    def is_evaluation_due(self) -> bool:
        """Whether it is time to evaluate z; a matter of samples alone."""
        return self._trainer.progress.position >= self.next_evaluation

    @property
    def is_evaluated(self) -> bool:
        """Whether z has been evaluated as it is now; true also where nothing has been trained."""
        rows, iteration = self._record.rows.entries, self._trainer.progress.iteration
        return iteration == 0 or (bool(rows) and rows[-1].iteration == iteration)

    def watch(self, losses: Tensor) -> bool:
        """Remember iterations' losses (done, replicas); look if it is time to, and tell whether it was."""
        self._losses.keep(losses)
        if self.noise.is_on:
            self.noise.watch()
        if time.perf_counter() < self._next_look_s and self._losses.room:
            return False
        self.look(waits=not self._losses.room)
        return True

    def look(self, *, waits: bool) -> None:
        """Read the losses and replace the snapshot.

        Parameters
        ----------
        waits : whether to wait for the device, so that the snapshot shows training as it is now. If not, it may show
            losses and distances of the look before.

        Raises
        ------
        DivergedError
            If a loss is not finite.
        """
        started_s = time.perf_counter()
        if self.recorder is not None:
            self.recorder.collect()
        if waits:
            self.read_losses()
        else:
            self._losses.glance(self._trainer.progress.iteration, self._trainer.setting.total_replicas)
            self.noise.glance()
        self.snapshot = self._snapshot(waits=waits)
        now_s = time.perf_counter()
        self._next_look_s = now_s + max(_LOOK_EVERY_S, _LOOK_SHARE * (now_s - started_s))

    def read_losses(self) -> None:
        """Read the losses kept since the last reading; raises DivergedError where one isn't finite."""
        self._losses.read(self._trainer.progress.iteration, self._trainer.setting.total_replicas)
        self.noise.read()

    def adjusted(self) -> None:
        """Take notice of a new setting; losses must have been read before it was made."""
        self._losses.forget_from(self._trainer.setting.total_replicas)
        self.snapshot = self._snapshot()

    def evaluate(self) -> None:
        """Evaluate z on the test data, on the evaluation's own clock, and append rows to the record.

        Raises
        ------
        DivergedError
            If a loss, the test loss of z, or a learner's distance to z is not finite.
        """
        trainer = self._trainer
        self.read_losses()
        with self.clock.standing_still():
            recorder, since_s = trainer.iterations.recorder, time.perf_counter()
            with self.evaluation_clock.running():
                found = evaluate(trainer.central_model(), trainer.data, trainer.prepare, trainer.loss)
                distances = tuple(trainer.distances().tolist())
            if recorder is not None:
                recorder.iteration = trainer.progress.iteration
                recorder.add("evaluation", ALL, since_s)
            if trainer.data.test is not None:
                self._check_finite("the test loss of the central average model", found.loss)
            for learner, distance in enumerate(distances):
                self._check_finite(f"the distance between learner {learner} and the central model", distance)
            self._test_accuracy = found.accuracy
            self._append_rows(found.loss, distances)
            self.next_evaluation = self._evaluation_after(trainer.progress.position)
            self.snapshot = self._snapshot()

    def has_reached(self, goal: Accuracy) -> bool:
        """Tell whether the last evaluations reach the target accuracy."""
        return time_to_accuracy(self._record.rows.entries[-goal.window :], goal) is not None

    def note(self, kind: str, detail: str) -> None:
        """Append an event."""
        trainer = self._trainer
        self._record.events.add(Event(trainer.progress.iteration, trainer.epoch, self.clock.elapsed_s, kind, detail))

    def _append_rows(self, test_loss: float, distances: tuple[float, ...]) -> None:
        """Append what an evaluation found to the history."""
        trainer, rows = self._trainer, self._record.rows
        samples, span_s = trainer.progress.position, self.clock.elapsed_s
        if rows.entries:
            samples, span_s = samples - rows.entries[-1].samples, span_s - rows.entries[-1].elapsed_s
        mean, means = self._losses.take_means()
        setting = trainer.setting
        rate = samples / span_s if span_s > 0 else math.nan
        rows.add(
            Row(
                iteration=trainer.progress.iteration,
                epoch=trainer.epoch,
                samples=trainer.progress.position,
                elapsed_s=self.clock.elapsed_s,
                evaluation_s=self.evaluation_clock.elapsed_s,
                samples_per_s=rate,
                train_loss=mean,
                test_loss=test_loss,
                test_accuracy=self._test_accuracy,
                divergence=sum(distances) / len(distances),
                learners=setting.learners,
                batch_size=setting.batch_size,
                learning_rate=setting.learning_rate,
                algorithm=algorithm_name(setting.algorithm),
                noise_scale_learners=self.noise.scale_of("learners"),
                noise_scale_probe=self.noise.scale_of("probe"),
                devices=setting.devices,
                samples_per_s_per_device=rate / setting.devices,
            )
        )
        for learner, loss in enumerate(means):
            row = LearnerRow(trainer.progress.iteration, learner, loss, distances[learner])
            self._record.learner_rows.add(row)

    def _look_at_distances(self, *, waits: bool) -> tuple[float, ...]:
        """Return the learners' distances to z, as they are now or the latest that have arrived."""
        if self._fetch.is_under_way and (waits or self._fetch.has_arrived):
            self._distances = tuple(self._fetch.take().tolist())
        if not self._fetch.is_under_way:
            self._fetch.send(self._trainer.distances(is_recent_enough=not waits))
            if waits or self._fetch.has_arrived:
                self._distances = tuple(self._fetch.take().tolist())
        return self._distances

    def _snapshot(self, *, waits: bool = True) -> Snapshot:
        """Describe how training stands."""
        trainer, elapsed_s = self._trainer, self.clock.elapsed_s
        setting, samples = trainer.setting, trainer.progress.position
        mean, losses = self._losses.latest(setting.total_replicas)
        return Snapshot(
            state=self.state,
            iteration=trainer.progress.iteration,
            epoch=trainer.epoch,
            samples=samples,
            elapsed_s=elapsed_s,
            evaluation_s=self.evaluation_clock.elapsed_s,
            samples_per_s=self._throughput.at(elapsed_s, samples),
            train_loss=mean,
            losses=losses,
            distances=self._look_at_distances(waits=waits),
            test_accuracy=self._test_accuracy,
            learners=setting.learners,
            batch_size=setting.batch_size,
            learning_rate=setting.learning_rate,
            algorithm=algorithm_name(setting.algorithm),
            executor=setting.executor,
            setting=setting,
            epoch_samples=trainer.batches.epoch_samples,
            has_accuracy=trainer.data.test is not None and trainer.data.n_classes is not None,
            noise_scale_learners=self.noise.scale_of("learners"),
            noise_scale_probe=self.noise.scale_of("probe"),
            devices=setting.devices,
        )

    def _check_finite(self, what: str, value: float) -> None:
        """Stop where a number says that training has diverged."""
        if not math.isfinite(value):
            iterations = self._trainer.progress.iteration
            raise DivergedError(f"{what} is {value} after {iterations} iterations. {REMEDIES}")

    def _evaluation_after(self, position: int) -> int:
        """Return the position of the first evaluation after ``position``."""
        every = self._trainer.recipe.evaluate_every * self._trainer.batches.epoch_samples
        every = min(max(every, 1.0), 2.0**60)  # any positive number is legal, but samples are whole
        return max(position + 1, math.ceil((math.floor(position / every) + 1) * every))
