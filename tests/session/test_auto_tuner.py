"""The auto-tuner in a session: decides between iterations, records what it does, and is replayed without measuring."""

from collections.abc import Callable
from typing import Any

import pytest

from crossbow_lab.averaging import SMA
from crossbow_lab.errors import ConfigurationError
from crossbow_lab.session import Adjustment, Recipe, Session
from crossbow_lab.session.trainer import Trainer
from crossbow_lab.tuning import GoodputRule, PaperRule, Window

Make = Callable[..., Session]

RATES = {1: 1000.0, 2: 1700.0, 3: 2100.0, 4: 1900.0, 5: 1500.0, 6: 1400.0, 7: 1300.0, 8: 1200.0}
QUICK = Window(seconds=0.0, iterations=4, windows=2, warm_up_s=0.0, warm_up_iterations=2)


@pytest.fixture
def machine(monkeypatch: Any) -> dict[int, float]:
    """Give a machine of these samples/s: the training clock shows what it would, not what this one takes."""
    rates = dict(RATES)
    clock = {"s": 0.0}
    step = Trainer.step

    def timed(self: Trainer, most: int = 1) -> Any:
        before = self.progress.position
        losses = step(self, most)
        clock["s"] += (self.progress.position - before) / rates[self.setting.learners]
        return losses

    monkeypatch.setattr(Trainer, "step", timed)
    monkeypatch.setattr("crossbow_lab.session.instruments.Clock.elapsed_s", property(lambda _: clock["s"]))
    return rates


def tuner_events(session: Session) -> list[str]:
    """Return what the tuner told."""
    events = session.events
    return list(events["detail"][events["kind"] == "tuner"])


def tried(session: Session) -> list[int]:
    """Return the learners of every adjustment."""
    return [adjustment.changes["learners"] for adjustment in session.recipe.adjustments]


def test_it_follows_the_papers_rule_and_tells_why(make: Make, machine: Any) -> None:
    """Every decision is an event with its numbers, and an adjustment at the iteration where it was taken."""
    session = make(learners=4, max_learners=8)
    session.auto_tuner.start(PaperRule(), QUICK)
    assert session.auto_tuner.status == "measuring 4 learners"
    session.run(iterations=60)
    assert session.auto_tuner.status == session.snapshot.tuner == "settled on 3 learners"
    assert tried(session) == [1, 2, 3, 4, 3]
    assert session.snapshot.learners == 3
    events = tuner_events(session)
    assert events[0].startswith("on: PaperRule(threshold=0.1")
    assert events[1:3] == [
        "try 2 learners: 1 gave 1,000 samples/s",
        "try 3 learners: 2 gave 1,700 samples/s, 70.0 % more than 1,000 with 1; more than 10.0 % is wanted",
    ]
    assert events[-1].startswith("settled on 3 learners: 4 gave 1,900 samples/s, 9.5 % less than 2,100 with 3")
    # A mark when it begins, 2 + 2 x 4 iterations for each number of learners.
    assert [adjustment.iteration for adjustment in session.recipe.adjustments] == [0, 11, 22, 33, 44]


def test_a_replay_takes_the_same_decisions_without_measuring(make: Make, machine: Any) -> None:
    """On a machine where it would have decided otherwise; to the same bits."""
    session = make(learners=2, max_learners=8)
    session.auto_tuner.start(GoodputRule(), QUICK)
    session.run(iterations=100)
    machine.update({m: 1000.0 / m for m in machine})
    again = make(Recipe.from_json(session.recipe.to_json())).run()
    assert again.fingerprint() == session.fingerprint()
    assert again.recipe == session.recipe
    assert tuner_events(again) == []
    assert again.auto_tuner.status == ""


def test_it_is_deterministic_where_the_machine_is(make: Make, machine: Any) -> None:
    """The same throughputs give the same recipe."""
    recipes = []
    for _ in range(2):
        session = make(max_learners=8)
        session.auto_tuner.start("goodput", QUICK)
        recipes.append(session.run(iterations=120).recipe)
    assert recipes[0] == recipes[1]
    assert tried(session)[-1] == 3


def test_adjustments_arm_it_again(make: Make, machine: Any) -> None:
    """From the rule's first learners; from the owner's, where those were set by hand; a learning rate does nothing."""
    session = make(learners=1, max_learners=8)
    session.auto_tuner.start(PaperRule(), QUICK)
    session.run(iterations=60)
    session.adjust(learning_rate=0.01)
    assert session.auto_tuner.status == "settled on 3 learners"
    session.adjust(batch_size=4)
    session.run(iterations=60)
    assert session.auto_tuner.status == "settled on 3 learners"
    session.adjust(learners=6)
    assert session.auto_tuner.status == "measuring 6 learners"
    session.run(iterations=60)
    assert session.auto_tuner.status == "settled on 6 learners"
    assert tried_learners(session) == [2, 3, 4, 3, 1, 2, 3, 4, 3, 6, 7, 6]
    assert [text.partition(":")[0] for text in tuner_events(session)].count("begun again") == 2


def tried_learners(session: Session) -> list[int]:
    """Return the learners of every adjustment that changed them."""
    return [one.changes["learners"] for one in session.recipe.adjustments if "learners" in one.changes]


def test_it_tries_no_more_learners_than_fit(make: Make, machine: Any) -> None:
    """Bank, data, the algorithm's alpha, and what its owner says."""
    machine.update({m: 1000.0 * m for m in range(1, 65)})
    for settings, most, expected in (
        ({"max_learners": 3}, None, 3),
        ({"batch_size": 400}, None, 3),
        ({"algorithm": SMA(alpha=0.5)}, None, 5),
        ({}, 2, 2),
    ):
        session = make(**{"learners": 2, **settings})
        session.auto_tuner.start(PaperRule(), QUICK, most=most)
        session.run(iterations=80)
        assert session.auto_tuner.status == f"settled on {expected} learners"
        assert "no more than" in tuner_events(session)[-1]


def test_what_the_device_refuses_is_the_bound_from_then_on(make: Make, machine: Any, monkeypatch: Any) -> None:
    """As where memory runs out; the refusal is an event, and training goes on."""
    machine.update({m: 1000.0 * m for m in range(1, 9)})
    admit = Trainer._try_out

    def try_out(self: Trainer, old: Any, new: Any) -> None:
        if new.learners > 4:
            raise ConfigurationError("the device has no memory for so many learners")
        admit(self, old, new)

    monkeypatch.setattr(Trainer, "_try_out", try_out)
    for rule in (PaperRule(), GoodputRule()):
        session = make(learners=1, max_learners=8)
        session.auto_tuner.start(rule, QUICK)
        session.run(iterations=120)
        assert session.auto_tuner.status == "settled on 4 learners"
        assert "refused" in set(session.events["kind"])


def test_stopping_it_leaves_the_learners_as_they_are(make: Make, machine: Any) -> None:
    """And a start after that begins anew."""
    session = make(max_learners=8)
    session.auto_tuner.start(PaperRule(), QUICK)
    session.run(iterations=15)
    learners = session.snapshot.learners
    session.auto_tuner.stop()
    session.run(iterations=100)
    assert session.auto_tuner.status == session.snapshot.tuner == ""
    assert session.snapshot.learners == learners == 2
    assert tuner_events(session)[-1] == "off: 2 learners stay"
    session.reset()
    assert session.auto_tuner.status == ""


def test_a_run_of_one_iteration_is_refused(make: Make) -> None:
    """Nothing can be measured in it; steps by hand are as short as their owner likes."""
    session = make()
    session.auto_tuner.start(PaperRule(), QUICK)
    with pytest.raises(ConfigurationError, match=r"measures for 11 iterations at least .* is to stop after 1; train"):
        session.run(iterations=1)
    with pytest.raises(ConfigurationError, match="is to stop after 10"):
        session.start(iterations=10)
    assert session.state == "ready"
    session.step()
    session.auto_tuner.stop()
    session.run(iterations=1)
    assert session.snapshot.iteration == 2


def test_it_tunes_in_the_background_while_others_adjust(make: Make, wait_for: Any) -> None:
    """With a real clock; the recipe replays to the same bits."""
    session = make("mlp", max_learners=6).start()
    session.auto_tuner.start("paper", QUICK)
    wait_for(lambda: session.snapshot.tuner.startswith("settled"))
    session.adjust(batch_size=4)
    wait_for(lambda: session.snapshot.batch_size == 4 and session.snapshot.tuner.startswith("settled"))
    session.stop()
    assert Adjustment(session.recipe.adjustments[0].iteration, {"learners": 1}) == session.recipe.adjustments[0]
    assert make(session.recipe).run().fingerprint() == session.fingerprint()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pollux",), "rule is 'pollux'; give 'paper', 'goodput', or a PaperRule or GoodputRule"),
        ((3,), "rule is 3"),
        (("paper", QUICK, 0), "most is 0; it must be a whole number >= 1"),
        (("paper", QUICK, 65), r"most is 65, but at most 64 learners fit: the bank holds no more \(max_learners\)"),
    ],
)
def test_what_cannot_be_is_refused(make: Make, arguments: tuple[Any, ...], message: str) -> None:
    """At once, and nothing is on then."""
    session = make()
    with pytest.raises(ConfigurationError, match=message):
        session.auto_tuner.start(*arguments)
    assert session.auto_tuner.status == ""
    session.close()
    with pytest.raises(ConfigurationError, match="closed session"):
        session.auto_tuner.start()
