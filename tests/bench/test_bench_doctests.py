"""The examples in the docstrings of this package."""

import doctest

import pytest

from crossbow_lab.bench import machine, measure, memory, report


@pytest.mark.parametrize("module", [machine, measure, memory, report])
def test_docstring_examples_give_what_they_say(module):
    """There are examples, and each, run, prints what stands under it."""
    found = doctest.testmod(module)

    assert found.attempted > 0
    assert found.failed == 0
