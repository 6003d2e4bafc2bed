"""What can't work is refused before anything trains, with what was given, what is needed and what to do."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from crossbow_lab.averaging import SMA
from crossbow_lab.errors import (
    ConfigurationError,
    DataError,
    DeviceUnavailable,
    ExecutorError,
    ModelError,
    RecipeError,
)
from crossbow_lab.session import Recipe, Session
from crossbow_lab.session.build import Own, build

Make = Callable[..., Session]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        *[({"learners": value}, "learners is .*; it must be a whole number >= 1") for value in (0, 1.5, True, "4")],
        *[({"batch_size": value}, "batch_size is .*; it must be a whole") for value in (0, 1.5, True, "4")],
        ({"batch_size": 719}, "2 learners x batch size 719 = 1438 samples an iteration, but digits has only 1437"),
        ({"learners": 200, "max_learners": 100}, "learners is 200, but max_learners is 100; raise max_learners"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; it must be a finite number > 0"),
        ({"algorithm": "SMA"}, r"algorithm is 'SMA'; give cb.SMA\(\)"),
        ({"algorithm": SMA(alpha=1.5)}, "alpha must be below"),
        ({"model": "lenett"}, "unknown model 'lenett': did you mean 'lenet'"),
        ({"model": 42}, "model is 42; give a name, an nn.Module, or a function"),
        ({"model": None}, "model is None; give a name"),
        ({"dataset": "digit"}, "unknown data set 'digit': did you mean 'digits'"),
        ({"loss": "crossentropy"}, "unknown loss 'crossentropy'; did you mean 'cross_entropy'"),
        ({"loss": 3}, "loss must be a name or a function"),
        ({"executor": "fusd"}, "unknown executor 'fusd'; did you mean 'fused'"),
        ({"learning_rat": 0.1}, "Session has no setting 'learning_rat'; did you mean 'learning_rate'"),
        ({"batch": 3}, "Session has no setting 'batch'; did you mean 'batch_size'"),
        ({"own_model": nn.Linear(2, 2)}, "own_model goes with a recipe; give the model itself as model"),
        ({"augment": True}, "augment is True, but digits has no augmentation; leave it out"),
        ({"augment": "yes"}, "augment is 'yes'; it must be True, False or None"),
        ({"data_dir": 3}, "data_dir is 3; it must be a path"),
        ({"device": "gpu0"}, 'device \'gpu0\' is not a device; use "cpu" or "cuda:0"'),
        ({"device": ""}, "device '' is not a device"),
        ({"dtype": "float"}, "dtype is 'float'; did you mean 'float"),
        ({"threads": 1.5}, "threads is 1.5"),
    ],
)
def test_wrong_settings_are_refused(make: Make, settings: dict[str, Any], message: str) -> None:
    """Each by its name, with its legal range or the nearest name."""
    with pytest.raises(ConfigurationError, match=message):
        make(**settings)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_said_to_be_missing(make: Make) -> None:
    """With the way out."""
    with pytest.raises(DeviceUnavailable, match=r"torch finds no CUDA device here; use device=\"cpu\""):
        make(device="cuda")


def test_a_device_that_cannot_compute_is_refused(make: Make) -> None:
    """Some devices that torch knows hold no numbers, or are lacking here."""
    with pytest.raises(DeviceUnavailable, match="device 'meta' can't be used here"):
        make(device="meta")


def test_a_recipe_takes_no_other_settings(make: Make) -> None:
    """Changing the recipe is the way to change it."""
    recipe = make().recipe
    with pytest.raises(ConfigurationError, match=r"a recipe was given, and learners, augment, loss too; change the"):
        Session(recipe, learners=3, augment=False, loss="mse")
    with pytest.raises(ConfigurationError, match="and dataset too"):
        Session(recipe, "digits")


def test_max_learners_grows_with_learners(make: Make) -> None:
    """64, or as many as there are from the start."""
    assert make().recipe.max_learners == 64
    assert make(learners=70, batch_size=2).recipe.max_learners == 70
    assert make(max_learners=5).recipe.max_learners == 5


def test_a_model_without_parameters_is_refused(make: Make, blobs: Any) -> None:
    """There would be nothing to train; the same where all are frozen."""
    frozen = nn.Linear(5, 3).requires_grad_(False)
    for model in (nn.Flatten(), frozen):
        with pytest.raises(ModelError, match="no parameter that requires a gradient; there is nothing to train"):
            make(model, blobs)


def test_a_model_that_fails_on_the_data_is_refused(make: Make, blobs: Any) -> None:
    """With the shape of the batch."""
    with pytest.raises(ModelError, match=r"Linear fails on one batch of own data, of shape \(8, 5\): .*; give a"):
        make(nn.Linear(4, 3), blobs)


def test_a_named_model_that_cannot_take_the_data_is_refused(make: Make, blobs: Any) -> None:
    """With the shape that it needs."""
    with pytest.raises(ModelError, match=r"digits-cnn needs images \(C, H, W\)"):
        make("digits-cnn", blobs)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Linear(5, 2), r"gives outputs of shape \(8, 2\) for 8 samples, but own data has 3 classes; give"),
        (nn.Sequential(nn.Linear(5, 1), nn.Flatten(0)), r"outputs of shape \(8,\) for 8 samples"),
        (nn.Sequential(nn.Linear(5, 6), nn.Unflatten(1, (3, 2))), r"outputs of shape \(8, 3, 2\)"),
    ],
)
def test_outputs_that_do_not_fit_the_classes_are_refused(make: Make, blobs: Any, model: Any, message: str) -> None:
    """One per class is needed."""
    with pytest.raises(ModelError, match=message):
        make(model, blobs)


def test_real_targets_need_another_loss_than_cross_entropy(make: Make) -> None:
    """It says which."""
    data = (torch.rand(30, 5), torch.rand(30))
    with pytest.raises(ConfigurationError, match=r'own data has real targets; use loss="mse" or a function of'):
        make(nn.Linear(5, 1), data)


def test_the_squared_error_needs_one_output_per_target(make: Make) -> None:
    """Broadcasting would train something else."""
    data = (torch.rand(30, 5), torch.rand(30, 2))
    with pytest.raises(ModelError, match=r"outputs of shape \(8, 1\), but the targets have shape \(8, 2\)"):
        make(nn.Linear(5, 1), data, loss="mse")
    flat = make(nn.Linear(5, 1), (torch.rand(30, 5), torch.rand(30)), loss="mse")
    assert flat.run(iterations=2).state == "finished"


class TwoOutputs(nn.Linear):
    """A model that returns two tensors."""

    def forward(self, x: Tensor) -> Any:
        """Return the output twice."""
        return super().forward(x), x


def test_a_model_must_return_one_tensor(make: Make, blobs: Any) -> None:
    """It says what it returned."""
    with pytest.raises(ModelError, match="TwoOutputs returns tuple; it must return one tensor"):
        make(TwoOutputs(5, 3), blobs)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda output, target: functional.cross_entropy(output, target, reduction="none"), "one number for a batch"),
        (lambda *_: 1.0, "one number for a batch"),
        (lambda output, target: (output.argmax(1) == target).double().mean(), "the loss has no gradient"),
        (lambda output, target: output @ target, r"the loss fails on outputs of shape \(8, 3\) and targets of shape"),
        (lambda output: output.mean(), "the loss fails on outputs"),
    ],
)
def test_a_loss_that_nothing_can_be_learnt_from_is_refused(make: Make, blobs: Any, loss: Any, message: str) -> None:
    """Not one number, not differentiable, or an error of its own."""
    with pytest.raises(ConfigurationError, match=message):
        make(nn.Linear(5, 3), blobs, loss=loss)


class Random(nn.Linear):
    """A model that draws random numbers of its own."""

    def forward(self, x: Tensor) -> Tensor:
        """Add noise."""
        return super().forward(x + torch.rand_like(x))


def test_a_model_whose_random_numbers_cannot_be_replayed_is_refused(make: Make, blobs: Any) -> None:
    """It says what can."""
    with pytest.raises(
        ExecutorError, match=r"draws random numbers with .*rand_like.*, which can't be replayed; use nn"
    ):
        make(Random(5, 3), blobs)


def test_a_loss_whose_random_numbers_cannot_be_replayed_is_refused(make: Make, blobs: Any) -> None:
    """It would be another training each time."""

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(output + torch.randn_like(output), target)

    with pytest.raises(ExecutorError, match=r"in the loss, not in the model: .* draws random numbers with .*, which"):
        make(nn.Linear(5, 3), blobs, loss=loss)


def test_sessions_are_made_and_run_where_gradients_are_off(make: Make, blobs: Any) -> None:
    """Gradients are what training is about, whatever surrounds it."""
    with torch.no_grad():
        session = make(nn.Linear(5, 3), blobs).run(iterations=2)
    assert session.state == "finished"


def test_a_bank_that_no_memory_can_hold_is_refused(make: Make) -> None:
    """It says what to lower."""
    with pytest.raises(ConfigurationError, match=r"no memory for max_learners=10+ learners .*; lower max_learners"):
        make(max_learners=10**14)


def test_extreme_numbers_are_as_good_as_any(make: Make) -> None:
    """What is legal works, though it be tiny or huge."""
    tiny = make(evaluate_every=1e-300).run(iterations=3)
    assert tiny.history.iteration.tolist() == [1, 2, 3]
    huge = make(evaluate_every=1e308, learning_rate_steps=((1e308, 0.1),))
    assert huge.run(epochs=1e308, iterations=3).history.iteration.tolist() == [3]


def test_batch_norm_on_one_sample_is_refused_before_training(make: Make, blobs: Any) -> None:
    """With one learner's batch, not the aggregate one: b = 1 has no statistics."""
    model = nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 3))
    with pytest.raises(ModelError, match=r"fails on one batch of own data, of shape \(1, 5\): .*another batch size"):
        make(model, blobs, batch_size=1)
    assert make(model, blobs, batch_size=2).run(iterations=1).state == "finished"


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ((torch.full((9, 5), float("nan")), torch.arange(9) % 3), "NaN or infinite, first at index 0"),
        ((torch.rand(9, 5), torch.arange(9) - 4), "label -4 at index 0 is out of range"),
        ((torch.rand(9, 5), torch.arange(8)), "9 inputs but 8 targets"),
        (3, "the data set is a int"),
    ],
)
def test_data_that_cannot_be_trained_on_are_refused(make: Make, dataset: Any, message: str) -> None:
    """By the data sets' own checks."""
    with pytest.raises(DataError, match=message):
        make("logreg", dataset)


def test_a_model_that_cannot_be_copied_is_refused(make: Make, blobs: Any) -> None:
    """A function that makes a new one will do instead."""
    model = nn.Linear(5, 3)
    model.lock = (i for i in ())  # type: ignore[assignment]  # generators can't be copied
    with pytest.raises(ModelError, match=r"Linear can't be copied .*; give a function that returns a new one"):
        make(model, blobs)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (lambda: 3, "the model factory returned int; it must return an nn.Module"),
        (lambda needed: needed, r"the model factory failed \(TypeError: .*missing 1 required"),
    ],
)
def test_a_factory_must_return_a_model(make: Make, blobs: Any, factory: Any, message: str) -> None:
    """Without arguments."""
    with pytest.raises(ModelError, match=message):
        make(factory, blobs)


def test_a_factory_is_seeded(make: Make, blobs: Any) -> None:
    """The same seed gives the same weights, another one others."""
    marks = [make(lambda: nn.Linear(5, 3), blobs, seed=seed).fingerprint() for seed in (1, 1, 2)]
    assert marks[0] == marks[1] != marks[2]


def test_augmentation_is_on_where_the_data_set_has_it(blobs: Any) -> None:
    """Unless it is refused; what was done is in the recipe."""
    import dataclasses

    from crossbow_lab.workloads import Augmentation, load_dataset

    varied = dataclasses.replace(load_dataset("digits"), augmentation=Augmentation(1, True), is_named=False)
    recipe = Recipe("logreg", None, batch_size=8, executor="loop")
    built = [
        build(dataclasses.replace(recipe, augment=augment), Own(dataset=varied)) for augment in (None, True, False)
    ]
    assert [one.recipe.augment for one in built] == [True, True, False]
    positions = [one.trainer.batches.take(0, 32)[0] for one in built]
    assert torch.equal(positions[0], positions[1])
    assert not torch.equal(positions[0], positions[2])
    assert not build(recipe, Own(dataset=blobs)).recipe.augment


def test_the_recipe_says_what_was_chosen_and_found(blobs: Any) -> None:
    """Executor, threads, and the content of weights and data."""
    built = build(Recipe("logreg", None, batch_size=8, executor="loop"), Own(dataset=blobs))
    assert (built.recipe.executor, built.recipe.threads) == ("loop", torch.get_num_threads())
    assert len(built.recipe.weights_sha256) == len(built.recipe.data_sha256) == 64
    assert built.reason == "as the recipe says"


def test_a_recipe_that_names_nothing_needs_the_objects() -> None:
    """It says which ones are missing."""
    with pytest.raises(RecipeError, match="not replayable: the model and the dataset can't be named"):
        build(Recipe(None, None), Own())


def test_trying_out_leaves_the_model_as_it_was(blobs: Any) -> None:
    """Batch-norm statistics begin where the user's model has them."""
    model = nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 3))
    built = build(Recipe(None, None, batch_size=8, executor="loop"), Own(model=model, dataset=blobs))
    for name, rows in built.trainer.bank.buffers.items():
        assert torch.equal(rows[:4], model.get_buffer(name).expand_as(rows[:4]))
