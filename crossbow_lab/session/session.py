"""The session: trains in the background or the foreground while its owner adjusts it, and remembers everything.

One thread at a time trains. Everybody else talks to it through a queue of commands, taken between iterations, and reads
an immutable snapshot that it replaces about every 50 ms.
"""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Never

import pandas as pd
from torch import nn

from crossbow_lab.averaging import Algorithm
from crossbow_lab.errors import ConfigurationError
from crossbow_lab.session.auto_tuner import AutoTuner
from crossbow_lab.session.build import Built, Model, Own, build, rebuild
from crossbow_lab.session.checkpoint import Checkpoint
from crossbow_lab.session.gradient_noise import GradientNoise
from crossbow_lab.session.history import Record, next_folder, time_to_accuracy
from crossbow_lab.session.limits import Accuracy, TimeToAccuracy
from crossbow_lab.session.observer import Snapshot
from crossbow_lab.session.opening import get_ready, read_arguments, rebuild_from
from crossbow_lab.session.policies import Policy
from crossbow_lab.session.progress import standing
from crossbow_lab.session.recipe import Recipe
from crossbow_lab.session.timeline import Timeline

if TYPE_CHECKING:
    from crossbow_lab.dashboard import Dashboard
    from crossbow_lab.runs import Run


class Session(AbstractContextManager["Session"]):
    """One training session with live adjustments.

    Parameters
    ----------
    model : str, nn.Module, function that returns one, or Recipe
        A name of the zoo ("logreg", "mlp", "digits-cnn", "lenet", "lenet-caffe", "resnet-8", "resnet-20", "resnet-32");
        a module, whose present weights are w_0; or a function, called with torch seeded by ``seed``.
        A Recipe instead runs what it says, and no other setting may be given.
    dataset : str or data
        A name ("digits", "mnist", "fashion-mnist", "cifar-10", "cifar-100"), ``(inputs, targets)``, or
        ``(train, test)`` of such pairs or of map-style torch Datasets.
    algorithm : ``SMA()`` by default, or another of `crossbow_lab.averaging.ALGORITHMS`
    learners : model replicas on each device, at least 1; by default 4. All of them are k
    batch_size : b >= 1, samples per learner per iteration; by default 16. S-SGD takes batches of learners x batch_size
    learning_rate, seed : greater than 0, and an int >= 0; by default 0.05 and 0
    learning_rate_steps : ((epoch, rate), ...), from that epoch on that rate; SMA restarts at each. By default none
    learning_rate_policy : such as ``cb.Cosine(length=10)`` in epochs, a factor of learning_rate; by default None
    weight_decay : float >= 0; by default 0
    loss : "cross_entropy", "mse", or a function of (output, target) that returns one number; by default the first
    executor : "auto" (by default; measures, and says what it chose), "loop", "fused", or on CUDA "streams"
    device, dtype : "cpu" or "cuda:0"; "float32" or "float64"; by default the first of each
    devices : instead of device, several: ["cuda:0", "cuda:1"], "all" GPUs, or to try it ["cpu", "cpu"]; a process each
    lost_after_s : seconds after which a device that shows no sign of life is taken for lost; by default 8
    amp : mixed precision: passes in bfloat16 where that is safe, weights and averaging in float32; by default False
    augment : bool, or None: as the data set says
    batch_norm : where z's batch-norm statistics come from: "average" of the learners' (by default), or "recalibrate"
    evaluate_every : epochs between evaluations of z; by default 1
    max_learners : rows of the bank; None: 64, or ``learners`` if more
    threads : CPU threads; None: as torch has, or what ``executor="auto"`` finds faster
    data_dir : folder with data sets; None: ``CROSSBOW_DATA``, else the user's cache
    folder : a new one, where history, events and recipe are written as they happen; None: memory only
    own_model : nn.Module or function, only with a Recipe whose model has no name
    allow_imports : whether a Recipe may name code to import

    Attributes
    ----------
    auto_tuner : AutoTuner; chooses the number of learners while it trains: ``session.auto_tuner.start()``
    gradient_noise : GradientNoise; measures the gradient noise scale: ``session.gradient_noise.start()``
    timeline : Timeline; records when which task ran: ``session.timeline.start()``

    Raises
    ------
    CrossbowError
        ConfigurationError, DataError, ModelError, RecipeError, ExecutorError or DeviceUnavailable, each saying what
        was given, what is needed and what to do; before anything trains.

    Examples
    --------
    >>> session = Session(model="mlp", dataset="digits", learners=4, batch_size=8, executor="fused")
    >>> session.run(iterations=20).snapshot.iteration
    20
    """

    def __init__(
        self,
        model: Model | Recipe = "digits-cnn",
        dataset: object = None,
        algorithm: Algorithm | None = None,
        learners: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        seed: int | None = None,
        *,
        learning_rate_steps: tuple[tuple[float, float], ...] | None = None,
        learning_rate_policy: Policy | None = None,
        weight_decay: float | None = None,
        loss: str | Callable[..., Any] | None = None,
        executor: str | None = None,
        device: str | None = None,
        devices: list[str] | str | None = None,
        dtype: str | None = None,
        amp: bool | None = None,
        augment: bool | None = None,
        batch_norm: str | None = None,
        evaluate_every: float | None = None,
        max_learners: int | None = None,
        threads: int | None = None,
        data_dir: str | Path | None = None,
        folder: str | Path | None = None,
        own_model: nn.Module | Callable[[], nn.Module] | None = None,
        allow_imports: bool | None = None,
        lost_after_s: float | None = None,
        **unknown: Never,
    ) -> None:
        self._open(build(*read_arguments(locals().copy())), folder, None)

    @classmethod
    def _of(cls, built: Built, past: Checkpoint | None = None, folder: str | Path | None = None) -> "Session":
        """Return a session of what has been built."""
        session = cls.__new__(cls)
        session._open(built, folder, past)
        return session

    def _open(self, built: Built, folder: str | Path | None, past: Checkpoint | None) -> None:
        """Get ready to train for the first time."""
        self._folder, self._resetting = None if folder is None else Path(folder), threading.Lock()
        self._begin(built, self._folder, past)

    def _begin(self, built: Built, folder: Path | None, past: Checkpoint | None) -> None:
        """Get ready to train; an executor that can't run the model says so now."""
        loop, driver, requests = get_ready(built, folder, past)
        self._built, self._loop, self._driver, self._requests = built, loop, driver, requests
        self.auto_tuner, self.timeline = AutoTuner(loop.tuner, driver), Timeline(loop, driver)
        self.gradient_noise = GradientNoise(loop.observer.noise, driver)

    # ---- training -------------------------------------------------------------------------------------------

    def run(
        self,
        epochs: float | None = None,
        iterations: int | None = None,
        seconds: float | None = None,
        until: Accuracy | float | None = None,
        progress: bool | None = None,
    ) -> "Session":
        """Train in the foreground, from now until the first limit is reached; return the session itself.

        Without limits, a session made from a recipe runs to where the recipe ends. Ctrl-C stops between two
        iterations, and the session can go on afterwards; a second one stops at once, and the session has failed.

        Parameters
        ----------
        epochs, iterations, seconds : counted from now; seconds of training time.
        until : target accuracy. Alone it is no bound: give another limit beside it.
        progress : print a line at most every two seconds; by default where nobody looks (``CROSSBOW_HEADLESS``).

        Raises
        ------
        ConfigurationError
            If there is nothing to say when to end, or the session is training already.
        DivergedError
            If a loss stops being finite; everything recorded until then is kept.
        """
        self._driver.run("run", progress=progress, epochs=epochs, iterations=iterations, seconds=seconds, until=until)
        return self

    def start(
        self,
        epochs: float | None = None,
        iterations: int | None = None,
        seconds: float | None = None,
        until: Accuracy | float | None = None,
    ) -> "Session":
        """Train in the background, until a limit (as in `run`), `stop`, or without end; return at once."""
        limits = self._driver.begin(
            "start", is_needed=False, epochs=epochs, iterations=iterations, seconds=seconds, until=until
        )
        self._driver.start(limits)
        return self

    def pause(self) -> None:
        """Ask to pause before the next iteration; returns at once."""
        self._driver.pause()

    def resume(self) -> None:
        """Go on after a pause; in the background, also after `step` or `restore`."""
        self._driver.resume()

    def stop(self) -> None:
        """Stop, if it trains, before the next iteration; wait until training has stopped and z has been evaluated."""
        self._driver.stop()

    def run_live(
        self,
        epochs: float | None = None,
        iterations: int | None = None,
        seconds: float | None = None,
        until: Accuracy | float | None = None,
        ui: str = "auto",
    ) -> "Session":
        """Show the dashboard, and train as `run` does while this cell keeps it up to date.

        For places that show nothing from the background, such as Colab. Without widgets it prints lines of progress.
        """
        from crossbow_lab.dashboard import run_live  # upwards in the layers, so only when it is asked for

        run_live(self, ui=ui, epochs=epochs, iterations=iterations, seconds=seconds, until=until)
        return self

    def step(self, n: int = 1) -> None:
        """Train ``n`` iterations, then pause; return when they are done. Refused while it runs: pause it first."""
        self._driver.step(n)

    def wait(self, timeout_s: float | None = None) -> str:
        """Wait until training ends, or ``timeout_s`` passes; return the state. A paused session doesn't end."""
        return self._driver.wait(timeout_s)

    # ---- adjusting ------------------------------------------------------------------------------------------

    def adjust(self, **changes: Any) -> None:
        """Change settings from the next iteration on: what the sliders call.

        Returns at once while training goes on: the change is in ``snapshot.requested`` until it is taken; what turns
        out impossible by then is an event, "refused". Paused or not training, it takes effect at once.

        Parameters
        ----------
        learners, batch_size, learning_rate, sync_period, algorithm, executor
            Any of them. Changes given together take effect together, and become one adjustment of the recipe.

        Raises
        ------
        ConfigurationError
            If a value can't be; nothing changes then.
        """
        self._requests.ask(changes)

    def restart_averaging(self) -> None:
        """Set all learners to z and clear all momentum, before the next iteration."""
        self.adjust(restart=True)

    def reset(self) -> "Session":
        """Begin again: the same recipe and seed from the start, without the adjustments made since.

        Stops training first. The record goes on in a new folder beside the first, ``folder-2`` and so on.

        Raises
        ------
        ConfigurationError
            If it is closed, its initial weights are gone (restored with a model of your own), or memory is too small.
        """
        with self._resetting:
            if self._driver.is_closed:
                raise ConfigurationError("reset() on a closed session; make a new one, or restore a checkpoint")
            self._driver.stop()
            driver = self._driver
            self._begin(rebuild(self._built), None if self._folder is None else next_folder(self._folder), None)
            driver.close()
        return self

    # ---- looking --------------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """One of "ready", "running", "paused", "finished", "stopped", "failed"."""
        return self._loop.state

    @property
    def snapshot(self) -> Snapshot:
        """How the session stands: immutable, about 50 ms old at most while training. Never waits."""
        return self._requests.snapshot()

    @property
    def error(self) -> str | None:
        """Why the session failed, in one message; None if it didn't."""
        return self._loop.error

    @property
    def traceback(self) -> str | None:
        """The traceback of the failure; None if there was none."""
        return self._loop.traceback

    @property
    def record(self) -> Record:
        """What happened, entry by entry, as it grows; `reset` begins another. `history` and `events` are its tables."""
        return self._loop.record

    @property
    def history(self) -> pd.DataFrame:
        """One row per evaluation of z; columns as in `crossbow_lab.session.Row`, units in the names."""
        return self._loop.record.rows.frame()

    @property
    def learner_history(self) -> pd.DataFrame:
        """One row per learner and evaluation: iteration, learner, train_loss, distance (Euclidean, to z)."""
        return self._loop.record.learner_rows.frame()

    @property
    def events(self) -> pd.DataFrame:
        """What happened when: adjustments, restarts, decisions of executor and auto-tuner, checkpoints, failures."""
        return self._loop.record.events.frame()

    @property
    def recipe(self) -> Recipe:
        """All that is needed to run this session again, adjustments included; it ends where the session is."""
        return self._loop.recipe()

    def fingerprint(self) -> str:
        """Return the SHA-256 of z, once the present iteration is done: two equal runs print the same."""
        return self._driver.ask_and_wait(self._loop.trainer.fingerprint)

    def central_model(self) -> nn.Module:
        """Return z, once the present iteration is done, as an ordinary module in evaluation mode, a copy of its own."""
        return self._driver.ask_and_wait(self._loop.trainer.central_model)

    def time_to_accuracy(self, target: float | Accuracy, window: int = 5) -> TimeToAccuracy | None:
        """Return when the median test accuracy of the last ``window`` evaluations first reached ``target``.

        None if it hasn't. Seconds are training time; evaluation is on its own clock.
        """
        return time_to_accuracy(list(self.record.rows.entries), Accuracy.of(target, window))

    def dashboard(
        self, target: Accuracy | float | None = None, ui: str = "auto", rate_hz: float | None = None
    ) -> "Dashboard":
        """Show live plots and controls under this cell; called again, another view of the same ones.

        Parameters
        ----------
        target : test accuracy that is drawn, and to which time is taken; None: as before, at first none.
        ui : "live"; "off" for a static report of what there is; "auto": off where ``CROSSBOW_HEADLESS`` is 1.
        rate_hz : updates a second; None: as before, at first 10.
        """
        from crossbow_lab.dashboard import open_dashboard  # upwards in the layers, as in `run_live`

        return open_dashboard(self, target=target, ui=ui, rate_hz=rate_hz)

    # ---- keeping --------------------------------------------------------------------------------------------

    def checkpoint(self, path: str | Path) -> Path:
        """Write all that is needed to go on to the same bits into a file, or raise CheckpointError; return its path."""
        return self._driver.ask_and_wait(lambda: self._loop.save(Path(path)))

    def save_run(self, runs_dir: str | Path = "runs", name: str = "session") -> "Run":
        """Publish the session as a run like any other, which `crossbow-lab replay` runs again; return the run.

        It must not train at that moment. It can go on afterwards, and be saved again.
        """
        from crossbow_lab.runs import save_session  # upwards in the layers, as in `run_live`

        return save_session(self, runs_dir=runs_dir, name=name)

    @classmethod
    def restore(
        cls,
        path: str | Path,
        *,
        dataset: object = None,
        own_model: nn.Module | Callable[[], nn.Module] | None = None,
        loss: Callable[..., Any] | None = None,
        data_dir: str | Path | None = None,
        folder: str | Path | None = None,
        allow_imports: bool = False,
        lost_after_s: float = Own.lost_after_s,
    ) -> "Session":
        """Return a paused session that goes on from a checkpoint bit for bit, as if never interrupted.

        Parameters
        ----------
        dataset, own_model, loss : the user's own, where the recipe can't name them. The weights of own_model don't
            matter, but for those that aren't trained.
        data_dir, folder, allow_imports, lost_after_s : as in `Session`; the folder gets the whole record.

        Raises
        ------
        CheckpointError
            If the file is damaged, cut short, or written by a newer version.
        """
        own = Own(own_model, dataset, loss, None if data_dir is None else str(data_dir), allow_imports, lost_after_s)
        return cls._of(*rebuild_from(Path(path), own), folder)

    def close(self) -> None:
        """Stop training and close the files of ``folder``; what was recorded stays readable."""
        self._driver.close()

    def __exit__(self, *exception: object) -> None:
        """Close the session."""
        self.close()

    def __repr__(self) -> str:
        """Say what it trains and how it stands."""
        return f"<Session {self.state}: {standing(self._loop.observer.snapshot)}>"
