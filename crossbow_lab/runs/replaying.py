"""Runs a record again and compares what came out, to the bit."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from crossbow_lab.content import sha256_of
from crossbow_lab.errors import RunError
from crossbow_lab.resources import resource
from crossbow_lab.runs.identity import Request, differing_parts, request_for
from crossbow_lab.runs.records.manifest import Run
from crossbow_lab.runs.runner import run_request

_STAMP = re.compile(r"-\d{8}T\d{6}-[0-9a-f]+$")
REPLAY_NOTEBOOK = ("notebooks", "90_replay_recipe.ipynb")


@dataclass(frozen=True)
class Replay:
    """A record and its replay.

    Attributes
    ----------
    original, again : Run
    same : dict of str to bool
        Whether each session ended at the same z, by the session's name.
    differs_in : tuple of str
        Parts of the request that aren't what they were: code, device, environment, ... A difference in them explains
        a difference in z.
    """

    original: Run
    again: Run
    same: dict[str, bool]
    differs_in: tuple[str, ...]

    @property
    def is_same(self) -> bool:
        """Whether every session ended at the same z."""
        return bool(self.same) and all(self.same.values())


def replay(run: Run, *, runs_dir: str | Path = "runs", on_line: Callable[[str], None] | None = None) -> Replay:
    """Run a record again, as a run of its own, and compare the fingerprints.

    The notebook is the record's own copy, with the recorded parameters; of an interactive session, the recipe runs in
    the notebook that ships for that. The code is today's: ``differs_in`` says if it has changed.

    Parameters
    ----------
    run : Run
    runs_dir : str or Path
        Where the replay's own record goes.
    on_line : callable, optional
        Gets every line that the notebook prints.

    Raises
    ------
    RunError
        If the record has no fingerprint to compare, or its recipe can't be replayed.
    """
    if not run.fingerprints:
        raise RunError(
            f"{run.folder.name} ({run.status}) has no fingerprint to compare with; a notebook records its sessions "
            "with cb.record({label: session})"
        )
    request, source = _request_of(run)
    again = run_request(
        request,
        runs_dir=runs_dir,
        name=f"replay-{_STAMP.sub('', run.folder.name)}",
        on_line=on_line,
        force=True,
        provenance={"replays": run.folder.name},
        source=source,
    )
    found = again.fingerprints
    return Replay(
        original=run,
        again=again,
        same={name: found.get(name) == fingerprint for name, fingerprint in run.fingerprints.items()},
        differs_in=differing_parts(request.parts, run.manifest["parts"]) if run.manifest.get("parts") else (),
    )


def _request_of(run: Run) -> tuple[Request, Path]:
    """Return what to ask for so that a record is run again, and the notebook to execute."""
    recipe_path = run.folder / "recipe.json"
    recipe = recipe_path.read_text(encoding="utf-8") if recipe_path.exists() else None
    if run.manifest.get("kind") == "session":
        request = request_for(resource(*REPLAY_NOTEBOOK), recipe=recipe)
        return request, request.notebook
    asked = request_for(run.notebook, run.manifest["parameters"])
    original = Path(run.manifest["notebook"]["path"])
    recorded = (run.manifest.get("parts") or {}).get("notebook")
    # The cells are the record's own. Whether the modules beside the notebook still are, only the original can tell.
    notebook_part = sha256_of(["replay", run.folder.name])
    if original.is_file() and request_for(original, run.manifest["parameters"]).parts["notebook"] == recorded:
        notebook_part = recorded
    parts = asked.parts | {"notebook": notebook_part}
    if recipe is not None:
        parts["parameters"] = run.manifest["parts"]["parameters"]
    return Request(original, asked.parameters, asked.injected, recipe, asked.timeout_s, parts), run.notebook
