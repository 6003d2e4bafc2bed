"""The timeline of a session, as its owner sees it: started and stopped from any thread, shown here and elsewhere."""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pandas as pd

from crossbow_lab.devices import check_one_device
from crossbow_lab.errors import ConfigurationError, CrossbowError, RunError
from crossbow_lab.learners.timeline import ALL, Recorder, Span
from crossbow_lab.session.checks import check_whole
from crossbow_lab.session.driver import Driver
from crossbow_lab.session.loop import Loop

# Launched one by one an iteration takes some five times as long as in a graph, so this costs about a hundredth.
_DEVICE_EVERY = 512
_MOST = 200_000  # spans in memory: some 40 MB


class Timeline:
    """Records when which task ran, by learner and stream; off until it is started, and then costs nothing.

    Tasks are *learning* (a learner's forward and backward pass; for all learners together where they run as one
    computation), *local_synchronisation* (a learner's correction), *global_synchronisation* (the update of z),
    *synchronisation* (both in one piece: every executor but ``streams``), *data* and *evaluation*. The host's clock
    times them on a CPU, events do on CUDA; evaluations are on the host's clock everywhere.

    On CUDA iterations run as graphs, in which no event tells the time. So an iteration that is recorded is launched
    task by task: the same bits, but slower, and only one in 512 is, unless ``every`` says otherwise.

    `crossbow_lab.dashboard.gantt` draws what `recorded` returns; `save` writes it for Chrome and Perfetto.

    Parameters
    ----------
    loop, driver : of the session

    Examples
    --------
    >>> from crossbow_lab import Session
    >>> session = Session(model="mlp", dataset="digits", learners=2, batch_size=8, executor="loop")
    >>> session.timeline.start()
    >>> _ = session.run(iterations=3)
    >>> session.timeline.spans.groupby("kind").size().to_dict()
    {'data': 3, 'evaluation': 1, 'learning': 6, 'synchronisation': 3}
    """

    def __init__(self, loop: Loop, driver: Driver) -> None:
        self._loop, self._driver = loop, driver

    @property
    def is_on(self) -> bool:
        """Whether it records."""
        return self._loop.trainer.iterations.recorder is not None

    def start(self, every: int | None = None, most: int = _MOST) -> None:
        """Record from the next iteration on; what was recorded before is dropped.

        Parameters
        ----------
        every : iterations from one that is recorded to the next; None: each on a CPU, one in 512 on CUDA.
        most : spans kept, the latest.

        Raises
        ------
        ConfigurationError
            If a number is outside its range, a device has no memory to run iterations task by task, or there are
            several.
        """
        check_one_device("the timeline", self._loop.trainer.setting.devices)
        device = self._loop.trainer.bank.centre.device
        standard = _DEVICE_EVERY if device.type == "cuda" else 1
        interval, kept = check_whole("every", standard if every is None else every), check_whole("most", most)
        self._driver.require_usable("timeline.start")
        self._driver.ask_and_wait(lambda: self._set(Recorder(interval, kept, device)))

    def stop(self) -> None:
        """Record no more; what was recorded stays."""
        self._driver.ask_and_wait(lambda: self._set(None))

    def _set(self, recorder: Recorder | None) -> None:
        """Let a recorder record, or none; on the training thread."""
        trainer = self._loop.trainer
        trainer.iterations.record(recorder)
        if recorder is None:
            return
        try:
            trainer.prepare_step(trainer.setting)
        except CrossbowError:
            trainer.iterations.record(None)
            raise
        self._loop.observer.recorder = recorder

    def recorded(self) -> list[Span]:
        """Return what was recorded, by when it began; of a device what has arrived from it."""

        def spans() -> list[Span]:
            recorder = self._loop.observer.recorder
            return [] if recorder is None else recorder.spans

        return self._driver.ask_and_wait(spans)

    @property
    def spans(self) -> pd.DataFrame:
        """One row per task, columns as in `crossbow_lab.learners.timeline.Span`."""
        columns = [field.name for field in fields(Span)]
        return pd.DataFrame([asdict(span) for span in self.recorded()], columns=columns)

    def save(self, path: str | Path) -> Path:
        """Write the spans as a trace for Chrome (chrome://tracing) or Perfetto (ui.perfetto.dev); return its path.

        Raises
        ------
        ConfigurationError
            If nothing was recorded.
        RunError
            If the file can't be written.
        """
        spans, path = self.recorded(), Path(path)
        if not spans:
            raise ConfigurationError("nothing was recorded; train for a while after session.timeline.start()")
        try:
            path.write_text(json.dumps(chrome_trace(spans)), encoding="utf-8")
        except OSError as error:
            raise RunError(f"{path} can't be written ({error}); free space, or give another path") from error
        return path


def chrome_trace(spans: Sequence[Span]) -> dict[str, Any]:
    """Return spans in the trace-event format, one process for each stream and one thread for each learner.

    Times are in microseconds; complete events ("X"), and metadata events ("M") for the names.

    Examples
    --------
    >>> trace = chrome_trace([Span("learning", 1, "host", 7, start_s=0.5, duration_s=0.25)])
    >>> trace["traceEvents"][-1]["ts"], trace["traceEvents"][-1]["dur"], trace["traceEvents"][-1]["tid"]
    (500000.0, 250000.0, 2)
    """
    streams = {name: number for number, name in enumerate(dict.fromkeys(span.stream for span in spans))}
    threads = dict.fromkeys((streams[span.stream], span.learner) for span in spans)
    names = [
        {"ph": "M", "name": "process_name", "pid": number, "args": {"name": name}} for name, number in streams.items()
    ]
    names += [
        {"ph": "M", "name": "thread_name", "pid": stream, "tid": learner + 1, "args": {"name": learner_name(learner)}}
        for stream, learner in threads
    ]
    tasks = [
        {
            "ph": "X",
            "name": span.kind,
            "cat": span.kind,
            "pid": streams[span.stream],
            "tid": span.learner + 1,
            "ts": span.start_s * 1e6,
            "dur": span.duration_s * 1e6,
            "args": {"iteration": span.iteration},
        }
        for span in spans
    ]
    return {"displayTimeUnit": "ms", "traceEvents": [*names, *tasks]}


def learner_name(learner: int) -> str:
    """Return a learner as users count them.

    Examples
    --------
    >>> learner_name(0), learner_name(ALL)
    ('learner 1', 'all learners')
    """
    return "all learners" if learner == ALL else f"learner {learner + 1}"
