"""Dropout by key: masks that depend on (seed, learner, iteration, which dropout), whoever draws them."""

import pytest
import torch
from small_models import Model
from small_training import CPU, images, points, prepared
from torch import nn
from torch.nn import functional

from crossbow_lab.errors import ExecutorError, ModelError
from crossbow_lab.learners import draws_random_numbers
from crossbow_lab.learners.dropout import KeyedDropout, iteration_keys, learner_keys

N = 200
EXECUTORS = ["loop", "fused"]


def summed(output, target):
    """Sum all outputs, so that the gradient of a factor is what it was multiplied with."""
    return output.sum() + 0.0 * target.sum()


def masked(*probabilities: float) -> nn.Module:
    """Return a model with one vector of ``N`` parameters per dropout."""

    def run(model, x):
        parts = [
            functional.dropout(x[:, :1] * 0 + factor, probability, model.training)
            for factor, probability in zip(model.factors, probabilities, strict=True)
        ]
        return torch.cat(parts, dim=1)

    return Model(run, factors=nn.ParameterList(torch.ones(N) for _ in probabilities))


def masks(executor="loop", *, iteration=0, probabilities=(0.3,), **settings) -> torch.Tensor:
    """Return the factors that dropout applied in one iteration: (k, N per dropout)."""
    settings = {"n_learners": 3, "batch_size": 1, **settings}
    learners = prepared(masked(*probabilities), points(), executor, loss=summed, **settings)
    inputs, targets = learners.batches.take(0, settings["n_learners"])
    learners.step(inputs, targets, iteration)
    return learners.bank.gradients[:, : learners.bank.n_parameters].clone()


@pytest.mark.parametrize("executor", EXECUTORS)
def test_dropout_zeroes_some_and_scales_the_rest(executor):
    """Elements are 0 or 1 / (1 - p)."""
    assert sorted(set(masks(executor).flatten().tolist())) == [0.0, pytest.approx(1 / 0.7)]


def test_dropout_is_the_same_for_all_executors():
    """Bit for bit, for each learner, in the first and in a later iteration."""
    for iteration in (0, 7):
        assert torch.equal(masks("fused", iteration=iteration), masks("loop", iteration=iteration))


@pytest.mark.parametrize("executor", EXECUTORS)
def test_dropout_changes_with_learner_iteration_seed_and_place(executor):
    """No two masks are alike."""
    found = [
        *masks(executor, probabilities=(0.3, 0.3)).view(-1, N),
        *masks(executor, iteration=1),
        *masks(executor, seed=1),
    ]

    assert len({tuple(mask.tolist()) for mask in found}) == 6 + 3 + 3


@pytest.mark.parametrize("executor", EXECUTORS)
def test_dropout_of_a_learner_does_not_depend_on_the_number_of_learners(executor):
    """Learner 0 alone, and beside two others."""
    assert torch.equal(masks(executor, n_learners=1)[0], masks(executor, n_learners=3)[0])


def test_dropout_keeps_as_many_as_it_should():
    """The rate of kept elements is 1 - p, within four standard deviations of 30,000 draws."""
    for probability in (0.1, 0.5, 0.8):
        keep = KeyedDropout(learner_keys(0, 1, CPU)[0])
        with keep:
            kept = functional.dropout(torch.ones(30_000), probability) != 0
        deviation = (probability * (1 - probability) / 30_000) ** 0.5
        assert abs(kept.double().mean() - (1 - probability)) < 4 * deviation


@pytest.mark.parametrize("executor", EXECUTORS)
def test_dropout_neither_reads_nor_moves_the_global_generator(executor):
    """What the rest of a program draws changes nothing, and is not changed."""
    torch.manual_seed(1)
    first = masks(executor)
    torch.manual_seed(2)
    before = torch.get_rng_state()

    assert torch.equal(masks(executor), first)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_evaluation_does_not_change_dropout(executor):
    """Running the model for evaluation between two iterations leaves the next masks as they are."""
    learners = prepared(masked(0.3), points(), executor, loss=summed, batch_size=1)
    inputs, targets = learners.batches.take(0, 2)
    learners.step(inputs, targets, 1)
    expected = learners.bank.gradients.clone()

    learners.step(inputs, targets, 0)
    learners.work.model.eval()(inputs)
    learners.work.model.train()(inputs)
    learners.step(inputs, targets, 1)

    assert torch.equal(learners.bank.gradients, expected)


@pytest.mark.parametrize(
    ("layer", "shape", "channel_dims"),
    [
        (nn.Dropout1d(0.5), (6, 5, 7), 2),
        (nn.Dropout1d(0.5), (40, 7), 1),
        (nn.Dropout2d(0.5), (6, 5, 3, 2), 2),
        (nn.Dropout3d(0.5), (6, 5, 3, 2, 2), 2),
        (nn.Dropout3d(0.5), (40, 3, 2, 2), 1),
    ],
)
def test_dropout_of_channels_zeroes_whole_channels(layer, shape, channel_dims):
    """Every channel of a sample is kept whole or dropped whole; without a batch, every channel."""
    with KeyedDropout(learner_keys(0, 1, CPU)[0]):
        flat = layer(torch.ones(shape)).flatten(channel_dims).flatten(0, channel_dims - 1)

    assert ((flat == 0).all(1) | (flat == 2).all(1)).all()
    assert 0.2 < float((flat[:, 0] == 0).double().mean()) < 0.8


def test_dropout_of_everything_leaves_zeros():
    """Probability 1 gives 0, not NaN; probability 0 changes nothing and draws nothing."""
    mode = KeyedDropout(learner_keys(0, 1, CPU)[0])
    with mode:
        assert not functional.dropout(torch.ones(5), 1.0).any()
        assert functional.dropout(torch.ones(5), 0.0).all()
    assert mode.calls == 1


def test_dropout_refuses_what_is_no_probability():
    """As torch does."""
    with (
        pytest.raises(ModelError, match=r"dropout has probability 1.5; it must be between 0 and 1"),
        KeyedDropout(learner_keys(0, 1, CPU)[0]),
    ):
        functional.dropout(torch.ones(5), 1.5)


def test_iteration_keys_differ():
    """64 learners over 100 iterations never share a key."""
    keys = torch.cat([iteration_keys(learner_keys(0, 64, CPU), iteration) for iteration in range(100)])

    assert len(keys.unique()) == 6400


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.Dropout(0.2), True),
        (nn.Dropout2d(0.2), True),
        (Model(lambda _, x: functional.dropout(x, 0.1)), True),
        (Model(lambda _, x: torch.dropout(x, p=0.1, train=True)), True),
        (nn.Dropout(0.0), False),
        (nn.Dropout(0.2).eval(), False),
        (nn.ReLU(), False),
        (Model(lambda _, x: functional.scaled_dot_product_attention(x, x, x)), False),
    ],
)
def test_draws_random_numbers_finds_dropout(layer, expected):
    """However it is written, where it does something."""
    assert draws_random_numbers(layer, torch.ones(2, 3, 4, 4)) is expected


def test_draws_random_numbers_leaves_all_as_it_was():
    """The model's buffers and torch's generator."""
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5))
    before, generator = [buffer.clone() for buffer in model.buffers()], torch.get_rng_state()

    draws_random_numbers(model, torch.ones(2, 3, 4, 4))

    assert all(torch.equal(old, new) for old, new in zip(before, model.buffers(), strict=True))
    assert torch.equal(torch.get_rng_state(), generator)


def attention(x):
    """Attention with dropout of its own."""
    return functional.scaled_dot_product_attention(x, x, x, dropout_p=0.2)


@pytest.mark.parametrize(
    "run",
    [
        lambda x: x + torch.rand(4),
        lambda x: x + torch.randn_like(x),
        lambda x: x + torch.empty_like(x).normal_(),
        lambda x: x + torch.empty_like(x).uniform_(),
        lambda x: x * torch.bernoulli(torch.full_like(x, 0.5)),
        lambda x: x * torch.empty_like(x).bernoulli_(0.5),
        lambda x: x[torch.randperm(2)],
        nn.RReLU(),
        nn.AlphaDropout(0.2),
        nn.FeatureAlphaDropout(0.2),
        functional.gumbel_softmax,
        lambda x: functional.fractional_max_pool2d(x, 2, output_size=2),
        attention,
        nn.TransformerEncoderLayer(4, 1, 4, dropout=0.1, batch_first=True),
    ],
)
def test_draws_random_numbers_refuses_what_it_cannot_replay(run):
    """Any other use of torch's generator, also inside torch's own functions; the generator is put back."""
    x = torch.linspace(-1, 1, 96).view(2, 3, 4, 4)
    if isinstance(run, nn.TransformerEncoderLayer):
        x = x[0]
    generator = torch.get_rng_state()

    with pytest.raises(ExecutorError, match=r"draws random numbers with aten.* can't be replayed; use nn.Dropout"):
        draws_random_numbers(Model(lambda _, x: run(x)), x)
    assert torch.equal(torch.get_rng_state(), generator)


def test_draws_random_numbers_accepts_attention_without_its_own_dropout():
    """The way out that the message names."""
    layer = nn.TransformerEncoderLayer(4, 1, 4, dropout=0.1, batch_first=True)
    layer.self_attn.dropout = 0.0

    assert draws_random_numbers(layer, torch.ones(2, 5, 4))


def test_learners_with_random_numbers_of_their_own_are_refused():
    """Before anything trains."""
    noisy = Model(lambda model, x: model.last((x + torch.randn_like(x)).flatten(1)), last=nn.Linear(128, 4))

    with pytest.raises(ExecutorError, match=r"aten\.randn_like"):
        prepared(noisy, images(2, 8, 8), "loop")
