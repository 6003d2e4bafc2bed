"""Where a recipe goes in a notebook."""

import dataclasses
import json

import pytest

from crossbow_lab.averaging import SSGD, DiLoCo
from crossbow_lab.errors import RecipeError, RunError
from crossbow_lab.runs.parameters import parse_cell
from crossbow_lab.runs.recipes import recipe_values
from crossbow_lab.session import Adjustment, Cosine, Recipe

RECIPE = Recipe("mlp", "digits", learners=8, learning_rate=0.1, seed=3)
CELL = (
    "model: str = ''\ndataset: str = ''\nlearners: int = 1\nlearning_rate: float = 1.0\nseed: int = 0\nother: int = 1"
)


def test_it_goes_whole_into_a_parameter_of_its_name() -> None:
    """As one line of JSON, adjustments and all, whatever else the notebook declares."""
    recipe = dataclasses.replace(RECIPE, adjustments=(Adjustment(5, {"learners": 2}),))
    values = recipe_values(parse_cell(f"recipe: str = ''\n{CELL}"), recipe.to_json())
    assert list(values) == ["recipe"]
    assert "\n" not in values["recipe"]
    assert Recipe.from_json(values["recipe"]) == recipe


def test_it_sets_the_parameters_that_it_names() -> None:
    """The notebook's other parameters are left alone, and so is where the recipe's session ended."""
    recipe = dataclasses.replace(RECIPE, iterations=100, data_sha256="0" * 64)
    values = recipe_values(parse_cell(CELL), recipe.to_json())
    assert values == {"model": "mlp", "dataset": "digits", "learners": 8, "learning_rate": 0.1, "seed": 3}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weight_decay": 0.5}, "weight_decay = 0.5"),
        ({"adjustments": (Adjustment(5, {"learners": 2}),)}, "adjustments = "),
        ({"executor": "loop"}, 'executor = "loop"'),
        ({"algorithm": SSGD()}, 'algorithm = "SSGD"'),
        ({"algorithm": DiLoCo(sync_period=7)}, 'sync_period = 7, algorithm = "DiLoCo"'),
        ({"learning_rate_policy": Cosine(length=10)}, 'learning_rate_policy = {"name": "Cosine"'),
    ],
)
def test_it_is_never_followed_in_part(change: dict[str, object], said: str) -> None:
    """What the notebook has no parameter for is named, with the way out."""
    recipe = dataclasses.replace(RECIPE, **change)  # type: ignore[arg-type]
    with pytest.raises(RunError, match="which the notebook has no parameter for") as refused:
        recipe_values(parse_cell(CELL), recipe.to_json())
    assert said in str(refused.value)
    assert "recipe: str" in str(refused.value)


def test_it_sets_what_belongs_to_the_algorithm() -> None:
    """Its name, and its own settings by theirs."""
    text = json.loads(RECIPE.to_json())
    text["algorithm"] |= {"sync_period": 3}
    cell = f"{CELL}\nalgorithm: str = 'SMA'\nsync_period: int = 1"
    values = recipe_values(parse_cell(cell), json.dumps(text))
    assert (values["algorithm"], values["sync_period"]) == ("SMA", 3)
    with pytest.raises(RunError, match="sync_period = 3"):
        recipe_values(parse_cell(CELL), json.dumps(text))


def test_it_refuses_what_is_no_recipe() -> None:
    """Before anything runs."""
    with pytest.raises(RecipeError, match="this is not a recipe"):
        recipe_values(parse_cell("recipe: str = ''"), "{}")
