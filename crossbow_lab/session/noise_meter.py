"""Measures gradient noise and divergence while a session trains, from what an iteration leaves in the bank.

Numbers stay on the device, in a small ring, until somebody looks; then they are fetched without stopping it.
"""

import math
from collections import deque
from dataclasses import dataclass

import torch

from crossbow_lab.devices import check_one_device
from crossbow_lab.errors import ConfigurationError
from crossbow_lab.session.fetch import Fetch
from crossbow_lab.session.probe import probe_squares
from crossbow_lab.session.trainer import Trainer
from crossbow_lab.tuning.noise import NoiseAverage, NoiseEstimate, estimate_noise

_RING_ROWS = 256
_KEPT = 100_000  # measurements in memory: a few megabytes


@dataclass(frozen=True)
class NoiseReading:
    """One measurement.

    Attributes
    ----------
    iteration : the one whose gradients were measured, counted from 0; of a probe, how many were done before.
    source : "learners": gradients of the learners' batches, each at its own weights; "probe": all at z.
    is_biased : whether the learners may have diverged, so that their spread is taken for noise too: the noise scale is
        then too large. A probe is never biased.
    learners, batch_size : of the gradients: how many, on how many samples each.
    gradient_sq, variance : estimates of ‖G‖² and S from this measurement alone; noisy.
    noise_scale : B_noise, in samples, from the measurements of this source until now, older ones forgotten by and by.
    divergence : mean Euclidean distance of the learners to z.
    """

    iteration: int
    source: str
    is_biased: bool
    learners: int
    batch_size: int
    gradient_sq: float
    variance: float
    noise_scale: float
    divergence: float


@dataclass(frozen=True)
class _Sent:
    """What the host knows of a row of the ring."""

    iteration: int
    source: str
    learners: int
    batch_size: int


class NoiseMeter:
    """Off until it is started, and then costs nothing.

    Parameters
    ----------
    trainer : Trainer

    Attributes
    ----------
    is_on : whether it measures.
    readings : what was measured, oldest first.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self.is_on = False
        self.readings: deque[NoiseReading] = deque(maxlen=_KEPT)
        self._averages: dict[str, NoiseAverage] = {}
        self._latest: dict[str, NoiseReading] = {}

    def start(self, every: int, probe_every: int | None, probe_batches: int) -> None:
        """Measure from now on; what was measured before stays.

        Raises
        ------
        ConfigurationError
            If a probe takes more samples than there are, or there are several devices.
        """
        check_one_device("gradient noise", self._trainer.setting.devices)
        samples, there = probe_batches * self._trainer.setting.batch_size, self._trainer.batches.epoch_samples
        if probe_every is not None and samples > there:
            raise ConfigurationError(
                f"a probe of {probe_batches} batches takes {samples} samples, but there are {there}; use fewer batches"
            )
        self.read()
        centre = self._trainer.bank.centre
        self._every, self._probe_every, self._probe_batches = every, probe_every, probe_batches
        self._ring = torch.zeros(_RING_ROWS, 3, dtype=torch.float64, device=centre.device)
        self._squares = torch.zeros(self._trainer.recipe.max_learners + 1, dtype=torch.float64, device=centre.device)
        self._total = torch.zeros_like(centre)
        self._fetch, self._sent, self._fetching = Fetch(), list[_Sent](), list[_Sent]()
        self._next = self._next_probe = self._trainer.progress.iteration
        self.is_on = True

    def stop(self) -> None:
        """Measure no more, and free its memory."""
        self.read()
        if self.is_on:
            self.is_on = False
            del self._ring, self._squares, self._total

    def latest(self, source: str) -> NoiseReading | None:
        """Return the latest reading of "learners" or "probe"."""
        return self._latest.get(source)

    def scale_of(self, source: str) -> float:
        """Return the noise scale of a source, in samples; NaN if it isn't known."""
        reading = self._latest.get(source)
        return math.nan if reading is None else reading.noise_scale

    @property
    def scale(self) -> float:
        """The noise scale that is trusted most: the probe's where there is one."""
        return self.scale_of("probe" if "probe" in self._latest else "learners")

    def watch(self) -> None:
        """Measure what the last iteration left, if it is time to; the gradients must still be in the bank."""
        trainer = self._trainer
        done = trainer.progress.iteration
        if self._probe_every is not None and done > self._next_probe:
            self._next_probe = done - 1 + self._probe_every
            self._keep(_Sent(done, "probe", self._probe_batches, trainer.setting.batch_size))
        if done > self._next:
            self._next = done - 1 + self._every
            if trainer.setting.replicas > 1:
                self._keep(_Sent(done - 1, "learners", trainer.setting.learners, trainer.setting.batch_size))

    def _keep(self, sent: _Sent) -> None:
        """Write one measurement into the ring."""
        if len(self._sent) == _RING_ROWS:
            self.read()
        trainer, row = self._trainer, self._ring[len(self._sent)]
        if sent.source == "probe":
            row[:2] = probe_squares(trainer, sent.learners)
        else:
            out = self._squares[: sent.learners + 1]
            squares = trainer.iterations.gradient_squares(trainer.setting, out=out, total_n=self._total)
            row[0] = squares[:-1].mean()
            row[1] = squares[-1] / sent.learners**2
        row[2] = trainer.distances(is_recent_enough=True).mean()
        self._sent.append(sent)

    def glance(self) -> None:
        """Take in what has arrived, and send for what was measured since; never waits."""
        if not self.is_on:
            return
        if self._fetch.has_arrived:
            self._take_in()
        if self._sent and not self._fetch.is_under_way:
            self._fetch.send(self._ring[: len(self._sent)])
            self._fetching, self._sent = self._sent, []
            if self._fetch.has_arrived:
                self._take_in()

    def read(self) -> None:
        """Take in everything that was measured, and wait for the device if need be."""
        if not self.is_on:
            return
        for _ in range(2):  # what is under way, and what was measured since
            if self._fetch.is_under_way:
                self._take_in()
            self.glance()
        if self._fetch.is_under_way:
            self._take_in()

    def _take_in(self) -> None:
        """Turn rows that were fetched into readings."""
        for sent, (small_sq, large_sq, divergence) in zip(self._fetching, self._fetch.take().tolist(), strict=True):
            small, large = sent.batch_size, sent.learners * sent.batch_size
            new = estimate_noise(small_sq, large_sq, small=small, large=large)
            average = self._averages.get(sent.source, NoiseAverage()).after(new)
            reading = _reading(sent, new, average, divergence)
            if all(map(math.isfinite, (new.gradient_sq, new.variance))):  # else training has diverged; losses say so
                self._averages[sent.source] = average
                self._latest[sent.source] = reading
                self.readings.append(reading)


def _reading(sent: _Sent, new: NoiseEstimate, average: NoiseAverage, divergence: float) -> NoiseReading:
    """Return a measurement in full."""
    return NoiseReading(
        iteration=sent.iteration,
        source=sent.source,
        is_biased=sent.source == "learners" and sent.iteration > 0,  # all begin at z
        learners=sent.learners,
        batch_size=sent.batch_size,
        gradient_sq=new.gradient_sq,
        variance=new.variance,
        noise_scale=average.estimate.scale,
        divergence=divergence,
    )
