"""The auto-tuner's rules on recorded throughputs: deterministic, patient with noise, and clear about bad traces."""

import math
import random
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossbow_lab.errors import ConfigurationError
from crossbow_lab.tuning import (
    GoodputRule,
    Measurement,
    PaperRule,
    TuningRule,
    decide,
    decide_on_trace,
    statistical_efficiency,
)

quick = settings(max_examples=60, deadline=None)

# Samples/s by learners. What a GPU gives: gains until it is full, then losses. `dip`: a slow kernel choice at 3.
RESNET = {1: 1000, 2: 1650, 3: 2080, 4: 2350, 5: 2240, 6: 2050}
VGG = {1: 500, 2: 640, 3: 600, 4: 520}
ALONE = {1: 900, 2: 780, 3: 700, 4: 620}
LENET = {m: 1000 * m / (1 + (m / 11) ** 3) for m in range(1, 33)}
DIP = {
    1: 1000,
    2: 1500,
    3: 1400,
    4: 1300,
    5: 1900,
    6: 2100,
    7: 2300,
    8: 2500,
    9: 2300,
    10: 2000,
    **{m: 2000 - 40 * (m - 10) for m in range(11, 17)},
}
PEAKED = {"resnet": RESNET, "vgg": VGG, "alone": ALONE}
CURVES = {**PEAKED, "lenet": LENET, "dip": DIP}


def noisy(curve: dict[int, float], draw: random.Random) -> dict[int, list[float]]:
    """Return three windows for each number of learners.

    The noise model: every window is off by a log-normal factor of 2 %, and one in twenty is 30 % slow besides, as
    where a neighbour takes the machine for a while.
    """

    def window(rate: float) -> float:
        slow = 0.7 if draw.random() < 0.05 else 1.0
        return rate * slow * math.exp(draw.gauss(0.0, 0.02))

    return {m: [window(rate) for _ in range(3)] for m, rate in curve.items()}


def settled(rule: TuningRule, trace: dict[int, Any], **known: Any) -> int:
    """Return the number of learners on which a rule settles."""
    final = decide_on_trace(rule, trace, **known)[-1]
    assert final.is_final
    return final.learners


@pytest.mark.parametrize(
    ("rule", "name"),
    [(rule, name) for rule in (PaperRule(), GoodputRule()) for name in PEAKED] + [(GoodputRule(), "dip")],
)
def test_it_settles_on_the_best_or_second_best_in_nine_of_ten_noisy_trials(rule: TuningRule, name: str) -> None:
    """Against an exhaustive scan without noise; 200 trials of `noisy`."""
    curve, draw = CURVES[name], random.Random(name)  # noqa: S311
    best_two = sorted(curve, key=lambda m: curve[m])[-2:]
    hits = sum(settled(rule, noisy(curve, draw)) in best_two for _ in range(200))
    assert hits >= 180, f"{hits} of 200"


def test_on_a_flat_top_it_settles_within_two_per_cent_of_the_best() -> None:
    """Where neighbours differ by less than the noise, which of them is best is chance; being near it isn't."""
    draw = random.Random(5)  # noqa: S311
    good = [settled(GoodputRule(), noisy(LENET, draw)) for _ in range(200)]
    assert sum(LENET[m] > 0.98 * max(LENET.values()) for m in good) >= 180


def test_without_noise_it_settles_on_the_best() -> None:
    """The peak itself, wherever gains lead there."""
    assert [settled(PaperRule(), _exact(curve)) for curve in PEAKED.values()] == [4, 2, 1]
    for name, curve in CURVES.items():
        assert settled(GoodputRule(), _exact(curve)) == max(curve, key=lambda m: curve[m]), name


def test_the_papers_rule_stops_where_the_next_learner_gains_too_little() -> None:
    """As written, it doesn't look behind a dip, or climb a slope gentler than its threshold."""
    assert settled(PaperRule(), _exact(DIP)) == 2
    gentle = {m: 1000 * (1 + 0.05 * m) for m in range(1, 9)}
    assert settled(PaperRule(), _exact(gentle)) == 2
    assert settled(PaperRule(threshold=0.01), _exact(gentle)) == 8
    assert settled(PaperRule(threshold_samples_per_s=49), _exact(gentle)) == 8
    assert settled(PaperRule(threshold_samples_per_s=51), _exact(gentle)) == 2


def test_goodput_settles_on_fewer_learners_than_throughput_where_batches_grow_useless() -> None:
    """With a noise scale of 4 samples, a batch of 32 x 16 is mostly wasted; with an endless one it is as throughput."""
    curve = {m: 1000.0 * m / (1 + m / 10) for m in range(1, 33)}
    assert settled(GoodputRule(), _exact(curve), batch_size=4) == 32
    assert settled(GoodputRule(), _exact(curve), batch_size=4, noise_scale=math.inf) == 32
    useful = {m: rate * statistical_efficiency(4 * m, 60) for m, rate in curve.items()}
    expected = max(useful, key=lambda m: useful[m])
    assert 1 < expected < 32
    assert settled(GoodputRule(), _exact(curve), batch_size=4, noise_scale=60.0) == expected


@quick
@given(
    st.lists(st.floats(1.0, 1e6), min_size=1, max_size=40),
    st.sampled_from([PaperRule(), PaperRule(threshold=0.0), GoodputRule(), GoodputRule(patience=1), GoodputRule(4)]),
    st.floats(1.0, 1e4),
)
def test_any_trace_is_settled_the_same_way_each_time(rates: list[float], rule: TuningRule, noise: float) -> None:
    """However wild: in no more measurements than there are settings, on the best that was measured."""
    trace = {m: [rate] for m, rate in enumerate(rates, start=1)}
    decisions = decide_on_trace(rule, trace, noise_scale=noise)
    assert decisions == decide_on_trace(rule, trace, noise_scale=noise)
    tried = [rule.first, *(decision.learners for decision in decisions[:-1])]
    assert len(set(tried)) == len(tried) <= len(trace)
    worth = {
        m: rates[m - 1] * (statistical_efficiency(m, noise) if isinstance(rule, GoodputRule) else 1) for m in tried
    }
    assert worth[decisions[-1].learners] == max(worth.values())


def test_decisions_give_the_numbers_behind_them() -> None:
    """Enough to take them by hand."""
    texts = [str(decision) for decision in decide_on_trace(PaperRule(), _exact(VGG))]
    assert texts == [
        "try 2 learners: 1 gave 500 samples/s",
        "try 3 learners: 2 gave 640 samples/s, 28.0 % more than 500 with 1; more than 10.0 % is wanted",
        "settled on 2 learners: 3 gave 600 samples/s, 6.2 % less than 640 with 2; more than 10.0 % is wanted; 2 gave "
        "most, 640 samples/s",
    ]
    last = decide_on_trace(GoodputRule(), _exact(VGG), batch_size=8, noise_scale=32.0)[-1]
    assert re.search(r"1: 400, 2: 427, 3: 343, 4: 260 useful samples/s \(noise scale 32\)", last.reason)


@pytest.mark.parametrize(
    ("trace", "message"),
    [
        ({}, "the trace is empty"),
        ({2: [100.0]}, r"a gap: nothing was recorded with 1 learners.*recorded are \[2\]"),
        ({1: [100.0], 3: [200.0]}, r"a gap: nothing was recorded with 2 learners, which the rule asks for after \[1\]"),
        ({1: []}, r"windows with 1 learners gave \[\] samples/s"),
        ({1: [100.0, 0.0]}, r"gave \[100.0, 0.0\] samples/s; .* a window without iterations says nothing"),
        ({1: [100.0], 2: [math.nan]}, "must be one at least, and each must be finite and > 0"),
        ({1: [100.0], 2: [-3.0]}, "each must be finite and > 0"),
        ({1: [math.inf]}, "each must be finite and > 0"),
    ],
)
def test_traces_with_gaps_and_zeros_are_refused(trace: dict[int, list[float]], message: str) -> None:
    """Each says what is wrong with it."""
    with pytest.raises(ConfigurationError, match=message):
        decide_on_trace(PaperRule(), trace)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PaperRule(threshold=-0.1), "threshold is -0.1"),
        (lambda: PaperRule(threshold=math.nan), "threshold is nan"),
        (lambda: PaperRule(threshold_samples_per_s=math.inf), "threshold_samples_per_s is inf"),
        (lambda: PaperRule(first=0), "first is 0; it must be a whole number >= 1"),
        (lambda: GoodputRule(patience=0), "patience is 0"),
        (lambda: GoodputRule(first=True), "first is True"),
        (lambda: decide(PaperRule(), [], 4), "nothing was measured"),
        (lambda: decide(PaperRule(), [Measurement(3, 1, 9.0)], 2), "most is 2, but 3 learners were measured"),
        (lambda: decide(PaperRule(), [Measurement(3, 1, 9.0)], 4, 4), "least is 4, but 3 learners were measured"),
        (lambda: decide(PaperRule(), [Measurement(1, 1, 9.0), Measurement(2, 4, 9.0)], 2), r"batch sizes \[1, 4\]"),
        (lambda: Measurement(0, 1, 9.0), "0 learners and batch size 1"),
        (lambda: Measurement(1, 1, 0.0), "the throughput with 1 learners is 0.0 samples/s"),
        (lambda: statistical_efficiency(0, 5.0), "batch is 0"),
        (lambda: statistical_efficiency(4, -5.0), "noise_scale is -5.0"),
    ],
)
def test_bad_numbers_are_refused(make: Any, message: str) -> None:
    """With their legal range."""
    with pytest.raises(ConfigurationError, match=message):
        make()


def _exact(curve: dict[int, float]) -> dict[int, list[float]]:
    """Return a trace without noise."""
    return {m: [float(rate)] for m, rate in curve.items()}
