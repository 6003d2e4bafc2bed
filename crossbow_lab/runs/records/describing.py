"""A record in words, for a terminal."""

from typing import Any

from crossbow_lab.runs.records.manifest import Run


def describe(run: Run) -> list[tuple[str, str]]:
    """Return what a record says as pairs of a name and a sentence, the important first."""
    manifest = run.manifest
    exception = manifest.get("exception")
    lines = [
        ("run", run.folder.name),
        ("status", run.status + ("" if exception is None else f", {exception['name']}: {exception['message']}")),
        ("key", run.key or "none: an interactive session answers no request"),
        ("notebook", str((manifest.get("notebook") or {}).get("path", "")) or "none: an interactive session"),
        ("parameters", ", ".join(f"{name}={value}" for name, value in manifest.get("parameters", {}).items())),
        ("time", _time(manifest)),
        ("code", _code(manifest.get("code") or {})),
        ("machine", _machine(manifest.get("hardware") or {})),
        ("device", _load(manifest.get("load") or {})),
        ("versions", ", ".join(f"{name} {v}" for name, v in (manifest.get("packages") or {}).items() if v)),
        ("data", ", ".join(f"{name} {str(sha)[:12]}" for name, sha in (manifest.get("data") or {}).items())),
    ]
    lines += [(f"session {name}", _session(one)) for name, one in (manifest.get("sessions") or {}).items()]
    outputs = manifest.get("outputs", {})
    lines.append(("files", f"{len(outputs)}, {sum(one['bytes'] for one in outputs.values()):,} bytes in {run.folder}"))
    return [(name, value) for name, value in lines if value]


def _time(manifest: dict[str, Any]) -> str:
    """Say when, and how long."""
    phases = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in (manifest.get("timing_s") or {}).items())
    seconds = manifest.get("seconds")
    told = f"{manifest.get('started_utc')}" + (f", {seconds:.1f} s" if seconds is not None else "")
    return f"{told} ({phases})" if phases else told


def _code(code: dict[str, Any]) -> str:
    """Say which code."""
    revision = code.get("revision")
    if revision is None:
        return f"crossbow_lab {code.get('version')}"
    patch = "" if code.get("is_diff_whole", True) else ", the patch is incomplete"
    changed = f", changed since (diff.patch, {len(code.get('untracked') or ())} untracked files{patch})"
    return f"crossbow_lab {code.get('version')}, {revision[:12]}{changed if code.get('is_dirty') else ''}"


def _machine(hardware: dict[str, Any]) -> str:
    """Say which machine."""
    gpus = ", ".join(gpu["name"] for gpu in hardware.get("gpus") or ()) or "no GPU"
    memory = (hardware.get("memory_bytes") or 0) / 1e9
    return f"{hardware.get('cpu')}, {hardware.get('cores')} cores, {memory:.0f} GB, {gpus}"


def _load(load: dict[str, Any]) -> str:
    """Say whether the device was shared."""
    shared = load.get("is_contended")
    if shared is None:
        return ""
    others = load.get("others_cores")
    told = "" if others is None else f"; others kept {others:.2f} of {load.get('cores')} cores busy"
    return f"{'shared: times are contended' if shared else 'not shared'}{told}"


def _session(one: dict[str, Any]) -> str:
    """Say what one session did."""
    accuracy = one.get("test_accuracy")
    parts = [
        str(one.get("algorithm")),
        f"{one.get('model')} on {one.get('dataset')}",
        f"seed {one.get('seed')}",
        f"{one.get('executor')}, {one.get('threads')} threads",
        "" if one.get("epochs") is None else f"{one['epochs']:.2f} epochs in {one['train_s']:.1f} s of training",
        "" if accuracy is None else f"test accuracy {accuracy:.2%}",
        "" if one.get("fingerprint") is None else f"z {one['fingerprint'][:16]}",
    ]
    return ", ".join(part for part in parts if part)
