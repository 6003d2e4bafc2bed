"""What differs between runs: parameters, recipe, code, packages, environment, hardware and data."""

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from crossbow_lab.runs.comparing.trials import recipes_of, run_id
from crossbow_lab.runs.environment import CHECKOUT, output_of
from crossbow_lab.runs.records.code import PATCH
from crossbow_lab.runs.records.manifest import Run

if TYPE_CHECKING:
    import pandas as pd

# The parts of a manifest that say how a run was made; the others say what happened, which differs always.
_SECTIONS = ("parameters", "notebook", "code", "packages", "environment", "hardware")
_ALWAYS_DIFFER = ("load_average",)
_SEEN = ("weights_sha256", "iterations", "seed")  # of a recipe: they follow from the seed and the target
_LONGEST_PATCH = 200_000


def differences(runs: Sequence[Run]) -> "pd.DataFrame":
    """Return what differs between runs.

    Parameters
    ----------
    runs : sequence of Run

    Returns
    -------
    DataFrame
        Columns ``kind`` (parameters, recipe, notebook, code, packages, environment, hardware or data) and ``name``,
        then one column per run, named by its id; None where a record doesn't say. A recipe's field holds the values
        of all the run's sessions. The machine's load, which differs always, is left out; whether it was shared with
        another run isn't.
    """
    import pandas as pd

    described = {run_id(run): dict(_describe(run)) for run in runs}
    names = dict.fromkeys(key for values in described.values() for key in values)
    rows = [
        {"kind": kind, "name": name, **{run: values.get((kind, name)) for run, values in described.items()}}
        for kind, name in names
        if len({json.dumps(values.get((kind, name))) for values in described.values()}) > 1
    ]
    return pd.DataFrame(rows, columns=["kind", "name", *described], dtype=object)


def code_patch(first: Run, second: Run) -> str:
    """Return how the code of the second run differs from that of the first, as a patch.

    Parameters
    ----------
    first, second : Run

    Returns
    -------
    str
        The difference between their commits, if this checkout has both, and between what was changed on top of
        them, if the records kept it. Empty if nothing is known to differ; of a long patch the beginning.
    """
    parts = [_commits_patch(_revision(first), _revision(second)), _changes_patch(first, second)]
    patch = "\n".join(part for part in parts if part)
    if len(patch) <= _LONGEST_PATCH:
        return patch
    return f"{patch[:_LONGEST_PATCH]}\n... {len(patch) - _LONGEST_PATCH:,} more characters\n"


def _describe(run: Run) -> Iterator[tuple[tuple[str, str], Any]]:
    """Give everything that says how a run was made, by kind and name."""
    for section in _SECTIONS:
        for name, value in _flatten(run.manifest.get(section), ""):
            if name not in _ALWAYS_DIFFER:
                yield (section, name), value
    yield ("hardware", "is_contended"), (run.manifest.get("load") or {}).get("is_contended")
    found: dict[str, list[Any]] = {}
    for recipe in recipes_of(run):
        for name, value in _flatten({key: value for key, value in recipe.items() if key not in _SEEN}, ""):
            values = found.setdefault(name, [])
            if value not in values:
                values.append(value)
    for name, values in found.items():
        kind = "data" if name == "data_sha256" else "recipe"
        yield (kind, name), values[0] if len(values) == 1 else json.dumps(sorted(values, key=str))


def _flatten(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Give the leaves of nested mappings with dotted names; a list is one leaf, or numbered mappings."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flatten(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
        for index, inner in enumerate(value):
            yield from _flatten(inner, f"{name}.{index}" if name else str(index))
    elif value is not None:
        yield name, json.dumps(value) if isinstance(value, list) else value


def _revision(run: Run) -> str:
    """Return a run's commit, if it is written as one: it becomes an argument of git."""
    revision = str((run.manifest.get("code") or {}).get("revision") or "")
    return revision if re.fullmatch(r"[0-9a-f]{7,64}", revision) else ""


def _commits_patch(first: str, second: str) -> str:
    """Return the difference between two commits, or that they differ, where this checkout doesn't have them."""
    if first == second:
        return ""
    title = f"# commit {first or 'unknown'} to {second or 'unknown'}\n"
    if not (first and second):
        return f"{title}# not shown: a record doesn't say which\n"
    patch = output_of("git", "-C", str(CHECKOUT), "diff", "--no-color", "--no-ext-diff", "--no-textconv", first, second)
    return title + (f"{patch}\n" if patch is not None else "# not shown: it takes a git checkout with both commits\n")


def _changes_patch(first: Run, second: Run) -> str:
    """Return how the changes on top of the commits differ, from the patches that the records keep."""
    texts, titles = [], []
    for run in (first, second):
        path = run.folder / PATCH
        texts.append(path.read_text(encoding="utf-8", errors="replace") if path.is_file() else "")
        titles.append(f"changes since its commit, {run_id(run)}")
    if texts[0] == texts[1]:
        return ""
    before, after = (text.splitlines() for text in texts)
    lines = difflib.unified_diff(before, after, titles[0], titles[1], lineterm="")
    return "\n".join(lines) + "\n"
