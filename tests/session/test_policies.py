"""Learning-rate policies: their formulas, what they refuse, and how sessions follow them."""

import dataclasses
import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_sessions import RATE, trainer_of

from crossbow_lab.averaging import SMA, LocalSGD
from crossbow_lab.errors import ConfigurationError
from crossbow_lab.session import Recipe, Session
from crossbow_lab.session.policies import (
    POLICIES,
    Cosine,
    Cyclic,
    ExponentialDecay,
    InverseDecay,
    MultiStepDecay,
    OneCycle,
    Policy,
    StepDecay,
    factor_at,
    policy_from_json,
    policy_to_json,
    steps_at,
)

amounts = st.floats(0.001, 1000.0)
shares = st.floats(0.001, 1.0)
units = st.sampled_from(["epochs", "iterations"])
policies = st.one_of(
    st.builds(InverseDecay, amounts, amounts, units),
    st.builds(ExponentialDecay, shares, units),
    st.builds(StepDecay, amounts, shares, units),
    st.builds(
        lambda at, by, part, unit: MultiStepDecay(tuple(sorted(at)), by, min(at) * part, 0.1, unit),
        st.sets(amounts, min_size=1, max_size=4),
        shares,
        shares,
        units,
    ),
    st.builds(Cyclic, amounts, amounts, shares, units),
    st.builds(
        lambda length, final, part, unit: Cosine(length, final, 0.9 * length * part, 0.1, unit),
        amounts,
        shares,
        shares,
        units,
    ),
    st.builds(OneCycle, amounts, amounts, st.floats(0.001, 0.99), shares, units),
)


@given(policies)
def test_json_brings_back_the_same_policy(policy: Policy) -> None:
    """Through real JSON text, in a recipe; none stays none."""
    recipe = Recipe("mlp", "digits", learning_rate_policy=policy)

    assert policy_from_json(json.loads(json.dumps(policy_to_json(policy)))) == policy
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert policy_from_json(policy_to_json(None)) is None


@given(policies, st.integers(0, 10**9), st.floats(0.0, 1e6))
def test_a_factor_is_a_positive_number_wherever_it_is_asked_for(policy: Policy, iteration: int, epoch: float) -> None:
    """A rate of 0 would train nothing, and a session refuses it; the same place gives the same factor."""
    factor = factor_at(policy, iteration, epoch)

    assert 0.0 < factor < math.inf
    assert factor == factor_at(policy, iteration, epoch)


@given(policies)
def test_a_policy_counts_what_its_unit_says(policy: Policy) -> None:
    """Iterations or epochs, and nothing else."""
    found = [factor_at(policy, iteration, epoch) for iteration, epoch in ((3, 0.25), (3, 0.5), (9, 0.25))]

    assert found[0] == (found[1] if policy.unit == "iterations" else found[2])
    assert max(1e-12, policy.factor(3.0 if policy.unit == "iterations" else 0.25)) == found[0]


def test_the_policies_of_the_papers_code_are_its_formulas() -> None:
    """FIXED is none; INV, STEP, MULTISTEP, LSR, EXP and CLR, at x = 25 of 10, or of (10, 20, 40)."""
    x = 25.0
    assert InverseDecay(rate=0.1, power=0.75).factor(x) == pytest.approx((1 + 0.1 * x) ** -0.75)
    assert StepDecay(every=10, by=0.5).factor(x) == pytest.approx(0.5 ** math.floor(x / 10))
    assert MultiStepDecay(at=(10, 20, 40), by=0.1).factor(x) == pytest.approx(0.1**2)
    warm = MultiStepDecay(at=(10, 20, 40), warm_up=5, warm_up_from=0.2)
    assert [warm.factor(place) for place in (0.0, 2.5, 5.0, 9.9, 10.0)] == pytest.approx([0.2, 0.6, 1.0, 1.0, 0.1])
    assert ExponentialDecay(0.9).factor(x) == pytest.approx(0.9**x)
    cyclic = Cyclic(period=10, peak=3.0)
    assert [cyclic.factor(place) for place in (0.0, 2.5, 5.0, 7.5, 10.0, 25.0)] == pytest.approx([1, 2, 3, 2, 1, 3])


@pytest.mark.parametrize("policy", [Cosine(length=10), Cosine(length=10, warm_up=3), OneCycle(length=10)])
def test_what_has_a_length_ends_there_and_stays(policy: Cosine | OneCycle) -> None:
    """Continuous on the way, from its start to its final factor."""
    places = [policy.factor(i / 100) for i in range(1201)]

    assert max(abs(later - earlier) for earlier, later in itertools.pairwise(places)) < 0.05
    assert places[1000:] == [pytest.approx(0.01)] * 201
    assert max(places) == pytest.approx(getattr(policy, "peak", 1.0))


def test_only_steps_count_as_steps() -> None:
    """So that averaging doesn't restart at every iteration of a smooth policy."""
    names = {"InverseDecay": {"rate": 1}, "ExponentialDecay": {"base": 0.5}, "StepDecay": {"every": 2}}
    names |= {"MultiStepDecay": {"at": (3, 6)}, "Cyclic": {"period": 2}, "Cosine": {"length": 5}}
    names |= {"OneCycle": {"length": 5}}
    found = {
        name: [steps_at(POLICIES[name](**options), 99, x) for x in (0.0, 3.0, 6.5)] for name, options in names.items()
    }

    assert found.pop("StepDecay") == [0, 1, 3]
    assert found.pop("MultiStepDecay") == [0, 1, 2]
    assert list(found.values()) == [[0, 0, 0]] * 5


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        (MultiStepDecay, {"at": (60, 30)}, r"at of MultiStepDecay is \(60, 30\); each step must be later"),
        (MultiStepDecay, {"at": (30, 30)}, r"each step must be later"),
        (MultiStepDecay, {"at": ()}, r"at of MultiStepDecay is \(\); give where the rate steps"),
        (MultiStepDecay, {"at": "30"}, r"give where the rate steps, such as \(30, 60, 80\)"),
        (MultiStepDecay, {"at": (0, 3)}, r"a place in at of MultiStepDecay is 0"),
        (MultiStepDecay, {"at": (3,), "warm_up": 5}, r"warm-up .* takes 5 epochs, but its first step is at 3"),
        (StepDecay, {"every": 0}, r"every of StepDecay is 0; it must be a finite number > 0"),
        (StepDecay, {"every": 1, "unit": "epoch"}, r"unit is 'epoch'; did you mean 'epochs'"),
        (ExponentialDecay, {"base": 1.5}, r"base of ExponentialDecay is 1\.5; .* at most 1"),
        (InverseDecay, {"rate": -1}, r"rate of InverseDecay is -1"),
        (Cyclic, {"period": math.nan}, r"period of Cyclic is nan"),
        (Cosine, {"length": 5, "warm_up": 5}, r"the warm-up of Cosine takes 5 epochs of 5"),
        (Cosine, {"length": 5, "final": 0}, r"final of Cosine is 0"),
        (OneCycle, {"length": 5, "rise": 1}, r"rise is 1, so that OneCycle would never come down"),
    ],
)
def test_what_makes_no_sense_is_refused(kind: Any, options: dict[str, Any], words: str) -> None:
    """With what was given, and what to do."""
    with pytest.raises(ConfigurationError, match=words):
        kind(**options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"learning_rate_policy": 0.1},
            r"learning_rate_policy is 0\.1; give one of InverseDecay, .*None for a fixed rate",
        ),
        (
            {"learning_rate_policy": Cosine(length=9), "learning_rate_steps": ((3, 0.1),)},
            r"learning_rate_steps and learning_rate_policy=Cosine\(.* both say what the rate is; give one",
        ),
    ],
)
def test_a_recipe_refuses_what_is_no_policy_or_one_too_many(options: dict[str, Any], words: str) -> None:
    """Two schedules contradict each other."""
    with pytest.raises(ConfigurationError, match=words):
        Recipe("mlp", "digits", **options)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"name": "Cosin"}, "there is no policy 'Cosin'; did you mean 'Cosine'"),
        ({"name": "Cosine"}, "Cosine lacks length; give it"),
        ({"name": "Cosine", "len": 3}, "Cosine has no field 'len'"),
        ("Cosine", "a policy is written as {'name': 'InverseDecay', ...}"),
    ],
)
def test_json_that_is_no_policy_is_refused(data: Any, words: str) -> None:
    """By name."""
    with pytest.raises(ConfigurationError, match=words):
        policy_from_json(data)


def test_every_iteration_has_the_rate_of_its_policy(blobs: Any) -> None:
    """The first one too; nothing is reported, and nothing restarts, for a smooth one."""
    policy = Cosine(length=30, unit="iterations", warm_up=5)
    trainer = trainer_of(blobs, SMA(), learning_rate_policy=policy)
    for iteration in range(40):
        assert trainer.setting.learning_rate == RATE * policy.factor(iteration)
        trainer.step(100)
        assert trainer.follow_schedule() is None
        assert not trainer.progress.restart_due
    assert trainer.distances().min() > 0


@pytest.mark.parametrize("algorithm", [SMA(sync_period=2, local_momentum=0.5), LocalSGD()])
def test_a_policy_of_steps_is_the_same_as_learning_rate_steps(make: Any, blobs: Any, algorithm: Any) -> None:
    """Bits, and what is reported: steps, and the restarts that follow them."""
    settings = {"algorithm": algorithm, "batch_size": 3, "learning_rate": 0.2}
    by_steps = make("logreg", blobs, learning_rate_steps=((0.7, 0.1), (1.5, 0.05)), **settings)
    by_policy = make("logreg", blobs, learning_rate_policy=MultiStepDecay(at=(0.7, 1.5), by=0.5), **settings)
    for session in (by_steps, by_policy):
        session.run(epochs=2.5)
    kept = [session.events[session.events["kind"] != "executor"] for session in (by_steps, by_policy)]

    assert by_policy.fingerprint() == by_steps.fingerprint()
    assert kept[0][["iteration", "kind", "detail"]].equals(kept[1][["iteration", "kind", "detail"]])
    assert list(kept[1]["kind"]).count("restart") == (2 if isinstance(algorithm, SMA) else 0)


POLICY_CASES = [
    Cosine(length=3, warm_up=0.5),
    Cyclic(period=0.4, peak=3.0),
    StepDecay(every=20, by=0.7, unit="iterations"),
]


@pytest.mark.parametrize("policy", POLICY_CASES, ids=repr)
def test_a_rate_set_by_hand_is_exact_and_the_policy_goes_on_from_there(make: Any, blobs: Any, policy: Policy) -> None:
    """All later rates are scaled; adjustments of it and of batch sizes replay to the same bits."""
    session: Session = make("logreg", blobs, learning_rate_policy=policy)
    session.run(iterations=7)
    session.adjust(learning_rate=0.031)
    assert session.snapshot.learning_rate == 0.031
    here = session._loop.trainer
    before = factor_at(policy, here.progress.iteration, here.epoch)
    session.run(iterations=20)
    after = factor_at(policy, here.progress.iteration, here.epoch)
    assert session.snapshot.learning_rate == pytest.approx(0.031 * after / before, rel=1e-12)
    session.adjust(batch_size=3, learning_rate=0.02)
    session.run(iterations=20)
    again = make(Recipe.from_json(session.recipe.to_json()), dataset=blobs, own_model=None)
    again.run()
    assert again.fingerprint() == session.fingerprint()


@pytest.mark.parametrize("policy", POLICY_CASES, ids=repr)
def test_a_checkpoint_goes_on_with_the_policy(make: Any, tmp_path: Path, policy: Policy) -> None:
    """With the rate that was set by hand, to the same bits."""
    sessions = [make(learning_rate_policy=policy) for _ in range(2)]
    for session in sessions:
        session.run(iterations=9)
        session.adjust(learning_rate=0.03)
        session.run(iterations=6)
    restored = Session.restore(sessions[1].checkpoint(tmp_path / "half.safetensors"))
    for session in (sessions[0], restored):
        session.run(iterations=30)
    assert restored.fingerprint() == sessions[0].fingerprint()
    assert restored.snapshot.learning_rate == sessions[0].snapshot.learning_rate
    restored.close()


@pytest.mark.parametrize("policy", POLICY_CASES, ids=repr)
def test_several_iterations_at_once_change_nothing(make: Any, blobs: Any, policy: Policy) -> None:
    """None runs on past a change of the rate."""
    sessions = [make("logreg", blobs, learning_rate_policy=policy) for _ in range(2)]
    sessions[1]._loop.trainer.iterations.most_at_once = 7
    for session in sessions:
        session.run(iterations=60)
    assert sessions[1].fingerprint() == sessions[0].fingerprint()


def test_a_policy_is_frozen() -> None:
    """It can't change under the recipe that holds it."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Cosine(length=3).final = 0.5  # type: ignore[misc]
