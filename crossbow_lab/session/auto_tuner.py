"""The auto-tuner of a session, as its owner sees it: started and stopped from any thread."""

from crossbow_lab.devices import check_one_device
from crossbow_lab.errors import ConfigurationError
from crossbow_lab.session.checks import check_whole
from crossbow_lab.session.driver import Driver
from crossbow_lab.session.tuner import Tuner
from crossbow_lab.tuning import GoodputRule, PaperRule, TuningRule, Window

_RULES: dict[str, TuningRule] = {"paper": PaperRule(), "goodput": GoodputRule()}


class AutoTuner:
    """Chooses the number of learners per device while a session trains; off until it is started.

    Every decision is an event of kind "tuner" with the numbers behind it, and an adjustment of the recipe: a replay of
    the recipe takes the same decisions at the same iterations and measures nothing. A checkpoint holds the learners
    but not a search: start it again after `Session.restore`.

    Parameters
    ----------
    tuner : Tuner
    driver : Driver

    Examples
    --------
    >>> from crossbow_lab import Session
    >>> from crossbow_lab.tuning import PaperRule, Window
    >>> session = Session(model="logreg", dataset="digits", learners=1, batch_size=4, executor="loop")
    >>> session.auto_tuner.start(PaperRule(), Window(seconds=0.0, warm_up_s=0.0))
    >>> _ = session.run(iterations=400)
    >>> session.auto_tuner.status.startswith("settled on"), "tuner" in set(session.events.kind)
    (True, True)
    """

    def __init__(self, tuner: Tuner, driver: Driver) -> None:
        self._tuner, self._driver = tuner, driver

    @property
    def status(self) -> str:
        """What it does, as "measuring 3 learners" or "settled on 4 learners"; empty while it is off."""
        return self._tuner.status

    def start(self, rule: TuningRule | str = "paper", window: Window | None = None, most: int | None = None) -> None:
        """Search for the best number of learners from the next iteration on, then settle on it.

        Begins again when batch size, algorithm, synchronisation period or executor is adjusted, and from the number of
        learners that somebody sets by hand.

        Parameters
        ----------
        rule : PaperRule, GoodputRule, "paper" or "goodput"
            The names stand for the rules with their defaults. The second needs the gradient noise scale: it has the
            learners' measured where `Session.gradient_noise` is off, and uses a probe's where there is one.
        window : how long each number of learners is measured; None: the defaults of `crossbow_lab.tuning.Window`.
        most : most learners to try; None: all that the bank holds and the data feed. What turns out not to fit is the
            bound from then on.

        Raises
        ------
        ConfigurationError
            If the rule is unknown, ``most`` isn't possible, or goodput is asked for on several devices.
        """
        chosen = _RULES.get(rule) if isinstance(rule, str) else rule
        if not isinstance(chosen, TuningRule):
            raise ConfigurationError(
                f"rule is {rule!r}; give 'paper', 'goodput', or a PaperRule or GoodputRule of yours"
            )
        if isinstance(chosen, GoodputRule):
            check_one_device("the goodput rule, which needs gradient noise,", self._tuner.n_devices)
        limit = self._tuner.most_that_fit()
        fits = limit if most is None else check_whole("most", most)
        if fits > limit:
            raise ConfigurationError(
                f"most is {most}, but at most {limit} learners fit: the bank holds no more (max_learners), the data "
                "set has no more samples for one iteration, or the algorithm's alpha allows no more"
            )
        with self._driver.lock:
            self._driver.require_usable("auto_tuner.start")
            started = self._driver.ask(lambda: self._tuner.start(chosen, window or Window(), fits))
            waits = self._driver.takes_at_once
        if waits:
            started.result()

    def stop(self) -> None:
        """End the search; the learners stay as they are."""
        self._driver.ask(self._tuner.stop)
