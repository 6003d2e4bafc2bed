"""Grids of sweeps: axes as texts and as values, typed by the notebook, and what is refused."""

import itertools

import pytest

from crossbow_lab.errors import RunError
from crossbow_lab.runs.parameters import parse_cell
from crossbow_lab.runs.sweeps.grid import MAX_RUNS, expand, parse_axes

DECLARED = parse_cell(
    "learners: int = 4\nseed: int = 0\nrate: float = 0.1\nalgorithm: str = 'sma'\nhidden: list[int] = [1]\n"
    "alpha: float | None = None\nis_fast: bool = True\nsizes: list | None = None"
)


def values(name: str, text: object) -> list[object]:
    """Return one axis's values."""
    return [point[name] for point in expand(DECLARED, {name: text})]  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("learners", "1,2, 4", [1, 2, 4]),
        ("seed", "0:5", [0, 1, 2, 3, 4]),
        ("seed", "0:10:4,100,-2:0", [0, 4, 8, 100, -2, -1]),
        ("seed", "3:0:-1", [3, 2, 1]),
        ("rate", "1,0.5", [1.0, 0.5]),
        ("algorithm", "sma,ssgd", ["sma", "ssgd"]),
        ("algorithm", "0:5", ["0:5"]),
        ("hidden", "[1,2],[3]", [[1, 2], [3]]),
        ("alpha", "none,0.5", [None, 0.5]),
        ("is_fast", "true,False", [True, False]),
        ("sizes", "none,[1, 'a']", [None, [1, "a"]]),
        ("learners", [1, 2], [1, 2]),
        ("learners", range(2, 4), [2, 3]),
        ("learners", ["1", 2], [1, 2]),
        ("hidden", [[1, 2], [3]], [[1, 2], [3]]),
    ],
)
def test_it_reads_an_axis_by_the_type_of_its_parameter(name: str, text: object, expected: list[object]) -> None:
    """Ranges are of whole numbers only; a list's values stand in brackets; Python's values need no text."""
    assert values(name, text) == expected


def test_it_expands_all_combinations_the_last_axis_fastest() -> None:
    """Each once, with nothing but the axes in it."""
    points = expand(DECLARED, {"algorithm": "sma,ssgd", "seed": "0:2"})
    assert [(point["algorithm"], point["seed"]) for point in points] == [
        ("sma", 0),
        ("sma", 1),
        ("ssgd", 0),
        ("ssgd", 1),
    ]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({}, "a sweep needs at least one axis"),
        ({"lerners": "1,2"}, "no parameter 'lerners' to make an axis of: did you mean 'learners'"),
        ({"learners": ""}, "axis 'learners' is empty"),
        ({"learners": []}, "axis 'learners' is empty"),
        ({"seed": "5:5"}, "axis 'seed' has the empty range '5:5'"),
        ({"seed": "0:5:0"}, "axis 'seed' has the empty range '0:5:0'"),
        ({"learners": "1,,2"}, "nothing between two commas"),
        ({"learners": "1,two"}, "'learners' must be int, got 'two'"),
        ({"learners": "1,2,01"}, "axis 'learners' has the value 1 twice"),
        ({"rate": [1, 1.0]}, "axis 'rate' has the value 1.0 twice"),
        ({"seed": "0:5,3"}, "axis 'seed' has the value 3 twice"),
        ({"learners": 4}, "axis 'learners' must be a list of values or a text"),
        ({"hidden": "1,2"}, "takes lists, each in square brackets"),
        ({"batch": "1"}, "no parameter 'batch'"),
    ],
)
def test_it_refuses_an_axis_with_the_reason(grid: dict[str, object], message: str) -> None:
    """Unknown, empty, ill-typed, or with a value twice."""
    with pytest.raises(RunError, match=message):
        expand(DECLARED, grid)  # type: ignore[arg-type]


def test_it_refuses_a_parameter_that_is_fixed_and_an_axis() -> None:
    """Which of the two would count is anybody's guess."""
    with pytest.raises(RunError, match="'seed' is an axis and has a fixed value"):
        expand(DECLARED, {"seed": "0:5"}, fixed=["seed"])


@pytest.mark.parametrize(
    "grid",
    [
        {"seed": "0:1000000000000000000000000"},
        {"seed": f"0:{MAX_RUNS}", "learners": "1,2"},
        {"seed": itertools.count()},
    ],
)
def test_it_refuses_a_grid_without_end(grid: dict[str, object]) -> None:
    """Before it fills the memory."""
    with pytest.raises(RunError, match="more than 10,000 runs"):
        expand(DECLARED, grid)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("texts", "message"),
    [(["learners"], "no name or no '='"), (["=1"], "no name or no '='"), (["a=1", "a=2"], "given twice, '1' and '2'")],
)
def test_it_refuses_texts_that_are_no_axes(texts: list[str], message: str) -> None:
    """Each with what an axis looks like, or with both of its values."""
    with pytest.raises(RunError, match=message):
        parse_axes(texts)
