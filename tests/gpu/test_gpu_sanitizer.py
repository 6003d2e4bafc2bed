"""NVIDIA's compute-sanitizer finds nothing in any kernel, where it is installed and can watch the device."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from gpu_support import NEEDS_GPU

pytestmark = NEEDS_GPU

PROGRAM = Path(__file__).with_name("sanitized.py")
FOUND_SOMETHING = 9
TIMEOUT_S = 90
CAN_NOT = ("not supported", "unable to", "failed to initialize", "error 999")


def sanitizer() -> str | None:
    """Return where compute-sanitizer is: on the path, or where CUDA is usually installed."""
    usual = Path("/usr/local/cuda/bin/compute-sanitizer")
    return shutil.which("compute-sanitizer") or (str(usual) if usual.exists() else None)


@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "synccheck"])
def test_a_sanitizer_finds_nothing(device: torch.device, tool: str) -> None:
    """No access out of bounds, no race in shared memory, no barrier that threads miss."""
    program = sanitizer()
    if program is None:
        pytest.skip("compute-sanitizer, which comes with the CUDA toolkit, is not installed")
    command = [program, "--tool", tool, "--error-exitcode", str(FOUND_SOMETHING), "--print-limit", "20"]
    if tool == "memcheck":
        command += ["--report-api-errors", "no"]  # torch asks the driver for things that it may not have
    # Every tensor in memory of its own, or whatever lies in torch's pool is within bounds.
    environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    try:
        done = subprocess.run(
            [*command, sys.executable, str(PROGRAM)],
            capture_output=True,
            text=True,
            env=environment,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"compute-sanitizer --tool {tool} takes more than {TIMEOUT_S} s here")
    said = done.stdout + done.stderr
    if "all launched" not in said and any(words in said.lower() for words in CAN_NOT):
        pytest.skip(f"compute-sanitizer can't watch this device: {said.strip().splitlines()[-1]}")
    assert done.returncode == 0, said[-4_000:]
    assert "all launched" in said
