"""Several GPUs under NCCL: one GPU's training, the same bits again, and a lost worker."""

import os
import signal
import time
from typing import Any

import pytest
import torch
from gpu_support import NEEDS_GPU

from crossbow_lab.averaging import EASGD, SMA, SSGD, Algorithm
from crossbow_lab.session import Session

pytestmark = [
    *NEEDS_GPU,
    pytest.mark.skipif(
        torch.cuda.device_count() < 2,
        reason=f"NCCL joins two GPUs at least, but torch finds {torch.cuda.device_count()} here",
    ),
]
USUAL: dict[str, Any] = {"batch_size": 8, "dtype": "float64", "executor": "fused"}


@pytest.mark.parametrize("algorithm", [SMA(), SMA(sync_period=3, local_momentum=0.5), EASGD(), SSGD()])
def test_two_gpus_train_as_one(algorithm: Algorithm) -> None:
    """To rounding, and again to the same bits."""
    with Session("logreg", algorithm=algorithm, learners=4, device="cuda:0", **USUAL) as one:
        expected = one.run(iterations=50).central_model()
    with Session("logreg", algorithm=algorithm, learners=2, devices=["cuda:0", "cuda:1"], **USUAL) as two:
        found = two.run(iterations=50).central_model()
        for name, tensor in expected.state_dict().items():
            torch.testing.assert_close(found.state_dict()[name], tensor, rtol=1e-9, atol=1e-9)
        with Session(two.recipe) as again:
            assert again.run().fingerprint() == two.fingerprint()


def test_a_killed_worker_fails_the_session() -> None:
    """NCCL itself would wait for ever."""
    with Session("logreg", learners=2, devices="all", **USUAL) as session:
        group = session._loop.trainer.together.group
        assert group is not None
        assert group.workers is not None
        session.start()
        time.sleep(1)
        os.kill(group.workers.pids[-1], signal.SIGKILL)
        assert session.wait(10) == "failed"
        assert "was killed by SIGKILL" in str(session.error)
