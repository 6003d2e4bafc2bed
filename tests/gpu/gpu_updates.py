"""Every averaging kernel on numbers that are the same everywhere: as launched, and as the NumPy reference has it."""

from dataclasses import dataclass

import numpy as np
import torch
from gpu_support import numbers
from torch import Tensor

from crossbow_lab.averaging import reference
from crossbow_lab.kernels import averaging as kernels

GAMMA, ALPHA, MU, MU_L, LAM = 0.0625, 0.21875, 0.875, 0.5, 0.03125
LINE = 64  # elements that rows are padded to


@dataclass(frozen=True)
class Case:
    """One update: which door, and how.

    Attributes
    ----------
    door : "sma", "easgd", "sgd", "ssgd", or "split sma", "split easgd" for corrections and an average.
    dtype : of weights and gradients.
    k, n : learners and parameters.
    has_velocity, has_norms : local momentum; partial sums of squares.
    """

    door: str
    dtype: torch.dtype
    k: int
    n: int
    has_velocity: bool = False
    has_norms: bool = False

    def __str__(self) -> str:
        flags = "".join(name for name, has in ((" v", self.has_velocity), (" norms", self.has_norms)) if has)
        return f"{self.door} {str(self.dtype).removeprefix('torch.')} {self.k}x{self.n}{flags}"


@dataclass(frozen=True)
class Arrays:
    """What an update works on, as slices of padded rows."""

    w: Tensor
    g: Tensor
    v: Tensor
    z: Tensor
    e: Tensor


def arrays(case: Case, device: torch.device) -> Arrays:
    """Return numbers of a case, rounded to its types."""
    wide = torch.float64 if case.dtype == torch.float64 else torch.float32
    padded = -(-case.n // LINE) * LINE

    def rows(key: int, kind: torch.dtype, count: int = case.k) -> Tensor:
        whole = torch.full((count, padded), float("nan"), dtype=kind)
        whole[:, : case.n] = numbers(count, case.n, key=key).to(kind)
        return whole.to(device)[:, : case.n]

    return Arrays(rows(1, case.dtype), rows(2, case.dtype), rows(3, wide), rows(4, wide, 1)[0], rows(5, wide, 1)[0])


def launched(case: Case, given: Arrays) -> Tensor | None:
    """Update in place by the kernels; return the sums of squares where there are any."""
    scalars = kernels.make_scalars(given.w)
    kernels.write_scalars(scalars, learning_rate=GAMMA, alpha=ALPHA, momentum=MU, local_momentum=MU_L, weight_decay=LAM)
    v = given.v if case.has_velocity else None
    partials = kernels.make_partials(given.w) if case.has_norms else None
    if case.door == "sma":
        kernels.sma_update(given.w, given.g, given.z, given.e, scalars, local_velocity_kn=v, partials=partials)
    elif case.door == "easgd":
        kernels.easgd_update(given.w, given.g, given.z, scalars, local_velocity_kn=v, partials=partials)
    elif case.door == "sgd":
        kernels.sgd_update(given.w, given.g, scalars, local_velocity_kn=v)
    elif case.door == "ssgd":
        kernels.ssgd_update(given.w, given.g, given.z, given.e, scalars)
    else:
        _split(case, given, scalars)
    return None if partials is None else kernels.square_sums(partials)


def _split(case: Case, given: Arrays, scalars: Tensor) -> None:
    """Correct learners one by one, the last one first, then average."""
    padded = -(-case.n // LINE) * LINE
    differences = torch.zeros(case.k, padded, dtype=given.z.dtype, device=given.z.device)[:, : case.n]
    for j in reversed(range(case.k)):
        v_j = given.v[j] if case.has_velocity else None
        kernels.sma_correct(given.w[j], given.g[j], given.z, differences[j], scalars, local_velocity_n=v_j)
    if case.door == "split sma":
        kernels.sma_average(given.z, given.e, differences, scalars)
    else:
        kernels.easgd_average(given.z, differences, scalars)


def expected(case: Case) -> dict[str, np.ndarray]:
    """Return what w, v, z and e become by the reference, in float64."""
    given = arrays(case, torch.device("cpu"))
    w, g, v, z, e = (getattr(given, name).double().numpy() for name in "wgvze")
    if case.door == "ssgd":
        # The kernel starts from the replica, and z is it before it is rounded.
        one = reference.ssgd(reference.SSGDState(w[0], e), g[0], gamma=GAMMA, mu=MU, lam=LAM)
        return {"w": one.z[None], "z": one.z, "e": one.v, "v": v}
    mu_l = MU_L if case.has_velocity else 0.0
    state = reference.State(w=w, z=z, z_prev=z - e, v=v if case.has_velocity else 0 * v)
    options = {"gamma": GAMMA, "alpha": ALPHA, "mu_l": mu_l, "lam": LAM}
    if case.door == "sgd":
        after = reference.easgd(state, g, **{**options, "tau": 2})
    elif case.door.endswith("easgd"):
        after = reference.easgd(state, g, **options)
    else:
        after = reference.sma(state, g, mu=MU, **options)
    moves_centre = case.door.endswith("sma")
    return {
        "w": after.w,
        "v": after.v if case.has_velocity else v,
        "z": after.z,
        "e": after.z - after.z_prev if moves_centre else e,
    }


def expected_sums(case: Case) -> np.ndarray:
    """Return the sums of squares: of differences and of gradients by learner, and of the gradients' sum."""
    given = arrays(case, torch.device("cpu"))
    w, g, z = (getattr(given, name).double().numpy() for name in "wgz")
    return np.array([*((w - z) ** 2).sum(1), *(g**2).sum(1), (g.sum(0) ** 2).sum()])
