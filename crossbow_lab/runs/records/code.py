"""Which code a run was made with: revision, what differs from it, and what git doesn't know."""

import hashlib
import re
from pathlib import Path
from typing import Any

from crossbow_lab.content import file_sha256
from crossbow_lab.runs import environment

PATCH = "diff.patch"
_MOST_PATCH_BYTES = 1_000_000
_MOST_UNTRACKED = 200
_SECRET = re.compile(
    r"""(?ix)
    (?P<name>(?:api[_-]?key|access[_-]?key|secret(?:[_-]?key)?|token|passwd|password|credentials?)["']?\s*[:=]\s*)
    (?P<value>"[^"\n]+"|'[^'\n]+'|[^\s,;"'()\[\]{}.]{6,}(?![\w(.\[]))
    | (?P<known>\b(?:gh[pousr]_|glpat-|sk-|xox[abprs]-|AKIA|ASIA|hf_)[A-Za-z0-9_-]{12,})
    | (?P<address>(?<=://)[^\s/:@]+:[^\s/@]+(?=@))
    | (?P<block>-----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----[\s\S]*?(?:-----END[ ][A-Z ]*PRIVATE[ ]KEY-----|\Z))
    """
)
_REMOVED = "<removed>"


def code_record(folder: Path, *, store: Path | None = None) -> dict[str, Any]:
    """Describe the package's code, and leave what differs from its revision as ``diff.patch`` in a folder.

    The patch holds tracked files only, is left out above 1 MB, and has what looks like a secret replaced by
    ``<removed>``; the manifest says so, since such a patch doesn't give back the code.

    Parameters
    ----------
    folder : Path
        Where the patch goes.
    store : Path, optional
        Folder of runs, whose files are no part of the code though they may lie in the checkout.

    Returns
    -------
    dict
        As `crossbow_lab.runs.environment.code_version`, and in a git checkout ``branch``, ``diff_sha256`` and
        ``diff_bytes`` of the unfiltered patch, ``is_diff_whole``, and ``untracked`` (SHA-256 by path).
    """
    code = environment.code_version()
    if code["revision"] is None:
        return code
    checkout = str(environment.CHECKOUT)
    code["branch"] = environment.output_of("git", "-C", checkout, "rev-parse", "--abbrev-ref", "HEAD")
    if code["is_dirty"]:
        patch = environment.output_of("git", "-C", checkout, "diff", "HEAD", "--no-color", "--no-ext-diff") or ""
        filtered = without_secrets(patch)
        size = len(patch.encode())
        code["diff_sha256"], code["diff_bytes"] = hashlib.sha256(patch.encode()).hexdigest(), size
        code["is_diff_whole"] = size <= _MOST_PATCH_BYTES and filtered == patch
        if 0 < size <= _MOST_PATCH_BYTES:
            (folder / PATCH).write_text(f"{filtered}\n", encoding="utf-8")
        code["untracked"] = _untracked(Path(checkout), store)
    return code


def without_secrets(text: str) -> str:
    """Replace what looks like a key, a token, a password or a private key.

    Examples
    --------
    >>> without_secrets('api_key = "abcdef123456"')
    'api_key = <removed>'
    >>> without_secrets("n_tokens = 3")
    'n_tokens = 3'
    """
    return _SECRET.sub(lambda match: f"{match['name'] or ''}{_REMOVED}", text)


def _untracked(checkout: Path, store: Path | None) -> dict[str, str]:
    """Map the files that git doesn't know and doesn't ignore to their SHA-256, a couple of hundred at most."""
    runs = "\0"  # begins no name
    if store is not None and store != checkout and store.is_relative_to(checkout):
        runs = f"{store.relative_to(checkout).as_posix()}/"
    listed = environment.output_of(
        "git", "-C", str(checkout), "ls-files", "--others", "--exclude-standard", "-z", "--full-name"
    )
    names = [name for name in (listed or "").split("\0") if name and not name.startswith(runs)]
    paths = {name: checkout / name for name in sorted(names)[:_MOST_UNTRACKED]}
    return {name: file_sha256(path) for name, path in paths.items() if path.is_file()}
