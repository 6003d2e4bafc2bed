"""Averaging kernels by the hashes of all they write: the emulator and the GPU give the same bits.

``CROSSBOW_WRITE_GOLDEN=1`` writes golden_updates.json anew, from the emulator; review the difference.
"""

import hashlib
import importlib
import json
import os
from pathlib import Path

import pytest
import torch
from gpu_support import bits
from gpu_updates import Case, arrays, launched

from crossbow_lab.kernels import launch as launching

GOLDEN = Path(__file__).with_name("golden_updates.json")
EMULATOR = Path(__file__).resolve().parents[1] / "kernels"
SHAPES = ((1, 1), (3, 255), (5, 1_025), (9, 4_097))
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
WAYS = [(door, v, norms) for door in ("sma", "easgd") for v in (False, True) for norms in (False, True)]
WAYS += [(door, v, False) for door in ("sgd", "split sma", "split easgd") for v in (False, True)]
WAYS += [("ssgd", False, False)]
Way = tuple[str, bool, bool]


def name_of(way: Way, dtype: torch.dtype) -> str:
    """Name a kernel: its door, type, and what else it does."""
    door, has_velocity, has_norms = way
    return " ".join([door, str(dtype).removeprefix("torch."), *["v"] * has_velocity, *["norms"] * has_norms])


NAMES = [name_of(way, dtype) for way in WAYS for dtype in DTYPES]


def hashes(device: torch.device) -> dict[str, str]:
    """Update by every kernel in every type, and hash what comes out, all shapes together."""
    found = {}
    for way in WAYS:
        for dtype in DTYPES:
            digest = hashlib.sha256()
            for k, n in SHAPES:
                case = Case(way[0], dtype, 1 if way[0] == "ssgd" else k, n, *way[1:])
                given = arrays(case, device)
                sums = launched(case, given)
                digest.update(bits(given.w, given.v, given.z, given.e, sums).encode())
            found[name_of(way, dtype)] = digest.hexdigest()
    return found


def test_the_emulator_gives_the_golden_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """So what a GPU is held against is what every test run proves on the CPU."""
    monkeypatch.syspath_prepend(str(EMULATOR))
    emulated = importlib.import_module("emulated")
    reason = emulated.why_not()
    if reason is not None:
        pytest.skip(reason)
    monkeypatch.setattr(launching, "launch", emulated.Emulator().launch)
    found = hashes(torch.device("cpu"))
    if os.environ.get("CROSSBOW_WRITE_GOLDEN") == "1":
        GOLDEN.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    assert found == json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert len(found) == len(NAMES)


@pytest.fixture(scope="module")
def on_gpu(device: torch.device) -> dict[str, str]:
    """Return the hashes of what the GPU writes."""
    return hashes(device)


@pytest.mark.gpu
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", NAMES)
def test_the_gpu_gives_the_golden_bits(on_gpu: dict[str, str], name: str) -> None:
    """Whatever its grid: every weight, velocity, centre and sum of squares."""
    assert on_gpu[name] == json.loads(GOLDEN.read_text(encoding="utf-8"))[name]
