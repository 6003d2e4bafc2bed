"""The parameters of a notebook: read from its parameters cell, typed, and strict.

The cell tagged ``parameters`` holds nothing but lines of the form ``name: type = literal  # help [unit, range]``. It
is parsed, never executed. papermill itself injects misspelt and ill-typed values with a warning at most, so
everything is refused here, before a kernel starts.
"""

import ast
import io
import json
import math
import re
import tokenize
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from crossbow_lab.errors import RunError, nearest
from crossbow_lab.runs.ranges import Range, split_unit

_TAG = "parameters"
_SCALARS: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool}
_GRAMMAR = "every line of the parameters cell must read 'name: type = literal  # help [unit, range]'"
_KNOWN_TYPES = "int, float, str, bool, list, list[one of these], and any of them with '| None'"


@dataclass(frozen=True)
class Parameter:
    """One line of a parameters cell.

    Parameters
    ----------
    name : str
        The Python name.
    kind : str
        The declared type as written, such as ``int``, ``list[float]`` or ``str | None``.
    default : int, float, str, bool, list or None
        The literal in the notebook.
    help : str
        The comment, without its unit.
    unit : str
        What stood in square brackets at the end of the comment; empty when there was none.
    legal : Range or None
        The numbers that it may be, which stood behind the unit.
    """

    name: str
    kind: str
    default: Any
    help: str = ""
    unit: str = ""
    legal: Range | None = None


def load_notebook(path: Path) -> dict[str, Any]:
    """Read a notebook as plain JSON.

    Raises
    ------
    RunError
        If the file is missing or isn't a notebook of format 4.
    """
    if not path.is_file():
        raise RunError(f"there is no notebook at {path}")
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} can't be read as a notebook: {error}") from error
    is_notebook = isinstance(notebook, dict) and isinstance(notebook.get("cells"), list)
    if not is_notebook or notebook.get("nbformat") != 4:
        raise RunError(f"{path} is not a Jupyter notebook of format 4; save it again with a current Jupyter")
    return notebook  # type: ignore[no-any-return]


def read_parameters(path: Path) -> tuple[Parameter, ...]:
    """Read what a notebook's parameters cell declares, in order.

    Raises
    ------
    RunError
        If there is no cell tagged ``parameters`` or more than one, or if a line isn't a typed literal.
    """
    cells = [
        cell
        for cell in load_notebook(path)["cells"]
        if cell.get("cell_type") == "code" and _TAG in cell.get("metadata", {}).get("tags", ())
    ]
    if len(cells) != 1:
        raise RunError(
            f"{path} has {len(cells)} code cells tagged {_TAG!r}; give exactly one cell that tag "
            "(in JupyterLab: property inspector, cell tags)"
        )
    source = cells[0]["source"]
    return parse_cell(source if isinstance(source, str) else "".join(source), where=str(path))


def parse_cell(source: str, *, where: str = "the notebook") -> tuple[Parameter, ...]:
    """Parse the source of a parameters cell.

    Raises
    ------
    RunError
        If it holds anything but typed literals, or declares a name twice.

    Examples
    --------
    >>> (learners,) = parse_cell("learners: int = 4  # per device [learners, from 1]")
    >>> learners.kind, learners.default, learners.help, learners.unit, learners.legal.text
    ('int', 4, 'per device', 'learners', 'from 1')
    """
    try:
        statements = ast.parse(source).body
        comments = _comments(source)
    except (SyntaxError, tokenize.TokenError) as error:
        raise RunError(f"{where}: the parameters cell isn't valid Python: {error}") from error
    found: dict[str, Parameter] = {}
    for statement in statements:
        parameter = _parse_statement(statement, comments, where)
        if parameter.name in found:
            raise RunError(f"{where}: the parameters cell declares {parameter.name!r} twice; keep one of them")
        found[parameter.name] = parameter
    return tuple(found.values())


def parse_assignments(assignments: Iterable[str]) -> dict[str, str]:
    """Split ``name=value`` texts, as given to ``-p``.

    Raises
    ------
    RunError
        If a text has no ``=`` or no name, or a name is given twice.

    Examples
    --------
    >>> parse_assignments(["learners=8", "dataset=digits"])
    {'learners': '8', 'dataset': 'digits'}
    """
    given: dict[str, str] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name = name.strip()
        if not equals or not name:
            raise RunError(f"parameter {assignment!r} must have the form name=value, such as learners=8")
        if name in given:
            raise RunError(f"parameter {name!r} is given twice: {given[name]!r} and {text!r}")
        given[name] = text
    return given


def read_values(path: Path) -> dict[str, Any]:
    """Read parameters from a YAML (or JSON) file that maps names to values; nothing in it is executed.

    Raises
    ------
    RunError
        If it can't be read, or holds something else.
    """
    import yaml  # here, because most runs have no such file

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RunError(f"parameters can't be read from {path}: {error}") from error
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise RunError(f"{path} must map names to values, one 'name: value' a line, got {type(values).__name__}")
    return values


def check_values(declared: Iterable[Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """Check values by the declared types, and return them as they are to be injected.

    A text given for a parameter that isn't a ``str`` is read as its type, so that values from a command line
    and from Python take the same way. A whole number is accepted for ``float``; nothing else is converted.

    Parameters
    ----------
    declared : iterable of Parameter
        What the notebook declares.
    given : mapping of str to value
        The values to set. A parameter that isn't named keeps its default and is not in the answer.

    Raises
    ------
    RunError
        If a name isn't declared (the nearest is named), or a value doesn't have the declared type or is out of range.
    """
    known = {parameter.name: parameter for parameter in declared}
    for name in given:
        if name not in known:
            raise RunError(f"the notebook has no parameter {name!r}: {nearest(name, known)}")
    return {name: _check(known[name], value) for name, value in given.items()}


def _comments(source: str) -> dict[int, str]:
    """Map line numbers to the comments on them."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ").rstrip() for token in tokens if token.type == tokenize.COMMENT}


def _parse_statement(statement: ast.stmt, comments: Mapping[int, str], where: str) -> Parameter:
    """Turn one statement of the parameters cell into a Parameter."""
    shown = f"{where}: line {statement.lineno} of the parameters cell ({ast.unparse(statement)})"
    if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
        raise RunError(f"{shown} isn't a typed parameter; {_GRAMMAR}")
    if statement.value is None:
        raise RunError(f"{shown} has no default; {_GRAMMAR}")
    kind = ast.unparse(statement.annotation)
    if not all(_is_known(part) for part in kind.split(" | ")):
        raise RunError(f"{shown} has the type {kind!r}; a parameter's type is one of {_KNOWN_TYPES}")
    try:
        default = ast.literal_eval(statement.value)
    except ValueError as error:
        raise RunError(f"{shown} has a default that isn't a plain literal; {_GRAMMAR}") from error
    comment = comments.get(statement.end_lineno or statement.lineno, "")
    bracket = re.search(r"\[([^\]]*)\]$", comment)
    try:
        unit, legal = split_unit(bracket.group(1) if bracket else "")
    except ValueError as error:
        raise RunError(f"{shown}: {error}") from error
    words = (comment[: bracket.start()] if bracket else comment).strip()
    parameter = Parameter(statement.target.id, kind, default, words, unit, legal)
    try:
        return replace(parameter, default=_check(parameter, default, is_text_read=False))
    except RunError as error:
        raise RunError(f"{shown} has a default that it can't have: {error}") from error


def _is_known(part: str) -> bool:
    """Whether one member of a union is a type that a parameter may have."""
    element = re.fullmatch(r"list\[(\w+)\]", part)
    return part in {*_SCALARS, "list", "None"} or (element is not None and element.group(1) in _SCALARS)


def _check(parameter: Parameter, value: Any, *, is_text_read: bool = True) -> Any:
    """Return a value as one of the members of the declared union, or raise."""
    parts = parameter.kind.split(" | ")
    readers = (_from_value, _from_text) if is_text_read and isinstance(value, str) else (_from_value,)
    # str comes last: "none" given to `str | None` means None, "3" given to `int | str` means 3.
    for part in sorted(parts, key=lambda part: (part == "str", part != "None")):
        for reader in readers:
            try:
                read = reader(part, value)
            except ValueError:
                continue
            if parameter.legal is None or parameter.legal.holds(read):
                return read
    wanted = parameter.kind if parameter.legal is None else f"{parameter.kind} {parameter.legal.text}"
    raise RunError(f"parameter {parameter.name!r} must be {wanted}, got {value!r} ({type(value).__name__})")


def _from_value(part: str, value: Any) -> Any:
    """Return a Python value as one plain type; raise ValueError when it isn't one."""
    if part == "None" and value is None:
        return None
    if part.startswith("list") and isinstance(value, (list, tuple)):
        element = part[5:-1]
        return [_from_value(element, item) if element else _plain(item) for item in value]
    if part == "float" and type(value) in {int, float} and math.isfinite(value):
        return float(value)
    if part in _SCALARS and part != "float" and type(value) is _SCALARS[part]:
        return value
    raise ValueError(part)


def _plain(value: Any) -> Any:
    """Let a list's element through when JSON can hold it."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or type(value) in {int, str, bool} or (type(value) is float and math.isfinite(value)):
        return value
    raise ValueError(value)


def _from_text(part: str, text: str) -> Any:
    """Read a text as one plain type; raise ValueError when it can't be."""
    word = text.strip()
    if part == "str":
        return text
    if part == "None" and word.lower() in {"none", "null"}:
        return None
    if part == "bool" and word.lower() in {"true", "false"}:
        return word.lower() == "true"
    if part == "int":
        return int(word)
    if part == "float":
        return _from_value("float", float(word))
    if part.startswith("list"):
        return _list_from_text(part, word)
    raise ValueError(text)


def _list_from_text(part: str, word: str) -> list[Any]:
    """Read ``[1, 2]`` as Python or JSON would, and ``1,2`` as a list of the declared element type."""
    if word.startswith("["):
        for read in (ast.literal_eval, json.loads):
            try:
                return _from_value(part, read(word))  # type: ignore[no-any-return]
            except (ValueError, SyntaxError):
                continue
        raise ValueError(word)
    element = part[5:-1]
    if not element:
        raise ValueError(word)
    return [_from_text(element, item.strip()) for item in word.split(",")]
