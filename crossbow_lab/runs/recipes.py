"""Where a recipe goes when a notebook is run with one."""

import json
from collections.abc import Iterable
from typing import Any

from crossbow_lab.errors import RunError
from crossbow_lab.runs.parameters import Parameter

_FILLED_IN = ("weights_sha256", "data_sha256", "max_learners", "iterations")


def recipe_values(declared: Iterable[Parameter], recipe: str) -> dict[str, Any]:
    """Return the parameters that a recipe sets in a notebook.

    A notebook that declares ``recipe: str`` gets the recipe itself, as JSON text, adjustments and all. Any other
    gets the recipe's values for the parameters that it has by the same names (``learners``, ``batch_size``,
    ``learning_rate``, ``seed``, ...), ``algorithm`` as the algorithm's name, and the algorithm's own values by theirs
    (``sync_period``, ...). What the notebook has no parameter for must be at its default: a recipe is never followed
    in part.

    Raises
    ------
    RunError
        If the recipe says something that the notebook has no parameter for.
    RecipeError, ConfigurationError
        If it isn't a recipe, or has a value outside its legal range.
    """
    # Here, because it brings torch, which a run without a recipe needn't wait for.
    from crossbow_lab.averaging import SMA
    from crossbow_lab.session import Recipe

    checked = Recipe.from_json(recipe)
    known = {parameter.name for parameter in declared}
    if "recipe" in known:
        return {"recipe": json.dumps(json.loads(recipe), separators=(",", ":"))}
    asked = _flat(checked.to_json())
    own = _flat(Recipe(model=None, dataset=None, algorithm=type(checked.algorithm)()).to_json())
    defaults = {**own, "algorithm": SMA.__name__}  # a session's, where nothing else is said
    lost = [
        name
        for name, value in asked.items()
        if name not in known and name not in _FILLED_IN and value != defaults.get(name)
    ]
    if lost:
        told = ", ".join(f"{name} = {json.dumps(asked[name])}" for name in lost)
        raise RunError(
            f"the recipe says {told}, which the notebook has no parameter for; declare it, or declare "
            "'recipe: str = \"\"' and make the session of cb.Recipe.from_json(recipe)"
        )
    return {name: value for name, value in asked.items() if name in known}


def _flat(recipe: str) -> dict[str, Any]:
    """Return a recipe's values by the names that a notebook's parameters have."""
    values: dict[str, Any] = json.loads(recipe)
    algorithm = values.pop("algorithm")
    values.pop("schema")
    return {**values, **algorithm, "algorithm": algorithm["name"]} if isinstance(algorithm, dict) else values
