"""Brings small tensors from the device to the host without making either wait."""

import torch
from torch import Tensor


class Fetch:
    """One tensor on its way to the host. On a CPU it has arrived as soon as it is sent."""

    def __init__(self) -> None:
        self._sent: tuple[Tensor, torch.cuda.Event | None] | None = None

    @property
    def is_under_way(self) -> bool:
        """Whether something was sent and not taken yet."""
        return self._sent is not None

    @property
    def has_arrived(self) -> bool:
        """Whether `take` would return at once."""
        return self._sent is not None and (self._sent[1] is None or self._sent[1].query())

    def send(self, tensor: Tensor) -> None:
        """Send a copy of ``tensor`` as it will be after all that was launched before; it may be overwritten after."""
        if not tensor.is_cuda:
            self._sent = tensor.clone(), None
            return
        arrival = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        arrival.copy_(tensor, non_blocking=True)
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(tensor.device))
        self._sent = arrival, event

    def take(self) -> Tensor:
        """Return what was sent, on the host; waits for it if it must."""
        assert self._sent is not None  # noqa: S101  (whoever takes has sent)
        arrival, event = self._sent
        self._sent = None
        if event is not None:
            event.synchronize()
        return arrival
