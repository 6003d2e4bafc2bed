"""Dropout whose masks depend on (seed, learner, iteration, which dropout of the model) and on nothing else.

So every executor draws the same masks, and a replay draws them again. It works by intercepting torch's dropout
functions while a learner's forward pass runs, in eager mode as under ``vmap`` and tracing.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from crossbow_lab.errors import ExecutorError, ModelError
from crossbow_lab.random import keep_mask, random_bits, stream_key

_ELEMENTWISE: tuple[Callable[..., Any], ...] = (functional.dropout, torch.dropout)
# By channel, with the number of dimensions that torch takes for one sample without a batch.
_CHANNELWISE: dict[Callable[..., Any], int | None] = {
    functional.dropout1d: 2,
    functional.dropout2d: None,
    functional.dropout3d: 4,
    torch.feature_dropout: None,
}


class KeyedDropout(TorchFunctionMode):
    """While active, dropout draws its masks from ``key`` instead of torch's global generator.

    Parameters
    ----------
    key : 0-d int64 tensor
        The learner's key for this iteration; under ``vmap`` the batched element of `learner_keys`.
    """

    def __init__(self, key: Tensor) -> None:
        super().__init__()
        self.key = key
        self.calls = 0

    def __torch_function__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Replace dropout, pass everything else on."""
        kwargs = kwargs or {}
        if func in _ELEMENTWISE:
            return self._dropout(_whole_shape, *args, **kwargs)
        if func in _CHANNELWISE:
            return self._dropout(partial(_channels_shape, sample_dims=_CHANNELWISE[func]), *args, **kwargs)
        return func(*args, **kwargs)

    def _dropout(
        self,
        mask_shape: Callable[[Tensor], tuple[int, ...]],
        input: Tensor,  # noqa: A002  (torch's own names, so that keyword calls work)
        p: float = 0.5,
        training: bool = True,
        inplace: bool = False,
        *,
        train: bool | None = None,
    ) -> Tensor:
        """Zero elements (or whole channels) with probability ``p``, and scale the rest by 1 / (1 - p)."""
        del inplace  # the result is the same, and a bank's view must not be overwritten
        if not 0.0 <= p <= 1.0:
            raise ModelError(f"the model's dropout has probability {p}; it must be between 0 and 1")
        if not (training if train is None else train) or p == 0.0:
            return input
        # Filled on the device: a copy from the host could not be part of a CUDA graph.
        key = random_bits(self.key, torch.full((), self.calls, device=input.device))
        self.calls += 1
        keep = keep_mask(key, mask_shape(input), 1.0 - p, input.device)
        return torch.where(
            keep, input * (1.0 / (1.0 - p) if p < 1.0 else 0.0), torch.zeros((), dtype=input.dtype, device=input.device)
        )


def _whole_shape(x: Tensor) -> tuple[int, ...]:
    """Return the shape of a mask with one draw per element."""
    return tuple(x.shape)


def _channels_shape(x: Tensor, *, sample_dims: int | None) -> tuple[int, ...]:
    """Return the shape of a mask with one draw per channel: of (b, C, ...), or of (C, ...) without a batch."""
    leading = 1 if x.dim() == sample_dims else 2
    return (*x.shape[:leading], *(1 for _ in x.shape[leading:]))


def learner_keys(seed: int, n_learners: int, device: torch.device, *, first: int = 0, step: int = 1) -> Tensor:
    """Return the keys of learners first, first + step and so on, int64 (n_learners,); see `iteration_keys`."""
    return torch.tensor([stream_key(seed, "dropout", first + i * step) for i in range(n_learners)], device=device)


def iteration_keys(keys: Tensor, iteration: int | Tensor) -> Tensor:
    """Return each learner's key for one iteration, in the shape of ``keys``; a tensor () counts on the device."""
    if isinstance(iteration, Tensor):
        return random_bits(keys, iteration.expand_as(keys))
    return random_bits(keys, torch.full_like(keys, iteration))


class _RefuseRandom(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch doesn't annotate it
    """While active, an operator that draws from torch's global generator raises ExecutorError."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._device = device

    def __torch_dispatch__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator; refuse it if it has moved the generator on, which attention without dropout doesn't."""
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **(kwargs or {}))
        before = self._generators()
        result = func(*args, **(kwargs or {}))
        if before != self._generators():
            raise ExecutorError(
                f"the model's forward pass draws random numbers with {func}, which can't be replayed; use "
                "nn.Dropout, nn.Dropout1d, nn.Dropout2d or nn.Dropout3d, set the dropout that attention and "
                "recurrent layers have inside to 0, or draw random numbers outside the model"
            )
        return result

    def _generators(self) -> list[bytes]:
        """Return the state of the global generators."""
        states = [torch.get_rng_state()]
        if self._device.type == "cuda":
            states.append(torch.cuda.get_rng_state(self._device))
        return [state.numpy().tobytes() for state in states]


def draws_random_numbers(model: nn.Module, example: Tensor) -> bool:
    """Tell whether a forward pass of ``model`` in training mode uses dropout, however it is written.

    Parameters
    ----------
    example : (b, *input_shape)
        One batch to run the model on. The model's buffers and torch's global generators are left as they were.

    Raises
    ------
    ExecutorError
        If it draws random numbers in a way that can't be replayed.
    """
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    mode = KeyedDropout(torch.zeros((), dtype=torch.int64, device=example.device))
    devices = [example.device] if example.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices), torch.no_grad(), _RefuseRandom(example.device), mode:
            model(example)
    finally:
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(before[name])
    return mode.calls > 0
