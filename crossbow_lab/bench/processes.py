"""Fresh processes, for what can be measured only once in each."""

import subprocess
from collections.abc import Sequence

from crossbow_lab.errors import CrossbowError


def output_of(command: Sequence[str], *, what: str) -> str:
    """Run a program and return what it prints.

    Parameters
    ----------
    command : sequence of str
        Program and arguments.
    what : str
        What it is run for, as a message says it.

    Raises
    ------
    CrossbowError
        If it fails, with the end of what it wrote.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (ourselves)
    if done.returncode != 0:
        wrote = done.stderr.strip()[-2000:]
        raise CrossbowError(f"{what} failed with exit status {done.returncode}: {wrote or 'it wrote nothing'}")
    return done.stdout
