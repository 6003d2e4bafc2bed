"""The loss-landscape lab on the kernel, emulated, against the lab in NumPy."""

from functools import partial

import numpy as np
import pytest
import torch
from emulated import Emulator

from crossbow_lab.averaging import EASGD, SMA, SSGD, Algorithm
from crossbow_lab.landscape import Landscape, devices

ALGORITHMS = (
    SMA(),
    SMA(alpha=0.05, momentum=0.5, local_momentum=0.6, sync_period=3),
    EASGD(sync_period=2),
    EASGD(alpha=0.1, local_momentum=0.3),
    SSGD(momentum=0.7),
)


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=str)
def test_the_lab_goes_on_by_the_kernel_as_in_numpy(emulated: Emulator, algorithm: Algorithm):
    """State, history and trails, in several launches with a restart and other learners between them."""
    labs = [Landscape("noisy-quadratic", algorithm, learners=6, seed=3) for _ in range(2)]
    labs[1]._advance = partial(devices._on_cuda, torch.device("cpu"), labs[1].surface)
    for lab in labs:
        lab.reset().run(13).restart_averaging().run(4).adjust(learners=9, noise=1.0).run(40).seek(30)
    numpy, kernel = labs

    np.testing.assert_allclose(kernel.state.learners, numpy.state.learners, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(kernel.state.centre, numpy.state.centre, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(kernel.history, numpy.history, rtol=1e-7, atol=1e-9)
    for (at, found), (expected_at, expected) in zip(
        kernel.course.positions_until(30), numpy.course.positions_until(30), strict=True
    ):
        assert at == expected_at
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
