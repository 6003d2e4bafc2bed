"""Which devices may train together, and what is said of the others."""

import sys
from typing import Any

import pytest
import torch
from torch import nn

from crossbow_lab.averaging import SMA, SSGD, HierarchicalSMA
from crossbow_lab.devices import check_devices, check_spans, find_devices
from crossbow_lab.devices.group import check_nccl
from crossbow_lab.devices.meeting import Hello, check_alike
from crossbow_lab.errors import ConfigurationError, DeviceUnavailable
from crossbow_lab.session import Recipe, Session

HELLO = Hello("cpu", "CPU", "a" * 64, "2.13.0")


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        (["cpu", "cuda:0"], "devices cpu, cuda:0 are of 2 kinds; all must be of one"),
        (["mps", "mps"], 'only "cpu" and "cuda:0", "cuda:1"'),
        (["cuda", "cuda"], "say which GPU each one is"),
        ("cuda:0", r"devices is 'cuda:0'; give a list of names"),
        ([], "give a list of names"),
        ([1, 2], "give names such as"),
        (2, "give a list of names"),
    ],
)
def test_devices_that_cannot_train_together_are_refused(devices: Any, message: str) -> None:
    """Before any process is started."""
    with pytest.raises(ConfigurationError, match=message):
        Session("logreg", devices=devices)


def test_all_means_every_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are some; else the error names what to do."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert find_devices("all") == ("cuda:0", "cuda:1", "cuda:2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(DeviceUnavailable, match=r'torch finds none here; use devices=\["cpu", "cpu"\]'):
        Session("logreg", devices="all")


def test_a_list_of_one_device_is_that_device() -> None:
    """And starts no process."""
    with Session("logreg", devices=["cpu"], executor="loop") as session:
        assert (session.recipe.device, session.recipe.devices) == ("cpu", ())
    with pytest.raises(ConfigurationError, match="one device alone is device='cpu'"):
        check_devices(("cpu",))
    with pytest.raises(ConfigurationError, match=r"device='cpu' and devices=\['cpu', 'cpu'\]: give one of them"):
        Session("logreg", device="cpu", devices=["cpu", "cpu"])


def test_only_some_algorithms_span_devices() -> None:
    """The others say which do."""
    check_spans(SMA(), 8)
    check_spans(SSGD(), 8)
    with pytest.raises(ConfigurationError, match=r"on 2 devices use one of SMA, EA-SGD, S-SGD"):
        Recipe("logreg", "digits", HierarchicalSMA(devices=2), devices=("cpu", "cpu"))


def test_alpha_and_batch_are_checked_for_the_learners_of_all_devices() -> None:
    """K is what counts."""
    Recipe("logreg", "digits", SMA(alpha=0.5), learners=4)
    with pytest.raises(ConfigurationError, match="diverge with k = 8 learners"):
        Recipe("logreg", "digits", SMA(alpha=0.5), learners=4, devices=("cpu", "cpu"))
    with pytest.raises(ConfigurationError, match="has only 1437 training samples"):
        Session("logreg", learners=4, batch_size=200, devices=["cpu", "cpu"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"code": "b" * 64}, "rank 1 has another version of crossbow_lab: bbb.*; install the same one on all nodes"),
        ({"torch": "2.12.0"}, "rank 1 has another torch: 2.12.0, but rank 0 has 2.13.0"),
        ({"kind": "NVIDIA A100 with 40 GiB"}, "rank 1 is another kind of device: NVIDIA A100 .*; take devices of one"),
    ],
)
def test_unlike_members_are_refused(change: dict[str, str], message: str) -> None:
    """Code, torch and the kind of GPU."""
    check_alike([HELLO, HELLO])
    with pytest.raises(ConfigurationError, match=message):
        check_alike([HELLO, Hello(**{**vars(HELLO), **change})])


def test_a_torch_without_nccl_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what to do."""
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: False)
    with pytest.raises(DeviceUnavailable, match="NCCL, which this build of torch doesn't have; install"):
        check_nccl()


def test_what_another_process_cannot_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model made of code that only this process has."""

    class Local(nn.Linear):
        pass

    data = torch.zeros(8, 5), torch.arange(8) % 3
    with pytest.raises(ConfigurationError, match=r"can't be given to another process .*put the class or function into"):
        Session(Local(5, 3), data, batch_size=1, devices=["cpu", "cpu"])
    monkeypatch.setattr(nn.Linear, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "Linear", nn.Linear, raising=False)
    with pytest.raises(ConfigurationError, match="is made of code in __main__; on several devices each has a process"):
        Session(nn.Linear(5, 3), data, batch_size=1, devices=["cpu", "cpu"])
