"""The averaging kernels on the GPU against the NumPy float64 reference, and against each other bit for bit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from gpu_support import NEEDS_GPU, bits, wait
from gpu_updates import Case, arrays, expected, expected_sums, launched

from crossbow_lab.errors import ConfigurationError, DeviceUnavailable
from crossbow_lab.kernels import averaging as kernels

pytestmark = NEEDS_GPU

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
TOLERANCES = {torch.float32: 4e-6, torch.float64: 1e-14, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
SIZES = (1, 31, 32, 33, 255, 256, 257, 1023, 1025, 70_001)
DOORS = [(door, v, norms) for door in ("sma", "easgd") for v in (False, True) for norms in (False, True)]
DOORS += [(door, v, False) for door in ("sgd", "split sma", "split easgd") for v in (False, True)]


def assert_as_expected(case: Case, device: torch.device) -> None:
    """Compare all that an update leaves with the reference; what it doesn't own must be as it was."""
    given, before = arrays(case, device), arrays(case, device)
    sums = launched(case, given)
    wide = torch.float64 if case.dtype == torch.float64 else torch.float32
    for name, reference in expected(case).items():
        tolerance = TOLERANCES[case.dtype if name == "w" else wide] * max(1, case.k)
        found = getattr(given, name)
        np.testing.assert_allclose(
            found.double().cpu().numpy(), reference, rtol=tolerance, atol=tolerance, err_msg=f"{case}: {name}"
        )
        whole = found._base
        assert whole is None or bool(whole[..., case.n :].isnan().all()), f"{case}: {name} beyond n was written"
    assert bits(given.g) == bits(before.g)
    if case.has_norms:
        assert sums is not None
        tolerance = 1e-12 if wide == torch.float64 else 1e-5
        np.testing.assert_allclose(sums.cpu().numpy(), expected_sums(case), rtol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("door", "has_velocity", "has_norms"), DOORS)
def test_an_update_equals_the_reference_for_every_size(
    device: torch.device, door: str, has_velocity: bool, has_norms: bool, dtype: torch.dtype
) -> None:
    """From one parameter to several hundred tiles, whole ones and not."""
    for n in SIZES:
        assert_as_expected(Case(door, dtype, 3, n, has_velocity, has_norms), device)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("door", "has_velocity", "has_norms"), DOORS)
def test_an_update_equals_the_reference_for_every_number_of_learners(
    device: torch.device, door: str, has_velocity: bool, has_norms: bool, dtype: torch.dtype
) -> None:
    """Any k at run time."""
    for k in (1, 2, 5, 16, 33):
        assert_as_expected(Case(door, dtype, k, 1_025, has_velocity, has_norms), device)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_s_sgd_equals_the_reference(device: torch.device, dtype: torch.dtype) -> None:
    """One replica, of any size."""
    for n in SIZES:
        assert_as_expected(Case("ssgd", dtype, 1, n), device)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("has_velocity", [False, True])
@pytest.mark.parametrize("rule", ["sma", "easgd"])
def test_an_update_in_parts_gives_the_same_bits(
    device: torch.device, rule: str, has_velocity: bool, dtype: torch.dtype
) -> None:
    """Corrections in any order and one average are the fused kernel, with norms or without."""
    whole = Case(rule, dtype, 5, 3_333, has_velocity)
    found = set()
    for case in (whole, replace(whole, has_norms=True), replace(whole, door=f"split {rule}")):
        given = arrays(case, device)
        launched(case, given)
        found.add(bits(given.w, given.v if has_velocity else None, given.z, given.e))
    assert len(found) == 1


def test_an_update_gives_the_same_bits_every_time(device: torch.device) -> None:
    """Sums of squares too: their order is fixed."""
    case = Case("sma", torch.float32, 8, 1_000_003, has_velocity=True, has_norms=True)
    found = set()
    for _ in range(3):
        given = arrays(case, device)
        found.add(bits(launched(case, given), given.w, given.v, given.z, given.e))
    assert len(found) == 1


def test_arrays_beyond_the_range_of_32_bits_are_updated_to_their_end(device: torch.device) -> None:
    """Rows lie more than 2^31 elements apart in all."""
    k, n = 5, 1 << 29
    needed = 2 * 2 * k * n + 2 * 4 * n + (4 << 30)  # the last for counting
    if torch.cuda.mem_get_info(device)[0] < needed:
        pytest.skip(f"needs {needed / 2**30:.0f} GiB of free memory on the GPU")
    w, g = (torch.zeros(k, n, dtype=torch.bfloat16, device=device) for _ in range(2))
    z, e = (torch.zeros(n, device=device) for _ in range(2))
    w[:, -1], g[:, -1] = 1.0, 2.0
    scalars = kernels.make_scalars(w)
    kernels.write_scalars(scalars, learning_rate=0.25, alpha=0.125)
    kernels.sma_update(w, g, z, e, scalars)
    assert w[:, -1].tolist() == [1.0 - 0.25 * 2.0 - 0.125] * k
    assert float(z[-1]) == k * 0.125
    assert int(w.count_nonzero()) == k
    del w, g, z, e
    torch.cuda.empty_cache()


def test_a_launch_lands_on_the_current_stream(device: torch.device) -> None:
    """On a stream that is held up nothing happens yet; on the default stream it would have."""
    case = Case("sgd", torch.float32, 2, 1_000)
    given = arrays(case, device)
    launched(case, given)  # compiled now, which may wait
    given = arrays(case, device)
    before = bits(given.w)
    wait(device)
    side = torch.cuda.Stream(device)
    with torch.cuda.stream(side):
        scalars = kernels.make_scalars(given.w)
        kernels.write_scalars(scalars, learning_rate=0.5)
        torch.cuda._sleep(200_000_000)  # a tenth of a second or so
        kernels.sgd_update(given.w, given.g, scalars)
    held_up = bits(given.w)  # by the default stream, which waits for nothing
    assert not side.query(), "the side stream was not held up long enough to show anything"
    side.synchronize()
    assert held_up == before
    assert bits(given.w) != before


def test_a_launch_needs_tensors_of_one_device(device: torch.device) -> None:
    """Mixed devices are refused before anything is launched."""
    case = Case("sma", torch.float32, 2, 100)
    given, elsewhere = arrays(case, device), arrays(case, torch.device("cpu"))
    scalars = kernels.make_scalars(given.w)
    with pytest.raises(ConfigurationError, match=r"centre_n .* on cpu"):
        kernels.sma_update(given.w, given.g, elsewhere.z, given.e, scalars)
    with pytest.raises(DeviceUnavailable, match=r"on cpu; move them with \.to\('cuda'\)"):
        kernels.sgd_update(elsewhere.w, elsewhere.g, kernels.make_scalars(elsewhere.w))


def test_settings_are_seen_by_what_is_launched_after_them(device: torch.device) -> None:
    """In the order of the stream, though the host doesn't wait."""
    w, g = torch.zeros(1, 64, device=device), torch.ones(1, 64, device=device)
    scalars = kernels.make_scalars(w)
    for power in range(10):
        kernels.write_scalars(scalars, learning_rate=2.0**power)
        kernels.sgd_update(w, g, scalars)
    assert w.unique().tolist() == [-(2.0**10 - 1)]
