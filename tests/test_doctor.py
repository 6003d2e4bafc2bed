"""What works on this machine, and what to do about what doesn't."""

from pathlib import Path

import pytest

from crossbow_lab import doctor, kernels
from crossbow_lab.doctor import Finding, examine, find_datasets


def _by_item(findings: list[Finding]) -> dict[str, Finding]:
    """Return findings by what was looked at."""
    return {finding.item: finding for finding in findings}


def test_it_looks_at_everything_and_runs_the_executors(tmp_path: Path) -> None:
    """On any machine both executors train on the CPU, and every finding says something."""
    findings = examine(data_dir=tmp_path)
    assert list(dict.fromkeys(found.topic for found in findings)) == ["hardware", "software", "executors", "data sets"]
    assert all(found.detail and found.status in {"ok", "missing"} for found in findings)
    found = _by_item(findings)
    assert found["loop on cpu"].status == "ok", found["loop on cpu"].detail
    assert found["fused on cpu"].status == "ok", found["fused on cpu"].detail
    assert found["torch"].status == "ok"
    assert "see crossbow-lab data" in found["mnist"].detail


def test_it_says_why_the_cuda_kernels_can_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the words of those who would run them; or that they can."""
    monkeypatch.setattr(kernels, "why_not", lambda device: f"no CuPy for {device.type}: pip install it")
    assert doctor._kernels() == Finding("executors", "CUDA kernels", "missing", "no CuPy for cuda: pip install it")
    monkeypatch.setattr(kernels, "why_not", lambda _: None)
    assert doctor._kernels().status == "ok"


def test_it_says_what_a_missing_compiler_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """And that training doesn't need it."""
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(doctor.shutil, "which", lambda _: None)
    finding = doctor._compiler()
    assert finding.status == "missing"
    assert "loop and fused don't need it" in finding.detail


def test_it_reports_an_executor_that_fails() -> None:
    """The error is the finding, not the end of the examination."""

    def fail() -> str:
        raise RuntimeError("no such thing")

    assert doctor._attempt("loop on moon", fail) == Finding(
        "executors", "loop on moon", "missing", "RuntimeError: no such thing"
    )


def test_it_says_where_a_data_set_is_or_how_to_get_it(tmp_path: Path) -> None:
    """Digits are shipped; what isn't found comes with the files to put where."""
    found = _by_item(find_datasets(data_dir=tmp_path))
    assert found["digits"].status == "ok"
    assert "1,437 + 360 samples 1x8x8 in " in found["digits"].detail
    assert found["mnist"].status == "missing"
    assert "train-images-idx3-ubyte.gz" in found["mnist"].detail
    assert str(tmp_path) in found["mnist"].detail


def test_it_finds_the_folder_that_holds_a_data_set(tmp_path: Path) -> None:
    """In whichever usual layout."""
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(b"")
    assert doctor._place("mnist", tmp_path) == folder
