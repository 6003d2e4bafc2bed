"""Batches: one stream of samples, a function of (seed, epoch, position)."""

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_training import CPU, images

from crossbow_lab.errors import ConfigurationError
from crossbow_lab.learners import Batches, Preparation, check_batch
from crossbow_lab.learners import batches as module
from crossbow_lab.workloads import ArraySplit, Augmentation, DataSet, as_dataset

quick = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
counts = st.lists(st.integers(1, 40), min_size=1, max_size=12)
lengths = st.integers(1, 25)


def numbered(length: int) -> DataSet:
    """Give samples that are their own index."""
    return replace(images(1, 1, 1), train=split(length), input_shape=(1,), scale=(1.0,), shift=(0.0,))


def split(length: int) -> ArraySplit:
    """Give samples that are their own index, and so are their targets."""
    return ArraySplit(torch.arange(length).float()[:, None], torch.arange(length))


def stream(data: DataSet, *, seed: int = 0, augment: bool = False, dtype: torch.dtype = torch.float32) -> Batches:
    """Make a stream on the CPU."""
    return Batches(data, seed, augment=augment, device=CPU, dtype=dtype)


@pytest.fixture
def small_blocks(monkeypatch):
    """Gather blocks of few samples, so that batches are met at every place of a block."""
    monkeypatch.setattr(module, "_BLOCK_SAMPLES", 16)


@pytest.mark.usefixtures("small_blocks")
@quick
@given(lengths, counts)
def test_batches_give_every_sample_once_per_epoch(length, sizes):
    """Whatever the sizes of the batches: nothing is lost or seen twice, and the last batch rolls over."""
    batches, position, seen = stream(numbered(length)), 0, []
    for size in sizes:
        inputs, targets = batches.take(position, size)
        assert inputs.shape == (size, 1)
        assert torch.equal(inputs[:, 0].long(), targets)
        seen += targets.tolist()
        position += size

    for start in range(0, position, length):
        epoch = seen[start : start + length]
        assert len(set(epoch)) == len(epoch)
        assert set(epoch) == set(range(length)) or start + length > position


@pytest.mark.usefixtures("small_blocks")
@quick
@given(lengths, counts, counts)
def test_batches_do_not_depend_on_the_sizes_before(length, sizes, others):
    """The order survives any change of the number of learners and of the batch size."""

    def taken(parts):
        batches, position, seen = stream(numbered(length)), 0, []
        for size in parts:
            seen += batches.take(position, size)[1].tolist()
            position += size
        return seen

    for one, other in zip(taken(sizes), taken(others), strict=False):
        assert one == other


@pytest.mark.usefixtures("small_blocks")
@quick
@given(lengths, st.lists(st.tuples(st.integers(0, 200), st.integers(1, 40)), min_size=1, max_size=8))
def test_batches_can_be_asked_for_any_position(length, wanted):
    """Blocks kept from earlier calls give the same samples as asking one by one."""
    data = numbered(length)
    batches = stream(data)
    for position, count in wanted:
        one_by_one = [int(stream(data).indices(p, 1)) for p in range(position, position + count)]
        assert batches.take(position, count)[1].tolist() == one_by_one
        assert batches.indices(position, count).tolist() == one_by_one


def test_batches_have_another_order_each_epoch_and_for_each_seed():
    """And the same one again for the same seed."""
    orders = {
        (seed, epoch): tuple(stream(numbered(50), seed=seed).indices(50 * epoch, 50).tolist())
        for seed in range(3)
        for epoch in range(3)
    }

    assert len(set(orders.values())) == 9
    assert stream(numbered(50), seed=1).indices(50, 50).tolist() == list(orders[1, 1])


def test_batches_roll_a_partial_batch_into_the_next_epoch():
    """10 samples in batches of 4: the third holds the last two and the first two of the next epoch."""
    batches = stream(numbered(10))

    third = batches.take(8, 4)[1].tolist()

    assert third == [*batches.indices(8, 2).tolist(), *batches.indices(10, 2).tolist()]
    assert set(batches.take(0, 8)[1].tolist()) | set(third[:2]) == set(range(10))
    assert batches.epoch_samples == 10


def test_batches_read_no_more_ahead_than_a_few_thousand_samples():
    """The first batch of very small data doesn't wait for thousands of epochs."""

    class Counting(torch.utils.data.Dataset):
        read = 0

        def __len__(self):
            return 8

        def __getitem__(self, index):
            self.read += 1
            return torch.full((2,), float(index)), index % 2

    data = as_dataset(Counting())
    data.train.dataset.read = 0
    stream(data).take(0, 8)

    assert 8 <= data.train.dataset.read <= 5000


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batches_normalise_by_channel(dtype):
    """X = raw * scale + shift, in the session's floating-point type."""
    data = images(3, 4, 5)
    batches = stream(data, dtype=dtype)
    raw = data.train.inputs[batches.indices(7, 6)].to(dtype)
    scale, shift = (torch.tensor(values, dtype=dtype)[:, None, None] for values in (data.scale, data.shift))

    inputs, targets = batches.take(7, 6)

    assert inputs.dtype == dtype
    assert inputs.is_contiguous()
    assert torch.equal(inputs, raw * scale + shift)
    assert torch.equal(targets, data.train.targets[batches.indices(7, 6)])


def test_preparation_takes_one_scale_for_all_channels_and_converts_targets():
    """Real targets get the inputs' type, labels stay whole numbers."""
    data = replace(images(3, 4, 5), scale=(0.5,), shift=(1.0,))
    prepare = Preparation(data, CPU, torch.float64)

    inputs, targets = prepare(torch.full((2, 3, 4, 5), 4, dtype=torch.uint8), torch.ones(2, 7))

    assert torch.equal(inputs, torch.full((2, 3, 4, 5), 3.0, dtype=torch.float64))
    assert targets.dtype == torch.float64
    assert prepare(inputs, torch.ones(2, dtype=torch.int32))[1].dtype == torch.int64
    assert prepare.bytes_per_sample == 8 * 60


def test_batches_never_change_the_data():
    """Samples that need no scaling are copies all the same."""
    data = numbered(10)
    before = data.train.inputs.clone()

    stream(data).take(0, 10)[0].fill_(-1.0)

    assert torch.equal(data.train.inputs, before)


@pytest.mark.usefixtures("small_blocks")
def test_augmentation_depends_on_the_position_alone():
    """Whether samples are asked for in blocks or one by one, in any order; and on the seed."""
    data = images(2, 5, 6, augmented=True)
    whole, _ = stream(data, augment=True).take(0, 70)

    alone = [stream(data, augment=True).take(position, 1)[0][0] for position in range(70)]
    later, _ = stream(data, augment=True).take(33, 20)

    assert torch.equal(whole, torch.stack(alone))
    assert torch.equal(later, whole[33:53])
    assert not torch.equal(whole, stream(data, augment=True, seed=1).take(0, 70)[0])


def test_augmentation_is_off_unless_asked_for():
    """Without it the same samples come as they are."""
    plain, augmentable = images(2, 5, 6), images(2, 5, 6, augmented=True)

    assert torch.equal(stream(augmentable).take(0, 9)[0], stream(plain).take(0, 9)[0])
    assert torch.equal(stream(plain, augment=True).take(0, 9)[0], stream(plain).take(0, 9)[0])


@pytest.mark.parametrize(("pad", "flip"), [(0, True), (2, False), (2, True)])
def test_augmentation_is_a_crop_of_the_padded_image_or_its_mirror_image(pad, flip):
    """Every result is one of the (2 pad + 1)^2 crops, mirrored or not, and all of these occur."""
    height, width = 4, 5
    image = torch.arange(1, 2 * height * width + 1, dtype=torch.uint8).view(2, height, width)
    padded = torch.nn.functional.pad(image, (pad, pad, pad, pad))
    crops = [
        padded[:, top : top + height, left : left + width] for top in range(2 * pad + 1) for left in range(2 * pad + 1)
    ]
    possible = {crop.numpy().tobytes() for crop in crops}
    if flip:
        possible |= {crop.flip(2).contiguous().numpy().tobytes() for crop in crops}

    found = module.augmented(image.expand(2000, -1, -1, -1), Augmentation(pad=pad, flip=flip), 0, torch.arange(2000))

    assert {each.contiguous().numpy().tobytes() for each in found} == possible


def test_augmentation_mirrors_half_of_the_images():
    """Within four standard deviations."""
    image = torch.tensor([[[0, 1]]], dtype=torch.uint8)
    found = module.augmented(image.expand(10_000, -1, -1, -1), Augmentation(pad=0, flip=True), 3, torch.arange(10_000))

    assert abs(found[:, 0, 0, 0].double().mean() - 0.5) < 4 * 0.5 / 100


@pytest.mark.parametrize(
    ("learners", "batch_size", "message"),
    [
        (
            4,
            8,
            r"4 learners x batch size 8 = 32 samples an iteration, but small images has only 30 .* batch_size=7 with 4",
        ),
        (1, 31, r"use at most batch_size=30 with 1 learners"),
        (31, 1, r"only 30 training samples; use at most 30 learners"),
    ],
)
def test_check_batch_says_what_fits(learners, batch_size, message):
    """An aggregate batch is at most one epoch."""
    with pytest.raises(ConfigurationError, match=message):
        check_batch(images(1, 2, 2), learners, batch_size)


def test_check_batch_accepts_a_whole_epoch():
    """The largest that is legal."""
    check_batch(images(1, 2, 2), 5, 6)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("n_devices", [2, 3])
def test_devices_share_the_stream_and_learners_keep_their_samples(n_devices):
    """Learner j has the j-th batch of the whole one, on device j mod g, through changes of m and b; augmented alike."""
    data = replace(images(20, 6, 6), augmentation=Augmentation(pad=2, flip=True))
    whole = Batches(data, 3, augment=True, device=CPU, dtype=torch.float32)
    parts = [
        Batches(data, 3, augment=True, device=CPU, dtype=torch.float32, rank=rank, n_devices=n_devices)
        for rank in range(n_devices)
    ]
    position = 0
    for learners, size in ((2, 3), (2, 3), (3, 1), (1, 3), (3, 2), (2, 3)):
        count = learners * size * n_devices
        expected = whole.take(position, count)[0].view(learners, n_devices, size, *data.input_shape)
        for rank, part in enumerate(parts):
            inputs, targets = part.take(position, count, size)
            assert torch.equal(inputs, expected[:, rank].flatten(0, 1))
            assert len(targets) == learners * size
        position += count
