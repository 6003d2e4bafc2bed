"""What the doors to the averaging kernels launch, and what they refuse; on CPU tensors, and nothing runs."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from crossbow_lab.errors import ConfigurationError, DeviceUnavailable
from crossbow_lab.kernels import averaging
from crossbow_lab.kernels import launch as launching
from crossbow_lab.kernels._averaging_kernels import geometry
from crossbow_lab.kernels.kernel import Kernel, Template, pack

K, N, LD = 3, 300, 320
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


class Launched(NamedTuple):
    """One launch."""

    kernel: Kernel
    template: Template
    grid: int
    block: int
    values: Mapping[str, Any]


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> list[Launched]:
    """Note launches, packed to see that they can be, instead of making them."""
    noted: list[Launched] = []

    def note(kernel: Kernel, template: Template, grid: int, block: int, values: Any, device: torch.device) -> None:
        pack(kernel, values)
        noted.append(Launched(kernel, template, grid, block, dict(values)))

    monkeypatch.setattr(launching, "launch", note)
    return noted


def _arguments(dtype: torch.dtype = torch.float32, k: int = K, n: int = N) -> dict[str, Tensor]:
    """Return what the doors take, by the name of the argument, on padded rows."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    weights = torch.zeros(k, LD, dtype=dtype)[:, :n]
    return {
        "weights_kn": weights,
        "gradients_kn": torch.zeros(k, LD, dtype=dtype)[:, :n],
        "local_velocity_kn": torch.zeros(k, LD, dtype=wide)[:, :n],
        "differences_kn": torch.zeros(k, LD, dtype=wide)[:, :n],
        "centre_n": torch.zeros(n, dtype=wide),
        "centre_velocity_n": torch.zeros(n, dtype=wide),
        "scalars": averaging.make_scalars(weights),
        "partials": averaging.make_partials(weights),
    }


def _call(door: Callable[..., Any], names: str, arguments: Mapping[str, Any]) -> None:
    """Call a door with these arguments, by name."""
    door(**{name: arguments[name] for name in names.split()})


SMA = "weights_kn gradients_kn centre_n centre_velocity_n scalars"
EASGD = "weights_kn gradients_kn centre_n scalars"
SGD = "weights_kn gradients_kn scalars"
DOORS = [
    (averaging.sma_update, f"{SMA}{velocity}{partials}")
    for velocity in ("", " local_velocity_kn")
    for partials in ("", " partials")
]
DOORS += [
    (averaging.easgd_update, f"{EASGD}{velocity}{partials}")
    for velocity in ("", " local_velocity_kn")
    for partials in ("", " partials")
]
DOORS += [(averaging.sgd_update, SGD), (averaging.sgd_update, f"{SGD} local_velocity_kn")]
DOORS += [
    (averaging.sma_average, "centre_n centre_velocity_n differences_kn scalars"),
    (averaging.easgd_average, "centre_n differences_kn scalars"),
    (averaging.square_sums, "partials"),
]


def _all_doors(dtype: torch.dtype) -> None:
    """Go through every door in every way."""
    arguments = _arguments(dtype)
    for door, names in DOORS:
        _call(door, names, arguments)
    w, g, v, d = (arguments[f"{name}_kn"] for name in ("weights", "gradients", "local_velocity", "differences"))
    z, e, scalars = arguments["centre_n"], arguments["centre_velocity_n"], arguments["scalars"]
    averaging.ssgd_update(w[:1], g[:1], z, e, scalars)
    averaging.sma_correct(w[1], g[1], z, d[1], scalars)
    averaging.sma_correct(w[1], g[1], z, d[1], scalars, local_velocity_n=v[1])


def test_the_doors_ask_for_the_listed_instantiations_and_no_others(launches: list[Launched]) -> None:
    """The list is what is compiled without a GPU, so nothing may be launched that isn't in it."""
    for dtype in DTYPES:
        _all_doors(dtype)
    asked = {(launched.kernel, launched.template) for launched in launches}
    assert asked == set(averaging.variants())


def test_a_launch_gets_the_tensors_and_their_extents(launches: list[Launched]) -> None:
    """Each under the name that the source has for it."""
    given = _arguments()
    averaging.sma_update(*(given[name] for name in SMA.split()), local_velocity_kn=given["local_velocity_kn"])
    values = launches[0].values
    own = {"w": "weights_kn", "g": "gradients_kn", "v": "local_velocity_kn", "z": "centre_n", "e": "centre_velocity_n"}
    assert all(values[short] is given[name] for short, name in own.items())
    assert values["partials"] is None
    assert values["scalars"] is given["scalars"]
    assert (values["n"], values["ld"], values["k"]) == (N, LD, K)


def test_a_single_row_may_have_any_length(launches: list[Launched]) -> None:
    """There is no next row to lie aligned."""
    averaging.sgd_update(torch.zeros(1, 13), torch.zeros(1, 13), averaging.make_scalars(torch.zeros(1)))
    assert (launches[0].values["n"], launches[0].values["ld"]) == (13, 16)


def test_nothing_to_do_launches_no_blocks(launches: list[Launched]) -> None:
    """CuPy would launch one block for a grid of none."""
    for k, n in ((0, N), (K, 0)):
        arguments = _arguments(k=k, n=n)
        _call(averaging.sma_update, SMA, arguments)
        _call(averaging.sgd_update, SGD, arguments)
    assert [launched.grid for launched in launches] == [0, 0, 0, 0]


@pytest.mark.parametrize("tiles", [1, 7, 263, 264, 265, 1_813, 40_000, 10**6])
def test_blocks_cover_all_tiles_and_few_tiles_spread_over_many(tiles: int) -> None:
    """A warp to each tile, as far as the number of blocks allows."""
    grid, block = geometry(tiles)
    assert block % 32 == 0
    assert block <= 256
    assert tiles <= grid * (block // 32) or grid == 65_535
    assert grid >= min(tiles, 132)  # multiprocessors of an H200


def test_learners_that_share_no_centre_have_tiles_of_their_own(launches: list[Launched]) -> None:
    """A row of two tiles for each of three learners."""
    arguments = _arguments()
    _call(averaging.sgd_update, SGD, arguments)
    _call(averaging.sma_update, SMA, arguments)
    assert [launched.grid * launched.block // 32 for launched in launches] == [6, 2]


MISALIGNED = torch.zeros(K * LD + 1)[1:].view(K, LD)[:, :N]
REFUSED = [
    ("weights_kn", [[1.0]], "weights is a list; the CUDA kernels need a torch.Tensor"),
    ("weights_kn", torch.zeros(K, LD, dtype=torch.int32)[:, :N], "torch.int32.*know float32, float64, float16, bfloat"),
    ("weights_kn", torch.zeros(N), r"must be \(k, n\), one row of n parameters for each of k learners"),
    ("weights_kn", torch.zeros(N, K).T, "must be contiguous .stride 1.: lay the bank out as"),
    ("weights_kn", torch.zeros(K, N), r"multiple of 8 elements apart.*allocate \(k, 304\) and pass its \[:, :300\]"),
    ("weights_kn", torch.zeros(1, LD)[:, :N].expand(K, N), "rows must lie a multiple of 8 elements apart and not over"),
    ("weights_kn", MISALIGNED, "at an address of .* modulo 256 bytes; it must start at a multiple of 16 bytes"),
    ("gradients_kn", torch.zeros(K, 384)[:, :N], r"gradients .*rows must lie as the bank's, strides \(320, 1\)"),
    ("gradients_kn", torch.zeros(K + 1, LD)[:, :N], r"gradients has shape \(4, 300\).*it must have shape \(3, 300\)"),
    ("gradients_kn", torch.zeros(K, LD).half()[:, :N], r"float16, on cpu.*it must have shape .*torch.float32, on cpu"),
    ("gradients_kn", torch.empty(K, LD, device="meta")[:, :N], "on meta.*it must have shape .* on cpu"),
    ("gradients_kn", MISALIGNED, "gradients .*must start at a multiple of 16 bytes"),
    ("gradients_kn", None, "gradients is a NoneType; it must be a torch.Tensor"),
    (
        "local_velocity_kn",
        torch.zeros(K, LD).double()[:, :N],
        "local_velocity .*torch.float64.*it must .*torch.float32",
    ),
    ("centre_n", torch.zeros(1, N), r"centre_n has shape \(1, 300\).*it must have shape \(300,\)"),
    ("centre_n", torch.zeros(2 * N)[::2], "centre_n .*it must be contiguous .stride 1.: pass .contiguous"),
    ("centre_n", torch.zeros(N + 1)[1:], "centre_n .*it must start at a multiple of 16 bytes"),
    ("centre_velocity_n", torch.zeros(N - 1), r"centre_velocity_n has shape \(299,\)"),
    ("scalars", torch.zeros(8).double(), r"scalars .*torch.float64.*make_scalars\(weights\) returns it"),
    ("scalars", torch.zeros(5), r"scalars has shape \(5,\).*of shape \(8,\)"),
    ("scalars", torch.zeros(16)[::2], "scalars .*must be contiguous"),
    ("scalars", 0.1, "scalars is a float"),
    ("partials", torch.zeros(7, 1), r"partials has shape \(7, 1\).*of shape \(7, 2\).*make_partials\(weights\)"),
]


@pytest.mark.parametrize(
    ("name", "tensor", "message"), REFUSED, ids=[f"{name}-{i}" for i, (name, *_) in enumerate(REFUSED)]
)
def test_a_door_refuses_what_its_kernel_can_not_take(
    name: str, tensor: object, message: str, launches: list[Launched]
) -> None:
    """Saying what was given, what is needed and what to do; and nothing is launched."""
    arguments = _arguments() | {name: tensor}
    with pytest.raises(ConfigurationError, match=message):
        _call(averaging.sma_update, f"{SMA} local_velocity_kn partials", arguments)
    assert not launches


def test_more_learners_than_rows_are_refused(launches: list[Launched]) -> None:
    """Slices beyond an array's end are shorter than they look."""
    arguments = _arguments()
    arguments |= {"weights_kn": torch.zeros(K + 2, LD)[:, :N], "gradients_kn": arguments["gradients_kn"][: K + 2]}
    with pytest.raises(ConfigurationError, match=r"gradients has shape \(3, 300\).*weights of shape \(5, 300\)"):
        _call(averaging.sgd_update, SGD, arguments)


def test_s_sgd_has_one_replica(launches: list[Launched]) -> None:
    """And says which row to pass."""
    with pytest.raises(ConfigurationError, match=r"weights_1n has 3 rows; pass weights\[:1\]"):
        averaging.ssgd_update(*(_arguments()[name] for name in SMA.split()))


def test_a_correction_takes_one_row(launches: list[Launched]) -> None:
    """Not a bank."""
    given = _arguments()
    with pytest.raises(ConfigurationError, match=r"must be one learner's row, \(n,\): pass weights\[j\]"):
        averaging.sma_correct(
            given["weights_kn"], given["gradients_kn"], given["centre_n"], given["centre_n"], given["scalars"]
        )


def test_differences_are_not_rounded_to_the_weights_type(launches: list[Launched]) -> None:
    """The split update would differ from the fused one."""
    given = _arguments(torch.float16)
    with pytest.raises(ConfigurationError, match=r"float16.*kept in the arithmetic type, torch.float32"):
        averaging.easgd_average(given["centre_n"], given["weights_kn"], given["scalars"])


@pytest.mark.parametrize(
    ("partials", "out", "message"),
    [
        (torch.zeros(7), None, r"partials has shape \(7,\).*make_partials"),
        (torch.zeros(7, 2).half(), None, "torch.float16"),
        (torch.zeros(7, 4)[:, ::2], None, "make_partials"),
        (torch.zeros(7, 2), torch.zeros(7), "out .*torch.float32.*torch.float64"),
        (torch.zeros(7, 2), torch.zeros(6).double(), r"out has shape \(6,\).*of shape \(7,\)"),
        (torch.zeros(7, 2), torch.zeros(14).double()[::2], "out .*it must be contiguous"),
    ],
)
def test_sums_of_squares_refuse_other_arrays(
    partials: Tensor, out: Tensor | None, message: str, launches: list[Launched]
) -> None:
    """They read partial sums as an update left them."""
    with pytest.raises(ConfigurationError, match=message):
        averaging.square_sums(partials, out=out)


def test_settings_are_written_where_the_kernels_read_them() -> None:
    """γ, α, μ, μ_l, λ, then zeros, in the arithmetic type."""
    scalars = averaging.make_scalars(torch.zeros(2, 8, dtype=torch.bfloat16))
    averaging.write_scalars(
        scalars, learning_rate=0.5, alpha=0.25, momentum=0.75, local_momentum=0.125, weight_decay=2.0
    )
    assert scalars.dtype == torch.float32
    assert scalars.tolist() == [0.5, 0.25, 0.75, 0.125, 2.0, 0.0, 0.0, 0.0]
    averaging.write_scalars(scalars, learning_rate=1.0)
    assert scalars.tolist() == [1.0] + [0.0] * 7


def test_settings_are_not_written_elsewhere() -> None:
    """A bank's row is no place for them."""
    with pytest.raises(ConfigurationError, match=r"scalars has shape \(9,\).*make_scalars\(weights\) returns"):
        averaging.write_scalars(torch.zeros(9), learning_rate=0.1)


def test_tensors_on_the_cpu_are_refused_with_a_way_out() -> None:
    """The kernels run on a GPU; the torch rules run anywhere."""
    arguments = _arguments()
    with pytest.raises(
        DeviceUnavailable, match=r"sma_update is a CUDA kernel.*on cpu; move them with \.to\('cuda'\), or"
    ):
        _call(averaging.sma_update, SMA, arguments)
