"""What a run was made with."""

import subprocess
from pathlib import Path

import pytest

import crossbow_lab
from crossbow_lab.runs import environment


def test_it_lists_versions_and_says_what_is_not_installed() -> None:
    """An absent package is None, not missing from the record."""
    versions = environment.packages(("numpy", "no-such-package-at-all"))
    assert versions["numpy"]
    assert versions["python"]
    assert versions["no-such-package-at-all"] is None


def test_it_describes_the_machine_in_plain_values() -> None:
    """Cores are those that this process may use."""
    machine = environment.hardware()
    assert machine["cores"] >= 1
    assert machine["cpu"]
    assert isinstance(machine["gpus"], list)


def test_it_has_no_revision_outside_a_checkout_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An installed package doesn't take the revision of the repository that it happens to lie in."""
    monkeypatch.setattr(environment, "CHECKOUT", tmp_path)
    assert environment.code_version() == {"version": crossbow_lab.__version__, "revision": None, "is_dirty": None}


def test_it_names_the_revision_and_whether_files_differ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A new file makes a clean checkout dirty."""
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for arguments in (["init", "-q"], [*identity, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)
    monkeypatch.setattr(environment, "CHECKOUT", tmp_path)
    clean = environment.code_version()
    assert len(clean["revision"]) == 40
    assert clean["is_dirty"] is False
    (tmp_path / "new.txt").write_text("new")
    assert environment.code_version()["is_dirty"] is True


GPUS = ("GPU-aa", "GPU-bb")


@pytest.mark.parametrize(
    ("mask", "expected"),
    [(None, GPUS), ("", ()), ("1", ("GPU-bb",)), ("GPU-a", ("GPU-aa",)), ("-1", ()), ("0,GPU-x,1", ("GPU-aa",))],
)
def test_it_obeys_the_mask_that_hides_gpus(mask: str | None, expected: tuple[str, ...]) -> None:
    """As CUDA itself reads it."""
    assert environment.select_visible(GPUS, mask) == expected
