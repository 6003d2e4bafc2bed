"""The parameters of a notebook."""

import doctest
from collections.abc import Callable
from pathlib import Path

import pytest

from crossbow_lab.errors import RunError
from crossbow_lab.runs import parameters
from crossbow_lab.runs.parameters import Parameter, check_values, parse_assignments, parse_cell, read_parameters

CELL = """
# k and b
learners: int = 4  # learners per device [learners]
learning_rate: float = 1  # of the learners
dataset: str = "digits"
augment: bool = False
widths: list[int] = [64, 128]
anything: list = []
target: float | None = None  # accuracy [share]
"""
DECLARED = parse_cell(CELL)


def test_it_reads_name_type_default_help_and_unit() -> None:
    """Each line of the cell becomes one parameter, in order."""
    assert DECLARED[0] == Parameter("learners", "int", 4, "learners per device", "learners")
    assert DECLARED[1] == Parameter("learning_rate", "float", 1.0, "of the learners", "")
    assert [parameter.name for parameter in DECLARED][2:] == ["dataset", "augment", "widths", "anything", "target"]
    assert DECLARED[-1].default is None


def test_it_turns_a_whole_default_of_a_float_into_a_float() -> None:
    """``learning_rate: float = 1`` injects and records 1.0."""
    assert type(DECLARED[1].default) is float


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"learners": "8"}, 8),
        ({"learners": 8}, 8),
        ({"learning_rate": "1e-2"}, 0.01),
        ({"learning_rate": 1}, 1.0),
        ({"dataset": "mnist"}, "mnist"),
        ({"dataset": "5"}, "5"),
        ({"augment": "true"}, True),
        ({"augment": False}, False),
        ({"widths": "[1, 2]"}, [1, 2]),
        ({"widths": "1,2"}, [1, 2]),
        ({"widths": (3,)}, [3]),
        ({"anything": '[1, "a", null]'}, [1, "a", None]),
        ({"target": "none"}, None),
        ({"target": "0.99"}, 0.99),
    ],
)
def test_it_reads_values_by_the_declared_type(given: dict[str, object], expected: object) -> None:
    """A text, as the command line has it, and a Python value end as the declared type."""
    (value,) = check_values(DECLARED, given).values()
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lerners": 8}, "no parameter 'lerners': did you mean 'learners'"),
        ({"learners": "eight"}, "'learners' must be int, got 'eight'"),
        ({"learners": "8.0"}, "must be int"),
        ({"learners": 8.0}, r"must be int, got 8.0 \(float\)"),
        ({"learners": True}, r"must be int, got True \(bool\)"),
        ({"learners": None}, "must be int, got None"),
        ({"learning_rate": "nan"}, "must be float"),
        ({"learning_rate": float("inf")}, "must be float"),
        ({"learning_rate": False}, "must be float"),
        ({"dataset": 5}, "must be str"),
        ({"augment": 1}, "must be bool"),
        ({"augment": "yes"}, "must be bool"),
        ({"widths": "[1, 'a']"}, r"must be list\[int\]"),
        ({"widths": [1, 2.5]}, r"must be list\[int\]"),
        ({"widths": "[1, 2"}, r"must be list\[int\]"),
        ({"anything": "1,2"}, "must be list"),
        ({"anything": [{"a": 1}]}, "must be list"),
        ({"target": "high"}, r"must be float \| None"),
    ],
)
def test_it_refuses_unknown_names_and_ill_typed_values(given: dict[str, object], message: str) -> None:
    """Nothing is guessed and nothing is dropped."""
    with pytest.raises(RunError, match=message):
        check_values(DECLARED, given)


@pytest.mark.parametrize(
    ("bracket", "legal", "illegal"),
    [
        ("learners, from 1", [1, 64], [0, -1]),
        ("share, above 0 to 1", [1e-9, 1.0], [0.0, 1.1]),
        ("below 1", [-5.0, 0.999], [1.0]),
        ("1/s, to -2.5e-1", [-0.25], [-0.2]),
        ("samples, from 0 below 10", [0, 9.5], [10, -0.1]),
    ],
)
def test_it_refuses_values_out_of_their_range(bracket: str, legal: list[float], illegal: list[float]) -> None:
    """Numbers and lists of them, as values and as texts; the message says the range."""
    (one,) = parse_cell(f"x: float | None = None  # help [{bracket}]")
    (several,) = parse_cell(f"x: list[float] = []  # help [{bracket}]")
    for value in legal:
        assert check_values([one], {"x": value}) == check_values([one], {"x": str(value)}) == {"x": value}
        assert check_values([several], {"x": [value]}) == {"x": [value]}
    words = bracket.rpartition(", ")[2]
    for value in illegal:
        for given in (value, str(value)):
            with pytest.raises(RunError, match=rf"'x' must be float \| None {words}, got "):
                check_values([one], {"x": given})
        with pytest.raises(RunError, match=rf"'x' must be list\[float\] {words}, got "):
            check_values([several], {"x": [*legal, value]})
    assert check_values([one], {"x": "none"}) == {"x": None}


@pytest.mark.parametrize("bracket", ["steps to go", "learners", "", "a, b"])
def test_it_takes_what_is_no_range_as_the_unit(bracket: str) -> None:
    """Units may have commas and prepositions within."""
    (parameter,) = parse_cell(f"x: int = 1  # help [{bracket}]")
    assert (parameter.unit, parameter.legal) == (bracket, None)


def test_it_prefers_a_number_over_a_text_in_a_union() -> None:
    """``3`` for ``int | str`` is the number 3, whichever of the two is written first."""
    assert check_values(parse_cell("x: str | int = 'auto'"), {"x": "3"}) == {"x": 3}
    assert check_values(parse_cell("x: str | int = 'auto'"), {"x": "all"}) == {"x": "all"}


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("learners = 4", r"line 1 .*learners = 4.* isn't a typed parameter"),
        ("learners: int", "has no default"),
        ("import os\nx: int = 1", r"line 1 .*import os.* isn't a typed parameter"),
        ("x: dict = {}", "has the type 'dict'; a parameter's type is one of int, float"),
        ("x: list[dict] = []", r"has the type 'list\[dict\]'"),
        ("x: int = len('abc')", "isn't a plain literal"),
        ("x: int = 1.5", "has a default that it can't have: parameter 'x' must be"),
        ("x: str = None", "has a default that it can't have: parameter 'x' must be"),
        ("x: int = 1\nx: int = 2", "declares 'x' twice"),
        ("x: int = = 1", "isn't valid Python"),
        ("x: int = 0  # k [learners, from 1]", "must be int from 1, got 0"),
        ("x: int = 1  # k [learners, from one]", "the range 'from one' can't be read; write 'from 1'"),
        ("x: int = 1  # k [from 1 from 2]", "the range 'from 1 from 2' can't be read"),
    ],
)
def test_it_refuses_a_cell_that_is_more_than_typed_literals(cell: str, message: str) -> None:
    """The grammar of the parameters cell is the whole of what may stand in it."""
    with pytest.raises(RunError, match=message):
        parse_cell(cell)


def test_it_never_executes_the_parameters_cell(tmp_path: Path) -> None:
    """A cell that would do something is refused, and does nothing."""
    mark = tmp_path / "mark"
    with pytest.raises(RunError, match="plain literal"):
        parse_cell(f"x: str = open({str(mark)!r}, 'w').name")
    assert not mark.exists()


def test_it_reads_the_tagged_cell_of_a_notebook(write_notebook: Callable[..., Path]) -> None:
    """Only the cell with the tag counts."""
    path = write_notebook("n: int = 3", "m: int = 4")
    assert [parameter.name for parameter in read_parameters(path)] == ["n"]


def test_it_refuses_a_notebook_without_exactly_one_parameters_cell(write_notebook: Callable[..., Path]) -> None:
    """Neither none nor two."""
    with pytest.raises(RunError, match="has 0 code cells tagged 'parameters'"):
        read_parameters(write_notebook("n: int = 3", tagged=0))
    with pytest.raises(RunError, match="has 2 code cells tagged 'parameters'"):
        read_parameters(write_notebook("n: int = 3", "m: int = 3", tagged=2))


def test_it_refuses_a_file_that_is_no_notebook(tmp_path: Path) -> None:
    """Missing, not JSON, or JSON of something else."""
    with pytest.raises(RunError, match="there is no notebook at"):
        read_parameters(tmp_path / "missing.ipynb")
    for text, message in (("{", "can't be read as a notebook"), ("{}", "not a Jupyter notebook of format 4")):
        path = tmp_path / "broken.ipynb"
        path.write_text(text)
        with pytest.raises(RunError, match=message):
            read_parameters(path)


def test_it_splits_assignments_at_the_first_equals_sign() -> None:
    """A value may hold an equals sign."""
    assert parse_assignments(["a=1", "b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["learners"], "'learners' must have the form name=value"),
        (["=3"], "'=3' must have the form name=value"),
        (["a=1", "a=2"], "'a' is given twice: '1' and '2'"),
    ],
)
def test_it_refuses_malformed_assignments(assignments: list[str], message: str) -> None:
    """Before anything runs."""
    with pytest.raises(RunError, match=message):
        parse_assignments(assignments)


def test_docstring_examples_of_parameters_give_what_they_say() -> None:
    """There are examples, and each, run, prints what stands under it."""
    found = doctest.testmod(parameters)
    assert found.attempted > 0
    assert found.failed == 0
