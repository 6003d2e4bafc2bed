"""The doors to the averaging kernels: torch tensors in, checked, launched; the CUDA twin of crossbow_lab.averaging.

A bank (k, n) holds learner j's n parameters in row j, as slices of padded rows: columns contiguous, rows ``ld`` apart,
ld a multiple of 8 elements, 16-byte aligned. Weights T and gradients are float32, float64, float16 or bfloat16; all
else (centre, velocities, differences, scalars, partials) has the arithmetic type A: float64 for float64, else float32.
All of one call lie on one CUDA device.

Every door works in place on torch's current stream, allocates nothing, reads only the metadata of tensors, and never
waits for the device. Results are the same bits on every run, whatever the grid. Autograd doesn't see the writes.

Letters at the end of names: k learners, n parameters.
"""

from typing import Final

import torch
from torch import Tensor

from crossbow_lab.errors import ConfigurationError
from crossbow_lab.kernels import _checks as checks
from crossbow_lab.kernels import launch as launching
from crossbow_lab.kernels._averaging_kernels import (
    EASGD_AVERAGE,
    EASGD_UPDATE,
    SGD_UPDATE,
    SMA_AVERAGE,
    SMA_CORRECT,
    SMA_UPDATE,
    SQUARE_SUMS,
    SSGD_UPDATE,
    geometry,
    tiles_of,
)
from crossbow_lab.kernels._averaging_kernels import variants as variants
from crossbow_lab.kernels._checks import Bank
from crossbow_lab.kernels.kernel import Kernel, Template

N_SCALARS: Final = 8  # γ, α, μ, μ_l, λ, and three spare ones

_ARITHMETIC: Final = (torch.float32, torch.float64)


def sma_update(
    weights_kn: Tensor,
    gradients_kn: Tensor,
    centre_n: Tensor,
    centre_velocity_n: Tensor,
    scalars: Tensor,
    *,
    local_velocity_kn: Tensor | None = None,
    partials: Tensor | None = None,
) -> None:
    """Take one synchronising iteration of SMA (Algorithm 1), in place: `crossbow_lab.averaging.sma_step` in one kernel.

    Parameters
    ----------
    weights_kn : Tensor of T, shape (k, n)
        Weights w_j in rows; updated in place. Row stride and alignment as the module says.
    gradients_kn : Tensor of T, shape and strides of weights_kn
        Gradients g_j; left as they are.
    centre_n : Tensor of A, shape (n,), contiguous
        Central average model z; updated in place.
    centre_velocity_n : Tensor of A, shape (n,), contiguous
        z − z_prev; updated in place.
    scalars : Tensor of A, shape (8,)
        From `make_scalars`, written by `write_scalars`; read on the device, so a captured graph sees new values.
    local_velocity_kn : Tensor of A, shape and strides of weights_kn, optional
        The learners' local momentum v_j; updated in place. Without it the local momentum in scalars is ignored.
    partials : Tensor of A, shape (2 k + 1, tiles), optional
        From `make_partials`; receives sums of squares for `square_sums`.

    Raises
    ------
    ConfigurationError
        If a shape, dtype, device, stride or alignment doesn't fit.
    DeviceUnavailable, KernelError
        As `crossbow_lab.kernels.launch.launch`.

    Notes
    -----
    Moves 3 k s + 4 a bytes per parameter, s and a the sizes of T and A: each learner's weights are read and written
    once, its gradients read once. Local momentum adds 2 k a. Never synchronises.
    """
    bank = checks.bank("weights", weights_kn)
    values = _learners(bank, weights_kn, gradients_kn, local_velocity_kn)
    values |= _vectors(bank, z=("centre_n", centre_n), e=("centre_velocity_n", centre_velocity_n))
    values["partials"] = _partials(bank, partials)
    template = (bank.type, local_velocity_kn is not None, partials is not None)
    _launch(SMA_UPDATE, template, bank, values, scalars)


def easgd_update(
    weights_kn: Tensor,
    gradients_kn: Tensor,
    centre_n: Tensor,
    scalars: Tensor,
    *,
    local_velocity_kn: Tensor | None = None,
    partials: Tensor | None = None,
) -> None:
    """Take one synchronising iteration of EA-SGD, in place: `crossbow_lab.averaging.easgd_step` in one kernel.

    Parameters and errors as in `sma_update`; moves 2 a bytes per parameter less.
    """
    bank = checks.bank("weights", weights_kn)
    values = _learners(bank, weights_kn, gradients_kn, local_velocity_kn)
    values |= _vectors(bank, z=("centre_n", centre_n))
    values["partials"] = _partials(bank, partials)
    template = (bank.type, local_velocity_kn is not None, partials is not None)
    _launch(EASGD_UPDATE, template, bank, values, scalars)


def sgd_update(
    weights_kn: Tensor, gradients_kn: Tensor, scalars: Tensor, *, local_velocity_kn: Tensor | None = None
) -> None:
    """Take the learners' own steps between synchronisations, in place: `crossbow_lab.averaging.local_step`.

    Parameters and errors as in `sma_update`; moves 3 k s bytes per parameter, with local momentum 2 k a more.
    """
    bank = checks.bank("weights", weights_kn)
    values = _learners(bank, weights_kn, gradients_kn, local_velocity_kn)
    _launch(SGD_UPDATE, (bank.type, local_velocity_kn is not None), bank, values, scalars)


def ssgd_update(
    weights_1n: Tensor, gradients_1n: Tensor, centre_n: Tensor, centre_velocity_n: Tensor, scalars: Tensor
) -> None:
    """Take one iteration of S-SGD, in place: `crossbow_lab.averaging.ssgd_step` in one kernel.

    Parameters
    ----------
    weights_1n, gradients_1n : Tensor of T, shape (1, n)
        The one replica, updated in place, and the gradient of the mean loss over the aggregate batch.
    centre_n, centre_velocity_n, scalars
        As in `sma_update`; centre_n becomes the replica, before it is rounded to T.

    Raises
    ------
    ConfigurationError
        If there is more than one row; else as in `sma_update`.

    Notes
    -----
    Moves 3 s + 3 a bytes per parameter.
    """
    bank = checks.bank("weights", weights_1n)
    if bank.k != 1:
        raise ConfigurationError(
            f"S-SGD trains one replica on the aggregate batch, but weights_1n has {bank.k} rows; pass weights[:1]"
        )
    values: dict[str, object] = {"w": weights_1n, "g": checks.rows(bank, "gradients", gradients_1n, bank.dtype)}
    values |= _vectors(bank, z=("centre_n", centre_n), e=("centre_velocity_n", centre_velocity_n))
    _launch(SSGD_UPDATE, (bank.type,), bank, values, scalars)


def sma_correct(
    weights_n: Tensor,
    gradients_n: Tensor,
    centre_n: Tensor,
    difference_n: Tensor,
    scalars: Tensor,
    *,
    local_velocity_n: Tensor | None = None,
) -> None:
    """Take one learner's step of a synchronising iteration, on its own stream; `sma_average` takes the centre's.

    All learners' calls, then `sma_average` or `easgd_average`, give the bits of `sma_update` or `easgd_update`.

    Parameters
    ----------
    weights_n, gradients_n : Tensor of T, shape (n,), contiguous
        One learner's row, updated in place, and its gradient.
    centre_n : Tensor of A, shape (n,), contiguous
        Central average model z; left as it is: no learner's call may come after the average of its iteration.
    difference_n : Tensor of A, shape (n,), contiguous
        Receives w_j − z of before the step.
    scalars : Tensor of A, shape (8,)
        As in `sma_update`.
    local_velocity_n : Tensor of A, shape (n,), contiguous, optional
        As in `sma_update`.

    Raises
    ------
    ConfigurationError, DeviceUnavailable, KernelError
        As in `sma_update`.

    Notes
    -----
    Moves 3 s + 2 a bytes per parameter, with local momentum 2 a more.
    """
    bank = checks.row("weights", weights_n)
    values: dict[str, object] = {
        "w": weights_n,
        "g": checks.vector(bank, "gradients", gradients_n, bank.dtype),
        "v": None,
    }
    if local_velocity_n is not None:
        values["v"] = checks.vector(bank, "local_velocity", local_velocity_n, bank.arithmetic)
    values |= _vectors(bank, z=("centre_n", centre_n), d_out=("difference_n", difference_n))
    _launch(SMA_CORRECT, (bank.type, local_velocity_n is not None), bank, values, scalars)


def sma_average(centre_n: Tensor, centre_velocity_n: Tensor, differences_kn: Tensor, scalars: Tensor) -> None:
    """Take the centre's step of SMA from all learners' differences, in place.

    Parameters
    ----------
    centre_n, centre_velocity_n, scalars
        As in `sma_update`.
    differences_kn : Tensor of A, shape (k, n)
        w_j − z in rows, from `sma_correct`; left as they are. Strides and alignment as a bank's.

    Raises
    ------
    ConfigurationError, DeviceUnavailable, KernelError
        As in `sma_update`.

    Notes
    -----
    Moves (k + 4) a bytes per parameter.
    """
    bank = _differences(differences_kn)
    values = _vectors(bank, z=("centre_n", centre_n), e=("centre_velocity_n", centre_velocity_n))
    _launch(SMA_AVERAGE, (bank.type,), bank, values | {"d": differences_kn}, scalars)


def easgd_average(centre_n: Tensor, differences_kn: Tensor, scalars: Tensor) -> None:
    """Take the centre's step of EA-SGD from all learners' differences, in place; else as `sma_average`."""
    bank = _differences(differences_kn)
    values = _vectors(bank, z=("centre_n", centre_n))
    _launch(EASGD_AVERAGE, (bank.type,), bank, values | {"d": differences_kn}, scalars)


def make_scalars(like: Tensor) -> Tensor:
    """Return room for the settings of an update, on the device of a bank and in its arithmetic type, all zero.

    Parameters
    ----------
    like : Tensor of T
        The weights.
    """
    return torch.zeros(N_SCALARS, dtype=checks.arithmetic_type(like.dtype), device=like.device)


def write_scalars(
    scalars: Tensor,
    *,
    learning_rate: float,
    alpha: float = 0.0,
    momentum: float = 0.0,
    local_momentum: float = 0.0,
    weight_decay: float = 0.0,
) -> None:
    """Write the settings of the updates that come after this call on torch's current stream, without waiting.

    Parameters
    ----------
    scalars : Tensor of A, shape (8,)
        From `make_scalars`.
    learning_rate, alpha, momentum, local_momentum, weight_decay : float
        γ, α, μ, μ_l and λ: Python numbers, legal as `crossbow_lab.averaging` says.

    Raises
    ------
    ConfigurationError
        If scalars is not such a tensor.

    Notes
    -----
    Not for use while a CUDA graph is captured: the graph would write these values again at every replay.
    """
    if scalars.shape != (N_SCALARS,) or scalars.dtype not in _ARITHMETIC:
        raise ConfigurationError(f"{checks.given('scalars', scalars)}; write to what make_scalars(weights) returns")
    values = [learning_rate, alpha, momentum, local_momentum, weight_decay, 0.0, 0.0, 0.0]
    # Pinned memory of its own for each call: torch hands it out again only after the copy, so none is overwritten
    # before the device has read it.
    staging = torch.tensor(values, dtype=scalars.dtype, pin_memory=scalars.is_cuda)
    scalars.copy_(staging, non_blocking=True)


def make_partials(weights_kn: Tensor) -> Tensor:
    """Return room for the partial sums of squares of an update: (2 k + 1, tiles) of A, tiles = ⌈n / 256⌉, all zero.

    Parameters
    ----------
    weights_kn : Tensor of T, shape (k, n)
        The weights that will be updated.
    """
    bank = checks.bank("weights", weights_kn)
    return torch.zeros(2 * bank.k + 1, tiles_of(bank.n), dtype=bank.arithmetic, device=bank.device)


def square_sums(partials: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Return the sums of squares whose parts an update wrote.

    Parameters
    ----------
    partials : Tensor of A, shape (2 k + 1, tiles), contiguous
        From `make_partials`, after an update.
    out : float64 Tensor, shape (2 k + 1,), contiguous, optional
        Where to write; without it a new tensor is allocated.

    Returns
    -------
    float64 Tensor, shape (2 k + 1,)
        Rows j < k: ‖w_j − z‖² of before the update; rows k + j: ‖g_j‖² without weight decay; row 2 k: ‖Σ_j g_j‖².

    Raises
    ------
    ConfigurationError, DeviceUnavailable, KernelError
        As in `sma_update`.
    """
    if partials.dim() != 2 or partials.dtype not in _ARITHMETIC or not partials.is_contiguous():
        raise ConfigurationError(f"{checks.given('partials', partials)}; give what make_partials(weights) returns")
    rows, tiles = partials.shape
    device = partials.device
    if out is None:
        out = torch.empty(rows, dtype=torch.float64, device=device)
    elif out.shape != (rows,) or out.dtype != torch.float64 or out.device != device or not out.is_contiguous():
        raise ConfigurationError(
            f"{checks.given('out', out)}; it must be contiguous, of shape {(rows,)}, torch.float64, on {device}"
        )
    values = {"partials": partials, "out": out, "tiles": tiles}
    launching.launch(SQUARE_SUMS, (checks.TYPES[partials.dtype],), rows, launching.BLOCK, values, device)
    return out


def _learners(bank: Bank, weights_kn: Tensor, gradients_kn: Tensor, velocity_kn: Tensor | None) -> dict[str, object]:
    """Check what the learners own."""
    values: dict[str, object] = {"w": weights_kn, "g": checks.rows(bank, "gradients", gradients_kn, bank.dtype)}
    values["v"] = None if velocity_kn is None else checks.rows(bank, "local_velocity", velocity_kn, bank.arithmetic)
    return values


def _differences(differences_kn: Tensor) -> Bank:
    """Check differences, which have the arithmetic type already."""
    bank = checks.bank("differences", differences_kn)
    if bank.dtype != bank.arithmetic:
        raise ConfigurationError(
            f"{checks.given('differences', differences_kn)}; differences are kept in the arithmetic type, "
            f"{bank.arithmetic}: allocate them so"
        )
    return bank


def _vectors(bank: Bank, **named: tuple[str, Tensor]) -> dict[str, object]:
    """Check vectors of arithmetic type, by the kernel's name for each."""
    return {own: checks.vector(bank, name, tensor, bank.arithmetic) for own, (name, tensor) in named.items()}


def _partials(bank: Bank, partials: Tensor | None) -> Tensor | None:
    """Check room for partial sums."""
    if partials is None:
        return None
    shape = (2 * bank.k + 1, tiles_of(bank.n))
    return checks.array(bank, "partials", partials, shape, "make_partials(weights)")


def _launch(kernel: Kernel, template: Template, bank: Bank, values: dict[str, object], scalars: Tensor) -> None:
    """Launch a kernel that takes rows of a bank, unless there is nothing to do."""
    values["scalars"] = checks.array(bank, "scalars", scalars, (N_SCALARS,), "make_scalars(weights)")
    values["n"] = bank.n
    if kernel is not SMA_CORRECT and kernel is not SSGD_UPDATE:  # these take one row
        values["ld"], values["k"] = bank.ld, bank.k
    # Learners that don't share a centre are independent of each other, so every row has tiles of its own.
    rows = bank.k if kernel is SGD_UPDATE else min(bank.k, 1)
    grid, block = geometry(rows * tiles_of(bank.n))
    launching.launch(kernel, template, grid, block, values, bank.device)
