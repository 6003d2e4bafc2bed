"""A counter-based random generator: the n-th number is a function of (key, n), whoever asks and in whichever order.

That is what keeps a run's random numbers the same whichever executor, device, number of learners or batch size
draws them. The function is SplitMix64's output mix (Steele, Lea, Flood: Fast splittable pseudorandom number
generators, OOPSLA 2014, doi 10.1145/2660193.2660195) on 64-bit integers. torch has no unsigned arithmetic, so
tensors hold the same bits as signed int64: multiplication wraps, and right shifts are masked to be logical.
"""

import torch
from torch import Tensor

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB


def _signed(value: int) -> int:
    """Return the int64 that holds the same 64 bits."""
    return value - (1 << 64) if value >> 63 else value


def _mix(value: int) -> int:
    """Apply SplitMix64's output mix to one Python integer."""
    value = ((value ^ (value >> 30)) * _FIRST) & _MASK
    value = ((value ^ (value >> 27)) * _SECOND) & _MASK
    return value ^ (value >> 31)


def _shifted(value: Tensor, bits: int) -> Tensor:
    """Shift right, filling with zeros."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def _mix_tensor(value: Tensor) -> Tensor:
    """Apply SplitMix64's output mix to an int64 tensor."""
    value = (value ^ _shifted(value, 30)) * _signed(_FIRST)
    value = (value ^ _shifted(value, 27)) * _signed(_SECOND)
    return value ^ _shifted(value, 31)


def stream_key(*words: int | str) -> int:
    """Return the key of the stream that these words name, such as ``stream_key(seed, "shuffle", epoch)``.

    Returns
    -------
    int
        A signed 64-bit integer, fit for an int64 tensor.

    Examples
    --------
    >>> stream_key(0, "shuffle", 1) == stream_key(0, "shuffle", 1)
    True
    >>> stream_key(0, "shuffle", 1) == stream_key(0, "shuffle", 2)
    False
    """
    key = 0
    for word in words:
        number = int.from_bytes(word.encode(), "little") if isinstance(word, str) else word
        while True:  # a long word is folded in 64 bits at a time
            key = _mix((key + _GOLDEN + _mix(number & _MASK)) & _MASK)
            number >>= 64
            if number in (0, -1):
                break
    return _signed(key)


def random_bits(key: int | Tensor, counters: Tensor) -> Tensor:
    """Return 64 random bits for each counter.

    Parameters
    ----------
    key : int or int64 tensor that broadcasts with ``counters``
        Names the stream; see `stream_key`.
    counters : int64 tensor, any shape and device
        Which numbers of the stream.

    Returns
    -------
    int64 tensor of the broadcast shape, on the same device. Costs nine elementwise passes; never synchronises.
    """
    return _mix_tensor(_mix_tensor(counters * _signed(_GOLDEN) + key) + _signed(_GOLDEN))


def random_below(key: int, counters: Tensor, bound: int) -> Tensor:
    """Return a whole number in ``0 <= x < bound`` for each counter, as int64.

    The bias is below ``bound / 2**31``, far below what augmentation could notice.
    """
    return (_shifted(random_bits(key, counters), 33) * bound) >> 31


def keep_mask(key: int | Tensor, shape: tuple[int, ...], probability: float, device: torch.device) -> Tensor:
    """Return a bool mask of ``shape``, each element True with ``probability`` (to 2**-63).

    ``key`` may be a 0-d int64 tensor, so that a captured or traced computation sees a new key each iteration.
    """
    counters = torch.arange(_product(shape), device=device).view(shape)
    threshold = min(max(int(probability * 2.0**64) - (1 << 63), -(1 << 63)), (1 << 63) - 1)
    return random_bits(key, counters) < threshold


def permutation(length: int, key: int, device: torch.device | None = None) -> Tensor:
    """Return a random order of ``0 .. length - 1`` as an int64 tensor (length,), the same on every device."""
    return torch.argsort(random_bits(key, torch.arange(length, device=device)), stable=True)


def _product(shape: tuple[int, ...]) -> int:
    """Return the number of elements of a shape."""
    count = 1
    for extent in shape:
        count *= extent
    return count
