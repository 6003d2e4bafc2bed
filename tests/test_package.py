"""The package as a whole: what importing it costs, its public names, its layers, its examples."""

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import crossbow_lab

ROOT = Path(crossbow_lab.__file__).parent
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(crossbow_lab.__path__, "crossbow_lab.")
    if not module.name.endswith(("__main__", ".jax_baseline", "memory_point"))  # programs, and what needs JAX
)
HEAVY = ("torch", "pandas", "cupy", "plotly", "ipywidgets", "anywidget", "papermill", "dask", "jax")
LAYERS = [
    {"content", "errors", "named", "random", "resources", "surroundings", "__init__"},
    {"averaging", "kernels", "workloads", "tuning"},
    {"learners"},
    {"devices"},
    {"session"},
    {"racing"},
    {"dashboard", "landscape", "memory", "runs", "scheduling", "bench", "doctor"},
    {"cli", "cli_runs", "cli_sweep", "terminal", "__main__"},
]
# Sessions and races show themselves, and a session publishes itself as a run: their methods import what does that when
# they are called.
UPWARDS = {
    "racing/race.py imports crossbow_lab.dashboard.races",
    "session/session.py imports crossbow_lab.dashboard",
    "session/session.py imports crossbow_lab.runs",
}
EXAMPLES_TESTED_ELSEWHERE = (
    "crossbow_lab.averaging",
    "crossbow_lab.bench",
    "crossbow_lab.session",
    "crossbow_lab.workloads",
)


def imported_by(statement: str) -> set[str]:
    """Return the modules that a fresh process holds after a statement."""
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_imports_nothing_heavy():
    """Not even torch: names load on first use."""
    assert imported_by("import crossbow_lab, crossbow_lab.errors").isdisjoint(HEAVY)


def test_training_imports_no_notebook_and_no_plotting_package():
    """A session needs torch and pandas only."""
    found = imported_by("import crossbow_lab as cb; cb.Session, cb.SMA, cb.Recipe")

    assert "torch" in found
    assert found.isdisjoint(
        {"cupy", "plotly", "ipywidgets", "anywidget", "papermill", "nbclient", "dask", "jax", "IPython"}
    )


def test_every_public_name_is_there():
    """``__all__`` resolves and is all that ``dir`` lists; a misspelt name is answered with the known ones."""
    for name in crossbow_lab.__all__:
        assert getattr(crossbow_lab, name) is not None
    assert {*crossbow_lab.__all__, "__version__"} == set(dir(crossbow_lab))
    with pytest.raises(AttributeError, match=r"crossbow_lab has no 'Sessions'; public names: .*Session"):
        crossbow_lab.Sessions  # noqa: B018
    assert re.fullmatch(r"\d+\.\d+\.\d+", crossbow_lab.__version__)


@pytest.mark.parametrize(
    "name",
    [
        *("", "averaging", "kernels", "landscape", "learners", "workloads", "session", "runs", "bench", "dashboard"),
        *("devices", "memory", "racing", "scheduling", "tuning"),
    ],
)
def test_every_public_name_is_documented(name):
    """Functions and classes, and the public methods of classes."""
    package = importlib.import_module(f"crossbow_lab.{name}".rstrip("."))
    assert package.__doc__
    public = getattr(package, "__all__", [n for n in vars(package) if not n.startswith("_")])
    undocumented = []
    for one in public:
        thing = getattr(package, one)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            members = [(f"{one}.{m}", v) for m, v in vars(thing).items() if inspect.isclass(thing)]
            parts = [(one, thing), *((m, v) for m, v in members if is_public_member(m, v))]
            undocumented += [part for part, value in parts if not inspect.getdoc(value)]
    assert undocumented == []


def is_public_member(name: str, value: object) -> bool:
    """Say whether this is a public method or property of a class."""
    return not name.rpartition(".")[2].startswith("_") and (
        inspect.isfunction(value) or isinstance(value, property | classmethod | staticmethod)
    )


def layer_of(module: str) -> int:
    """Return the layer that a module of the package belongs to; ``crossbow_lab`` itself is the lowest."""
    part = [*module.split("."), "__init__"][1]
    for level, parts in enumerate(LAYERS):
        if part in parts:
            return level
    raise AssertionError(f"{module} belongs to no layer; add it to LAYERS and to the design")


def imports_of(path: Path) -> set[str]:
    """Return the modules of the package that a file imports, at its top or inside functions, except for types."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            module = node.module or ""
            found |= {f"{module}.{alias.name}" if module == "crossbow_lab" else module for alias in node.names}
    return {name for name in found if name.split(".")[0] == "crossbow_lab"}


def test_imports_point_one_way():
    """Averaging, kernels, workloads <- learners <- devices <- session <- what shows and runs <- the command line."""
    wrong = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        here = layer_of(".".join(["crossbow_lab", *parts]))
        wrong += [f"{path.relative_to(ROOT)} imports {name}" for name in imports_of(path) if layer_of(name) > here]
    assert set(wrong) == UPWARDS


def test_packages_of_one_layer_do_not_import_each_other():
    """Averaging and workloads know nothing of each other."""
    wrong = []
    for path in sorted(ROOT.rglob("*.py")):
        part = path.relative_to(ROOT).parts[0]
        if part in ("averaging", "kernels", "workloads"):
            others = {f"crossbow_lab.{other}" for other in LAYERS[1] - {part}}
            wrong += [
                f"{path.relative_to(ROOT)} imports {name}"
                for name in imports_of(path)
                if ".".join(name.split(".")[:2]) in others
            ]
    assert wrong == []


@pytest.mark.parametrize("name", [name for name in MODULES if not name.startswith(EXAMPLES_TESTED_ELSEWHERE)])
def test_examples_give_what_they_say(name):
    """Each example in a docstring, run, prints what stands under it."""
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is(name):
    """In its docstring; and is small enough to be read."""
    spec = importlib.util.find_spec(name)
    source = Path(spec.origin).read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(source))

    assert docstring
    assert docstring.splitlines()[0].endswith((".", ":"))
    assert len(source.splitlines()) <= 400
