"""The IDX format."""

import numpy as np
import pytest

from crossbow_lab.errors import DataError
from crossbow_lab.workloads.idx import read_idx


def test_read_idx_reads_what_was_written(idx):
    """Shape and values survive."""
    images = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)

    assert np.array_equal(images, read_idx(idx(images), axes=3, where="images"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "images isn't an IDX file of unsigned bytes with 3 axes"),
        (b"\x1f\x8b\x08\x00" + bytes(20), "starts with 1f 8b 08 00, not 00 00 08 03; replace it"),
        (b"\0\0\x0d\x03" + bytes(12), "starts with 00 00 0d 03"),  # floats
        (b"\0\0\x08\x03" + bytes(8), "isn't an IDX file"),  # header cut short
    ],
)
def test_read_idx_refuses_other_files(content, message):
    """Anything that doesn't start as IDX images do is refused by name."""
    with pytest.raises(DataError, match=message):
        read_idx(content, axes=3, where="images")


@pytest.mark.parametrize("change", [-1, 1])
def test_read_idx_refuses_a_file_of_the_wrong_length(idx, change):
    """A file that is cut short, or too long, is damaged."""
    content = idx(np.zeros((2, 3, 4), np.uint8)) + b"\0"

    with pytest.raises(DataError, match=r"should hold 24 bytes of shape \(2, 3, 4\) but holds 2[35]: it was cut short"):
        read_idx(content[: len(content) - 1 + change], axes=3, where="images")


def test_read_idx_refuses_extents_that_overflow():
    """Four billion times four billion images don't wrap round to a small number."""
    content = b"\0\0\x08\x03" + b"\xff" * 12

    with pytest.raises(DataError, match="should hold 79228162458924105385300197375 bytes"):
        read_idx(content, axes=3, where="images")
