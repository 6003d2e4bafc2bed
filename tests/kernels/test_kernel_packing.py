"""What a launch hands to CuPy, and that it is what the C++ signature says."""

import re

import numpy as np
import pytest
import torch

from crossbow_lab.kernels import averaging, batches, landscape
from crossbow_lab.kernels.kernel import Kernel, Parameter, pack
from crossbow_lab.kernels.sources import source
from crossbow_lab.resources import resource

KERNEL = Kernel(
    "a.cu",
    "act",
    (Parameter("w", "pointer"), Parameter("v", "pointer", optional=True), Parameter("n", "i64"), Parameter("k", "i32")),
)
VARIANTS = [*averaging.variants(), *batches.variants(), *landscape.variants()]
KERNELS = list(dict.fromkeys(kernel for kernel, _ in VARIANTS))
SIGNATURE = re.compile(r"__global__\s+void\s+(?:__launch_bounds__\([^()]*\)\s+)?(\w+)\s*\(([^)]*)\)")


def _values(**changes: object) -> dict[str, object]:
    """Return values that fit `KERNEL`, but for the changes."""
    return {"w": torch.zeros(4), "v": None, "n": 2**40, "k": -3} | changes


def test_values_become_scalars_of_exactly_the_declared_types() -> None:
    """In the kernel's order, not that of the mapping."""
    w, v = torch.zeros(4), torch.ones(4)
    packed = pack(KERNEL, {"k": -3, "v": v, "n": 2**40, "w": w})
    assert packed == (w.data_ptr(), v.data_ptr(), 2**40, -3)
    assert [type(value) for value in packed] == [np.uint64, np.uint64, np.int64, np.int32]


def test_none_is_a_null_pointer_where_one_may_be() -> None:
    """Of a pointer's type."""
    packed = pack(KERNEL, _values())
    assert (packed[1], type(packed[1])) == (0, np.uint64)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"w": None}, "act in a.cu: w is None; it must be a torch.Tensor"),
        ({"w": 123}, "w is 123; it must be a torch.Tensor"),
        ({"w": np.zeros(3)}, "it must be a torch.Tensor"),
        ({"v": 0}, "v is 0; it must be a torch.Tensor"),
        ({"n": None}, "n is None; it must be an int of at most 64 bits"),
        ({"n": 3.0}, "n is 3.0; it must be an int"),
        ({"n": True}, "n is True; it must be an int"),
        ({"n": torch.tensor(3)}, r"n is tensor\(3\); it must be an int"),
        ({"n": 2**63}, "int of at most 64 bits"),
        ({"k": 2**31}, "k is 2147483648; it must be an int of at most 32 bits"),
        ({"k": -(2**31) - 1}, "int of at most 32 bits"),
        ({"k": np.int64(3)}, "k is np.int64"),
        ({"lr": 0.1}, "act in a.cu has no parameter lr; leave it out"),
    ],
)
def test_it_refuses_values_that_do_not_fit(changes: dict[str, object], message: str) -> None:
    """A launch with them would compute garbage without a word."""
    with pytest.raises(TypeError, match=message):
        pack(KERNEL, _values(**changes))


def test_it_refuses_a_missing_value() -> None:
    """Even where None would do."""
    values = _values()
    del values["v"]
    with pytest.raises(TypeError, match=r"act in a\.cu needs a value for 'v'"):
        pack(KERNEL, values)


def test_an_instantiation_is_spelt_in_cpp() -> None:
    """NVRTC takes this as a name expression."""
    assert KERNEL.expression(()) == "act"
    assert KERNEL.expression(("unsigned char", True, False)) == "act<unsigned char, true, false>"


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_a_kernel_takes_what_its_source_says(kernel: Kernel) -> None:
    """Names, order, widths, and which are pointers."""
    signatures = dict(SIGNATURE.findall(source(kernel.file)))
    parameters = [" ".join(parameter.split()) for parameter in signatures[kernel.name].split(",")]
    declared = [(re.search(r"\w+$", parameter)[0], _kind(parameter)) for parameter in parameters]
    assert declared == [(parameter.name, parameter.kind) for parameter in kernel.parameters]


def _kind(parameter: str) -> str:
    """Return what a C++ parameter is to a launch."""
    if "*" in parameter:
        return "pointer"
    return {"int": "i32", "long long": "i64"}[parameter.rsplit(" ", 1)[0]]


def test_every_kernel_of_the_sources_has_a_door() -> None:
    """One that nothing can launch is dead code."""
    files = [path.name for path in resource("cuda").glob("*.cu")]
    defined = {(file, name) for file in files for name, _ in SIGNATURE.findall(source(file))}
    assert defined == {(kernel.file, kernel.name) for kernel in KERNELS}
