"""Norms of gradients in the bank against NumPy in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossbow_lab.learners.gradients import gradient_squares
from crossbow_lab.tuning.reference import squares

quick = settings(max_examples=60, deadline=None)


@quick
@given(st.integers(1, 9), st.integers(1, 300), st.integers(0, 64), st.integers(0, 2**31))
def test_squares_equal_the_reference(k: int, n: int, padding: int, seed: int) -> None:
    """Also where rows are longer than the parameters; the gradients are left as they are."""
    bank = torch.randn(k, n + padding, generator=torch.Generator().manual_seed(seed))
    rows, before = bank[:, :n], bank.clone()
    found = gradient_squares(rows, out=torch.zeros(k + 1, dtype=torch.float64), total_n=torch.zeros(n))
    np.testing.assert_allclose(found.numpy(), squares(rows.numpy()), rtol=3e-6, atol=1e-9 * n)
    assert torch.equal(bank, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_squares_write_where_they_are_told_to(dtype: torch.dtype) -> None:
    """Into ``out``; nothing else is allocated for them."""
    out = torch.zeros(3, dtype=torch.float64)
    found = gradient_squares(torch.ones(2, 5, dtype=dtype), out=out, total_n=torch.zeros(5, dtype=dtype))
    assert found.data_ptr() == out.data_ptr()
    np.testing.assert_allclose(out.numpy(), [5.0, 5.0, 20.0], rtol=1e-6)
