"""The bench of the dashboard: what is computed without a browser, and what is said where there is none."""

import io
import json

import pytest
from rich.console import Console

from crossbow_lab.bench import run_bench
from crossbow_lab.bench.browser import page as browser_page
from crossbow_lab.bench.browser.cells import make_session
from crossbow_lab.bench.browser.dashboard import GOALS, dashboard_tables
from crossbow_lab.bench.browser.notebook import write_notebook
from crossbow_lab.bench.browser.page import Wire, open_browser, what_is_missing
from crossbow_lab.errors import ConfigurationError, CrossbowError

SUMMARY = {"median": 0.02, "low": 0.01, "quartile_1": 0.01, "quartile_3": 0.03, "high": 0.04}
RELOADS = {"restored": 2, "of": 3, "seconds": [4.0, 6.0], "summary_s": SUMMARY, "shell_s": SUMMARY}
RESULT = {
    "goals": GOALS,
    "reloads": {"with": {"running": RELOADS}, "without": {"running": {**RELOADS, "summary_s": None}}},
    "start_s": SUMMARY,
    "notebook_bytes": 90_000,
    "press_s": SUMMARY,
    "left": {"threads": 0, "widgets": 1, "comms": 0},
    "slow_down": {"percent_slower": SUMMARY, "cost_share": 0.012},
    "updates": [
        {
            "history_rows": 10_000,
            "bytes_per_update": 4_200.0,
            "fast_ms": 1.25,
            "full_ms": 30.0,
            "full_most_ms": 60.0,
            "full_per_plot_s": 0.4,
        }
    ],
    "memory": {"updates": 36_000, "kernel_growth_bytes": 5_000_000, "browser_growth_bytes": 1_000_000},
    "errors": ["one"],
    "strangers": [],
}


def printed(made) -> str:
    """Return tables as text."""
    console = Console(file=io.StringIO(), width=200)
    for one in made:
        console.print(one)
    return console.file.getvalue()


def test_tables_are_made_from_the_json_alone_and_show_every_number():
    """What was measured stands beside its goal; reloads say how many came back, and how many in time."""
    text = printed(dashboard_tables(json.loads(json.dumps(RESULT))))

    for shown in ("20 [10..40]", "4.2", "1.2", "10,000 rows", "36,000", "0 threads, 1 widgets, 0 comms", "2 of 3"):
        assert shown in text
    (restored,) = [line.split("|") for line in text.splitlines() if "running, with " in line]
    assert restored[3].strip() == "1"


def test_dashboard_is_measured_only_where_it_is_named():
    """A misspelt name finds it."""
    with pytest.raises(ConfigurationError, match="did you mean 'dashboard'"):
        run_bench(["dashbord"], None, quick=True)


def test_what_is_missing_is_named_with_its_way_out(monkeypatch):
    """Packages first, then the browser; and a bench without them is refused in the same words."""
    monkeypatch.setattr(browser_page.importlib.util, "find_spec", lambda name: None if name == "voila" else name)
    monkeypatch.setattr(browser_page.shutil, "which", lambda _: None)
    assert what_is_missing().startswith("voila not installed: pip install")

    monkeypatch.setattr(browser_page.importlib.util, "find_spec", lambda name: name)
    assert what_is_missing().startswith("no Chromium: apt-get install")
    with pytest.raises(CrossbowError, match="no Chromium"), open_browser():
        pass


def test_strangers_are_hosts_other_than_loopback():
    """Addresses without a host, of pictures inside the page, are none."""
    wire = Wire(addresses=["http://127.0.0.1:8888/lab", "ws://127.0.0.1/api", "data:image/png,1", "https://a.b/c"])

    assert wire.strangers == ["a.b"]


def test_cells_make_the_session_that_is_asked_for(tmp_path):
    """Values are written as they are, an algorithm as code; the parameters come first, with their tag."""
    cell = make_session("one", learners=3, algorithm="cb.SMA(alpha=1 / 3)")
    assert "one = cb.Session(" in cell
    assert "learners=3" in cell
    assert "algorithm=cb.SMA(alpha=1 / 3)" in cell

    path = write_notebook(tmp_path / "a.ipynb", [cell], parameters="epochs: int = 1")
    first, second = json.loads(path.read_text())["cells"]
    assert (first["metadata"]["tags"], first["source"]) == (["parameters"], "epochs: int = 1")
    assert second["source"] == cell
