"""All executors agree: the same losses, gradients, weights, central average model and buffers."""

import pytest
import torch
from small_models import OWN_MODELS, Model
from small_training import N_CLASSES, assert_executors_agree, images, points, prepared
from torch import Tensor, nn
from torch.nn import functional

from crossbow_lab.averaging import EASGD, SMA, SSGD
from crossbow_lab.session import Recipe
from crossbow_lab.session.trainer import Trainer
from crossbow_lab.workloads import DataSet, build_model

SHAPES = {"lenet": (1, 16, 16), "lenet-caffe": (2, 16, 18)}
SIZES = [(1, 1, True), (1, 4, False), (3, 1, False), (3, 4, True)]
LONG = ["resnet-20", "resnet-32"]
LARGE = {"vgg-16": (2, 32, 32), "resnet-50": (2, 33, 33)}


def zoo_model(name: str, shape: tuple[int, ...]) -> nn.Module:
    """Build a small model of the zoo."""
    return build_model(name, input_shape=shape, n_classes=N_CLASSES, seed=0)


@pytest.mark.parametrize(("n_learners", "batch_size", "augment"), SIZES)
@pytest.mark.parametrize("name", ["logreg", "mlp", "digits-cnn", "lenet", "lenet-caffe", "resnet-8"])
def test_executors_agree_on_every_model_of_the_zoo(name, n_learners, batch_size, augment):
    """20 iterations of SMA in float64 end within 1e-10, whatever k and b, augmented or not."""
    shape = SHAPES.get(name, (2, 8, 8))

    assert_executors_agree(
        zoo_model(name, shape),
        images(*shape, augmented=augment),
        n_learners=n_learners,
        batch_size=batch_size,
        augment=augment,
    )


@pytest.mark.slow
@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("name", LONG)
def test_executors_agree_on_long_residual_networks(name, augment):
    """20 or 32 layers deep too."""
    data = images(3, 16, 16, augmented=augment)

    assert_executors_agree(zoo_model(name, data.input_shape), data, n_learners=3, batch_size=4, augment=augment)


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_executors_agree_on_the_large_networks_of_the_paper(name):
    """Two iterations of 15 and 25 million parameters, VGG-16's dropout included.

    Many batch norms over few values amplify the rounding: 1.2e-9 after two iterations.
    """
    data = images(*LARGE[name])

    assert_executors_agree(zoo_model(name, data.input_shape), data, batch_size=4, iterations=2, atol=1e-8)


@pytest.mark.parametrize("name", OWN_MODELS)
def test_executors_agree_on_models_as_people_write_them(name):
    """Layers and habits that an executor could get wrong."""
    torch.manual_seed(0)

    assert_executors_agree(OWN_MODELS[name](), images(2, 8, 8))


def scaled_by_place(model: Model, x: Tensor) -> Tensor:
    """Use a tensor made from the shape of a sample."""
    return model.last(x * torch.arange(x.shape[1], dtype=x.dtype))


def shifted_by_sample(model: Model, x: Tensor) -> Tensor:
    """Use a layer on a tensor made from the batch size."""
    return model.last(x + model.table(torch.arange(x.shape[0])))


def shifted_by_constant(model: Model, x: Tensor) -> Tensor:
    """Use a layer on a constant."""
    return model.last(x + model.table(torch.tensor([0, 2, 1]))[0])


@pytest.mark.parametrize("n_learners", [2, 3])
@pytest.mark.parametrize("run", [scaled_by_place, shifted_by_sample, shifted_by_constant])
def test_executors_agree_where_sizes_coincide(run, n_learners):
    """Values that learners share are not taken for the learners' own, though as many as there are learners."""
    torch.manual_seed(0)
    model = Model(run, table=nn.Embedding(3, 3), last=nn.Linear(3, 1))

    assert_executors_agree(model, points(), loss="mse", n_learners=n_learners, batch_size=3)


@pytest.mark.parametrize(("target_shape", "n_outputs"), [((), 1), ((1,), 1), ((2,), 2), ((2, 2), 4)])
def test_executors_agree_on_regression(target_shape, n_outputs):
    """Mean squared errors, with targets of any shape."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, n_outputs))

    assert_executors_agree(model, points(*target_shape), loss="mse")


def test_executors_agree_on_a_loss_of_ones_own():
    """A function of (output, target) is called on one learner's batch."""

    def smoothed(output: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(output, target, label_smoothing=0.1) + 0.01 * output.square().mean()

    torch.manual_seed(0)
    assert_executors_agree(nn.Sequential(nn.Flatten(), nn.Linear(128, N_CLASSES)), images(2, 8, 8), loss=smoothed)


def test_executors_agree_in_float32():
    """Single precision differs by rounding only."""
    data = images(2, 8, 8)
    losses = [
        torch.stack([learners.iterate(i) for i in range(20)])
        for learners in (
            prepared(zoo_model("digits-cnn", data.input_shape), data, executor, dtype=torch.float32)
            for executor in ("loop", "fused")
        )
    ]

    torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=1e-6)


def test_executors_agree_whatever_is_adjusted_while_training():
    """Learners join and leave, batches change, averaging changes: with local momentum and weight decay."""
    data = images(2, 8, 8, augmented=True)
    adjustments = [
        {"learners": 3},
        {"batch_size": 2, "learning_rate": 0.02},
        {"algorithm": EASGD(), "learners": 2},
        {"algorithm": SSGD()},
        {"algorithm": SMA(sync_period=2, local_momentum=0.5)},
    ]
    trainers = [trainer_with(executor, data) for executor in ("loop", "fused")]
    for changes in adjustments:
        for trainer in trainers:
            trainer.adjust(changes)
        for _ in range(4):
            expected, found = (trainer.step() for trainer in trainers)
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)

    expected, found = (trainer.central_model().state_dict() for trainer in trainers)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("executor", ["loop", "fused"])
def test_adjusting_the_learners_there_and_back_makes_nothing_new(executor):
    """Neither the bank moves, nor is a step made that was made before."""
    trainer = trainer_with(executor, images(2, 8, 8))
    trainer.step()
    where, steps = trainer.bank.weights.data_ptr(), dict(trainer.iterations._steps)

    trainer.adjust({"learners": 4})
    trainer.step()
    trainer.adjust({"learners": 2})
    trainer.step()

    assert len(steps) == 1
    assert len(trainer.iterations._steps) == 2
    assert all(trainer.iterations._steps[key] is step for key, step in steps.items())
    assert trainer.bank.weights.data_ptr() == where


def trainer_with(executor: str, data: DataSet) -> Trainer:
    """Make a session's trainer of a small model with batch norm, in float64."""
    recipe = Recipe(
        model=None,
        dataset=None,
        algorithm=SMA(),
        learners=2,
        batch_size=3,
        learning_rate=0.01,
        weight_decay=0.001,
        executor=executor,
        dtype="float64",
        augment=data.augmentation is not None,
        max_learners=4,
    )
    torch.manual_seed(0)
    model = OWN_MODELS["batch norm 2d"]().double()
    return Trainer(recipe, model, data, "cross_entropy", has_dropout=False)
