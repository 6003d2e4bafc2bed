"""The examples in the docstrings of this package."""

import doctest
import importlib
import pkgutil

import pytest

from crossbow_lab import workloads

MODULES = [module.name for module in pkgutil.iter_modules(workloads.__path__, f"{workloads.__name__}.")]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_give_what_they_say(name):
    """Each example, run, prints what stands under it."""
    assert doctest.testmod(importlib.import_module(name)).failed == 0
