"""Whether a record is what was written."""

import json
import os
from collections.abc import Callable

import pytest

from crossbow_lab.resources import resource
from crossbow_lab.runs import Run
from crossbow_lab.runs.records.verifying import schema_problems, verify


def test_it_finds_nothing_wrong_with_a_fresh_record(make_run: Callable[..., Run]) -> None:
    """Files, checksums and schema all agree, for a run that failed too."""
    assert verify(make_run("good")) == ()
    assert verify(make_run("bad", "failed")) == ()


def test_it_names_what_was_changed_lost_and_added(make_run: Callable[..., Run]) -> None:
    """Each in a sentence of its own; a change that keeps a file's size is found too."""
    run = make_run()
    (run.folder / "log.txt").write_text("SAID\n")
    (run.folder / "notebook.ipynb").unlink()
    (run.folder / "mine.txt").write_text("")
    assert verify(run) == ("notebook.ipynb is missing", "mine.txt is not part of the record", "log.txt was changed")


def test_it_reads_every_file_again(make_run: Callable[..., Run]) -> None:
    """A disk that forgets changes neither size nor time, and a check before it vouches for nothing."""
    run = make_run()
    log = run.folder / "log.txt"
    assert verify(run) == ()
    before = log.stat()
    log.write_text("sa1d\n")
    os.utime(log, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert verify(run) == ("log.txt was changed",)


def test_it_finds_checksums_that_were_rewritten(make_run: Callable[..., Run]) -> None:
    """SHA256SUMS is held against the manifest."""
    run = make_run()
    for content in (b"", b"\xff\xfe"):
        (run.folder / "SHA256SUMS").write_bytes(content)
        assert "SHA256SUMS says something else than manifest.json" in verify(run)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"status": "splendid"}, "$.status: 'splendid' is not one of"),
        ({"key": "short"}, "$.key"),
        ({"surprise": 1}, "Additional properties are not allowed ('surprise' was unexpected)"),
        ({"seeds": ["a"]}, "$.seeds[0]: 'a' is not of type 'integer'"),
        ({"load": {}}, "$.load: 'is_contended' is a required property"),
    ],
)
def test_it_knows_what_a_manifest_may_say(
    make_run: Callable[..., Run], change: dict[str, object], problem: str
) -> None:
    """The JSON Schema names where a manifest differs from it."""
    run = make_run()
    run.manifest.update(change)
    problems = schema_problems(run)
    assert len(problems) == 1
    assert problem in problems[0]


def test_it_ships_a_schema_that_is_one() -> None:
    """A validator can check the schema itself; every required name is described."""
    from jsonschema import Draft202012Validator

    schema = json.loads(resource("runs", "records", "manifest.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    assert set(schema["required"]) == set(schema["properties"])
