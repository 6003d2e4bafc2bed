"""Recipes: checked when they are made, the same after a round trip, and never executed."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossbow_lab.averaging import EASGD, SMA, SSGD
from crossbow_lab.errors import ConfigurationError, CrossbowError, RecipeError
from crossbow_lab.session import Adjustment, Recipe

ALGORITHMS = st.one_of(
    st.builds(SMA, momentum=st.floats(0, 0.99), sync_period=st.integers(1, 9), local_momentum=st.floats(0, 0.9)),
    st.builds(SMA, alpha=st.floats(0.001, 0.015), restart=st.sampled_from(["never", "on_lr_change"])),
    st.builds(EASGD, sync_period=st.integers(1, 9)),
    st.builds(SSGD, momentum=st.floats(0, 0.99)),
)
POSITIVE = st.floats(1e-6, 1e6)
CHANGES = st.one_of(
    st.fixed_dictionaries({"learners": st.integers(1, 64), "batch_size": st.integers(1, 99)}),
    st.fixed_dictionaries({"learning_rate": POSITIVE}),
    st.fixed_dictionaries({"algorithm": ALGORITHMS}),
    st.fixed_dictionaries({"sync_period": st.integers(1, 9), "executor": st.sampled_from(["loop", "fused"])}),
    st.just({"restart": True}),
)


@st.composite
def recipes(draw: Any) -> Recipe:
    """Draw any legal recipe."""
    epochs = sorted(draw(st.sets(POSITIVE, max_size=3)))
    iterations = sorted(draw(st.lists(st.integers(0, 999), max_size=4)))
    return Recipe(
        model=draw(st.sampled_from(["mlp", "package.module:factory", None])),
        dataset=draw(st.sampled_from(["digits", None])),
        algorithm=draw(ALGORITHMS),
        learners=draw(st.integers(1, 64)),
        batch_size=draw(st.integers(1, 10**6)),
        learning_rate=draw(POSITIVE),
        learning_rate_steps=tuple((epoch, draw(POSITIVE)) for epoch in epochs),
        weight_decay=draw(st.floats(0, 1)),
        loss=draw(st.sampled_from(["cross_entropy", "mse", "package:loss", None])),
        seed=draw(st.integers(0, 2**63 - 1)),
        executor=draw(st.sampled_from(["auto", "loop", "fused"])),
        threads=draw(st.none() | st.integers(1, 64)),
        dtype=draw(st.sampled_from(["float32", "float64"])),
        augment=draw(st.sampled_from([None, True, False])),
        batch_norm=draw(st.sampled_from(["average", "recalibrate"])),
        evaluate_every=draw(POSITIVE),
        adjustments=tuple(Adjustment(iteration, draw(CHANGES)) for iteration in iterations),
        iterations=draw(st.none() | st.integers(1, 10**9)),
    )


@settings(max_examples=60, deadline=None)
@given(recipes())
def test_a_round_trip_through_json_changes_nothing(recipe: Recipe) -> None:
    """Not a bit of any number."""
    assert Recipe.from_json(recipe.to_json()) == recipe


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(recipes(), st.data())
def test_whatever_a_field_is_replaced_by_it_is_legal_or_an_error_of_ours(recipe: Recipe, data: Any) -> None:
    """A damaged recipe never raises what only a programmer understands."""
    fields = json.loads(recipe.to_json())
    fields[data.draw(st.sampled_from(sorted(fields)))] = data.draw(ANYTHING)
    try:
        read = Recipe.from_json(json.dumps(fields))
    except CrossbowError:
        return
    assert Recipe.from_json(read.to_json()) == read


@settings(max_examples=60, deadline=None)
@given(recipes(), st.floats(0, 1))
def test_a_truncated_recipe_is_refused(recipe: Recipe, share: float) -> None:
    """Wherever it was cut."""
    text = recipe.to_json()
    with pytest.raises(RecipeError, match="this is not a recipe"):
        Recipe.from_json(text[: int(share * (len(text) - 1))])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "this is not a recipe: it isn't JSON"),
        ("not json", "this is not a recipe: it isn't JSON"),
        (None, "this is not a recipe: it isn't JSON"),
        ("[" * 100_000, "this is not a recipe: it isn't JSON"),
        ("[1, 2]", "it has no 'schema'; give what recipe.to_json"),
        ("{}", "it has no 'schema'"),
        ('{"schema": 4}', "the recipe has schema 4, but this version reads 1 to 3; upgrade crossbow-lab"),
        ('{"schema": "1"}', "the recipe has schema '1'"),
        ('{"schema": true}', "the recipe has schema True"),
        ('{"schema": 0}', "the recipe has schema 0"),
        ('{"schema": 1, "learner": 3}', "unknown field 'learner'; did you mean 'learners'"),
        ('{"schema": 1}', "the recipe has no model and no dataset and no algorithm"),
    ],
)
def test_what_is_no_recipe_says_so(text: Any, message: str) -> None:
    """And what a recipe is."""
    with pytest.raises(RecipeError, match=message):
        Recipe.from_json(text)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"algorithm": {"name": "SMAA"}}, ConfigurationError, r"there is no algorithm 'SMAA'; did you mean 'SMA'\?"),
        ({"algorithm": {"name": "SMA", "alfa": 1}}, ConfigurationError, "no field 'alfa'; did you mean 'alpha'"),
        ({"adjustments": [[3]]}, RecipeError, "the recipe is damaged"),
        ({"adjustments": 4}, RecipeError, "the recipe is damaged"),
        ({"adjustments": [[3, {"learner": 1}]]}, ConfigurationError, "did you mean 'learners'"),
        ({"adjustments": [[-1, {"learners": 1}]]}, ConfigurationError, "the iteration of an adjustment is -1"),
        (
            {"adjustments": [[5, {"learners": 1}], [4, {"learners": 2}]]},
            ConfigurationError,
            r"adjustments are at iterations \[5, 4\]; none may be before the last",
        ),
        ({"learning_rate_steps": [[1, 2, 3]]}, ConfigurationError, "give pairs of"),
        ({"learners": "4"}, ConfigurationError, "learners is '4'"),
    ],
)
def test_what_is_wrong_in_a_recipe_is_named(fields: dict[str, Any], error: type[Exception], message: str) -> None:
    """Value and range, or the nearest name."""
    text = json.dumps({**json.loads(Recipe("mlp", "digits").to_json()), **fields})
    with pytest.raises(error, match=message):
        Recipe.from_json(text)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        *[("learners", value, "learners is .*; it must be a whole number >= 1") for value in (0, -1, 1.5, True, "4")],
        *[("batch_size", value, "batch_size is .*; it must be a whole number") for value in (0, 2.0, False, "4", None)],
        ("learning_rate", 0, "learning_rate is 0; it must be a finite number > 0"),
        ("learning_rate", float("inf"), "learning_rate is inf"),
        ("learning_rate", 10**400, "learning_rate is"),
        ("weight_decay", -1e-9, "weight_decay is -1e-09; it must be a finite number >= 0"),
        ("seed", -1, "seed is -1; it must be a whole number >= 0"),
        ("seed", 2**63, "it must be below 2"),
        ("executor", "stream", "unknown executor 'stream'; did you mean 'streams'\\?"),
        ("executor", None, "executor is None; it must be a text"),
        ("threads", 0, "threads is 0; it must be a whole number >= 1"),
        ("device", 0, "device is 0; it must be a text"),
        ("dtype", "float16", "dtype is 'float16'; did you mean 'float64'"),
        ("batch_norm", "mean", "batch_norm is 'mean'; Known: average, recalibrate"),
        ("augment", 1, "augment is 1; it must be True, False or None"),
        ("evaluate_every", 0, "evaluate_every is 0"),
        ("max_learners", 3, "learners is 4, but max_learners is 3; raise max_learners"),
        ("loss", "cross-entropy", "unknown loss 'cross-entropy'; did you mean 'cross_entropy'"),
        ("loss", 3, "loss is 3; a recipe needs a name, or None"),
        ("model", 3, "model is 3; a recipe needs a name, or None"),
        ("algorithm", "SMA", r"algorithm is 'SMA'; give cb.SMA\(\)"),
        ("algorithm", SMA(alpha=1.0), "alpha = 1 makes SMA diverge with k = 4 learners"),
        ("iterations", 0, "iterations is 0"),
        ("learning_rate_steps", ((1, 0.0),), "the learning rate of a step is 0.0"),
        ("learning_rate_steps", ((0, 0.1),), "the epoch of a learning-rate step is 0"),
        ("learning_rate_steps", ((2, 0.1), (1, 0.2)), r"at epochs \[2.0, 1.0\]; each must be later"),
        ("learning_rate_steps", ((1, 0.1), (1, 0.2)), "each must be later than the one before"),
        ("learning_rate_steps", 3, "learning_rate_steps is 3; give pairs"),
        ("adjustments", (3,), "adjustments must be Adjustment"),
    ],
)
def test_values_outside_their_range_are_refused(field: str, value: Any, message: str) -> None:
    """With what was given and what is needed."""
    with pytest.raises(ConfigurationError, match=message):
        dataclasses.replace(Recipe("mlp", "digits"), **{field: value})


def test_lists_and_whole_numbers_are_kept_as_the_recipe_has_them() -> None:
    """So that a recipe equals itself after a round trip."""
    recipe = Recipe("mlp", "digits", learning_rate=1, learning_rate_steps=[[1, 2]])  # type: ignore[arg-type]
    assert recipe.learning_rate_steps == ((1.0, 2.0),)
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_an_adjustment_is_checked_when_it_is_made() -> None:
    """Names and values, without knowing the setting."""
    with pytest.raises(ConfigurationError, match="learners is 0"):
        Adjustment(3, {"learners": 0})
    with pytest.raises(ConfigurationError, match=r"the iteration of an adjustment is 1\.5"):
        Adjustment(1.5, {"learners": 1})  # type: ignore[arg-type]


def test_what_is_replayable_says_so() -> None:
    """With names for everything; otherwise it says what is missing, and what to do."""
    assert Recipe("mlp", "digits").replayable
    assert Recipe("mlp", "digits").missing == ""
    recipe = Recipe(None, "digits", loss=None)
    assert not recipe.replayable
    assert recipe.missing.startswith("not replayable: the model and the loss can't be named. Give a name")


def test_reading_a_recipe_imports_nothing() -> None:
    """An import path is a text until a session is allowed to follow it."""
    recipe = Recipe("no_such_package.module:factory", "digits")
    assert Recipe.from_json(recipe.to_json()).model == "no_such_package.module:factory"


def test_a_recipe_of_the_first_schema_is_read() -> None:
    """It has no policy, which means a fixed rate."""
    recipe = Recipe("mlp", "digits", learning_rate=0.3)
    fields = json.loads(recipe.to_json())
    del fields["learning_rate_policy"]
    assert Recipe.from_json(json.dumps({**fields, "schema": 1})) == recipe
