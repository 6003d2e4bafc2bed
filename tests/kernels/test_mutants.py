"""The tests of the averaging kernels can fail: each planted bug is noticed, by what it should be noticed by."""

import pytest
from emulated import Emulator
from mutants import MUTANTS, Mutant, examine

from crossbow_lab.kernels.sources import source


@pytest.mark.parametrize("kernels", sorted({mutant.kernels for mutant in MUTANTS}))
def test_the_kernels_as_they_are_pass(emulated: Emulator, kernels: str) -> None:
    """Else noticing a bug would mean nothing."""
    assert examine(kernels, emulated) == "nothing"


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_noticed(emulated: Emulator, mutant: Mutant) -> None:
    """Each in well under a second, compiler included."""
    text = source(mutant.file)
    emulated.texts[mutant.file] = text.replace(mutant.old, mutant.new)
    emulated.options = ("-O0",)

    assert mutant.old in text
    assert examine(mutant.kernels, emulated) == mutant.noticed_by
