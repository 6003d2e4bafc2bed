"""What a record says of each training in it: how it was set up, what happened, and on what.

Only JSON and Parquet are read, so nothing in a stranger's record is executed. Records of several versions of this
package lie in one folder, so a field that a manifest doesn't have is taken as not said.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossbow_lab.errors import RunError
from crossbow_lab.runs.records.manifest import Run

if TYPE_CHECKING:
    import pandas as pd

SEED_PARAMETERS = ("seed", "seeds", "repeats")
"""Parameters that say which seeds are used, so two runs that differ only in them are of one configuration."""

CHOOSABLE = ("executor", "threads")
"""Settings that a session chooses by measuring where they are left open, so that two runs of one request may differ."""

TARGET_PARAMETER = "target_accuracy"
"""The parameter by which a notebook is given its target."""

COLUMNS = ("epoch", "samples", "elapsed_s", "test_accuracy", "algorithm")
"""What a comparison needs of a history."""

# Parameters by which a notebook is given a recipe to replay; the session's own recipe says the same.
_OF_A_REPLAY = ("recipe", "fingerprint")
# What follows from the seed or from how training went, and so is no setting.
_NOT_SETTINGS = ("schema", "seed", "weights_sha256", "iterations")
_SYNTHETIC = "synthetic"


@dataclass(frozen=True)
class Trial:
    """One training within one run.

    Parameters
    ----------
    run : str
        The run's id.
    folder : Path
        The run's folder.
    session : str
        The session's name in the run; empty if the run ended before it recorded one.
    status : str
        The run's: ``completed``, ``failed``, ``interrupted`` or ``timeout``.
    seed : int or None
        None if the record doesn't say.
    settings : mapping of str to value
        The recipe's fields, the algorithm's beside them, and the notebook's parameters that no recipe has.
    parameters : frozenset of str
        Names of the settings that come from the notebook.
    chosen : frozenset of str
        Those of `CHOOSABLE` that the notebook's parameters leave open.
    history : DataFrame or None
        One row per evaluation, with `COLUMNS`; None if none was recorded.
    device : str
        What it ran on: the processor and its cores, or the GPU.
    is_synthetic : bool
        Whether the record says that its data are made up.
    is_contended : bool
        Whether the record says that the device was shared, so that its times are too long.
    exception : str
        Name of what ended the run; empty if nothing did.
    """

    run: str
    folder: Path
    session: str
    status: str
    seed: int | None
    settings: Mapping[str, Any]
    parameters: frozenset[str]
    chosen: frozenset[str]
    history: "pd.DataFrame | None" = field(compare=False)
    device: str
    is_synthetic: bool
    is_contended: bool
    exception: str = ""

    @property
    def name(self) -> str:
        """The run's id and the session's name, as messages give them."""
        return f"{self.run}/{self.session}" if self.session else self.run


def read_trials(run: Run) -> tuple[Trial, ...]:
    """Return every training that a run recorded; one without a history if it recorded none.

    Where the notebook came to hand over its sessions, those are meant; others in the folder, such as a replay that
    checks one of them, are not. Where it didn't, all are.

    Raises
    ------
    RunError
        If a session's files are damaged or lack what a comparison needs.
    """
    folders = _session_folders(run)
    if not folders:
        return (_trial(run, "", {}, None),)
    return tuple(_trial(run, folder.name, _recipe(folder), _history(folder)) for folder in folders)


def recipes_of(run: Run) -> list[dict[str, Any]]:
    """Return the recipes of a run's sessions as plain JSON, in the order of the sessions' names."""
    return [_recipe(folder) for folder in _session_folders(run)]


def run_id(run: Run) -> str:
    """Return what the record calls itself, which a copy in another folder does too."""
    return str(run.manifest.get("id", run.folder.name))


def _session_folders(run: Run) -> list[Path]:
    """Return the folders of the sessions that count."""
    folders = sorted(path for path in (run.folder / "sessions").glob("*") if path.is_dir())
    handed_over = run.result and run.result.get("fingerprints")
    return [folder for folder in folders if not handed_over or folder.name in handed_over]


def _trial(run: Run, session: str, recipe: Mapping[str, Any], history: "pd.DataFrame | None") -> Trial:
    """Put together what the manifest, the recipe and the history say."""
    manifest = run.manifest
    given = manifest.get("parameters") or {}
    settings = _settings(recipe)
    own = {
        name: _plain(value)
        for name, value in given.items()
        if name not in settings and name not in (*SEED_PARAMETERS, *_OF_A_REPLAY)
    }
    if not recipe and "algorithm" in own:
        own["algorithm"] = _algorithm(own["algorithm"])
    seed = recipe.get("seed", given.get("seed"))
    settings |= own
    settings["session"] = re.sub(r"-seed\d+$", "", session)
    settings["notebook"] = Path(str((manifest.get("notebook") or {}).get("path", ""))).stem
    settings["revision"] = _revision(manifest.get("code") or {})
    settings["machine"] = device_class(manifest, str(settings.get("device", "cpu")))
    return Trial(
        run=run_id(run),
        folder=run.folder,
        session=session,
        status=run.status,
        seed=seed if isinstance(seed, int) else None,
        settings=settings,
        parameters=frozenset(own),
        chosen=frozenset(name for name in CHOOSABLE if given.get(name) in (None, "auto")),
        history=history,
        device=settings["machine"],
        is_synthetic=_is_synthetic(manifest, settings),
        is_contended=bool((manifest.get("load") or {}).get("is_contended")),
        exception=str((manifest.get("exception") or {}).get("name") or ""),
    )


def device_class(manifest: Mapping[str, Any], device: str) -> str:
    """Return what a device of a record is: devices of one class run equally fast.

    Examples
    --------
    >>> device_class({"hardware": {"cpu": "AMD EPYC", "cores": 2, "gpus": []}}, "cpu")
    'AMD EPYC, 2 cores'
    """
    hardware = manifest.get("hardware") or {}
    if device.startswith("cuda"):
        names = sorted({str(gpu.get("name")) for gpu in hardware.get("gpus") or [] if isinstance(gpu, dict)})
        return ", ".join(names) or "unknown GPU"
    return f"{hardware.get('cpu') or 'unknown processor'}, {hardware.get('cores') or '?'} cores"


def _revision(code: Mapping[str, Any]) -> str:
    """Return the commit, and what was changed on top of it, in short."""
    changes = str(code.get("diff_sha256") or "")[:8] if code.get("diff_bytes", 1) else ""
    return str(code.get("revision") or "")[:12] + (f"+{changes}" if changes else "")


def _settings(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's fields as plain values, the algorithm's beside them."""
    settings = {name: _plain(value) for name, value in recipe.items() if name not in _NOT_SETTINGS}
    algorithm = recipe.get("algorithm")
    if isinstance(algorithm, dict):
        settings |= {name: _plain(value) for name, value in algorithm.items() if name != "name"}
        settings["algorithm"] = _algorithm(algorithm.get("name"))
    return settings


def _algorithm(name: Any) -> str:
    """Return an algorithm's name as prose writes it, from whatever a recipe or a parameter calls it."""
    from crossbow_lab.averaging import ALGORITHMS, algorithm_name  # here, because it loads torch

    names = {word: algorithm_name(kind()) for word, kind in ALGORITHMS.items()}
    known = {_letters(word): prose for one, prose in names.items() for word in (one, prose)}
    return known.get(_letters(str(name)), str(name))


def _letters(word: str) -> str:
    """Return a name without what writers differ in: spaces, hyphens and capitals."""
    return re.sub(r"\W", "", word).upper()


def _plain(value: Any) -> Any:
    """Return a JSON value as one that can be compared and be part of a key."""
    return json.dumps(value, sort_keys=True) if isinstance(value, (list, dict)) else value


def _is_synthetic(manifest: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Whether the record says that data are made up, in its manifest or by the data set's name."""
    said = json.dumps(manifest.get("data"), default=str)
    return f'"{_SYNTHETIC}": true' in said or str(settings.get("dataset", "")).lower().startswith(_SYNTHETIC)


def _recipe(folder: Path) -> dict[str, Any]:
    """Read a session's recipe as plain JSON."""
    path = folder / "recipe.json"
    try:
        recipe = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} can't be read ({error}); leave this run out, or take an undamaged copy") from error
    if not isinstance(recipe, dict):
        raise RunError(f"{path} holds no recipe; leave this run out, or take an undamaged copy")
    return recipe


def _history(folder: Path) -> "pd.DataFrame | None":
    """Read a session's history: the whole table, or the lines that a run that was killed has left."""
    import pandas as pd

    table, lines = folder / "history.parquet", folder / "history.jsonl"
    try:
        if table.exists():
            history = pd.read_parquet(table)
        elif lines.exists():
            history = pd.DataFrame([json.loads(line) for line in _whole_lines(lines)])
        else:
            return None
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise RunError(f"the history in {folder} is damaged ({error}); leave this run out") from error
    missing = [] if history.empty else [name for name in COLUMNS if name not in history.columns]
    if missing:
        raise RunError(f"the history in {folder} lacks {', '.join(missing)}; leave this run out")
    return None if history.empty else history[list(COLUMNS)].astype({"test_accuracy": float})


def _whole_lines(path: Path) -> list[str]:
    """Return the lines that were written to their end."""
    return [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
