"""What the environment says of those around: whether anybody looks, and whether a run is being recorded."""

import os

HEADLESS_VARIABLE = "CROSSBOW_HEADLESS"
"""The environment variable that says that nobody looks; our runner sets it."""

RUN_FOLDER_VARIABLE = "CROSSBOW_RUN_FOLDER"
"""The environment variable that names the record of the run that a notebook is executed as."""


def is_headless() -> bool:
    """Tell whether the environment says that nobody looks: ``CROSSBOW_HEADLESS`` is set, and not to 0.

    Examples
    --------
    A notebook that runs by itself must wait where a person would watch::

        session.start(epochs=5)
        if is_headless():
            session.wait()
    """
    return os.environ.get(HEADLESS_VARIABLE, "0") not in ("", "0")
