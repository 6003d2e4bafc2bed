"""What is in a store, and which record answers a request."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from crossbow_lab.content import sha256_of
from crossbow_lab.errors import RunError
from crossbow_lab.runs import Run, list_runs, load_run
from crossbow_lab.runs.records import store
from crossbow_lab.runs.records.store import find_finished, find_run, finished_by_key

KEY = sha256_of("one")[:20]


def test_it_lists_runs_by_their_start_and_nothing_else(make_run: Callable[..., Run], tmp_path: Path) -> None:
    """Folders without a manifest, hidden ones and files are no runs."""
    make_run("b", started_utc="2026-01-02T00:00:00.000+00:00")
    make_run("a", started_utc="2026-01-03T00:00:00.000+00:00", parameters={"n": 5})
    make_run("c", "failed", started_utc="2026-01-01T00:00:00.000+00:00")
    (tmp_path / "runs" / "half").mkdir()
    (tmp_path / "runs" / "note.txt").write_text("mine")
    found = list_runs(tmp_path / "runs")
    assert [(one.name, one.status) for one in found] == [("c", "failed"), ("b", "completed"), ("a", "completed")]
    assert found[0].problem == "ValueError: bad"
    assert found[2].parameters == {"n": 5}
    assert found[2].is_contended is False
    assert list_runs(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"schema": 2}',
        '{"status": 1, "started_utc": "", "parameters": 3}',
        '{"status": "failed", "started_utc": "", "seconds": "long"}',
        '{"status": "failed", "started_utc": "", "key": 3}',
        '{"status": "failed", "started_utc": "", "load": {"is_contended": []}}',
    ],
)
def test_it_lists_a_damaged_record_as_damaged(make_run: Callable[..., Run], tmp_path: Path, content: str) -> None:
    """With the reason, and without hiding the others."""
    make_run("whole")
    make_run("broken", key=KEY).folder.joinpath("manifest.json").write_text(content)
    damaged, whole = list_runs(tmp_path / "runs")
    assert (damaged.name, damaged.status) == ("broken", "damaged")
    assert "manifest.json is damaged" in damaged.problem
    assert whole.status == "completed"
    assert find_finished(tmp_path / "runs", KEY) is None


def test_it_finds_the_newest_completed_run_of_a_key(make_run: Callable[..., Run], tmp_path: Path) -> None:
    """Failed ones and those with a changed manifest are passed over."""
    runs = tmp_path / "runs"
    assert find_finished(runs, KEY) is None
    make_run("first", key=KEY, started_utc="2026-01-01T00:00:00.000+00:00")
    make_run("second", key=KEY, started_utc="2026-01-02T00:00:00.000+00:00")
    make_run("third", "failed", key=KEY, started_utc="2026-01-03T00:00:00.000+00:00")
    forged = make_run("fourth", key=KEY, started_utc="2026-01-04T00:00:00.000+00:00").folder / "manifest.json"
    forged.write_text(forged.read_text().replace('"n": 3', '"n": 4'))
    assert [one.name for one in finished_by_key(runs)[KEY]] == ["fourth", "second", "first"]
    found = find_finished(runs, KEY)
    assert found is not None
    assert found.folder.name == "second"
    assert found.is_cached


def test_it_finds_a_run_by_the_beginning_of_its_name_or_key(make_run: Callable[..., Run], tmp_path: Path) -> None:
    """A whole name wins over those that it begins; several answers are refused with their names."""
    runs = tmp_path / "runs"
    first, _ = make_run("grid-1", key=KEY), make_run("grid-11")
    assert find_run(first.folder, runs) == first
    assert find_run("grid-1", runs) == first
    assert find_run("grid-11", runs).folder.name == "grid-11"
    assert find_run(KEY[:6], runs) == first
    with pytest.raises(RunError, match=r"could be any of 2 runs in .*grid-1, grid-11"):
        find_run("grid", runs)
    with pytest.raises(RunError, match=r"there is no run 'nothing'.*`crossbow-lab runs` lists them"):
        find_run("nothing", runs)


def test_it_lists_a_thousand_records_in_a_second(make_run: Callable[..., Run], tmp_path: Path) -> None:
    """Reading all of them for the first time; a second listing reads none."""
    manifest = (make_run("plain").folder / "manifest.json").read_text()
    for index in range(999):
        folder = tmp_path / "runs" / f"run-{index}"
        folder.mkdir()
        (folder / "manifest.json").write_text(manifest)
    store._summary.cache_clear()
    started = time.process_time()  # not the wall clock: other work may share the machine
    assert len(list_runs(tmp_path / "runs")) == 1000
    assert time.process_time() - started < 1.0
    misses = store._summary.cache_info().misses
    list_runs(tmp_path / "runs")
    assert store._summary.cache_info().misses == misses


def test_it_is_a_run_only_with_a_manifest(tmp_path: Path) -> None:
    """A folder without one, with a damaged one, or with one of a newer schema is refused with the reason."""
    with pytest.raises(RunError, match="is not a run: it has no manifest"):
        load_run(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(RunError, match="is damaged"):
        load_run(tmp_path)
    (tmp_path / "manifest.json").write_text('{"schema": 3}')
    with pytest.raises(RunError, match="has schema 3, this version reads 1 to 2; upgrade"):
        load_run(tmp_path)


def test_it_reads_records_from_before_they_had_an_identity(tmp_path: Path) -> None:
    """They are listed and shown, and answer no request."""
    old = {"schema": 1, "status": "completed", "parameters": {"n": 3}, "started_utc": "2025", "outputs": {}}
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "manifest.json").write_text(json.dumps(old))
    run = load_run(tmp_path / "old")
    assert (run.status, run.key, run.fingerprints, run.sessions) == ("completed", None, {}, {})
    assert [one.status for one in list_runs(tmp_path)] == ["completed"]
    assert finished_by_key(tmp_path) == {}


def test_it_is_damaged_when_its_manifest_says_something_else(make_run: Callable[..., Run]) -> None:
    """A manifest carries its own checksum."""
    run = make_run()
    path = run.folder / "manifest.json"
    assert load_run(run.folder) == replace(run, is_cached=False)
    path.write_text(path.read_text().replace('"n": 3', '"n": 4'))
    with pytest.raises(RunError, match="it isn't what was written"):
        load_run(run.folder)
