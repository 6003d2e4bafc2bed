"""A restored session goes on to the same bits, and a damaged checkpoint says so."""

import dataclasses
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from crossbow_lab.averaging import EASGD, SMA, SSGD
from crossbow_lab.errors import CheckpointError, RecipeError
from crossbow_lab.session import Session
from crossbow_lab.workloads import Augmentation, load_dataset

TIMES = ["elapsed_s", "evaluation_s", "samples_per_s", "samples_per_s_per_device"]


def noisy() -> nn.Module:
    """Return a model with batch norm and dropout, the same each time."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return nn.Sequential(
            nn.Conv2d(1, 3, 3),
            nn.BatchNorm2d(3),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Flatten(),
            nn.Linear(108, 10),
        )


def varied() -> Any:
    """Return a part of digits, with augmentation."""
    digits = load_dataset("digits")
    train = dataclasses.replace(digits.train, inputs=digits.train.inputs[:150], targets=digits.train.targets[:150])
    return dataclasses.replace(
        digits, train=train, augmentation=Augmentation(pad=1, flip=True), is_named=False, fingerprint="150"
    )


CASES: dict[str, dict[str, Any]] = {
    "sma": {},
    "everything": {
        "algorithm": SMA(sync_period=4, local_momentum=0.6),
        "learning_rate_steps": ((0.5, 0.02), (0.55, 0.01), (0.9, 0.005)),
        "weight_decay": 0.01,
        "batch_norm": "recalibrate",
    },
    "fused": {"algorithm": SMA(sync_period=3), "executor": "fused", "learning_rate_steps": ((0.5, 0.02),)},
    "s-sgd": {"algorithm": SSGD()},
    "ea-sgd": {"algorithm": EASGD(sync_period=2, local_momentum=0.3), "dtype": "float64"},
}


@pytest.mark.parametrize("case", CASES)
def test_restored_sessions_go_on_to_the_same_bits(make: Any, tmp_path: Path, case: str) -> None:
    """Interrupted anywhere, with a period half over and a restart due: z and the history are as without it."""
    settings = {"learners": 2, "batch_size": 5, "evaluate_every": 0.3, **CASES[case]}
    own = {"dataset": varied(), "own_model": noisy()}
    whole, parts = (make(noisy(), varied(), **settings) for _ in range(2))
    whole.run(iterations=4)
    whole.adjust(learners=3)
    whole.run(iterations=16)
    parts.run(iterations=4)
    parts.adjust(learners=3)
    for count, at in enumerate((1, 4, 1, 1, 2) if case != "fused" else (6,)):  # to iterations 5, 9, 10, 11, 13
        parts.step(at)
        path = parts.checkpoint(tmp_path / f"{count}.safetensors")
        assert parts.recipe.adjustments == whole.recipe.adjustments
        parts = Session.restore(path, **own)
        assert parts.state == "paused"
    parts.run(iterations=20 - parts.snapshot.iteration)
    assert parts.fingerprint() == whole.fingerprint()
    assert parts.recipe == whole.recipe
    assert_same_history(parts, whole)
    assert parts.central_model().state_dict().keys() == whole.central_model().state_dict().keys()
    for a, b in zip(parts.central_model().buffers(), whole.central_model().buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def assert_same_history(session: Session, other: Session) -> None:
    """Both have the same rows, but for times and for iterations at which only one was stopped."""
    mine, others = (s.history.drop(columns=TIMES).set_index("iteration") for s in (session, other))
    shared = mine.index.intersection(others.index)
    assert len(shared) >= 3
    columns = ["epoch", "samples", "test_loss", "test_accuracy", "divergence", "learners", "learning_rate"]
    assert mine.loc[shared, columns].equals(others.loc[shared, columns])


def test_a_checkpoint_holds_the_losses_since_the_last_row(make: Any, tmp_path: Path) -> None:
    """The mean training loss of the next row counts the iterations before the checkpoint too."""
    whole, first = (make(evaluate_every=0.5) for _ in range(2))
    whole.run(epochs=0.5)
    first.step(20)
    restored = Session.restore(first.checkpoint(tmp_path / "a"))
    restored.run(epochs=0.5 - restored.snapshot.epoch)
    for table in ("history", "learner_history"):
        mine, others = getattr(restored, table), getattr(whole, table)
        assert mine.train_loss.tolist() == pytest.approx(others.train_loss.tolist(), rel=1e-12)


def test_checkpoints_are_taken_while_training_and_while_paused(make: Any, tmp_path: Path, wait_for: Any) -> None:
    """In each state it is the state between two iterations, and the fingerprint is that of the checkpoint."""
    session = make()
    session.checkpoint(tmp_path / "ready")
    session.start()
    running = session.checkpoint(tmp_path / "running")
    session.pause()
    wait_for(lambda: session.state == "paused")
    paused = session.checkpoint(tmp_path / "paused")
    mark = session.fingerprint()
    assert Session.restore(paused).fingerprint() == mark
    restored = Session.restore(running)
    restored.step(session.snapshot.iteration - restored.snapshot.iteration or 1)
    if restored.snapshot.iteration == session.snapshot.iteration:
        assert restored.fingerprint() == mark
    session.stop()
    assert session.fingerprint() == mark
    assert Session.restore(tmp_path / "ready").run(iterations=3).snapshot.iteration == 3


def test_a_replay_interrupted_half_way_goes_on_with_its_script(make: Any, tmp_path: Path) -> None:
    """Adjustments still to come and the end are in the checkpoint."""
    session = make()
    session.run(iterations=6)
    session.adjust(learners=3)
    session.run(iterations=6)
    replay = make(session.recipe)
    replay.step(3)
    restored = Session.restore(replay.checkpoint(tmp_path / "half"))
    restored.run()
    assert restored.recipe == session.recipe
    assert restored.fingerprint() == session.fingerprint()


def test_history_events_and_clocks_go_on(make: Any, tmp_path: Path) -> None:
    """The restored record begins with the old one, and clocks never run backwards."""
    session = make(evaluate_every=0.2)
    session.run(epochs=1)
    restored = Session.restore(session.checkpoint(tmp_path / "a"), folder=tmp_path / "new")
    assert restored.history.equals(session.history)
    assert restored.learner_history.equals(session.learner_history)
    assert restored.events.kind.tolist() == ["executor", "restored"]
    assert restored.snapshot.elapsed_s == session.snapshot.elapsed_s
    assert restored.snapshot.test_accuracy == session.snapshot.test_accuracy
    restored.run(epochs=1)
    assert restored.history.elapsed_s.is_monotonic_increasing
    assert restored.history.evaluation_s.is_monotonic_increasing
    lines = (tmp_path / "new" / "history.jsonl").read_text().splitlines()
    assert len(lines) == len(restored.history)
    restored.close()


def test_a_restored_session_can_be_stopped_at_once(make: Any, tmp_path: Path) -> None:
    """With nothing trained since, it evaluates z and ends."""
    session = make()
    session.step(3)
    restored = Session.restore(session.checkpoint(tmp_path / "a"))
    restored.stop()
    assert restored.state == "stopped"
    assert restored.history.iteration.tolist() == [3]
    assert restored.fingerprint() == session.fingerprint()


def test_the_old_file_stays_where_a_new_one_cannot_be_written(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up leaves the last good checkpoint, no draft, and training as it was."""
    session = make()
    path = session.checkpoint(tmp_path / "a")
    before, mark = path.read_bytes(), session.fingerprint()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("crossbow_lab.session.checkpoint.save_file", full)
    with pytest.raises(CheckpointError, match=r"can't be written \(.*No space left.*free space"):
        session.checkpoint(path)
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
    assert path.read_bytes() == before
    assert session.fingerprint() == mark
    assert session.run(iterations=1).state == "finished"


def test_an_automatic_checkpoint_that_fails_is_an_event(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training itself needs none, so it goes on."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("crossbow_lab.session.checkpoint.save_file", full)
    session = make(folder=tmp_path / "run").run(iterations=5)
    assert session.state == "finished"
    assert "not written" in session.events.query("kind == 'checkpoint'").detail.item()


def edited(path: Path, target: Path, edit: Callable[[dict[str, Any], dict[str, Any]], None]) -> Path:
    """Write a changed copy of a checkpoint: ``edit`` gets its tensors and its JSON values."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    state = json.loads(bytes(tensors["state"].numpy()))
    edit(tensors, state)
    tensors["state"] = torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)
    save_file(tensors, target, metadata=metadata)
    return target


@pytest.fixture
def good(make: Any, tmp_path: Path) -> Path:
    """Give an undamaged checkpoint."""
    session = make()
    session.run(iterations=3)
    path: Path = session.checkpoint(tmp_path / "good.safetensors")
    return path


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """It says which path it looked at."""
    with pytest.raises(CheckpointError, match=r"nowhere does not exist"):
        Session.restore(tmp_path / "nowhere")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.99, 0.99999])
def test_a_truncated_file_is_refused(good: Path, tmp_path: Path, share: float) -> None:
    """Wherever it was cut."""
    content = good.read_bytes()
    (tmp_path / "cut").write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match="damaged, cut short or no checkpoint"):
        Session.restore(tmp_path / "cut")


def test_garbage_and_pickles_are_refused_and_nothing_is_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading a checkpoint executes nothing that it holds."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("something was unpickled")

    (tmp_path / "garbage").write_bytes(bytes(range(256)) * 50)
    torch.save({"weights": torch.zeros(3)}, tmp_path / "pickle")
    (tmp_path / "raw").write_bytes(pickle.dumps([1, 2, 3]))
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, fail)
    monkeypatch.setattr(torch, "load", fail)
    for name in ("garbage", "pickle", "raw"):
        with pytest.raises(CheckpointError, match="damaged, cut short or no checkpoint"):
            Session.restore(tmp_path / name)


def test_a_good_checkpoint_is_restored_without_unpickling(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither pickle nor torch.load is used."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("something was unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, fail)
    monkeypatch.setattr(torch, "load", fail)
    assert Session.restore(good).snapshot.iteration == 3


def test_a_foreign_safetensors_file_is_refused(tmp_path: Path) -> None:
    """It is told apart from a damaged one."""
    save_file({"weights": torch.zeros(3)}, tmp_path / "foreign")
    with pytest.raises(CheckpointError, match="is a safetensors file, but not a checkpoint of crossbow_lab"):
        Session.restore(tmp_path / "foreign")


def test_a_newer_schema_is_refused(good: Path, tmp_path: Path) -> None:
    """It says which version it is, and what to do."""
    newer = edited(good, tmp_path / "newer", lambda _, state: state.update(schema=4))
    with pytest.raises(CheckpointError, match="has schema 4, newer than 3; upgrade crossbow-lab"):
        Session.restore(newer)


def test_a_checkpoint_of_the_first_schema_goes_on(good: Path, tmp_path: Path) -> None:
    """It counted no synchronisations and had no policies, which nothing in it needs."""

    def age(_: object, state: dict[str, Any]) -> None:
        recipe = json.loads(state["recipe"])
        del recipe["learning_rate_policy"], state["progress"]["synchronisations"], state["progress"]["base_rate"]
        state.update(schema=1, recipe=json.dumps({**recipe, "schema": 1}))

    sessions = [Session.restore(path) for path in (good, edited(good, tmp_path / "old", age))]
    for session in sessions:
        session.run(iterations=5)
    assert sessions[0].fingerprint() == sessions[1].fingerprint()


@pytest.mark.parametrize("name", ["weights", "centre", "centre_velocity"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensor: tensor[..., :1].clone(), r"is torch.float32 of shape \(.*, not torch.float32 of shape"),
        (lambda tensor: tensor.double(), "is torch.float64 of shape"),
        (None, "does not contain tensor|doesn't fit"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(good: Path, tmp_path: Path, name: str, change: Any, message: str) -> None:
    """A wrong shape, even one that would broadcast, a wrong dtype, a missing tensor."""

    def edit(tensors: dict[str, Any], _: dict[str, Any]) -> None:
        tensor = tensors.pop(name)
        if change is not None:
            tensors[name] = change(tensor)

    with pytest.raises(CheckpointError, match=message):
        Session.restore(edited(good, tmp_path / "edited", edit))


@pytest.mark.parametrize(
    "edit",
    [
        lambda state: state.pop("schema"),
        lambda state: state.update(schema="one"),
        lambda state: state.pop("progress"),
        lambda state: state.update(progress={"iteration": -1}),
        lambda state: state["progress"].update(position="many"),
        lambda state: state["progress"].update(unheard_of=1),
        lambda state: state["setting"].update(learners=0),
        lambda state: state["setting"].update(algorithm={"name": "SMAA"}),
        lambda state: state.update(recipe="{"),
        lambda state: state.update(entries={}),
        lambda state: state["entries"].update(history=[{"iteration": 1}]),
        lambda state: state.update(script=[[1]]),
        lambda state: state.update(end=-3),
        lambda state: state["memory"].update(elapsed_s=None),
        lambda state: state["memory"].pop("losses"),
    ],
)
def test_damaged_values_are_refused(good: Path, tmp_path: Path, edit: Any) -> None:
    """Whatever is wrong in the part that isn't tensors, it is a CheckpointError that names the file."""
    damaged = edited(good, tmp_path / "damaged", lambda _, state: edit(state))
    with pytest.raises(CheckpointError, match="damaged"):
        Session.restore(damaged)


def test_other_data_than_the_checkpoints_are_refused(make: Any, blobs: Any, tmp_path: Path) -> None:
    """As a recipe's are."""
    session = make(nn.Linear(5, 3), blobs)
    path = session.checkpoint(tmp_path / "own")
    with pytest.raises(RecipeError, match="can't be run by itself"):
        Session.restore(path)
    (inputs, labels), test = blobs
    with pytest.raises(RecipeError, match="data are not those"):
        Session.restore(path, own_model=nn.Linear(5, 3), dataset=((inputs * 2, labels), test))


def test_an_own_model_is_restored_whatever_its_weights(make: Any, blobs: Any, tmp_path: Path) -> None:
    """The checkpoint has the weights; the recipe still names those that the session began with."""
    session = make(nn.Linear(5, 3), blobs)
    session.run(iterations=4)
    path = session.checkpoint(tmp_path / "own")
    restored = Session.restore(path, own_model=nn.Linear(5, 3), dataset=blobs)
    assert restored.recipe == session.recipe
    assert restored.run(iterations=4).fingerprint() == session.run(iterations=4).fingerprint()


def test_frozen_parameters_must_be_those_of_the_checkpoint(make: Any, blobs: Any, tmp_path: Path) -> None:
    """They aren't trained, so the file doesn't hold them."""

    def half_frozen(seed: int) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))
        model[0].requires_grad_(False)
        return model

    session = make(half_frozen(1), blobs)
    session.run(iterations=2)
    path = session.checkpoint(tmp_path / "frozen")
    restored = Session.restore(path, own_model=half_frozen(1), dataset=blobs)
    assert restored.run(iterations=2).fingerprint() == session.run(iterations=2).fingerprint()
    with pytest.raises(CheckpointError, match="parameters that aren't trained are not those of"):
        Session.restore(path, own_model=half_frozen(2), dataset=blobs)
