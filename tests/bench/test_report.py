"""Records are plain JSON, written whole, and tables are made from them alone."""

import io
import json
from time import process_time

import pytest
from rich.console import Console

from crossbow_lab.bench.machine import Usage, describe_machine, neighbours_cores, usage
from crossbow_lab.bench.report import cores, machine_line, new_document, spread, table, write_document


def printed(made) -> str:
    """Return a table as text."""
    console = Console(file=io.StringIO(), width=200)
    console.print(made)
    return console.file.getvalue()


def test_describe_machine_names_what_decides_the_speed():
    """Processor, cores, memory, load, versions and threads are there, and are plain JSON."""
    machine = describe_machine()

    assert machine == json.loads(json.dumps(machine))
    assert {"cpu", "cores", "memory_bytes", "load_average"} <= machine["hardware"].keys()
    assert {"python", "torch", "numpy"} <= machine["packages"].keys()
    assert {"version", "revision"} <= machine["code"].keys()
    assert machine["torch"]["threads"] >= 1


def test_neighbours_are_what_the_machine_spent_beyond_this_process():
    """In 4 s of wall time the machine spent 6 CPU seconds, 2 of them here: one core was busy elsewhere."""
    before, after = Usage(10.0, 1.0, 50.0), Usage(14.0, 3.0, 56.0)

    assert neighbours_cores(before, after) == 1.0


def test_neighbours_are_unknown_where_the_machine_does_not_count():
    """Without the machine's clock nothing is claimed, and the table shows a question mark."""
    assert neighbours_cores(Usage(0.0, 0.0, None), Usage(1.0, 1.0, None)) is None
    assert cores(None) == "?"


def test_own_work_is_no_neighbour():
    """CPU time that this process burns is taken off, to the clock's tick."""
    before = usage()
    while process_time() - before.own_s < 0.3:
        pass
    after = usage()

    if after.all_s is None:
        pytest.skip("this system doesn't count the machine's CPU time")
    spent_s = after.all_s - before.all_s
    assert neighbours_cores(before, after) <= max(0.0, spent_s - 0.25) / (after.wall_s - before.wall_s)


def test_machine_line_says_it_in_one_line():
    """The line holds processor, threads and load, and no line break."""
    machine = describe_machine()
    machine["hardware"] |= {"cpu": "Some CPU", "cores": 2, "memory_bytes": None, "load_average": 0.25}
    machine["torch"]["threads"] = 3

    line = machine_line(machine)

    assert "Some CPU, 2 cores; memory unknown; torch" in line
    assert "3 threads" in line
    assert line.endswith("load average 0.25")
    assert "\n" not in line


def test_write_document_replaces_the_file_and_leaves_nothing_else(tmp_path):
    """What is read is what was written; folders are made; no part file stays."""
    path = tmp_path / "new" / "bench.json"
    document = new_document({"hardware": {}}, is_quick=True)

    write_document(document, path)
    document["results"]["memory"] = {"points": []}
    write_document(document, path)

    assert json.loads(path.read_text()) == document
    assert [path] == list(path.parent.iterdir())


def test_write_document_keeps_the_old_file_when_it_can_not_write_the_new(tmp_path):
    """A value that JSON doesn't know loses nothing that was recorded."""
    path = tmp_path / "bench.json"
    write_document({"results": 1}, path)

    with pytest.raises(TypeError):
        write_document({"results": object()}, path)
    assert json.loads(path.read_text()) == {"results": 1}


def test_spread_writes_median_and_extremes_in_the_asked_unit():
    """Seconds become milliseconds."""
    summary = {"median": 0.0015, "low": 0.001, "high": 0.25}

    assert spread(summary, scale=1e3, digits=1) == "1.5 [1.0..250.0]"


def test_tables_paste_into_markdown():
    """Header, rule and rows are those of a Markdown table."""
    lines = printed(table("title", ("what", "ms"), [["loop", "1.5"]])).splitlines()

    assert [line.replace(" ", "") for line in lines if "|" in line] == [
        "|what|ms|",
        "|------|-----|",
        "|loop|1.5|",
    ]
