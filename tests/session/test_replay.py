"""A recipe replays to the same bits, live adjustments included."""

import dataclasses
import random
import sys
import types
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from crossbow_lab.averaging import EASGD, SMA, SSGD, Algorithm, LocalSGD, PairAveraging, PolyakRuppert
from crossbow_lab.errors import ConfigurationError, DivergedError, RecipeError
from crossbow_lab.session import Adjustment, Recipe, Session

ALGORITHMS: tuple[Algorithm, ...] = (
    SMA(),
    SMA(sync_period=3, local_momentum=0.5),
    EASGD(sync_period=2),
    SSGD(momentum=0.5),
    LocalSGD(sync_period=4, local_from_epoch=0.6),
    PairAveraging(),
    PolyakRuppert(local_momentum=0.3),
)


def random_change(draw: random.Random) -> dict[str, Any]:
    """Return what somebody at the sliders might ask for next."""
    changes: dict[str, Any] = draw.choice(
        [
            {"learners": draw.randint(1, 6)},
            {"batch_size": draw.randint(1, 12)},
            {"learners": draw.randint(1, 6), "batch_size": draw.randint(1, 12)},
            {"learning_rate": draw.choice([0.01, 0.03, 0.1])},
            {"sync_period": draw.randint(1, 4)},
            {"algorithm": draw.choice(ALGORITHMS)},
            {"algorithm": draw.choice(ALGORITHMS), "learning_rate": 0.02, "learners": 3},
            {"restart": True},
        ]
    )
    return changes


def adjust(session: Session, changes: dict[str, Any]) -> None:
    """Ask for changes; S-SGD has no synchronisation period to change, which is refused."""
    with suppress(ConfigurationError):
        session.adjust(**changes)


def replayed(session: Session, make: Callable[..., Session], **own: Any) -> Session:
    """Run the session's recipe again, by way of its JSON text."""
    return make(Recipe.from_json(session.recipe.to_json()), **own).run()


def assert_replays(session: Session, make: Callable[..., Session], **own: Any) -> None:
    """Check that the replay has the same z and the same recipe."""
    again = replayed(session, make, **own)
    assert again.fingerprint() == session.fingerprint()
    assert again.recipe == session.recipe


@pytest.mark.parametrize("seed", range(6))
def test_random_adjustments_in_the_background_replay_to_the_same_bits(make: Any, wait_for: Any, seed: int) -> None:
    """Whatever is adjusted whenever, with pauses and single steps between, the recipe gives the same z."""
    draw = random.Random(seed)  # noqa: S311  (nothing to guess here)
    steps = ((0.2, 0.04), (0.9, 0.02))
    session = make(algorithm=draw.choice(ALGORITHMS), learning_rate_steps=steps, seed=seed, evaluate_every=0.31)
    session.start()
    for _ in range(12):
        target = session.snapshot.iteration + draw.randint(1, 40)
        wait_for(lambda target=target: session.snapshot.iteration >= target)
        adjust(session, random_change(draw))
        if draw.random() < 0.4:
            session.pause()
            session.step(draw.randint(1, 5))
            adjust(session, random_change(draw))
            adjust(session, random_change(draw))
            session.resume()
    session.stop()
    assert len(session.recipe.adjustments) > 6
    assert_replays(session, make)


@pytest.mark.parametrize("seed", [0, 1])
def test_adjustments_of_the_executor_replay_to_the_same_bits(make: Any, seed: int) -> None:
    """Changing between loop and fused, whose rounding differs, is part of the recipe."""
    draw = random.Random(seed)  # noqa: S311
    session = make("mlp", learners=2, batch_size=4)
    for executor in ("fused", "loop", "fused"):
        session.run(iterations=draw.randint(1, 9))
        session.adjust(executor=executor)
        session.adjust(learners=draw.randint(2, 3))
    session.run(iterations=5)
    assert session.recipe.executor == "loop"
    assert_replays(session, make)


def test_an_adjustment_at_the_iteration_of_a_learning_rate_step_replays(make: Any, blobs: Any) -> None:
    """The step comes first and the adjustment wins, in the session as in its replay, wherever it was made."""
    data = {"dataset": blobs}
    session = make(small(), **data, learners=2, batch_size=3, learning_rate_steps=((1, 0.02), (2, 0.01)))
    session.run(iterations=9)
    session.step()  # the tenth ends the first epoch, where the rate steps to 0.02
    assert session.snapshot.learning_rate == 0.02
    session.adjust(learning_rate=0.3)
    session.run(iterations=10)  # ends where the second epoch ends, with the rate at 0.01
    session.adjust(learning_rate=0.2)
    session.start(iterations=3)
    session.wait()
    assert session.snapshot.learning_rate == 0.2
    assert_replays(session, make, own_model=small(), **data)


def test_an_adjustment_before_the_first_iteration_replays(make: Any) -> None:
    """It is made at iteration 0."""
    session = make()
    session.adjust(learners=4)
    session.run(iterations=5)
    assert session.recipe.adjustments == (Adjustment(0, {"learners": 4}),)
    assert_replays(session, make)


def test_an_adjustment_after_the_last_iteration_replays(make: Any) -> None:
    """It is made at the end and kept in the replay's recipe, and both go on to the same bits."""
    session = make()
    session.run(iterations=5)
    session.adjust(learners=4, learning_rate=0.2)
    session.adjust(algorithm=EASGD())
    again = replayed(session, make)
    assert again.recipe == session.recipe
    assert again.snapshot.algorithm == "EA-SGD"
    assert session.run(iterations=7).fingerprint() == again.run(iterations=7).fingerprint()
    assert again.recipe == session.recipe


def test_a_recipe_ends_where_its_session_was_stopped(make: Any, wait_for: Any) -> None:
    """The replay of a stopped session stops at the same iteration."""
    session = make()
    session.start()
    wait_for(lambda: session.snapshot.iteration > 20)
    session.stop()
    assert session.recipe.iterations == session.snapshot.iteration
    assert_replays(session, make)


def test_a_recipe_read_while_training_replays_to_where_it_ends(make: Any, wait_for: Any) -> None:
    """A recipe taken in mid-run is complete up to its last iteration, at any moment."""
    session = make()
    session.start()
    recipes = []
    for count in range(30):
        session.adjust(learning_rate=0.01 + count / 1000)
        wait_for(lambda: not session.snapshot.requested)
        recipes.append(session.recipe)
    session.stop()
    whole = session.recipe
    for recipe in recipes:
        expected = tuple(a for a in whole.adjustments if a.iteration < recipe.iterations)
        assert tuple(a for a in recipe.adjustments if a.iteration < recipe.iterations) == expected


def test_a_replay_can_stop_on_the_way_and_be_adjusted(make: Any) -> None:
    """A replay run in parts does the same, and an adjustment of its own becomes part of its own recipe."""
    session = make()
    session.run(iterations=10)
    session.adjust(learners=3)
    session.run(iterations=10)
    again = make(Recipe.from_json(session.recipe.to_json()))
    again.run(iterations=4)
    again.run(iterations=11)
    again.run()
    assert again.fingerprint() == session.fingerprint()
    other = make(session.recipe)
    other.run(iterations=10)
    other.adjust(batch_size=4)
    other.run()
    assert other.recipe.adjustments == (
        Adjustment(10, {"learners": 3}),
        Adjustment(10, {"batch_size": 4}),
    )
    assert_replays(other, make)


def test_batch_norm_dropout_and_augmentation_replay(make: Any) -> None:
    """Everything that is random is drawn again."""
    session = make(noisy, dataset=varied_digits, learners=2, batch_size=4)
    assert session.recipe.augment
    session.run(iterations=6)
    session.adjust(learners=3)
    session.run(iterations=6)
    assert session.recipe.replayable
    assert_replays(session, make, allow_imports=True)


def small() -> nn.Module:
    """Return a small model for the blobs, the same each time."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Linear(5, 3)


def noisy() -> nn.Module:
    """Return a model with batch norm and dropout."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(144, 10)
    )


def varied_digits() -> Any:
    """Return digits with augmentation."""
    from crossbow_lab.workloads import Augmentation, load_dataset

    return dataclasses.replace(load_dataset("digits"), augmentation=Augmentation(pad=1, flip=True), is_named=False)


def squared(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared difference to one-hot targets."""
    return (output - functional.one_hot(target, 3)).square().mean()


def test_own_objects_replay_in_this_process(make: Any, blobs: Any) -> None:
    """A module, arrays and a lambda have no names; given again, they replay."""
    loss = lambda output, target: squared(output, target)  # noqa: E731
    session = make(small(), blobs, loss=loss)
    session.run(iterations=12)
    recipe = session.recipe
    assert (recipe.model, recipe.dataset, recipe.loss) == (None, None, None)
    assert not recipe.replayable
    assert "not replayable: the model and the dataset and the loss can't be named" in recipe.missing
    with pytest.raises(RecipeError, match=r"can't be run by itself; not replayable: the model and the dataset"):
        make(Recipe.from_json(recipe.to_json()))
    with pytest.raises(RecipeError, match="can't be run by itself"):
        make(recipe, dataset=blobs, own_model=small())
    assert_replays(session, make, dataset=blobs, own_model=small(), loss=loss)


def test_a_module_is_copied_with_its_present_weights(make: Any, blobs: Any) -> None:
    """Training doesn't touch the user's module, and changing that doesn't reach the session."""
    model = small()
    before = [p.detach().clone() for p in model.parameters()]
    session = make(model, blobs)
    session.run(iterations=5)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    with torch.no_grad():
        model.weight.zero_()
    assert_replays(session, make, dataset=blobs, own_model=small())


def test_import_paths_need_permission(make: Any, blobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe that names code is only followed if its reader says so."""
    module = types.ModuleType("somebodys_module")
    module.factory, module.data, module.loss = small, lambda: blobs, squared  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "somebodys_module", module)
    recipe = Recipe("somebodys_module:factory", "somebodys_module:data", loss="somebodys_module:loss")
    recipe = dataclasses.replace(recipe, learners=2, batch_size=3, executor="loop", threads=1, iterations=4)
    with pytest.raises(RecipeError, match=r"names code to import: somebodys_module:data\. If you trust it"):
        make(recipe)
    session = make(recipe, allow_imports=True).run()
    assert session.recipe.model == "somebodys_module:factory"
    assert_replays(session, make, allow_imports=True)


def test_functions_of_an_importable_module_are_named_in_the_recipe(make: Any) -> None:
    """Given as objects, they become import paths, and the recipe is replayable."""
    session = make(small, small_blobs, loss=squared)
    assert session.recipe.model == f"{__name__}:small"
    assert session.recipe.dataset == f"{__name__}:small_blobs"
    assert session.recipe.loss == f"{__name__}:squared"
    assert session.recipe.replayable


def small_blobs() -> tuple[Tensor, Tensor]:
    """Return 60 samples of three classes."""
    return torch.randn(60, 5, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 3


def test_other_weights_or_data_are_refused(make: Any, blobs: Any) -> None:
    """A replay with another model or other data says so before it trains."""
    recipe = make(small(), blobs).run(iterations=2).recipe
    with pytest.raises(RecipeError, match="initial weights are not those of the recipe"):
        make(recipe, dataset=blobs, own_model=nn.Linear(5, 3))
    (inputs, labels), test = blobs
    with pytest.raises(RecipeError, match="data are not those of the recipe"):
        make(recipe, dataset=((inputs + 1, labels), test), own_model=small())
    with pytest.raises(RecipeError, match="loss is 'cross_entropy', but another one was given"):
        make(recipe, dataset=blobs, own_model=small(), loss=squared)
    eased = dataclasses.replace(recipe, data_sha256="")
    make(eased, dataset=((inputs + 1, labels), test), own_model=small()).run()


def test_an_adjustment_that_cannot_be_made_is_refused_before_training(make: Any) -> None:
    """A recipe that was edited into nonsense says which adjustment is wrong."""
    recipe = make().run(iterations=2).recipe
    late = Adjustment(1, {"learners": 65})
    with pytest.raises(RecipeError, match=r"adjustment at iteration 1 can't be made: 65 learners asked for"):
        make(dataclasses.replace(recipe, adjustments=(late,)))


def test_auto_records_what_it_chose_so_that_a_replay_does_not_choose(make: Any, blobs: Any) -> None:
    """Executor and threads are in the recipe, and the reason is an event."""
    session = make(small(), blobs, executor="auto", threads=None).run(iterations=3)
    assert session.recipe.executor in ("loop", "fused")
    assert session.recipe.threads == 1
    detail = session.events.query("kind == 'executor'").detail.item()
    assert detail.startswith(f"{session.recipe.executor}: fastest of")
    assert_replays(session, make, dataset=blobs, own_model=small())


def test_a_diverged_session_replays_to_its_divergence(make: Any) -> None:
    """The recipe of a failure fails again, in the same iteration."""
    session = make("mlp", learning_rate=1e6)
    with pytest.raises(DivergedError) as first:
        session.run(epochs=2)
    again = make(session.recipe)
    with pytest.raises(DivergedError) as second:
        again.run()
    assert str(first.value) == str(second.value)
