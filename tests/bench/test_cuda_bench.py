"""The bench of a GPU, as far as it needs none: how parts are run and recorded, goals, descriptions, timers."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from crossbow_lab.bench import CUDA_NAMES, run_cuda_bench
from crossbow_lab.bench.cuda import machine as cuda_machine
from crossbow_lab.bench.cuda import timing as cuda_timing
from crossbow_lab.bench.cuda.goals import best_learners, goal_table, goals
from crossbow_lab.bench.cuda.machine import SMI_KEYS, describe_gpu_machine, gpu_line, parse_smi
from crossbow_lab.bench.cuda.suite import PARTS, PLAN, Part, measure_cuda
from crossbow_lab.bench.cuda.throughput import best
from crossbow_lab.bench.cuda.timing import Bench, captured, device_run, elapsed_s, ratio, time_all, warm_all
from crossbow_lab.bench.cuda.traffic import Update, copy_bytes, gather_bytes, gb_per_s, update_bytes
from crossbow_lab.bench.measure import QUICK, Contender, Plan, Timing, Warm
from crossbow_lab.bench.report import table
from crossbow_lab.errors import ConfigurationError, DeviceUnavailable

CPU = torch.device("cpu")


def bench(*, until_s: float = math.inf, said: list[str] | None = None) -> Bench:
    """Return a bench of the CPU in two short rounds."""
    return Bench(CPU, QUICK, ([] if said is None else said).append, until_s)


# ---- bytes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        (Update("sma", 1), 12 + 16),
        (Update("sma", 8), 12 * 8 + 16),
        (Update("sma", 8, has_local_momentum=True), 20 * 8 + 16),
        (Update("sma", 8, has_norms=True), 12 * 8 + 16 + 17 * 4 / 256),
        (Update("sma", 8, torch.bfloat16, has_local_momentum=True), (6 + 8) * 8 + 16),
        (Update("sma", 2, torch.float64), 24 * 2 + 32),
        (Update("easgd", 4), 12 * 4 + 8),
        (Update("sgd", 4, torch.float16), 6 * 4),
        (Update("ssgd", 1), 24),
    ],
    ids=str,
)
def test_an_update_moves_what_its_source_says(update: Update, expected: float) -> None:
    """Weights are read and written, gradients read, z and e read and written."""
    assert update_bytes(update) == expected


def test_a_copy_reads_and_writes_and_a_gather_reads_bytes_and_writes_floats() -> None:
    """And bandwidth is bytes over seconds."""
    assert copy_bytes(1000) == 2000
    assert gather_bytes(2, 10, torch.uint8, torch.float32) == 100
    assert gb_per_s(4e9, 2.0) == 2.0


# ---- timers ---------------------------------------------------------------------------------------------------------


def test_whole_launches_are_scaled_to_the_iterations_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three launches of eight for twenty iterations: what counts is twenty twenty-fourths of their time."""
    monkeypatch.setattr(cuda_timing, "elapsed_s", lambda work, _: work() or 2.4)
    monkeypatch.setattr(cuda_timing, "perf_counter", iter([10.0, 13.0]).__next__)
    launches: list[int] = []

    uncounted_s = device_run(lambda: launches.append(1), CPU, at_once=8)(20)

    assert len(launches) == 3
    assert 3.0 - uncounted_s == pytest.approx(2.0)


def test_work_is_timed_and_captured_as_it_is_without_a_gpu() -> None:
    """The host's clock, and the work itself in place of a graph, which runs once to warm up."""
    done: list[int] = []
    assert elapsed_s(lambda: done.append(1), CPU) >= 0
    replay = captured(lambda: done.append(2), CPU)
    replay()
    assert done == [1, 2, 2]


def test_what_can_not_be_warmed_up_is_skipped_with_its_reason() -> None:
    """The first line of it; and nothing is begun when the time is up."""

    def broken() -> Any:
        raise RuntimeError("CUDA out of memory.\nmore about it")

    said: list[str] = []
    skipped: dict[str, str] = {}
    contenders = [Contender("broken", broken), Contender("works", lambda: device_run(lambda: None, CPU))]

    warm = warm_all(contenders, bench(said=said), skipped)

    assert [ready.name for ready in warm] == ["works"]
    assert skipped == {"broken": "CUDA out of memory."}
    assert said[0] == "  broken: skipped, CUDA out of memory."
    late: dict[str, str] = {}
    assert warm_all(contenders, bench(until_s=0.0), late) == []
    assert set(late.values()) == {"no time was left for its warm-up"}


def test_a_late_part_measures_in_two_rounds() -> None:
    """What is ready is measured all the same."""
    ready = [Warm("one", lambda _: 0.0, 0.0, 1)]
    long = Plan(rounds=6, burst_s=0.0, burst_iterations=1)
    counts = [len(time_all(ready, Bench(CPU, long, print, until_s))["one"].iteration_s) for until_s in (math.inf, 0.0)]
    assert counts == [6, 2]


def test_ratios_are_formed_in_each_round() -> None:
    """And scaled by what an iteration does."""
    slow, fast = (Timing(name, 0.0, 1, times) for name, times in (("slow", (2.0, 6.0)), ("fast", (1.0, 2.0))))
    found = ratio(slow, fast, scale=10)
    assert (found.low, found.median, found.high) == (20.0, 25.0, 30.0)


# ---- the machine ----------------------------------------------------------------------------------------------------

SMI = (
    "NVIDIA H200, 580.159.03, 143771 MiB, 512 MiB, 345 MHz, 3201 MHz, 1980 MHz, 3201 MHz, "
    "75.12 W, 700.00 W, 31, 0 %, P0, Enabled"
)


def test_nvidia_smi_is_read_or_left_out() -> None:
    """One device's line and nothing else: an error, no output or two devices are no description."""
    found = parse_smi(SMI + "\n")
    assert found is not None
    assert list(found) == list(SMI_KEYS)
    assert (found["driver_version"], found["clocks.max.sm"], found["ecc.mode.current"]) == (
        "580.159.03",
        "1980 MHz",
        "Enabled",
    )
    for other in (None, "", "No devices were found", f"{SMI}\n{SMI}"):
        assert parse_smi(other) is None


def test_a_gpu_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name, clocks, driver, CUDA, torch, CuPy, memory: as JSON, and in one line."""
    properties = SimpleNamespace(
        name="NVIDIA H200",
        major=9,
        minor=0,
        multi_processor_count=132,
        total_memory=141 << 30,
        L2_cache_size=60 << 20,
        uuid="0b-1c",
    )
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (140 << 30, 141 << 30))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(cuda_machine, "_smi", lambda uuid: SMI if uuid == "0b-1c" else None)
    monkeypatch.setattr(cuda_machine, "packages", lambda _: {"torch": "2.11.0", "cupy-cuda13x": "14.2.0"})

    machine = describe_gpu_machine(torch.device("cuda"))

    assert json.loads(json.dumps(machine)) == machine
    line = gpu_line(machine)
    for part in (
        "H200 (sm_90)",
        "132 multi",
        "141 GiB, L2 60 MiB",
        "driver 580.159.03",
        "345 MHz of 1980",
        "CUDA 13.0",
    ):
        assert part in line
    assert "CUDA 13.0, CuPy 14.2.0, NVRTC unknown" in line


def test_a_machine_without_a_gpu_says_that_numbers_mean_nothing() -> None:
    """So that a record of a rehearsal can't be taken for a measurement."""
    machine = describe_gpu_machine(CPU)
    assert machine["gpu"] is None
    assert gpu_line(machine) == "no GPU: numbers mean nothing"


# ---- goals ----------------------------------------------------------------------------------------------------------


def contender(kind: str, k: int, images_per_s: float, **times: float | None) -> dict[str, Any]:
    """Return a made-up contender's record."""
    return {
        "kind": kind,
        "n_learners": k,
        "images_per_s": images_per_s,
        "times": {name: None if number is None else {"median": number} for name, number in times.items()},
        "s_sgd_is_compiled": True,
    }


def made_up() -> dict[str, Any]:
    """Return results in which everything was measured but LeNet."""
    best_one = contender("fused", 32, 9000.0, naive=70.0, graphed=12.0, s_sgd=0.95)
    groups = [
        {"batch_size": 16, "amp": True, "contenders": [contender("fused", 64, 1e9, naive=1e9, graphed=1e9, s_sgd=9.0)]},
        {
            "batch_size": 16,
            "amp": False,
            "contenders": [
                contender("fused", 1, 100.0, naive=1.0, graphed=0.5, s_sgd=1.0),
                best_one,
                contender("one replica, eager", 1, 1e6, naive=1.0, graphed=0.2, s_sgd=None),
            ],
        },
        {
            "batch_size": 2,
            "amp": False,
            "contenders": [contender("streams", 4, 50.0, naive=8.0, graphed=2.0, s_sgd=None)],
        },
    ]
    compiled = {"groups": [{"batch_size": 16, "amp": False, "contenders": [best_one]}]}
    return {
        "kernels": {
            "cases": [
                {"name": "sma k=4", "share_of_copy": {"median": 0.1}},
                {"name": "sma k=8", "share_of_copy": {"median": 0.9}},
            ],
            "norms_extra": {"median": 0.03},
        },
        "resnet-32": {"groups": groups},
        "compiled": {"resnet-32": compiled},
        "lenet": {"error": "RuntimeError: it broke"},
        "averaging": {
            "rows": [
                {"model": "resnet-32", "share": {"median": 0.04}},
                {"model": "resnet-32", "share": {"median": 0.07}},
                {"model": "lenet", "share": {"median": 0.9}},
                {"model": "resnet-32", "share": None},
            ]
        },
        "adjust": {
            "rows": [
                {"is_new": True, "adjustment_s": 0.7},
                {"is_new": True, "adjustment_s": 1.7},
                {"is_new": False, "adjustment_s": 0.01},
            ]
        },
    }


def test_goals_are_held_against_the_right_results() -> None:
    """The best k in float32, the worst share and adjustment; what failed or wasn't asked for is not measured."""
    results = made_up()
    found = {goal.what: (goal.find(results), goal.verdict(goal.find(results))) for goal in goals()}

    assert found["sma k=8: share of a copy's bandwidth"] == (0.9, "reached")
    assert found["resnet-32 b=16, best k: x one replica, eager"] == (70.0, "reached")
    assert found["resnet-32 b=2, best k: x one replica, eager"] == (8.0, "below the aim")
    assert found["resnet-32 b=16, best k: x one replica, graphed"] == (12.0, "reached")
    assert found["resnet-32 b=16: x S-SGD compiled and graphed, same k b"] == (0.95, "as aimed for")
    assert found["averaging's share of an iteration, resnet-32, k <= 32"] == (0.07, "reached")
    assert found["norms: extra time of the update"] == (0.03, "missed")
    assert found["adjustment, first time: seconds"] == (1.7, "missed")
    assert found["adjustment, cached: seconds"] == (0.01, "reached")
    assert {verdict for what, (_, verdict) in found.items() if what.startswith("lenet")} == {"not measured"}
    assert goal_table(results).row_count == len(found) == 15


def test_s_sgd_that_was_not_compiled_reaches_no_goal() -> None:
    """The goal is about what Inductor makes of it."""
    results = made_up()
    results["compiled"]["resnet-32"]["groups"][0]["contenders"][0]["s_sgd_is_compiled"] = False
    found = {goal.what: goal.find(results) for goal in goals()}
    assert found["resnet-32 b=16: x S-SGD compiled and graphed, same k b"] is None
    assert {goal.verdict(goal.find({})) for goal in goals()} == {"not measured"}


def test_what_is_compiled_has_the_best_number_of_learners() -> None:
    """Where that was measured in the same run; else some."""
    assert best_learners(made_up(), "resnet-32", 16, 5) == 32
    assert best_learners(made_up(), "lenet", 16, 5) == 5
    assert best_learners({}, "lenet", 16, 5) == 5
    assert best({"contenders": []}) is None


# ---- the suite ------------------------------------------------------------------------------------------------------


def test_every_part_has_a_name_and_all_of_them_fit_in_eight_minutes() -> None:
    """With what measuring takes on top of warming up."""
    assert tuple(PARTS) == CUDA_NAMES
    assert sum(part.warm_up_s for part in PARTS.values()) <= 360
    assert PLAN.rounds >= 5


def test_a_part_that_fails_is_recorded_and_the_rest_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON is written as it goes, later parts see earlier results, and the exit status tells."""
    path = tmp_path / "deep" / "found.json"
    seen: list[dict[str, Any]] = []

    def breaks(given: Bench, results: dict[str, Any]) -> dict[str, Any]:
        seen.append(json.loads(path.read_text()))
        raise RuntimeError("an illegal memory access was encountered")

    def works(given: Bench, results: dict[str, Any]) -> dict[str, Any]:
        return {"found": list(results)}

    parts = {
        name: Part(measure, lambda _: [table("made up", ("a",), [["invented"]])], 10)
        for name, measure in (("first", works), ("second", breaks), ("third", works))
    }

    status = measure_cuda(["first", "second", "third"], path, True, CPU, parts)

    recorded = json.loads(path.read_text())
    assert status == 1
    assert list(seen[0]["results"]) == ["first"]
    assert recorded["results"]["second"]["error"] == "RuntimeError: an illegal memory access was encountered"
    assert "in breaks" in recorded["results"]["second"]["traceback"]
    assert recorded["results"]["third"]["found"] == ["first", "second"]
    assert recorded["is_quick"] is True
    printed = capsys.readouterr().out
    assert printed.count("invented") == 2
    assert "failed: RuntimeError: an illegal memory access" in printed
    assert measure_cuda(["first"], None, True, CPU, parts) == 0


def test_without_a_gpu_the_bench_refuses_and_names_the_way_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is written then."""
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(DeviceUnavailable, match=r"built without CUDA.*install torch's CUDA build"):
        run_cuda_bench([], tmp_path / "found.json", False)
    assert not list(tmp_path.iterdir())


def test_an_unknown_part_is_refused_with_the_nearest() -> None:
    """Before anything is looked at."""
    with pytest.raises(ConfigurationError, match="unknown bench 'kernel': did you mean 'kernels'"):
        run_cuda_bench(["kernel"], None, False)
