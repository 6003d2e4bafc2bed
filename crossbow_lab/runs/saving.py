"""Publishes an interactive session as a run, so that it can be listed, compared and replayed like any other."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossbow_lab.content import file_sha256
from crossbow_lab.errors import RunError
from crossbow_lab.resources import resource
from crossbow_lab.runs.recording import RESULT_SCHEMA, measures, write_result, write_session
from crossbow_lab.runs.records.collect import finish, write_asked
from crossbow_lab.runs.records.manifest import MANIFEST_SCHEMA, Run
from crossbow_lab.runs.records.publish import recording
from crossbow_lab.runs.replaying import REPLAY_NOTEBOOK
from crossbow_lab.runs.runner import check_name, describe_maker, new_folder

if TYPE_CHECKING:
    from crossbow_lab.session import Session

LABEL = "session"
"""What the session is called in its record, and in the notebook that replays it."""


def save_session(session: "Session", *, runs_dir: str | Path = "runs", name: str = LABEL) -> Run:
    """Publish a session as a run; see `crossbow_lab.Session.save_run`.

    Parameters
    ----------
    session : Session
        Not training at this moment: ready, paused, stopped, finished or failed.
    runs_dir : str or Path
        Where run folders go. Created if missing.
    name : str
        First part of the run folder's name.

    Returns
    -------
    Run
        Of kind ``session``, without a key: it answers no request, since its owner may have adjusted it and used the
        machine meanwhile. Its recipe, adjustments included, is ``recipe.json``.

    Raises
    ------
    RunError
        If the session is training or hasn't trained at all, or the store can't be written to.
    """
    check_name(name)
    now = session.snapshot
    if now.state == "running":
        raise RunError("the session is training, so its record would be of no moment; pause() or stop() it first")
    if not now.iteration:
        raise RunError("the session hasn't trained yet: there is nothing to record; run() or start() it first")
    recipe, ended = session.recipe, datetime.now(UTC)
    started = ended - timedelta(seconds=now.elapsed_s + now.evaluation_s)
    building = new_folder(Path(runs_dir).resolve(), name, started)
    notebook = resource(*REPLAY_NOTEBOOK)
    asked: dict[str, Any] = {
        "schema": MANIFEST_SCHEMA,
        "id": building.name,
        "kind": "session",
        "key": None,
        "parts": None,
        "notebook": {"path": str(notebook), "sha256": file_sha256(notebook)},
        "parameters": {},
        "timeout_s": None,
        "provenance": {"not_replayable": recipe.missing} if recipe.missing else {},
        "started_utc": started.isoformat(timespec="milliseconds"),
    }
    with recording(building):
        write_asked(building, asked | describe_maker(building))  # first: what a kill leaves of the rest is known by it
        write_session(building / "sessions" / LABEL, session)
        (building / "recipe.json").write_text(recipe.to_json(), encoding="utf-8")
        content = {"schema": RESULT_SCHEMA, "fingerprints": {LABEL: session.fingerprint()}, "table": None}
        write_result(building / "result.json", content | {"sessions": {LABEL: measures(session)}})
    return finish(
        building,
        {
            "status": "failed" if now.state == "failed" else "completed",
            "exception": None if now.error is None else {"name": "failed", "message": now.error, "cell": None},
            "timing_s": {},
            "load": {"is_contended": None},
        },
    )
