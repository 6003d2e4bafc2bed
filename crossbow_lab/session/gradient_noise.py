"""Gradient noise of a session, as its owner sees it: started and stopped from any thread."""

from dataclasses import asdict, fields

import pandas as pd

from crossbow_lab.session.checks import check_whole
from crossbow_lab.session.driver import Driver
from crossbow_lab.session.noise_meter import NoiseMeter, NoiseReading


class GradientNoise:
    """Measures the gradient noise scale and the learners' divergence while a session trains; off until it is started.

    B_noise = tr(Σ) / ‖G‖² (McCandlish et al. 2018, arXiv 1812.06162, appendix A.1) in samples: batches much smaller
    use every sample well, much larger ones waste them. Two sources. The *learners'* gradients, k batches of b samples
    and their mean, cost two passes over what is in memory anyway (nothing on CUDA, where the averaging has their
    norms); but each is taken at its learner's own weights, so once learners have diverged their spread is taken for
    noise, and the scale is too large: such readings say ``is_biased``. The *probe* takes the gradients of several
    batches at z: exact, for the price of so many learners' passes each time.

    The latest are in ``snapshot.noise_scale_learners`` and ``snapshot.noise_scale_probe``, in the history's columns of
    these names, and here one by one; `crossbow_lab.dashboard.gradient_noise` draws them. It changes nothing of
    training, and is in no checkpoint.

    Parameters
    ----------
    meter : NoiseMeter
    driver : Driver

    Examples
    --------
    >>> from crossbow_lab import Session
    >>> session = Session(model="mlp", dataset="digits", learners=4, batch_size=8, executor="loop")
    >>> session.gradient_noise.start(every=4, probe_every=10)
    >>> _ = session.run(iterations=20)
    >>> readings = session.gradient_noise.readings
    >>> readings.groupby("source").size().to_dict()
    {'learners': 5, 'probe': 2}
    >>> bool(session.snapshot.noise_scale_probe > 0)
    True
    """

    def __init__(self, meter: NoiseMeter, driver: Driver) -> None:
        self._meter, self._driver = meter, driver

    @property
    def is_on(self) -> bool:
        """Whether it measures."""
        return self._meter.is_on

    def start(self, every: int = 32, probe_every: int | None = None, probe_batches: int = 8) -> None:
        """Measure from the next iteration on.

        Parameters
        ----------
        every : iterations from one measurement of the learners' gradients to the next; needs two learners, and not
            S-SGD, which has one gradient only.
        probe_every : iterations from one probe to the next; None: no probe.
        probe_batches : batches of b samples to a probe, at least 2.

        Raises
        ------
        ConfigurationError
            If a number is outside its range, or a probe takes more samples than there are.
        """
        every, batches = check_whole("every", every), check_whole("probe_batches", probe_batches, least=2)
        probes = None if probe_every is None else check_whole("probe_every", probe_every)
        self._driver.require_usable("gradient_noise.start")
        self._driver.ask_and_wait(lambda: self._meter.start(every, probes, batches))

    def stop(self) -> None:
        """Measure no more; what was measured stays."""
        self._driver.ask_and_wait(self._meter.stop)

    @property
    def readings(self) -> pd.DataFrame:
        """One row per measurement, columns as in `crossbow_lab.session.NoiseReading`; the last 100,000."""
        found = [asdict(reading) for reading in list(self._meter.readings)]
        return pd.DataFrame(found, columns=[field.name for field in fields(NoiseReading)])
