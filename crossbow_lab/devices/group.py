"""A group of devices that train together: who leads, what the leader orders, and what they add up and hand round.

Two process groups of torch.distributed, neither of them the global one, so that a notebook may hold several sessions:
*control*, always gloo on host memory, carries the leader's orders and may wait for as long as nobody trains; *data*
carries sums of model-sized vectors, and is NCCL between GPUs. All members do the same in the same order, or hang.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]  # which torch's own __init__ does

from crossbow_lab.devices.workers import Workers
from crossbow_lab.errors import DeviceLost, DeviceUnavailable

_FOR_EVER = timedelta(days=365)
_STEP, _OTHER = 0, 1


@dataclass(frozen=True)
class Member:
    """Which of how many devices this process has.

    Attributes
    ----------
    rank, size : 0 leads.
    device : such as "cpu" or "cuda:1".
    """

    rank: int
    size: int
    device: str


class Group:
    """One process's membership.

    Parameters
    ----------
    store : Store
        Where members find each other.
    member : Member
    is_local : bool
        Whether all members are on this machine.
    timeout : timedelta
        How long a sum may take before the others are taken for lost; where somebody watches them, as long as it likes.
    workers : Workers, optional
        The other members, where they are this process's own: they know what has happened when one can't be reached.

    Attributes
    ----------
    member : Member
    workers : the same
    bytes_reduced : int
        What this member has put into sums so far: the payload, whatever the backend makes of it.
    """

    def __init__(
        self,
        store: Store,
        member: Member,
        *,
        is_local: bool,
        timeout: timedelta = _FOR_EVER,
        workers: Workers | None = None,
    ) -> None:
        self.member = member
        self.bytes_reduced = 0
        self.workers = workers
        self._is_open = True
        self._closing = threading.Lock()
        self._header = torch.zeros(2, dtype=torch.int64)
        self._device = torch.device(member.device)
        with self._reaching():
            self._control = _gloo(PrefixStore("control", store), member, _FOR_EVER, is_local=is_local)
            data = PrefixStore("data", store)
            if self._device.type == "cuda":
                self._data: Any = _nccl(data, member, timeout)
            else:
                self._data = _gloo(data, member, timeout, is_local=is_local)
        if workers is not None:
            workers.let_go = self.abort

    @property
    def leads(self) -> bool:
        """Whether this is the member that gives orders."""
        return self.member.rank == 0

    @property
    def is_open(self) -> bool:
        """Whether it hasn't been closed."""
        return self._is_open

    # ---- orders ---------------------------------------------------------------------------------------------

    def order(self, name: str, **arguments: Any) -> None:
        """Tell all others what to do next, and do it too. A step is told in one message of 16 bytes."""
        self._require_open()
        if name == "step" and set(arguments) == {"most"}:
            self._send_header(_STEP, arguments["most"])
            return
        text = torch.frombuffer(bytearray(json.dumps([name, arguments]).encode()), dtype=torch.uint8)
        self._send_header(_OTHER, len(text))
        self._broadcast(text)

    def next_order(self) -> tuple[str, dict[str, Any]]:
        """Wait for the leader's next order, for as long as it takes."""
        self._broadcast(self._header)
        kind, value = self._header.tolist()
        if kind == _STEP:
            return "step", {"most": value}
        text = torch.empty(value, dtype=torch.uint8)
        self._broadcast(text)
        name, arguments = json.loads(bytes(text.tolist()))
        return str(name), dict(arguments)

    def exchange(self, text: str) -> list[str]:
        """Hand a text to all members; return everybody's, by rank."""
        own = torch.frombuffer(bytearray(text.encode() or b"\0"), dtype=torch.uint8)
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.member.size)]
        with self._reaching():
            self._control.allgather([lengths], [torch.tensor([len(own)])]).wait()
            padded = torch.zeros(max(int(length) for length in lengths), dtype=torch.uint8)
            padded[: len(own)] = own
            found = [torch.empty_like(padded) for _ in lengths]
            self._control.allgather([found], [padded]).wait()
        each = zip(found, lengths, strict=True)
        return [bytes(text[: int(length)].tolist()).decode().strip("\0") for text, length in each]

    # ---- sums and copies ------------------------------------------------------------------------------------

    def start_sum(self, total: Tensor) -> dist.Work:
        """Begin to add up a tensor over all devices, in place; `finish` waits for it."""
        self._require_open()
        self.bytes_reduced += total.nbytes
        with self._reaching():
            return self._data.allreduce([total])  # type: ignore[no-any-return]  # torch doesn't annotate it

    def finish(self, work: dist.Work) -> None:
        """Wait for a sum; on a GPU only the current stream does."""
        with self._reaching():
            work.wait()

    def sum(self, total: Tensor) -> None:
        """Add up a tensor over all devices, in place."""
        self.finish(self.start_sum(total))

    def join(self, columns: Tensor) -> Tensor:
        """Return what all devices have of each learner side by side: (rows, m) of each, (rows, m * g) in all."""
        own = columns.contiguous()
        found = [torch.empty_like(own) for _ in range(self.member.size)]
        with self._reaching():
            self._data.allgather([found], [own]).wait()
        return torch.stack(found, dim=-1).flatten(-2)

    def gather_rows(self, rows: Tensor) -> Tensor:
        """Return the rows of all learners, (m * g, ...) on the host, of each device's (m, ...)."""
        own = rows.detach().cpu().contiguous()
        found = [torch.empty_like(own) for _ in range(self.member.size)]
        with self._reaching():
            self._control.allgather([found], [own]).wait()
        return torch.stack(found, dim=1).flatten(0, 1)

    def scatter_rows(self, rows: Tensor | None, place: Tensor) -> None:
        """Put each device's own of the leader's rows (m * g, ...) into its ``place`` (m, ...)."""
        m, size = len(place), self.member.size
        whole = torch.empty(m * size, *place.shape[1:], dtype=place.dtype) if rows is None else rows.contiguous()
        self._broadcast(whole)
        place.copy_(whole.view(m, size, *place.shape[1:])[:, self.member.rank])

    def copy(self, tensor: Tensor) -> None:
        """Give all members the leader's tensor, in place."""
        sent = tensor.cpu().contiguous()
        self._broadcast(sent)
        tensor.copy_(sent)

    # ---- the end --------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Leave, and end the members that are this process's own; may be called from any thread, and twice."""
        with self._closing:
            if not self._is_open:
                return
            self._is_open = False
        if self.workers is not None:
            self.workers.close()
        self.abort()

    def abort(self) -> None:
        """Let nobody wait in a sum any more; NCCL would for ever, gloo notices by itself when a peer is gone."""
        if self._device.type == "cuda":
            with suppress(RuntimeError):
                self._data.abort()

    def _require_open(self) -> None:
        """Refuse to go on alone."""
        if not self._is_open:
            raise self._why_lost(RuntimeError("they have been let go"))

    def _send_header(self, kind: int, value: int) -> None:
        """Broadcast the beginning of an order."""
        self._header[0], self._header[1] = kind, value
        self._broadcast(self._header)

    def _broadcast(self, tensor: Tensor) -> None:
        """Give all members the leader's tensor on the host, in place."""
        with self._reaching():
            self._control.broadcast([tensor], _FROM_LEADER).wait()

    def _why_lost(self, error: BaseException) -> DeviceLost:
        """Return what is known of why the others can't be reached."""
        if self.workers is not None:
            return self.workers.why(_first_line(error))
        return DeviceLost(f"another device of the group can't be reached any more ({_first_line(error)})")

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Say what has happened to the others where they can't be reached."""
        try:
            yield
        except RuntimeError as error:
            if isinstance(error, DeviceLost):
                raise
            raise self._why_lost(error) from error


def _first_line(error: BaseException) -> str:
    """Return the part of an error that fits a message."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def _from_leader() -> Any:
    """Return the options of a broadcast by rank 0."""
    options = dist.BroadcastOptions()
    options.rootRank = options.rootTensor = 0
    return options


_FROM_LEADER = _from_leader()


def _gloo(store: Store, member: Member, timeout: timedelta, *, is_local: bool) -> Any:
    """Return a process group on host memory."""
    kind: Any = dist.ProcessGroupGloo
    options = kind._Options()
    options._timeout = timeout
    # By its own name a host may have an address that nobody listens on; on one machine none is needed.
    options._devices = [kind.create_device(hostname="127.0.0.1") if is_local else kind.create_default_device()]
    return kind(store, member.rank, member.size, options)


def _nccl(store: Store, member: Member, timeout: timedelta) -> Any:
    """Return a process group on GPUs.

    Raises
    ------
    DeviceUnavailable
        If this torch has no NCCL.
    """
    check_nccl()
    kind: Any = dist.ProcessGroupNCCL
    options = kind.Options()
    options._timeout = timeout
    torch.cuda.set_device(torch.device(member.device))
    return kind(store, member.rank, member.size, options)


def check_nccl() -> None:
    """Refuse GPUs where torch can't join them.

    Raises
    ------
    DeviceUnavailable
        If this torch has no NCCL.
    """
    if not dist.is_nccl_available():
        raise DeviceUnavailable(
            "several GPUs train together through NCCL, which this build of torch doesn't have; install torch's CUDA "
            'build for Linux, or train on one of them: device="cuda:0"'
        )
