"""The examples in the session's docstrings."""

import doctest
import importlib
import pkgutil

import pytest

import crossbow_lab.session

MODULES = [module.name for module in pkgutil.iter_modules(crossbow_lab.session.__path__, "crossbow_lab.session.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_true(name: str) -> None:
    """Each example gives what it says."""
    assert doctest.testmod(importlib.import_module(name)).failed == 0
