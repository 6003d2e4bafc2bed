"""The examples in the docstrings of averaging."""

import doctest
from types import ModuleType

import pytest

from crossbow_lab import averaging
from crossbow_lab.averaging import (
    _chunks,
    algorithms,
    catalogue,
    elastic_rules,
    family,
    family_reference,
    mean_rules,
    peer_rules,
    reference,
    rules,
    updates,
)

MODULES = [_chunks, algorithms, catalogue, family, reference, family_reference, updates]
MODULES += [rules, elastic_rules, mean_rules, peer_rules]


@pytest.mark.parametrize("module", MODULES)
def test_its_examples_run(module: ModuleType) -> None:
    """Every example in a docstring gives what it says."""
    results = doctest.testmod(module)

    assert results.failed == 0
    assert results.attempted > 0


def test_every_public_function_has_an_example() -> None:
    """Whoever asks for help on a function sees it at work."""
    without = [
        name
        for name in averaging.__all__
        if callable(getattr(averaging, name)) and ">>>" not in (getattr(averaging, name).__doc__ or "")
    ]

    assert without == ["Rows", "Scratch"]
