"""Banks for the averaging kernels, the calls of the doors, and what must come out: to the bit for float32 and narrower.

`Case` lies in memory whose pages around it can't be touched, with NaN between the rows. `exact` takes one iteration as
the sources say it, operation by operation; where an array is float64, fused multiply-adds are rounded twice, so there
`reference` is the measure.
"""

import mmap
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from emulated import guarded
from numpy.typing import NDArray
from torch import Tensor

from crossbow_lab.averaging import reference
from crossbow_lab.kernels import averaging

Array = NDArray[Any]
SETTINGS = {"learning_rate": 0.1, "alpha": 0.2, "momentum": 0.9, "local_momentum": 0.7, "weight_decay": 0.01}
STATE = ("weights", "velocities", "centre", "centre_velocity")


@dataclass(frozen=True)
class Case:
    """All arrays of an iteration, as the doors take them."""

    weights: Tensor  # (k, n)
    gradients: Tensor
    velocities: Tensor
    differences: Tensor
    centre: Tensor  # (n,)
    centre_velocity: Tensor
    scalars: Tensor
    partials: Tensor

    @property
    def k(self) -> int:
        """Number of learners."""
        return len(self.weights)

    def state(self) -> dict[str, Tensor]:
        """Return copies of what an iteration changes."""
        return {name: getattr(self, name).clone() for name in STATE}

    def gaps(self) -> Tensor:
        """Return what lies between the rows."""
        between = []
        for rows in (self.weights, self.gradients, self.velocities, self.differences):
            k, n = rows.shape
            ld = rows.stride(0)
            between.append(rows.as_strided((k - 1, ld - n), (ld, 1), rows.storage_offset() + n).double())
        return torch.cat([gap.reshape(-1) for gap in between])


def rows(k: int, n: int, ld: int, dtype: torch.dtype, *, at_end: bool = True) -> Tensor:
    """Return k rows of n elements, ld apart; the memory ends with the last row, to 16 bytes."""
    return guarded((k - 1) * ld + n, dtype=dtype, at_end=at_end).as_strided((k, n), (ld, 1))


def make_case(
    k: int,
    n: int,
    dtype: torch.dtype = torch.float32,
    *,
    seed: int = 0,
    padding: int = 0,
    at_end: bool = True,
    **settings: float,
) -> Case:
    """Draw a bank whose rows are ``padding`` elements further apart than they need be."""
    generator = torch.Generator().manual_seed(seed)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    ld = -(-n // 8) * 8 + padding

    def filled(tensor: Tensor) -> Tensor:
        return tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=torch.float64))

    weights = filled(rows(k, n, ld, dtype, at_end=at_end))
    scalars = guarded(8, dtype=wide, at_end=at_end)
    averaging.write_scalars(scalars, **{**SETTINGS, "alpha": 0.9 / k, **settings})
    return Case(
        weights=weights,
        gradients=filled(rows(k, n, ld, dtype, at_end=at_end)),
        velocities=filled(rows(k, n, ld, wide, at_end=at_end)),
        differences=rows(k, n, ld, wide, at_end=at_end),
        centre=filled(guarded(n, dtype=wide, at_end=at_end)),
        centre_velocity=filled(guarded(n, dtype=wide, at_end=at_end)),
        scalars=scalars,
        partials=guarded(2 * k + 1, -(-n // 256), dtype=wide, at_end=at_end),
    )


def make_far_case(k: int, n: int, ld: int) -> Case:
    """Draw a bank of halves of which only the last 300 columns hold anything; memory never touched costs nothing."""

    def sparse(shape: tuple[int, ...], stride: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        count = sum((size - 1) * step for size, step in zip(shape, stride, strict=True)) + 1
        unreserved = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000  # MAP_NORESERVE
        memory = mmap.mmap(-1, count * dtype.itemsize, flags=unreserved)
        return torch.frombuffer(memory, dtype=dtype, count=count).as_strided(shape, stride)

    near = make_case(k, 300, torch.float16)
    bank, vector = ((k, n), (ld, 1)), ((n,), (1,))
    far = replace(
        near,
        weights=sparse(*bank, torch.float16),
        gradients=sparse(*bank, torch.float16),
        centre=sparse(*vector, torch.float32),
        centre_velocity=sparse(*vector, torch.float32),
    )
    for name in ("weights", "gradients", "centre", "centre_velocity"):
        getattr(far, name)[..., -300:] = getattr(near, name)
    return far


def last_columns(case: Case) -> Case:
    """Return a copy of what `make_far_case` drew, as a bank of its own."""
    names = ("weights", "gradients", "centre", "centre_velocity")
    return replace(case, **{name: getattr(case, name)[..., -300:].clone() for name in names})


def iterate(rule: str, case: Case, *, local: bool = False, norms: bool = False) -> dict[str, Tensor]:
    """Take one iteration in place through the doors; return copies of the state."""
    update(rule, case, local=local, norms=norms)
    return case.state()


def update(rule: str, case: Case, *, local: bool = False, norms: bool = False) -> None:
    """Take one iteration in place through the doors."""
    c = case
    centre, partials = (c.centre, c.centre_velocity), c.partials if norms else None
    velocities = c.velocities if local else None
    if rule == "sma":
        averaging.sma_update(
            c.weights, c.gradients, *centre, c.scalars, local_velocity_kn=velocities, partials=partials
        )
    elif rule == "easgd":
        averaging.easgd_update(
            c.weights, c.gradients, c.centre, c.scalars, local_velocity_kn=velocities, partials=partials
        )
    elif rule == "sgd":
        averaging.sgd_update(c.weights, c.gradients, c.scalars, local_velocity_kn=velocities)
    elif rule == "ssgd":
        averaging.ssgd_update(c.weights, c.gradients, *centre, c.scalars)
    else:
        for j in range(c.k):
            velocity = c.velocities[j] if local else None
            one = c.weights[j], c.gradients[j], c.centre, c.differences[j], c.scalars
            averaging.sma_correct(*one, local_velocity_n=velocity)
        if rule == "split sma":
            averaging.sma_average(*centre, c.differences, c.scalars)
        else:
            averaging.easgd_average(c.centre, c.differences, c.scalars)


def square_tiles(case: Case) -> Tensor:
    """Return what partial sums must be, in float64: ‖w_j − z‖², ‖g_j‖², ‖Σ_j g_j‖², cut into tiles."""
    w, g, z = (tensor.double() for tensor in (case.weights, case.gradients, case.centre))
    squares = torch.cat([(w - z).square(), g.square(), g.sum(0, keepdim=True).square()])
    return torch.stack([part.sum(1) for part in squares.split(256, dim=1)], dim=1)


def bits(tensor: Tensor) -> bytes:
    """Return a tensor's bytes."""
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()


def fma(a: Array, b: Array, c: Array) -> Array:
    """Return a b + c of float32 with one rounding; of float64 with two.

    In float64 the product is exact. The sum is rounded to odd there, so that rounding it to float32 rounds what is
    true.
    """
    if np.result_type(a, b, c) == np.float64:
        return a * b + c
    product, c = np.float64(a) * np.float64(b), np.float64(c)
    total = product + c
    back = total - product
    error = (product - (total - back)) + (c - back)
    even = total.view(np.int64) % 2 == 0
    odd = np.where((error != 0) & even, np.nextafter(total, np.copysign(np.inf, error)), total)
    return odd.astype(np.float32)


def exact(rule: str, state: dict[str, Tensor], case: Case, *, local: bool = False) -> dict[str, Tensor]:
    """Take one iteration from ``state`` in the arithmetic type, as the sources say it; weights are rounded once."""
    dtype = case.weights.dtype
    wide = case.scalars.dtype
    w, g = state["weights"].to(wide).numpy(), case.gradients.to(wide).numpy()
    v, z, e = (state[name].numpy() for name in STATE[1:])
    gamma, alpha, mu, mu_l, lam = case.scalars[:5].numpy()
    decayed = fma(lam, w, g)
    if rule == "ssgd":
        e = fma(mu, e, -(gamma * decayed[0]))
        z = w[0] + e
        w = z[None]
    else:
        d = w - z
        if local:
            v = fma(mu_l, v, -(gamma * decayed))
            w = w + v
        else:
            w = fma(-gamma, decayed, w)
        if rule != "sgd":
            total = np.zeros_like(z)
            for d_j in d:
                total = total + d_j
            w = fma(-alpha, d, w)
            if rule == "sma":
                e = fma(mu, e, alpha * total)
                z = z + e
            else:
                z = fma(alpha, total, z)
    result = dict(zip(STATE, (torch.tensor(array) for array in (w, v, z, e)), strict=True))
    return {**result, "weights": result["weights"].to(dtype)}


def by_reference(rule: str, state: dict[str, Tensor], case: Case, *, local: bool = False) -> dict[str, Tensor]:
    """Take one iteration from ``state`` with the float64 reference."""
    w, v, z, e = (state[name].double().numpy() for name in STATE)
    g = case.gradients.double().numpy()
    gamma, alpha, mu, mu_l, lam = case.scalars[:5].tolist()
    if rule == "ssgd":
        one = reference.ssgd(reference.SSGDState(z=w[0], v=e), g[0], gamma=gamma, mu=mu, lam=lam)
        arrays = (one.z[None], v, one.z, one.v)
    else:
        before = reference.State(w=w, z=z, z_prev=z - e, v=v if local else 0 * v)
        options: dict[str, float] = {"gamma": gamma, "alpha": alpha, "lam": lam, "mu_l": mu_l if local else 0.0}
        step: Callable[..., reference.State] = reference.easgd if rule == "easgd" else reference.sma
        if rule != "easgd":
            options["mu"] = mu
        after = step(before, g, tau=2 if rule == "sgd" else 1, **options)
        moved = after.z - after.z_prev if rule == "sma" else e
        arrays = (after.w, after.v if local else v, after.z, moved)
    return dict(zip(STATE, (torch.tensor(array) for array in arrays), strict=True))
