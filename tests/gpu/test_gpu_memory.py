"""The memory plan on a GPU: what learners are predicted to take is what torch's allocator had to give."""

import pytest
import torch

import crossbow_lab as cb
from crossbow_lab.bench.subjects import Subject, subject_data

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("learners", [8, 32])
def test_the_largest_that_fits_is_within_a_tenth_of_what_really_fits(device: torch.device, learners: int) -> None:
    """LeNet in a session: with the peak of m learners as the budget, the plan says m, give or take a tenth."""
    data = subject_data(Subject("lenet", "mnist", learners, 16))
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    raw_bytes = sum(tensor.numel() * tensor.itemsize for tensor in data.train.fetch(torch.arange(len(data.train))))
    before_bytes = torch.cuda.memory_allocated(device)
    with cb.Session(
        "lenet", data, learners=learners, max_learners=learners, batch_size=16, executor="fused", device=str(device)
    ) as session:
        session.run(iterations=20)
        taken_bytes = torch.cuda.max_memory_allocated(device) - before_bytes - raw_bytes
        plan = cb.memory_plan(session)

    assert plan.largest(taken_bytes) == pytest.approx(learners, rel=0.1)
