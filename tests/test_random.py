"""The counter-based generator: a function of (key, counter), whoever asks."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossbow_lab.random import _mix, _mix_tensor, keep_mask, permutation, random_below, random_bits, stream_key

CPU = torch.device("cpu")
MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
SPLITMIX64_OF_SEED_0 = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]  # as published
quick = settings(max_examples=100, deadline=None)
words = st.integers(-(1 << 63), (1 << 63) - 1)


def bits_in_python(key: int, counter: int) -> int:
    """Compute `random_bits` of one counter without tensors, as a signed whole number."""
    value = _mix((_mix((counter * GOLDEN + key) & MASK) + GOLDEN) & MASK)
    return value - (1 << 64) if value >> 63 else value


def test_mix_is_splitmix64():
    """With the counter as its state it gives the sequence that SplitMix64 is known by, in both versions."""
    states = [(counter * GOLDEN) & MASK for counter in (1, 2, 3)]
    signed = torch.tensor([state - (1 << 64) if state >> 63 else state for state in states])

    assert [_mix(state) for state in states] == SPLITMIX64_OF_SEED_0
    assert [value & MASK for value in _mix_tensor(signed).tolist()] == SPLITMIX64_OF_SEED_0


@quick
@given(words, st.lists(st.integers(0, (1 << 62) - 1), min_size=1, max_size=5))
def test_random_bits_are_the_same_in_python_and_in_tensors(key, counters):
    """Wrapping multiplication and logical shifts, whatever the sign bits."""
    expected = [bits_in_python(key, counter) for counter in counters]

    assert random_bits(key, torch.tensor(counters)).tolist() == expected
    assert random_bits(torch.tensor(key), torch.tensor(counters)).tolist() == expected


def test_random_bits_never_change():
    """Recorded runs stay replayable: these numbers are part of what a seed means."""
    assert stream_key(0, "order", 0) == 7904655697022147310
    assert stream_key(0, "order", 1) == 6536931022724061880
    assert random_bits(7, torch.arange(3)).tolist() == [
        -8774268681488515761,
        -5137267319001854395,
        -9055334382896554780,
    ]
    assert permutation(8, stream_key(3, "order", 0)).tolist() == [5, 7, 4, 2, 3, 1, 6, 0]
    assert random_below(stream_key(3, "flip"), torch.arange(8), 10).tolist() == [7, 3, 0, 9, 0, 6, 5, 5]
    assert keep_mask(5, (8,), 0.5, CPU).tolist() == [False, True, False, False, True, True, False, False]


def test_random_bits_broadcast_over_keys():
    """A column of keys and a row of counters give a table, each row the key's own stream."""
    keys = torch.tensor([[3], [4]])
    table = random_bits(keys, torch.arange(5))

    assert table.shape == (2, 5)
    assert torch.equal(table[1], random_bits(4, torch.arange(5)))


def test_random_bits_under_vmap_are_those_of_each_key():
    """Batched learners draw what each would draw alone."""
    keys = torch.tensor([3, 4, -5])
    batched = torch.vmap(lambda key: keep_mask(key, (2, 7), 0.4, CPU))(keys)

    assert torch.equal(batched, torch.stack([keep_mask(int(key), (2, 7), 0.4, CPU) for key in keys]))


def test_random_bits_are_balanced_and_unlike_their_neighbours():
    """Each of the 64 bits is set half of the time, and changes half of the time, with the counter and with the key."""
    n = 20_000
    counters = torch.arange(n)
    bits = torch.stack([(random_bits(11, counters) >> place) & 1 for place in range(64)]).double()
    other = torch.stack([(random_bits(12, counters) >> place) & 1 for place in range(64)]).double()
    tolerance = 5 * 0.5 / n**0.5

    assert (bits.mean(1) - 0.5).abs().max() < tolerance
    assert ((bits[:, 1:] != bits[:, :-1]).double().mean(1) - 0.5).abs().max() < tolerance
    assert ((bits != other).double().mean(1) - 0.5).abs().max() < tolerance


def test_stream_keys_differ():
    """Seeds, names, numbers and their order all matter; long words are taken whole."""
    keys = [
        stream_key(*parts)
        for parts in (
            *((seed, "order", epoch) for seed in range(30) for epoch in range(30)),
            *((seed, "dropout", learner) for seed in range(30) for learner in range(30)),
            (),
            (0,),
            (0, 0),
            (1, 2),
            (2, 1),
            ("crop-top",),
            ("crop-left",),
            ("crop-lef",),
            (1 << 64,),
            (1 << 200,),
        )
    ]

    assert len(set(keys)) == len(keys)
    assert all(-(1 << 63) <= key < 1 << 63 for key in keys)


@quick
@given(words, st.integers(1, 1 << 31))
def test_random_below_stays_below(key, bound):
    """Never negative, never the bound."""
    values = random_below(key, torch.arange(64), bound)

    assert values.dtype == torch.int64
    assert 0 <= int(values.min()) <= int(values.max()) < bound


def test_random_below_is_uniform():
    """Chi squared over nine values, 45,000 draws: below the 99.99 % quantile of eight degrees of freedom."""
    counts = torch.bincount(random_below(stream_key(1, "crop-top"), torch.arange(45_000), 9), minlength=9).double()

    assert float(((counts - 5000) ** 2 / 5000).sum()) < 31.8


@pytest.mark.parametrize("probability", [0.001, 0.3, 0.5, 0.9])
def test_keep_mask_keeps_with_the_probability_asked_for(probability):
    """Within five standard deviations of 100,000 draws."""
    kept = keep_mask(stream_key(2), (100, 1000), probability, CPU)

    assert kept.dtype == torch.bool
    assert abs(float(kept.double().mean()) - probability) < 5 * (probability * (1 - probability) / 1e5) ** 0.5


def test_keep_mask_of_extreme_probabilities():
    """0 keeps nothing, 1 everything, and what rounding puts outside is taken for them."""
    for probability in (0.0, -1e-17, -0.5):
        assert not keep_mask(1, (1000,), probability, CPU).any()
    for probability in (1.0, 1.0 + 1e-15, 1.5):
        assert keep_mask(1, (1000,), probability, CPU).all()


def test_keep_mask_grows_with_the_probability():
    """The same draws decide: what a smaller probability keeps, a larger one keeps too."""
    small, large = (keep_mask(9, (1000,), probability, CPU) for probability in (0.2, 0.6))

    assert (large | ~small).all()


def test_keep_mask_takes_any_shape():
    """Without dimensions, and with none of an extent."""
    assert keep_mask(1, (), 1.0, CPU).shape == ()
    assert keep_mask(1, (3, 0), 0.5, CPU).shape == (3, 0)
    assert torch.equal(keep_mask(1, (2, 3), 0.5, CPU).flatten(), keep_mask(1, (6,), 0.5, CPU))


@quick
@given(st.integers(0, 300), words)
def test_permutation_holds_every_index_once(length, key):
    """In an order that the key alone decides."""
    order = permutation(length, key)

    assert order.dtype == torch.int64
    assert torch.equal(order.sort().values, torch.arange(length))
    assert torch.equal(order, permutation(length, key))


def test_permutation_puts_every_index_everywhere():
    """Over 3,000 keys each of five indices stands at each of five places about 600 times."""
    orders = torch.stack([permutation(5, stream_key(seed, "order", 0)) for seed in range(3000)])
    counts = torch.stack([torch.bincount(orders[:, place], minlength=5) for place in range(5)])

    assert (counts - 600).abs().max() < 5 * (3000 * 0.2 * 0.8) ** 0.5
