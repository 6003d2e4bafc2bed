"""Comparison of runs: what is averaged, what is refused, and that no run is dropped."""

import math
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from recorded import HARDWARE, SMA, SSGD, Recorded, write_run

import crossbow_lab as cb
from crossbow_lab.averaging import ALGORITHMS, Algorithm, algorithm_name
from crossbow_lab.errors import ConfigurationError, RunError
from crossbow_lab.runs.comparing.comparison import compare
from crossbow_lab.runs.comparing.text import differences_table, main_table, speed_up_table
from crossbow_lab.runs.comparing.trials import read_trials
from crossbow_lab.runs.recording import write_session


def _sweep(folder: Path, paces: dict[str, tuple[float, ...]], suffix: str = "", **more: Any) -> Path:
    """Write a folder of runs, one for each algorithm and seed, with seconds per evaluation by algorithm."""
    kinds = {"SMA": SMA, "S-SGD": SSGD}
    for name, several in paces.items():
        for seed, pace_s in enumerate(several):
            session = Recorded(seed=seed, pace_s=pace_s, algorithm=kinds[name], **more)
            write_run(
                folder / f"{name}-{seed}{suffix}", {name: session}, parameters={"target_accuracy": 0.97, "seed": seed}
            )
    return folder


def test_it_has_one_row_per_configuration_over_its_seeds(tmp_path: Path) -> None:
    """Numbers by hand: the target is reached at the sixth evaluation, so times are six times the pace."""
    table = compare(_sweep(tmp_path, {"SMA": (0.1, 0.2, 0.4), "S-SGD": (0.5, 0.5, 0.5)})).table
    assert table["algorithm"].tolist() == ["S-SGD", "SMA"]
    sma = table.iloc[1]
    assert (sma["learners"], sma["runs"], sma["seeds"], sma["reached"]) == (4, 3, 3, 3)
    assert sma["seconds_to_target"] == pytest.approx(1.2)
    half = 4.3027 * math.log(2) / math.sqrt(3)
    assert sma["seconds_to_target_low"] == pytest.approx(1.2 * math.exp(-half), rel=1e-4)
    assert sma["seconds_to_target_high"] == pytest.approx(1.2 * math.exp(half), rel=1e-4)
    assert sma["seconds_to_target_median"] == pytest.approx(1.2)
    assert sma["epochs_to_target"] == pytest.approx(6.0)
    assert sma["samples_per_s"] == pytest.approx(5000.0)
    assert sma["final_accuracy"] == 0.98
    assert math.isnan(sma["seconds_to_target_olympic_mean"])


def test_it_takes_the_olympic_mean_from_five_seeds_on(tmp_path: Path) -> None:
    """Without the fastest and the slowest."""
    table = compare(_sweep(tmp_path, {"SMA": (0.1, 0.2, 0.21, 0.22, 0.9)})).table
    assert table["seconds_to_target_olympic_mean"].tolist() == pytest.approx([6 * 0.21])


def test_a_run_that_never_got_there_is_counted_and_not_averaged_away(tmp_path: Path) -> None:
    """It is one of n in the table, there is no mean, and the median counts it as infinitely long."""
    _sweep(tmp_path, {"SMA": (0.1, 0.2, 0.3, 0.4, 0.5)})
    write_run(tmp_path / "never", {"SMA": Recorded(seed=9, at=None)}, parameters={"target_accuracy": 0.97})
    comparison = compare(tmp_path)
    row = comparison.table.iloc[0]
    assert (row["reached"], row["seeds"]) == (5, 6)
    assert math.isinf(row["seconds_to_target"])
    assert math.isnan(row["seconds_to_target_low"])
    assert row["seconds_to_target_median"] == pytest.approx(2.1)
    assert (row["seconds_to_target_median_low"], row["seconds_to_target_median_high"]) == (pytest.approx(0.6), math.inf)
    cells = dict(zip(main_table(comparison).header, main_table(comparison).rows[0], strict=True))
    assert cells["reached"] == "5 of 6"
    assert cells["seconds to target"] == "median 2.1 s (0.6 to never)"


def test_it_says_how_much_faster_and_how_surely(tmp_path: Path) -> None:
    """Against S-SGD, as a ratio of geometric means; epochs and throughput are its two factors."""
    comparison = compare(_sweep(tmp_path, {"SMA": (0.1, 0.2, 0.4), "S-SGD": (0.4, 0.41, 0.42)}))
    (row,) = comparison.speed_ups.to_dict("records")
    assert (row["base"], row["other"]) == ("S-SGD", "SMA")
    expected = (0.4 * 0.41 * 0.42 / (0.1 * 0.2 * 0.4)) ** (1 / 3)
    assert row["speed_up"] == pytest.approx(expected)
    assert row["speed_up_low"] < 1 < expected < row["speed_up_high"]
    assert row["p_faster"] == pytest.approx((9 - 0.5) / 9)
    assert row["epochs_ratio"] == pytest.approx(1.0)
    assert row["throughput_ratio"] == pytest.approx(expected)
    assert speed_up_table(comparison).rows[0][0] == "SMA over S-SGD"


def test_pairs_differ_in_one_setting_only(tmp_path: Path) -> None:
    """Two algorithms at two counts of learners are four pairs, each against the first value of what differs."""
    _sweep(tmp_path, {"SMA": (0.1, 0.2), "S-SGD": (0.3, 0.4)}, learners=2)
    _sweep(tmp_path, {"SMA": (0.5, 0.6), "S-SGD": (0.7, 0.8)}, "-four", learners=4)
    pairs = compare(tmp_path).speed_ups[["base", "other"]].values.tolist()
    assert pairs == [
        ["S-SGD, learners 2", "S-SGD, learners 4"],
        ["S-SGD, learners 2", "SMA, learners 2"],
        ["S-SGD, learners 4", "SMA, learners 4"],
        ["SMA, learners 2", "SMA, learners 4"],
    ]


def test_settings_that_differ_beside_the_seed_are_refused(tmp_path: Path) -> None:
    """With the setting's name and what to do; asked for, they make rows of their own."""
    _sweep(tmp_path / "runs", {"SMA": (0.1, 0.2)})
    other = Recorded(seed=2, more={"batch_size": 16})
    write_run(tmp_path / "runs" / "other", {"SMA": other}, parameters={"target_accuracy": 0.97})
    with pytest.raises(RunError, match=r"differ in batch_size \(8, 16\).*add batch_size to by"):
        compare(tmp_path / "runs")
    comparison = compare(tmp_path / "runs", by="algorithm, batch_size")
    assert comparison.table["batch_size"].tolist() == [8, 16]
    assert [result.configuration.label for result in comparison.results] == ["batch_size 8", "batch_size 16"]


def test_a_notebooks_own_parameters_are_settings_too(tmp_path: Path) -> None:
    """Where a recipe can't know of them, such as the width of one's own model; seeds and repeats are none."""
    for index, (width, repeats) in enumerate([(8, 1), (8, 2), (16, 2)]):
        session = {"SMA": Recorded(seed=index, pace_s=0.1 + 0.01 * index)}
        write_run(tmp_path / str(index), session, parameters={"width": width, "repeats": repeats, "seed": index})
    assert compare([tmp_path / "0", tmp_path / "1"], target=0.97).table["seeds"].tolist() == [2]
    with pytest.raises(RunError, match=r"differ in width \(8, 16\)"):
        compare(tmp_path, target=0.97)
    comparison = compare(tmp_path, by="width", target=0.97)
    assert comparison.table["width"].tolist() == [8, 16]


def test_unlike_devices_are_refused(tmp_path: Path) -> None:
    """Within a row, and between rows unless it was asked for."""
    fast = {**HARDWARE, "cpu": "Faster CPU"}
    write_run(tmp_path / "a", {"SMA": Recorded(seed=0)})
    write_run(tmp_path / "b", {"SMA": Recorded(seed=1, pace_s=0.3)}, hardware=fast)
    write_run(tmp_path / "c", {"S-SGD": Recorded(seed=1, pace_s=0.3, algorithm=SSGD)}, hardware=fast)
    with pytest.raises(RunError, match=r"unlike devices: Example CPU, 2 cores \(a/SMA\); Faster CPU, 2 cores"):
        compare([tmp_path / "a", tmp_path / "b"], target=0.97)
    with pytest.raises(RunError, match=r"differ in device .* which would be mixed up with algorithm, learners"):
        compare([tmp_path / "a", tmp_path / "c"], target=0.97)
    table = compare([tmp_path / "a", tmp_path / "b"], by="machine", target=0.97).table
    assert table["machine"].tolist() == ["Example CPU, 2 cores", "Faster CPU, 2 cores"]


def test_a_gpu_is_known_by_its_model(tmp_path: Path) -> None:
    """The processor beside it doesn't make it another device."""
    gpus = [{"name": "Example GPU", "memory": "80 GB", "driver": "1"}]
    for seed, cores in enumerate((8, 16)):
        session = Recorded(seed=seed, pace_s=0.1 + 0.1 * seed, more={"device": "cuda:0"})
        write_run(tmp_path / str(seed), {"SMA": session}, hardware={**HARDWARE, "gpus": gpus, "cores": cores})
    assert compare(tmp_path, by="machine", target=0.97).table["machine"].tolist() == ["Example GPU"]


def test_synthetic_data_are_not_averaged_with_real_ones(tmp_path: Path) -> None:
    """Whether the data set's name or the manifest says so."""
    write_run(tmp_path / "a", {"SMA": Recorded(seed=0)})
    write_run(tmp_path / "b", {"SMA": Recorded(seed=1, pace_s=0.3)}, data={"digits": {"synthetic": True}})
    with pytest.raises(RunError, match=r"mix synthetic data \(b/SMA\) with real data"):
        compare(tmp_path, target=0.97)
    made_up = Recorded(seed=1, pace_s=0.3, algorithm=SSGD, more={"dataset": "synthetic-digits"})
    write_run(tmp_path / "c", {"S-SGD": made_up})
    with pytest.raises(RunError, match="some runs are on synthetic data and some on real data"):
        compare([tmp_path / "a", tmp_path / "c"], target=0.97)


def test_one_attempt_counts_once_however_often_it_is_given(tmp_path: Path) -> None:
    """A cached answer is the record itself, a copied folder says so, and a renamed copy is caught by its clock."""
    first = write_run(tmp_path / "runs" / "a", {"SMA": Recorded(seed=0)})
    run = cb.load_run(first)
    comparison = compare([run, run, first], target=0.97)
    assert comparison.table["runs"].tolist() == [1]
    assert "a was given more than once, and counts once" in comparison.notes
    copy = Path(shutil.copytree(first, tmp_path / "elsewhere" / "a"))
    assert compare([first, copy], target=0.97).table["runs"].tolist() == [1]
    manifest = copy / "manifest.json"
    manifest.write_text(manifest.read_text().replace("Example CPU", "Faster CPU"))
    with pytest.raises(RunError, match="both say that they are a, but differ; one was changed"):
        compare([first, copy], target=0.97)
    write_run(tmp_path / "runs" / "renamed", {"SMA": Recorded(seed=0, n_rows=9)})
    with pytest.raises(RunError, match="a/SMA and renamed/SMA hold the very same measurement"):
        compare(tmp_path / "runs", target=0.97)


def test_attempts_with_one_seed_are_one_seed(tmp_path: Path) -> None:
    """Repeating a run five times doesn't make five independent ones."""
    for index in range(5):
        write_run(tmp_path / str(index), {"SMA": Recorded(seed=0, pace_s=0.1 + 0.01 * index)})
    comparison = compare(tmp_path, target=0.97)
    row = comparison.table.iloc[0]
    assert (row["runs"], row["seeds"], row["reached"]) == (5, 1, 1)
    assert row["seconds_to_target"] == pytest.approx(6 * 0.12)
    assert math.isnan(row["seconds_to_target_low"])
    assert any("several attempts with one seed count as one" in note for note in comparison.notes)


def test_a_killed_attempt_is_replaced_by_the_one_that_was_completed(tmp_path: Path) -> None:
    """As after a sweep that was killed and run again; a loss that wasn't finite stays in the count."""
    half = Recorded(seed=0, at=None, pace_s=0.11, n_rows=3)
    write_run(tmp_path / "killed", {"unrecorded-1": half}, status="interrupted")
    write_run(tmp_path / "whole", {"SMA": Recorded(seed=0)})
    comparison = compare(tmp_path, target=0.97)
    assert comparison.table[["runs", "reached"]].values.tolist() == [[1, 1]]
    assert (
        "killed/unrecorded-1 was interrupted and was completed by another run of the same request" in comparison.notes
    )
    diverged = {"name": "DivergedError", "message": "", "cell": 3}
    write_run(tmp_path / "nan", {"SMA": Recorded(seed=0, at=None, pace_s=0.12)}, status="failed", exception=diverged)
    comparison = compare(tmp_path, target=0.97)
    assert comparison.table[["runs", "seeds", "reached"]].values.tolist() == [[2, 1, 0]]
    assert any("nan/SMA failed (DivergedError): it counts as a run that hasn't" in note for note in comparison.notes)


def test_a_run_that_ended_before_its_first_session_is_counted_or_named(tmp_path: Path) -> None:
    """Its parameters say which row it belongs to; where they don't, a note says that it is in none."""
    _sweep(tmp_path / "runs", {"SMA": (0.1, 0.2)})
    lost = {"target_accuracy": 0.97, "algorithm": "sma", "learners": 4, "seed": 7}
    write_run(tmp_path / "runs" / "lost", parameters=lost, status="timeout")
    row = compare(tmp_path / "runs").table.iloc[0]
    assert (row["seeds"], row["reached"]) == (3, 2)
    write_run(tmp_path / "runs" / "who", parameters={"target_accuracy": 0.97}, status="failed")
    notes = compare(tmp_path / "runs").notes
    assert any(note.startswith("who failed before it recorded a session") for note in notes)


def test_only_sessions_that_the_notebook_handed_over_count(tmp_path: Path) -> None:
    """A replay that checks one of them is no further attempt."""
    sessions = {"SMA": Recorded(seed=0), "unrecorded-1": Recorded(seed=0, pace_s=0.1)}
    folder = write_run(tmp_path / "a", sessions)
    (folder / "result.json").write_text('{"schema": 1, "fingerprints": {"SMA": "f"}, "table": null}')
    assert compare(folder, target=0.97).table["runs"].tolist() == [1]


def test_it_reads_what_a_killed_run_left(tmp_path: Path) -> None:
    """Whole lines of a history that was being written; the last one was cut short."""
    folder = write_run(tmp_path / "a", {"SMA": Recorded(seed=0)}, status="interrupted")
    parquet = folder / "sessions" / "SMA" / "history.parquet"
    lines = pd.read_parquet(parquet).to_json(orient="records", lines=True)
    parquet.unlink()
    (parquet.parent / "history.jsonl").write_text(lines.replace('"test_accuracy":0.5', '"test_accuracy":null', 1)[:-20])
    (outcome,) = compare(folder, target=0.97).results[0].outcomes
    assert len(outcome.trial.history) == 11
    assert outcome.epochs_to_target == 6.0


def test_the_target_is_the_notebooks_own_unless_one_is_given(tmp_path: Path) -> None:
    """Without either there are no times, and it says so; above the notebook's own, too."""
    _sweep(tmp_path / "runs", {"SMA": (0.1, 0.2)})
    assert compare(tmp_path / "runs").target == cb.Accuracy(0.97)
    harder = compare(tmp_path / "runs", target=cb.Accuracy(0.975, window=1))
    assert harder.table["seconds_to_target"].tolist() == pytest.approx([4 * math.sqrt(0.02)])
    assert any("were to stop at 0.97 may have ended before they could reach 0.975" in note for note in harder.notes)
    with pytest.raises(ConfigurationError, match="outside 0 < target <= 1"):
        compare(tmp_path / "runs", target=97)
    write_run(tmp_path / "other", {"SMA": Recorded(seed=5)}, parameters={"target_accuracy": 0.9})
    assert compare([tmp_path / "runs", tmp_path / "other"], target=0.9).table["seeds"].tolist() == [3]
    with pytest.raises(RunError, match=r"have different targets \(0.9, 0.97\); give target"):
        compare([tmp_path / "runs", tmp_path / "other"])
    bare = compare(write_run(tmp_path / "bare", {"SMA": Recorded(seed=0)}))
    assert "seconds_to_target" not in bare.table
    assert any("no target was given" in note for note in bare.notes)
    assert "samples/s" in repr(bare)


def test_it_notes_what_differs_beside_what_was_asked(tmp_path: Path) -> None:
    """Settings between rows, executors that were measured, shared devices, too few seeds."""
    write_run(tmp_path / "a", {"SMA": Recorded(seed=0)}, load={"is_contended": True})
    other = {"learning_rate": 0.01, "executor": "fused"}
    write_run(tmp_path / "b", {"S-SGD": Recorded(seed=0, pace_s=0.3, algorithm=SSGD, more=other)})
    comparison = compare(tmp_path, target=0.97)
    assert "learning_rate differs too: 0.01 (S-SGD); 0.1 (SMA)" in comparison.notes
    assert "executor differs too: fused (S-SGD); loop (SMA)" in comparison.notes
    assert any(note.startswith("1 of 2 runs shared their device with something else (a)") for note in comparison.notes)
    assert comparison.table["contended"].tolist() == [0, 1]
    assert any("a row with one seed has no interval" in note for note in comparison.notes)


def test_it_averages_over_what_was_chosen_by_measuring(tmp_path: Path) -> None:
    """Executor and threads where the notebook left them open; where it asked for one, another is another setting."""
    for seed, more in enumerate(({}, {"threads": 2}, {"executor": "fused"})):
        session = Recorded(seed=seed, pace_s=0.1 * (seed + 1), more=more)
        write_run(tmp_path / f"{seed}", {"SMA": session}, parameters={"executor": "auto"})
    comparison = compare(tmp_path, target=0.97)
    assert comparison.table["seeds"].tolist() == [3]
    assert "threads differs too: 1 (SMA); 2 (SMA)" in comparison.notes
    asked = write_run(tmp_path / "asked", {"SMA": Recorded(seed=5, pace_s=0.7)}, parameters={"executor": "loop"})
    with pytest.raises(RunError, match=r"differ in executor \(loop, fused\)"):
        compare([asked, tmp_path / "2"], target=0.97)


def test_it_names_rows_by_what_they_have_in_common(tmp_path: Path) -> None:
    """A learning rate of each algorithm's own is said once, not for every count of learners."""
    for learners in (2, 4):
        for algorithm, rate in ((SMA, 0.1), (SSGD, 0.02)):
            name, pace_s = f"{algorithm['name']}-{learners}", learners * rate
            batch = {"learning_rate": rate, "batch_size": 8 if name == "SMA-4" else 16}
            session = Recorded(learners=learners, algorithm=algorithm, pace_s=pace_s, more=batch)
            write_run(tmp_path / name, {"one": session}, parameters={"target_accuracy": 0.97})
    notes = compare(tmp_path).notes
    assert "learning_rate differs too: 0.02 (S-SGD); 0.1 (SMA)" in notes
    assert (
        "batch_size differs too: 16 (S-SGD, learners 2, and S-SGD, learners 4, and SMA, learners 2); "
        "8 (SMA, learners 4)"
    ) in notes


def test_it_notes_code_that_differs(tmp_path: Path) -> None:
    """By commit, and by what was changed on top of one."""
    for index, changes in enumerate(("1" * 64, "2" * 64)):
        code = {"version": "0.1.0", "revision": "a" * 40, "is_dirty": True, "diff_sha256": changes}
        write_run(tmp_path / str(index), {"SMA": Recorded(seed=index, pace_s=0.1 + index)}, code=code)
    notes = compare(tmp_path, target=0.97).notes
    assert "the code differs: revisions aaaaaaaaaaaa+11111111, aaaaaaaaaaaa+22222222" in notes


def test_it_finds_runs_by_folder_and_by_pattern(tmp_path: Path) -> None:
    """A damaged record in a folder is named in a note; one that was asked for by name is refused."""
    _sweep(tmp_path, {"SMA": (0.1, 0.2), "S-SGD": (0.3, 0.4)})
    assert len(compare(str(tmp_path / "S-SGD-*")).runs) == 2
    damaged = write_run(tmp_path / "damaged", {"SMA": Recorded(seed=8)})
    (damaged / "sessions" / "SMA" / "history.parquet").write_bytes(b"PAR1 and no more")
    comparison = compare(tmp_path)
    assert len(comparison.runs) == 4
    assert any(note.startswith("not compared: the history in") for note in comparison.notes)
    with pytest.raises(RunError, match="is damaged"):
        compare(damaged)
    (damaged / "sessions" / "SMA" / "recipe.json").write_text("{")
    with pytest.raises(RunError, match=r"recipe.json can't be read .* leave this run out"):
        compare(damaged)


def test_what_it_cannot_compare_it_says(tmp_path: Path) -> None:
    """Nothing there, nothing recorded, a name that no run has."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="neither a run nor a folder of runs"):
        compare(tmp_path / "empty")
    with pytest.raises(RunError, match=r"no run is at .*nowhere"):
        compare(tmp_path / "nowhere-*")
    with pytest.raises(RunError, match="there is no run in an empty list"):
        compare([])
    write_run(tmp_path / "failed", status="failed")
    with pytest.raises(RunError, match=r"none of the 1 runs recorded a session \(failed\)"):
        compare(tmp_path / "failed")
    run = write_run(tmp_path / "a", {"SMA": Recorded()})
    with pytest.raises(RunError, match="can't be told apart by 'lerners'; did you mean 'learners'"):
        compare(run, by="algorithm,lerners")
    with pytest.raises(RunError, match="each once"):
        compare(run, by=("algorithm", "algorithm"))


def test_it_lists_every_run_and_what_differs(tmp_path: Path) -> None:
    """Settings and outcomes of each training; differences one column per run."""
    comparison = compare(_sweep(tmp_path, {"SMA": (0.1, 0.2)}))
    each = comparison.each_run
    assert each[["run", "seed", "status"]].values.tolist() == [["SMA-0", 0, "completed"], ["SMA-1", 1, "completed"]]
    assert each["seconds_to_target"].tolist() == pytest.approx([0.6, 1.2])
    assert each["batch_size"].tolist() == [8, 8]
    assert differences_table(comparison.differences).rows == (("parameters", "seed", "0 | 1"),)


def test_it_compares_real_sessions(tmp_path: Path) -> None:
    """What a session records is what is read, and its own rule says when the target was reached."""
    sessions = {}
    for seed in (0, 1):
        session = cb.Session("logreg", "digits", learners=2, learning_rate=0.1, seed=seed, executor="loop")
        session.run(epochs=8)
        sessions[seed] = session
        folder = write_run(tmp_path / f"run-{seed}", parameters={"seed": seed})
        write_session(folder / "sessions" / "SMA", session)
    comparison = compare(tmp_path, target=0.8)
    (result,) = comparison.results
    assert result.configuration.values == {"algorithm": "SMA", "learners": 2}
    for outcome in result.outcomes:
        reached = sessions[outcome.trial.seed].time_to_accuracy(0.8)
        assert (outcome.seconds_to_target, outcome.epochs_to_target) == (reached.seconds, reached.epochs)


@pytest.mark.parametrize("kind", ALGORITHMS.values())
def test_algorithms_are_named_as_in_prose(tmp_path: Path, kind: type[Algorithm]) -> None:
    """What is simulated says so; recipes and parameters call one algorithm by several names."""
    name = algorithm_name(kind())
    for number, said in enumerate((kind.__name__, kind.__name__.lower(), name)):
        run = write_run(tmp_path / f"run-{number}", {"only": Recorded(algorithm={"name": said})})
        (trial,) = read_trials(cb.load_run(run))
        assert trial.settings["algorithm"] == name
