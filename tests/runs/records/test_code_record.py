"""Which code a run was made with."""

import subprocess
from pathlib import Path

import pytest

from crossbow_lab.runs import environment
from crossbow_lab.runs.records import code
from crossbow_lab.runs.records.code import code_record, without_secrets


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a repository with one committed file, taken for the package's checkout."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "module.py").write_text("x = 1\n")
    (folder / ".gitignore").write_text("ignored.py\n")
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for arguments in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(folder), *arguments], check=True)
    monkeypatch.setattr(environment, "CHECKOUT", folder)
    return folder


def test_it_leaves_no_patch_of_a_clean_checkout(checkout: Path, tmp_path: Path) -> None:
    """The revision says it all."""
    record = code_record(tmp_path)
    assert len(record["revision"]) == 40
    assert record["is_dirty"] is False
    assert "diff_sha256" not in record
    assert not (tmp_path / "diff.patch").exists()


def test_it_leaves_a_patch_that_gives_the_code_back(checkout: Path, tmp_path: Path) -> None:
    """Applied to the revision it makes the same files; untracked ones are known by their hashes."""
    (checkout / "module.py").write_text("x = 2\n")
    (checkout / "new.py").write_text("y = 1\n")
    (checkout / "ignored.py").write_text("z = 1\n")
    record = code_record(tmp_path)
    assert record["is_dirty"]
    assert record["is_diff_whole"]
    assert list(record["untracked"]) == ["new.py"]
    subprocess.run(["git", "-C", str(checkout), "checkout", "-q", "module.py"], check=True)
    subprocess.run(["git", "-C", str(checkout), "apply", str(tmp_path / "diff.patch")], check=True)
    assert (checkout / "module.py").read_text() == "x = 2\n"


def test_it_takes_no_run_for_code(checkout: Path, tmp_path: Path) -> None:
    """Whoever keeps runs in the checkout has hundreds of new files, and code of their own beside them."""
    for name in ("results/run-1/log.txt", "results.py"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("1")
    assert list(code_record(tmp_path, store=checkout / "results")["untracked"]) == ["results.py"]
    everything = ["results.py", "results/run-1/log.txt"]
    for store in (checkout, tmp_path / "elsewhere", None):
        assert list(code_record(tmp_path, store=store)["untracked"]) == everything


def test_it_writes_no_secret_into_the_patch(checkout: Path, tmp_path: Path) -> None:
    """And says that the patch isn't whole any more."""
    (checkout / "module.py").write_text("x = 1\npassword = 'opensesame'\n")
    record = code_record(tmp_path)
    assert not record["is_diff_whole"]
    patch = (tmp_path / "diff.patch").read_text()
    assert "opensesame" not in patch
    assert "+password = <removed>" in patch


def test_it_leaves_a_patch_out_that_is_too_large(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its hash and size are still there."""
    monkeypatch.setattr(code, "_MOST_PATCH_BYTES", 10)
    (checkout / "module.py").write_text("x = 2\n")
    record = code_record(tmp_path)
    assert not record["is_diff_whole"]
    assert record["diff_bytes"] > 10
    assert not (tmp_path / "diff.patch").exists()


@pytest.mark.parametrize(
    ("text", "filtered"),
    [
        ("AWS_SECRET_ACCESS_KEY=abcd1234efgh", "AWS_SECRET_ACCESS_KEY=<removed>"),
        ('"api-key": "0123456789"', '"api-key": <removed>'),
        ("url = https://me:word@host/x", "url = https://<removed>@host/x"),
        ("ghp_0123456789abcdefghij", "<removed>"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\n", "<removed>\n"),
        ("tokens = line.split()", "tokens = line.split()"),
        ("token = tokenizer.next(line)", "token = tokenizer.next(line)"),
        ("password: opensesame", "password: <removed>"),
        ("n_tokens: int = 3", "n_tokens: int = 3"),
        ("for token in tokens:", "for token in tokens:"),
    ],
)
def test_it_knows_a_secret_when_it_sees_one(text: str, filtered: str) -> None:
    """Values of telling names, keys of well-known forms, private keys; ordinary code stays."""
    assert without_secrets(text) == filtered
