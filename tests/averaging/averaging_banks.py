"""Banks for the tests of the rules, and a watch over what the rules allocate."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def padded(array: Any, padding: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return a copy as rows of a wider array whose padding must never be touched."""
    k, n = array.shape
    wide = torch.full((k, n + padding), float("nan"), dtype=dtype)
    wide[:, :n] = torch.as_tensor(array)
    return wide[:, :n]


class Allocations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the results that have storage of their own, and names the operators that made them."""

    def __init__(self, *known: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.known = {tensor.untyped_storage().data_ptr() for tensor in known}
        self.operators: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if not isinstance(tensor, Tensor) or tensor.untyped_storage().data_ptr() not in self.known:
                self.operators.append(str(func))
        return result
