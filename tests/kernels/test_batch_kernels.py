"""cuda/batch.cu on the CPU, against the batches that learners get there: the same bits, whatever the launch."""

from dataclasses import replace

import pytest
import torch
from emulated import SANITIZED, Emulator, Schedule, guarded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from crossbow_lab.errors import ConfigurationError
from crossbow_lab.kernels import batches
from crossbow_lab.learners import Batches
from crossbow_lab.learners import batches as cpu_batches
from crossbow_lab.workloads import ArraySplit, Augmentation, DataSet

CPU = torch.device("cpu")
SCHEDULES = (
    Schedule(),
    Schedule("descending", "descending", grid=1),
    Schedule("shuffled", "shuffled", seed=3, grid=7),
    Schedule("lockstep", grid=2),
)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Let the CPU's batches be drawn as they are needed, which is quicker here."""
    monkeypatch.setattr(cpu_batches, "_BLOCK_SAMPLES", 1)


def data_of(shape: tuple[int, ...], length: int, raw: torch.dtype, *, pad: int = 0, flip: bool = False) -> DataSet:
    """Give samples of random values, with a scale and a shift for each channel."""
    source = torch.Generator().manual_seed(0)
    inputs = torch.randint(0, 256, (length, *shape), generator=source).to(raw)
    if raw != torch.uint8:
        inputs = inputs / 7 - 11
    return DataSet(
        name="random",
        train=ArraySplit(inputs, torch.randint(0, 10, (length,), generator=source)),
        test=None,
        input_shape=shape,
        n_classes=10,
        scale=tuple(0.01 + 0.3 * c for c in range(shape[0])),
        shift=tuple(0.1 - 0.7 * c for c in range(shape[0])),
        augmentation=Augmentation(pad=pad, flip=flip) if pad or flip else None,
        fingerprint="",
        is_named=False,
    )


def ring_of(stream: Batches, position: int, ring: int) -> Tensor:
    """Lay the orders of `ring` epochs, from that of a position on, as the kernel wants them."""
    length = stream.epoch_samples
    order = torch.full((ring, length), -1, dtype=torch.int32)
    for epoch in range(position // length, position // length + ring):
        order[epoch % ring] = stream.indices(epoch * length, length).int()
    return order


def layout(name: str, count: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Give an output in some layout, full of NaN, which ends where memory may be touched no more."""
    if name == "channels last":
        return guarded(count, *shape[1:], shape[0], dtype=dtype).movedim(-1, 1)
    if name == "samples last":
        return guarded(*shape, count, dtype=dtype).movedim(-1, 0)
    if name == "with gaps":
        return guarded(count, shape[0], 2, *shape[1:-1], shape[-1] + 3, dtype=dtype)[:, :, 1, ..., : shape[-1]]
    return guarded(count, *shape, dtype=dtype)


def gathered(data: DataSet, position: int, out: Tensor, *, seed: int = 5) -> Tensor:
    """Gather inputs from a position on, which cursor and offset share; the ring holds just the epochs that are met."""
    length = len(data.train)
    ring = max(1, (position + len(out) - 1) // length - position // length + 1)
    stream = Batches(data, seed, augment=False, device=CPU, dtype=out.dtype)
    augmentation = None
    if data.augmentation is not None:
        augmentation = batches.RandomCrop.seeded(seed, pad=data.augmentation.pad, flip=data.augmentation.flip)
    is_plain = set(data.scale) == {1.0} and set(data.shift) == {0.0}
    batches.gather_inputs(
        fenced(data.train.inputs),
        fenced(ring_of(stream, position, ring)),
        fenced(torch.tensor([position - position // 2, 123_456_789])),
        None if is_plain else fenced(torch.tensor(data.scale, dtype=out.dtype)),
        None if is_plain else fenced(torch.tensor(data.shift, dtype=out.dtype)),
        out,
        offset=position // 2,
        augmentation=augmentation,
    )
    return out


def expected(data: DataSet, position: int, count: int, dtype: torch.dtype, *, seed: int = 5) -> Tensor:
    """Take the same from the CPU's batches."""
    return Batches(data, seed, augment=True, device=CPU, dtype=dtype).take(position, count)[0]


def fenced(values: Tensor) -> Tensor:
    """Copy a tensor to memory behind which nothing may be read, to 16 bytes."""
    return guarded(*values.shape, dtype=values.dtype, fill=0).copy_(values)


def bits(values: Tensor) -> bytes:
    """Return the bits of a tensor's values, in their order."""
    return values.contiguous().numpy().tobytes()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("raw", [torch.uint8, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("pad", "flip"), [(0, False), (2, True)])
def test_gather_inputs_equals_the_cpu_batches(emulated: Emulator, raw, dtype, pad, flip):
    """Every type of raw values and inputs, plain and varied, in a batch that spans four epochs."""
    data = data_of((3, 11, 9), 20, raw, pad=pad, flip=flip)

    out = gathered(data, 33, layout("contiguous", 57, (3, 11, 9), dtype))

    assert bits(out) == bits(expected(data, 33, 57, dtype))
    assert emulated.launched == [batches.GATHER_INPUTS.expression((batches._RAW[raw], batches._INPUTS[dtype]))]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
@pytest.mark.parametrize("name", ["contiguous", "channels last", "samples last", "with gaps"])
@pytest.mark.parametrize(("pad", "flip"), [(0, True), (3, False), (1, True)])
def test_gather_inputs_writes_any_layout_in_any_order(emulated: Emulator, schedule, name, pad, flip):
    """And nothing else: gaps in the output stay as they were."""
    emulated.schedule, emulated.options = schedule, SANITIZED
    data = data_of((3, 9, 10), 31, torch.uint8, pad=pad, flip=flip)
    out = layout(name, 40, (3, 9, 10), torch.float32)

    gathered(data, 100, out)

    whole = out if out._base is None else out._base
    assert bits(out) == bits(expected(data, 100, 40, torch.float32))
    assert torch.isfinite(whole).sum() == out.numel()


@pytest.mark.parametrize("count", [1, 2, 7, 31, 32, 33, 64, 127, 256, 257])
def test_gather_inputs_takes_any_count(emulated: Emulator, count):
    """From one sample to many epochs of samples."""
    data = data_of((2, 4, 5), 29, torch.uint8, pad=1, flip=True)

    out = gathered(data, 50, layout("contiguous", count, (2, 4, 5), torch.float32))

    assert bits(out) == bits(expected(data, 50, count, torch.float32))


@pytest.mark.parametrize(
    ("shape", "name"),
    [
        ((1,), "contiguous"),
        ((64,), "contiguous"),
        ((300,), "samples last"),
        ((3, 100), "channels last"),
        ((2, 3, 4, 5), "contiguous"),
        ((2, 3, 4, 5), "channels last"),
        ((2, 3, 1, 5), "with gaps"),
        ((1, 28, 28), "contiguous"),
        ((3, 1, 1), "channels last"),
    ],
)
def test_gather_inputs_takes_samples_of_any_shape(emulated: Emulator, shape, name):
    """The first axis is that of scale and shift."""
    data = data_of(shape, 13, torch.uint8)

    out = gathered(data, 6, layout(name, 9, shape, torch.float32))

    assert bits(out) == bits(expected(data, 6, 9, torch.float32))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 12), st.integers(1, 12)),
    sizes=st.tuples(st.integers(1, 40), st.integers(1, 60)),
    position=st.integers(0, 10**6),
    varied=st.tuples(st.integers(0, 14), st.booleans()),
    name=st.sampled_from(["contiguous", "channels last", "samples last", "with gaps"]),
    seed=st.integers(0, 2**40),
)
def test_gather_inputs_equals_the_cpu_batches_wherever_one_looks(
    emulated: Emulator, shape, sizes, position, varied, name, seed
):
    """Padding wider than the image, long streams, seeds beyond 32 bits."""
    length, count = sizes
    data = data_of(shape, length, torch.uint8, pad=varied[0], flip=varied[1])

    out = gathered(data, position, layout(name, count, shape, torch.float32), seed=seed)

    assert bits(out) == bits(expected(data, position, count, torch.float32, seed=seed))


@pytest.mark.parametrize(("scale", "shift"), [((0.5,), (1.0, 2.0)), ((0.5, 0.25), (1.0,)), ((0.5,), (1.0,))])
def test_gather_inputs_takes_one_scale_for_all_channels(emulated: Emulator, scale, shift):
    """Scale and shift may have one value or one for each channel, each as it likes."""
    data = replace(data_of((2, 3, 4), 10, torch.uint8), scale=scale, shift=shift)

    out = gathered(data, 3, layout("contiguous", 12, (2, 3, 4), torch.float32))

    assert bits(out) == bits(expected(data, 3, 12, torch.float32))


def test_gather_inputs_leaves_values_alone_without_a_scale(emulated: Emulator):
    """Even the sign of a zero, which adding a zero would lose."""
    data = replace(data_of((4,), 6, torch.float32), scale=(1.0,), shift=(0.0,))
    data.train.inputs[:, 1] = -0.0

    out = gathered(data, 0, layout("contiguous", 6, (4,), torch.float32))

    assert bits(out) == bits(expected(data, 0, 6, torch.float32))
    assert torch.signbit(out[:, 1]).all()


def test_gather_inputs_reaches_the_end_of_large_data(emulated: Emulator):
    """Beyond 2^31 elements; of this much memory only the last sample is ever touched."""
    emulated.options = SANITIZED
    samples = torch.empty((2**21 + 5, 1, 1024), dtype=torch.uint8)
    samples[-1] = torch.arange(1024).to(torch.uint8)
    order = torch.zeros((1, len(samples)), dtype=torch.int32)
    order[0, 3] = len(samples) - 1
    out = guarded(1, 1, 1024)

    batches.gather_inputs(samples, order, torch.tensor([3, 0]), None, None, out, offset=0)

    assert torch.equal(out[0], samples[-1].float())


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", [(), (3,), (2, 5)])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_gather_targets_equals_the_cpu_batches(emulated: Emulator, dtype, shape, schedule):
    """Labels and values, whatever the order of threads."""
    emulated.schedule = schedule
    data = data_of((1,), 23, torch.uint8)
    targets = torch.arange(23 * torch.Size(shape).numel()).view(23, *shape).to(dtype)
    stream = Batches(data, 1, augment=False, device=CPU, dtype=torch.float32)
    out = guarded(150, *shape, dtype=dtype, fill=-1)

    place = fenced(ring_of(stream, 40, 8)), torch.tensor([30, 0])
    batches.gather_targets(fenced(targets), *place, out, offset=10)

    assert torch.equal(out, targets[stream.indices(40, 150)])


def test_advance_moves_the_cursor_from_batch_to_batch(emulated: Emulator):
    """Four iterations of two learners with three samples each see what the CPU's batches give, in order."""
    emulated.schedule = Schedule(grid=3)
    data = data_of((2, 4, 4), 10, torch.uint8, pad=1, flip=True)
    stream = Batches(data, 5, augment=True, device=CPU, dtype=torch.float32)
    cursor, order = torch.tensor([4, 100]), ring_of(stream, 0, 3)
    scale, shift = torch.tensor(data.scale), torch.tensor(data.shift)
    crop = batches.RandomCrop.seeded(5, pad=1, flip=True)
    for iteration in range(4):
        inputs, targets = guarded(2, 3, 2, 4, 4), guarded(2, 3, dtype=torch.int64, fill=-1)
        for j in range(2):
            place = (order, cursor)
            batches.gather_inputs(data.train.inputs, *place, scale, shift, inputs[j], offset=3 * j, augmentation=crop)
            batches.gather_targets(data.train.targets, *place, targets[j], offset=3 * j)
        batches.advance(cursor, samples=6, iterations=1)

        wanted = stream.take(4 + 6 * iteration, 6)
        assert bits(inputs) == bits(wanted[0])
        assert torch.equal(targets.flatten(), wanted[1])
        assert cursor.tolist() == [10 + 6 * iteration, 101 + iteration]


def test_nothing_is_launched_for_no_samples(emulated: Emulator):
    """A count of 0 is no error."""
    data = data_of((2,), 4, torch.uint8)

    gathered(data, 0, torch.empty(0, 2))

    assert emulated.launched == []


def valid() -> dict[str, object]:
    """Return arguments of `gather_inputs` that are in order."""
    return {
        "samples": torch.zeros(6, 3, 4, 5, dtype=torch.uint8),
        "order": torch.zeros(2, 6, dtype=torch.int32),
        "cursor": torch.zeros(2, dtype=torch.int64),
        "scale": torch.ones(3),
        "shift": torch.zeros(1),
        "out": torch.zeros(2, 3, 4, 5),
        "offset": 0,
    }


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"samples": torch.zeros(6, 3, 4, 5, dtype=torch.int32)}, r"samples have shape \(6, 3, 4, 5\).*int32.*uint8"),
        ({"samples": torch.zeros(6, 3, 5, 4).mT}, r"strides .*contiguous"),
        ({"samples": torch.zeros(0, 3, 4, 5)}, r"not empty"),
        ({"order": torch.zeros(2, 6, dtype=torch.int64)}, r"order has shape \(2, 6\).*int64.*int32 tensor \(ring, 6\)"),
        ({"order": torch.zeros(2, 7, dtype=torch.int32)}, r"with 6 samples it must be"),
        ({"order": torch.zeros(6, dtype=torch.int32)}, r"one row for the order of each epoch"),
        ({"order": torch.zeros(0, 6, dtype=torch.int32)}, r"order has shape \(0, 6\)"),
        ({"order": torch.zeros(6, 2, dtype=torch.int32).mT}, r"order has .*strides \(1, 2\)"),
        ({"cursor": torch.zeros(3, dtype=torch.int64)}, r"cursor has shape \(3,\).*torch.zeros\(2, dtype=torch.int64"),
        ({"cursor": torch.zeros(2, dtype=torch.int32)}, r"cursor has .*int32"),
        ({"out": torch.zeros(2, 3, 4, 6)}, r"out has shape \(2, 3, 4, 6\).*\(count, 3, 4, 5\)"),
        ({"out": torch.zeros(2, 3, 4, 5, device="meta")}, r"out on meta; all must be on one device"),
        (
            {"out": torch.zeros(2, 3, 4, 5, dtype=torch.float16)},
            r"float16; inputs are .*float32 or torch.float64",
        ),
        ({"out": torch.zeros(1, 3, 4, 5).expand(2, 3, 4, 5)}, r"share memory: out.clone\(\)"),
        ({"offset": -1}, r"offset is -1; .*at least 0"),
        ({"scale": None}, r"scale is None but the other one isn't"),
        ({"shift": None}, r"shift is None but the other one isn't"),
        ({"scale": torch.ones(4)}, r"scale has shape \(4,\).*1 or 3 values"),
        ({"shift": torch.ones(3, dtype=torch.float64)}, r"shift has .*float64, on cpu"),
        ({"samples": torch.zeros(6), "out": torch.zeros(2)}, r"with one axis or more"),
    ],
)
def test_gather_inputs_refuses_what_does_not_fit(emulated: Emulator, wrong, message):
    """With what was given, what is needed and what to do; before anything is launched."""
    with pytest.raises(ConfigurationError, match=message):
        batches.gather_inputs(**{**valid(), **wrong})

    assert emulated.launched == []


def test_gather_inputs_refuses_to_crop_what_is_no_image(emulated: Emulator):
    """Augmentation needs (C, H, W); negative padding never makes sense."""
    flat = {"samples": torch.zeros(6, 3, 4), "out": torch.zeros(2, 3, 4), "scale": None, "shift": None}
    with pytest.raises(ConfigurationError, match=r"augmentation needs images, \(count, C, H, W\)"):
        batches.gather_inputs(**{**valid(), **flat}, augmentation=batches.RandomCrop.seeded(0, pad=1, flip=False))
    with pytest.raises(ConfigurationError, match=r"pad is -1"):
        batches.RandomCrop.seeded(0, pad=-1, flip=False)


def test_gather_inputs_refuses_layouts_with_gaps_between_many_axes(emulated: Emulator):
    """The kernel walks over two axes behind the channels, not over three."""
    samples, out = torch.zeros(6, 3, 2, 4, 5), torch.zeros(2, 3, 3, 5, 6)[:, :, :2, :4, :5]
    with pytest.raises(ConfigurationError, match=r"axes \(2, 4, 5\) behind its channels.*channels last"):
        batches.gather_inputs(**{**valid(), "samples": samples, "out": out})


def test_gather_targets_refuses_another_type_and_gaps(emulated: Emulator):
    """Targets go to the device in their final type."""
    place = torch.zeros(2, 6, dtype=torch.int32), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ConfigurationError, match=r"targets have .*int32; needed is .*int64"):
        batches.gather_targets(torch.zeros(6, dtype=torch.int32), *place, torch.zeros(2), offset=0)
    with pytest.raises(ConfigurationError, match=r"out has .*float32; targets of torch.int64 need the same dtype"):
        batches.gather_targets(torch.zeros(6, dtype=torch.int64), *place, torch.zeros(2), offset=0)
    with pytest.raises(ConfigurationError, match=r"strides \(2,\)"):
        batches.gather_targets(torch.zeros(6), *place, torch.zeros(4)[::2], offset=0)


def test_advance_refuses_what_is_no_cursor(emulated: Emulator):
    """It would write somewhere else."""
    with pytest.raises(ConfigurationError, match=r"cursor has shape \(1,\)"):
        batches.advance(torch.zeros(1, dtype=torch.int64), samples=1, iterations=1)
