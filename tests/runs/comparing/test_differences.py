"""What differs between runs."""

from pathlib import Path

import pytest
from recorded import HARDWARE, Recorded, write_run

from crossbow_lab.runs.comparing import differences as module
from crossbow_lab.runs.comparing.differences import code_patch, differences
from crossbow_lab.runs.comparing.text import differences_table
from crossbow_lab.runs.environment import CHECKOUT, output_of
from crossbow_lab.runs.records.manifest import load_run

OLD, NEW = "a" * 40, "b" * 40


def test_it_lists_what_differs_and_nothing_else(tmp_path: Path) -> None:
    """By kind, one column per run; the load differs always and isn't listed, what a seed brings about neither."""
    first = write_run(
        tmp_path / "first",
        {"SMA": Recorded(seed=0)},
        parameters={"seed": 0, "learners": 4},
        environment={"OMP_NUM_THREADS": "1"},
        code={"version": "0.1.0", "revision": OLD, "is_dirty": False},
    )
    second = write_run(
        tmp_path / "second",
        {"SMA": Recorded(seed=1, learners=8, more={"data_sha256": "other"})},
        parameters={"seed": 1, "learners": 8},
        environment={"OMP_NUM_THREADS": "2"},
        code={"version": "0.1.0", "revision": NEW, "is_dirty": False},
        packages={"torch": "2.12.0"},
        hardware={**HARDWARE, "cpu": "Other CPU", "load_average": 9.0, "gpus": [{"name": "Example GPU"}]},
        load={"is_contended": True},
    )
    table = differences([load_run(first), load_run(second)])
    assert table.columns.tolist() == ["kind", "name", "first", "second"]
    assert sorted(table.values.tolist(), key=str) == sorted(
        [
            ["parameters", "seed", 0, 1],
            ["parameters", "learners", 4, 8],
            ["recipe", "learners", 4, 8],
            ["data", "data_sha256", "d", "other"],
            ["environment", "OMP_NUM_THREADS", "1", "2"],
            ["code", "revision", OLD, NEW],
            ["packages", "torch", "2.13.0", "2.12.0"],
            ["hardware", "cpu", "Example CPU", "Other CPU"],
            ["hardware", "gpus", "[]", None],
            ["hardware", "gpus.0.name", None, "Example GPU"],
            ["hardware", "is_contended", None, True],
        ],
        key=str,
    )


def test_files_that_git_does_not_know_are_one_line(tmp_path: Path) -> None:
    """The table has them all; in words there are a few names, and how many there are."""
    code = {"version": "0.1.0", "revision": OLD, "is_dirty": True, "untracked": {}}
    runs = [load_run(write_run(tmp_path / "a", code=code))]
    several = {f"new{index}.py": "1" for index in range(5)}
    runs.append(load_run(write_run(tmp_path / "b", code={**code, "untracked": several})))
    table = differences(runs)
    assert len(table) == 5
    assert differences_table(table).rows == (("code", "untracked files", "5: new0.py, new1.py, new2.py, ..."),)
    assert differences_table(differences(runs[:1])).rows == ()


def test_what_only_some_records_say_is_not_said_by_the_others(tmp_path: Path) -> None:
    """Neither a text nor a number beside it makes something of nothing."""
    code = {"version": "0.1.0", "revision": OLD, "is_dirty": True}
    runs = [load_run(write_run(tmp_path / name, code=code)) for name in ("a", "b")]
    runs.append(load_run(write_run(tmp_path / "c", code={**code, "diff_bytes": 7, "branch": "x"})))
    rows = differences_table(differences(runs)).rows
    assert {row[2] for row in rows} == {"not said (2 runs), 7 (1 runs)", "not said (2 runs), x (1 runs)"}


def test_runs_that_are_alike_differ_in_nothing(tmp_path: Path) -> None:
    """An empty table with its columns, and an empty patch."""
    runs = [load_run(write_run(tmp_path / name, {"SMA": Recorded()})) for name in ("a", "b")]
    assert differences(runs).columns.tolist() == ["kind", "name", "a", "b"]
    assert differences(runs).empty
    assert code_patch(*runs) == ""


def test_a_recipes_field_holds_the_values_of_all_sessions(tmp_path: Path) -> None:
    """So a run that chose another executor for one of its sessions shows it."""
    both = {"SMA-seed0": Recorded(), "SMA-seed1": Recorded(seed=1, more={"executor": "fused"})}
    runs = [load_run(write_run(tmp_path / "a", {"SMA": Recorded()})), load_run(write_run(tmp_path / "b", both))]
    assert differences(runs).values.tolist() == [["recipe", "executor", "loop", '["fused", "loop"]']]


def test_the_patch_holds_what_was_changed_on_top_of_the_commits(tmp_path: Path) -> None:
    """As far as the records kept it."""
    runs = []
    for name, line in (("a", "+alpha = 1"), ("b", "+alpha = 2")):
        folder = write_run(tmp_path / name, {"SMA": Recorded()})
        (folder / "diff.patch").write_text(f"--- a/sma.py\n+++ b/sma.py\n{line}\n")
        runs.append(load_run(folder))
    patch = code_patch(*runs)
    assert "-+alpha = 1" in patch
    assert "++alpha = 2" in patch
    assert "changes since its commit, a" in patch


def test_the_patch_between_commits_is_gits(tmp_path: Path) -> None:
    """Or it says what it would take; a revision that isn't one never reaches git."""
    given = {"a": OLD, "b": NEW, "c": "--output=patch.txt", "d": None}
    runs = {
        name: load_run(write_run(tmp_path / name, code={"version": "0.1.0", "revision": revision, "is_dirty": False}))
        for name, revision in given.items()
    }
    assert f"# commit {OLD} to {NEW}\n# not shown: it takes a git checkout" in code_patch(runs["a"], runs["b"])
    assert f"# commit {OLD} to unknown\n# not shown: a record doesn't say which" in code_patch(runs["a"], runs["c"])
    assert code_patch(runs["c"], runs["d"]) == ""


@pytest.mark.skipif(not (CHECKOUT / ".git").exists(), reason="needs a git checkout with two commits")
def test_the_patch_between_two_commits_of_this_checkout_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And of a long one the beginning, with how much is left out."""
    commits = (output_of("git", "-C", str(CHECKOUT), "log", "-n2", "--format=%H") or "").split()
    if len(commits) < 2:
        pytest.skip("a shallow checkout has one commit")
    runs = [
        load_run(write_run(tmp_path / commit, code={"version": "0.1.0", "revision": commit, "is_dirty": False}))
        for commit in reversed(commits)
    ]
    assert "diff --git" in code_patch(*runs)
    monkeypatch.setattr(module, "_LONGEST_PATCH", 100)
    assert "more characters" in code_patch(*runs)
    assert len(code_patch(*runs)) < 200
