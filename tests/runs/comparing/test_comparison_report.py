"""A comparison as files and on the command line."""

import html.parser
import json
import re
import sys
from pathlib import Path

import pandas as pd
import pytest
from recorded import SSGD, Recorded, write_run

from crossbow_lab import cli
from crossbow_lab.errors import RunError
from crossbow_lab.runs.comparing.comparison import Comparison, compare
from crossbow_lab.runs.comparing.text import as_text


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with runs of two algorithms and three seeds, one of which never got there."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in range(3):
        sma = Recorded(seed=seed, pace_s=0.1 + 0.01 * seed)
        ssgd = Recorded(seed=seed, pace_s=0.2 + 0.01 * seed, at=None if seed == 2 else 8, algorithm=SSGD)
        parameters = {"target_accuracy": 0.97, "seed": seed}
        write_run(folder / f"run-{seed}", {"SMA": sma, "S-SGD": ssgd}, parameters=parameters)
    return folder


@pytest.fixture(scope="module")
def comparison(runs_dir: Path) -> Comparison:
    """Return their comparison."""
    return compare(runs_dir)


class _Tags(html.parser.HTMLParser):
    """Counts what a page would load, and the tags that it opens and closes."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember a tag that is to be closed."""
        self.loads += [value or "" for name, value in attrs if name in {"src", "href"}]
        if tag not in {"meta", "br", "img"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close the tag that was opened last."""
        assert self.open.pop() == tag


def test_the_report_is_one_file_that_needs_nothing_else(comparison: Comparison, tmp_path: Path) -> None:
    """plotly.js is in it, it loads nothing, and its tags are closed in order."""
    path = comparison.to_html(tmp_path / "report.html")
    text = path.read_text(encoding="utf-8")
    tags = _Tags()
    tags.feed(text)
    assert tags.loads == []
    assert tags.open == []
    assert "Plotly.newPlot" in text
    assert "median 1.68 s, 2 of 3" in text
    for said in ("2 of 3", "SMA over S-SGD", "run-2/S-SGD", "not reached", "Student&#x27;s t on logarithms"):
        assert said in text
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_the_report_holds_every_run_in_every_figure(comparison: Comparison, tmp_path: Path) -> None:
    """Three curves, three measures, and as one run never got there, the share of runs at the target."""
    text = comparison.to_html(tmp_path / "report.html").read_text(encoding="utf-8")
    (plots,) = re.findall(r"for \(const \[id, figure\] of \[(.*)\]\) \{\n", text, re.DOTALL)
    figures = {name: json.loads(figure) for name, figure in re.findall(r'\["(figure-\d)", (\{.*\})\]', plots)}
    assert len(figures) == 7
    for name in ("figure-0", "figure-1", "figure-2"):
        assert sum(trace["mode"] == "lines" for trace in figures[name]["data"]) == 6


def test_nothing_in_a_record_becomes_part_of_the_page(tmp_path: Path) -> None:
    """Names from a stranger's record are shown as they are."""
    evil = "</script><img src=x onerror=alert(1)>"
    folder = write_run(tmp_path / "a", {"SMA": Recorded(more={"model": evil})})
    text = compare(folder, by="model", target=0.97).to_html(tmp_path / "report.html").read_text(encoding="utf-8")
    assert evil not in text
    assert "&lt;/script&gt;&lt;img" in text
    tags = _Tags()
    tags.feed(text)
    assert tags.loads == []


def test_the_csv_is_the_table(comparison: Comparison, tmp_path: Path) -> None:
    """Read again, it is the same; what wasn't reached is inf."""
    read = pd.read_csv(comparison.to_csv(tmp_path / "table.csv"))
    pd.testing.assert_frame_equal(read, comparison.table, check_dtype=False)
    assert "inf" in (tmp_path / "table.csv").read_text()


def test_a_file_that_cannot_be_written_leaves_nothing(comparison: Comparison, tmp_path: Path) -> None:
    """The message says which path."""
    with pytest.raises(RunError, match=r"nowhere/table.csv can't be written .* give a path in a folder that is there"):
        comparison.to_csv(tmp_path / "nowhere" / "table.csv")
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunError, match="can't be written"):
        comparison.to_csv(tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_notebook_shows_the_figure_and_says_the_table(comparison: Comparison) -> None:
    """In every form that a viewer may want."""
    forms, metadata = comparison._repr_mimebundle_()
    assert set(forms) == {"application/vnd.plotly.v1+json", "image/png", "text/plain"}
    assert forms["text/plain"] == as_text(comparison) == repr(comparison)
    assert "seconds to 97 %" in metadata["image/png"]["alt"]
    assert len(json.dumps(forms)) < 700_000


def _main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command line in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["crossbow-lab", "compare", *arguments])
    try:
        cli.main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_the_command_prints_tables_and_writes_files(
    runs_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Rows, speed-ups, differences, notes; --html and --csv; and how the code differs if it is asked for."""
    out = (str(tmp_path / "a.html"), str(tmp_path / "a.csv"))
    asked = ("--by", "algorithm", "--html", out[0], "--csv", out[1], "--patch")
    assert _main(monkeypatch, str(runs_dir), *asked) == 0
    said = capsys.readouterr().out
    for expected in (
        "Target: 97 %",
        "2 of 3",
        "SMA over S-SGD",
        "What differs between the 3 runs",
        "- as few as 3 seeds",
    ):
        assert expected in said
    assert "The code doesn't differ." in said
    assert f"written {out[0]}" in said.replace("\n", "")
    assert len(pd.read_csv(out[1])) == 2


def test_the_command_refuses_in_one_line(
    runs_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With exit code 2; without a name it takes the folder of runs."""
    assert _main(monkeypatch, str(runs_dir), "--by", "lerners") == 2
    assert capsys.readouterr().err.startswith("error: runs can't be told apart by 'lerners'; did you mean 'learners'?")
    assert _main(monkeypatch, "--runs-dir", str(runs_dir), "--by", "algorithm") == 0
    assert _main(monkeypatch, "run-0", "run-1", "--runs-dir", str(runs_dir), "--by", "algorithm") == 0
    assert "2 of 2" in capsys.readouterr().out
