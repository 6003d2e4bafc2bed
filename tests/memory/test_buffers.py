"""Plans of buffers: safe by a check that knows nothing of how they are made, and as small as they say."""

import re
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from crossbow_lab.memory import (
    Assignment,
    Operator,
    clash,
    close_fit,
    first_fit,
    naive_bytes,
    offline_plan,
    online_plan,
    peak_bytes,
    shared_clash,
)

RULES = st.sampled_from([first_fit, close_fit])


@st.composite
def graphs(draw: st.DrawFn) -> list[Operator]:
    """Draw operators that read some of those before them; some have no output of their own."""
    operators: list[Operator] = []
    for position in range(draw(st.integers(1, 14))):
        owners = [number for number, operator in enumerate(operators) if operator.output_bytes]
        reads = draw(st.sets(st.sampled_from(owners), max_size=3)) if owners else set()
        size = draw(st.sampled_from([0, 1, 8, 8, 16, 64, 65]))
        operators.append(Operator(f"operator{position}", size, tuple(sorted(reads))))
    return operators


def live_sets(operators: list[Operator]) -> list[set[int]]:
    """Say by the definition what is live while each operator runs: written by then, and read then or later."""
    return [
        {
            source
            for source in range(position + 1)
            if source == position or any(source in later.reads for later in operators[position:])
        }
        for position in range(len(operators))
    ]


@given(operators=graphs(), rule=RULES)
def test_no_two_live_outputs_share_a_buffer(operators, rule):
    """By the definition of live, and by running operators that sign what they write; and each output fits."""
    plan = offline_plan(operators, rule)

    for live in live_sets(operators):
        held = [plan.buffer_of[source] for source in live if operators[source].output_bytes]
        assert None not in held
        assert len(set(held)) == len(held)
    for operator, buffer in zip(operators, plan.buffer_of, strict=True):
        assert (buffer is None) == (operator.output_bytes == 0)
        assert buffer is None or plan.sizes_bytes[buffer] >= operator.output_bytes
    assert clash(operators, plan) is None


@given(operators=graphs(), rule=RULES)
def test_a_plan_lies_between_what_is_live_and_what_is_naive(operators, rule):
    """Peak by the definition."""
    peak = max(sum(operators[source].output_bytes for source in live) for live in live_sets(operators))

    assert peak_bytes(operators) == peak
    assert peak <= offline_plan(operators, rule).total_bytes <= naive_bytes(operators)


@given(operators=graphs(), learners=st.integers(1, 5), stagger=st.integers(0, 16))
def test_no_two_live_outputs_of_learners_that_share_pools_share_a_buffer(operators, learners, stagger):
    """By running all learners, each so many operators behind the one before."""
    plan = offline_plan(operators)
    sharing = online_plan(plan, learners, stagger)

    assert shared_clash(operators, plan, sharing, stagger=stagger) is None


@given(operators=graphs(), learners=st.integers(1, 5))
def test_pools_are_between_one_and_one_per_learner(operators, learners):
    """In step nothing is shared; one after the other all is; in between, never more than in step."""
    plan = offline_plan(operators)
    totals = [online_plan(plan, learners, stagger).total_bytes for stagger in range(len(operators) + 1)]

    assert totals[0] == learners * plan.total_bytes
    assert totals[-1] == plan.total_bytes
    assert all(plan.total_bytes <= total <= totals[0] for total in totals)


@given(operators=graphs(), stagger=st.integers(0, 16))
def test_pools_grow_with_learners(operators, stagger):
    """One more learner never takes less."""
    plan = offline_plan(operators)
    totals = [online_plan(plan, learners, stagger).total_bytes for learners in range(1, 6)]

    assert all(before <= after for before, after in pairwise(totals))


@given(operators=graphs(), data=st.data())
def test_the_check_finds_outputs_put_where_others_live(operators, data):
    """Any output moved to the buffer of another that is live at the same time."""
    plan = offline_plan(operators)
    pairs = [
        (early, late)
        for late, live in enumerate(live_sets(operators))
        for early in live - {late}
        if operators[late].output_bytes and operators[early].output_bytes
    ]
    assume(pairs)
    early, late = data.draw(st.sampled_from(pairs))
    moved = list(plan.buffer_of)
    moved[late] = moved[early]
    large = replace(plan, buffer_of=tuple(moved), sizes_bytes=tuple(65 for _ in plan.sizes_bytes))

    assert "over" in str(clash(operators, large))


@given(length=st.integers(2, 9), learners=st.integers(2, 4), data=st.data())
def test_the_check_finds_learners_that_share_too_much(length, learners, data):
    """An output read at the end of the iteration, and all learners in one buffer for it before that end."""
    stagger = data.draw(st.integers(0, length - 1))
    operators = [Operator("first", 8), *[Operator("next", 8, (0, n)) for n in range(length - 1)]]
    plan = offline_plan(operators)
    sharing = online_plan(plan, learners, stagger)
    squeezed = replace(
        sharing, taken=tuple(tuple(None if n is None else 0 for n in numbers) for numbers in sharing.taken)
    )

    assert sharing.pools[0] > 1
    assert re.search("over|writes where", str(shared_clash(operators, plan, squeezed, stagger=stagger)))


CHAIN = [Operator("relu", 64), Operator("exp", 64, (0,)), Operator("add", 64, (0, 1))]


@pytest.mark.parametrize(
    ("sizes", "buffers", "message"),
    [
        ((64, 64), (0, 0, 1), "overwrites the output of operator 0 that it reads"),
        ((64, 64, 8), (0, 1, 2), r"operator 2 \(add\) of learner 0 writes beyond buffer 2"),
        ((64, 64), (0, 1, None), "operator 2 .* has no buffer"),
    ],
)
def test_the_check_says_what_is_wrong(sizes, buffers, message):
    """With the operator."""
    found = clash(CHAIN, Assignment(sizes, buffers, (2, 2, 2)))

    assert found is not None
    assert re.search(message, found)
