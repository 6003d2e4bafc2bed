"""Fresh processes say what went wrong in them."""

import sys

import pytest

from crossbow_lab.bench.processes import output_of
from crossbow_lab.errors import CrossbowError


def test_output_of_returns_what_the_program_prints():
    """Standard output, as text."""
    assert output_of([sys.executable, "-S", "-c", "print(6 * 7)"], what="multiplying") == "42\n"


def test_output_of_a_failing_program_says_what_it_wrote():
    """The message names the purpose, the exit status and the program's own error."""
    program = "import sys; sys.stderr.write('no such bank'); sys.exit(3)"

    with pytest.raises(CrossbowError, match="counting failed with exit status 3: no such bank"):
        output_of([sys.executable, "-S", "-c", program], what="counting")
