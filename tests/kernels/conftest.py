"""The emulator in the place of the GPU."""

import pytest
from emulated import Emulator, why_not

from crossbow_lab.kernels import launch as launching


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> Emulator:
    """Let launches run on the CPU; give the emulator, whose schedule may be changed."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    emulator = Emulator()
    monkeypatch.setattr(launching, "launch", emulator.launch)
    return emulator
