"""Which part of runs knows which: records know nobody, sweeps and comparisons are known by nobody."""

import ast
from pathlib import Path

import crossbow_lab.runs

ROOT = Path(crossbow_lab.runs.__file__).parent
PARTS = ("records", "sweeps", "comparing")
WHAT_IS_ASKED = {"environment", "identity", "parameters", "ranges", "recipes"}
"""What records may know of the modules beside them: what a run was asked, and what it was made with."""


def _imported(path: Path) -> set[str]:
    """Return what a file imports of `crossbow_lab.runs`, anywhere in it: names of its parts and modules."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "crossbow_lab.runs"
        for alias in node.names
    }
    return {name.split(".")[2] for name in modules if name.startswith("crossbow_lab.runs.")}


def test_its_parts_import_one_way() -> None:
    """What is asked <- records <- what runs a notebook <- sweeps; comparisons read records."""
    for path in sorted(ROOT.rglob("*.py")):
        part = path.relative_to(ROOT).parts[0]
        found = _imported(path) - {part}
        if (path.stem in WHAT_IS_ASKED and part not in PARTS) or part == "records":
            assert found <= WHAT_IS_ASKED, path
        elif part == "sweeps":
            assert "comparing" not in found, path
        elif part == "comparing":
            assert found <= {"records", "environment"}, path
        elif path.name != "__init__.py":  # it loads every public name, on first use
            assert found.isdisjoint({"sweeps", "comparing"}), path
