"""Errors a user can act on: each says what was given, what is needed and what to do."""

import difflib
from collections.abc import Iterable


class CrossbowError(Exception):
    """Any error that crossbow_lab raises on purpose."""


class ConfigurationError(CrossbowError, ValueError):
    """A setting is outside its legal range, or settings contradict each other."""


class DataError(CrossbowError, ValueError):
    """A data set is missing, damaged, or holds values that training can't use."""


class ModelError(CrossbowError, ValueError):
    """A model can't be built, has no parameters, or doesn't fit its data."""


class ExecutorError(CrossbowError, RuntimeError):
    """An executor can't run this model here."""


class DivergedError(CrossbowError, RuntimeError):
    """A loss stopped being finite."""


class CheckpointError(CrossbowError, ValueError):
    """A checkpoint is damaged, or was written by a newer version."""


class RecipeError(CrossbowError, ValueError):
    """A recipe can't be read, or can't be replayed."""


class RunError(CrossbowError, RuntimeError):
    """A notebook run failed, or its parameters were refused."""


class DeviceUnavailable(CrossbowError, RuntimeError):  # noqa: N818  (reads as what happened)
    """A device was asked for that this machine doesn't have."""


class DeviceLost(CrossbowError, RuntimeError):  # noqa: N818  (reads as what happened)
    """One of several devices is gone, has stopped, failed or come to another z, so that the others can't go on."""


class KernelError(CrossbowError, RuntimeError):
    """A CUDA kernel's source is missing, or it can't be compiled or loaded."""


def nearest(given: str, known: Iterable[str]) -> str:
    """Say which known names there are, nearest first.

    Examples
    --------
    >>> nearest("lennet", ["mlp", "lenet"])
    "did you mean 'lenet'? Known: lenet, mlp"
    """
    names = sorted(known)
    lowered = {name.lower(): name for name in names}
    close = difflib.get_close_matches(given.lower(), lowered, n=1, cutoff=0.5)
    hint = f"did you mean {lowered[close[0]]!r}? " if close else ""
    return f"{hint}Known: {', '.join(names)}"
