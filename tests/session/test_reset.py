"""Beginning again inside the same session."""

from pathlib import Path
from typing import Any

import pytest
import torch

from crossbow_lab.errors import ConfigurationError
from crossbow_lab.session import Recipe, Session


def test_it_trains_to_the_same_bits_as_the_first_time(make: Any) -> None:
    """Adjustments are dropped, the recipe is that of the start, the record begins again."""
    session = make("mlp", evaluate_every=0.3)
    first = session.run(iterations=60).fingerprint()
    session.adjust(learners=5, learning_rate=0.2)
    session.run(iterations=20)
    record = session.record
    assert session.reset() is session
    assert (session.state, session.snapshot.iteration, session.snapshot.learners) == ("ready", 0, 2)
    assert session.recipe.adjustments == ()
    assert session.recipe.iterations is None
    assert session.record is not record
    assert len(session.history) == 0
    assert session.run(iterations=60).fingerprint() == first


def test_it_stops_training_first(make: Any, wait_for: Any) -> None:
    """Also in the background and while paused; nothing is left of it."""
    session = make()
    session.start()
    wait_for(lambda: session.snapshot.iteration > 3)
    session.reset()
    assert session.state == "ready"
    session.start()
    session.pause()
    wait_for(lambda: session.state == "paused")
    assert session.reset().run(iterations=3).snapshot.iteration == 3


def test_it_is_the_way_on_after_a_failure(make: Any) -> None:
    """Everything works again."""
    session = make("mlp", learning_rate=1e20)
    with pytest.raises(Exception, match="Try a smaller learning rate"):
        session.run(epochs=10)
    assert session.state == "failed"
    session.reset()
    assert session.error is None
    assert session.traceback is None
    session.adjust(learning_rate=0.05)
    assert session.run(iterations=3).state == "finished"


def test_each_time_has_a_folder_of_its_own(make: Any, tmp_path: Path) -> None:
    """The old records stay whole, and are closed."""
    session = make(folder=tmp_path / "run")
    session.run(iterations=30)
    session.reset().run(iterations=40)
    session.reset()
    assert session.record.folder == tmp_path / "run-3"
    ends = [Recipe.from_json((tmp_path / name / "recipe.json").read_text()).iterations for name in ("run", "run-2")]
    assert ends == [30, 40]
    assert (tmp_path / "run-2" / "history.parquet").exists()


def test_a_recipe_that_is_replayed_is_replayed_again(make: Any) -> None:
    """Its own adjustments belong to it; those made since don't."""
    original = make().run(iterations=20)
    original.adjust(learners=4)
    recipe = original.run(iterations=20).recipe
    session = make(recipe)
    first = session.run().fingerprint()
    session.adjust(batch_size=4)
    session.run(iterations=5)
    assert session.reset().run().fingerprint() == first
    assert session.recipe == recipe


def test_a_restored_session_begins_where_the_first_one_began(make: Any, tmp_path: Path) -> None:
    """Without what was adjusted before the checkpoint."""
    original = make("mlp").run(iterations=20)
    first = original.fingerprint()
    original.adjust(learners=4)
    path = original.run(iterations=20).checkpoint(tmp_path / "a.safetensors")
    restored = Session.restore(path)
    assert restored.reset().run(iterations=20).fingerprint() == first
    assert restored.snapshot.learners == 2


def test_it_refuses_where_the_initial_weights_are_gone(make: Any, tmp_path: Path, blobs: Any) -> None:
    """A checkpoint of a model without a name holds later weights only; the session stays as it is."""
    torch.manual_seed(0)
    path = make(torch.nn.Linear(5, 3), blobs).run(iterations=5).checkpoint(tmp_path / "a.safetensors")
    restored = Session.restore(path, own_model=torch.nn.Linear(5, 3), dataset=blobs)
    with pytest.raises(ConfigurationError, match=r"initial weights of Linear are gone.*make a new session"):
        restored.reset()
    assert restored.snapshot.iteration == 5
    assert restored.run(iterations=2).snapshot.iteration == 7


def test_a_closed_session_stays_closed(make: Any) -> None:
    """Its files are closed, too."""
    session = make()
    session.close()
    with pytest.raises(ConfigurationError, match=r"reset\(\) on a closed session"):
        session.reset()


def test_a_user_s_own_module_begins_with_the_weights_that_it_had(make: Any, blobs: Any) -> None:
    """Batch norm's statistics too, which training changes."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 6), torch.nn.BatchNorm1d(6), torch.nn.Linear(6, 3))
    session = make(model, blobs)
    first = session.run(iterations=20).fingerprint()
    assert session.reset().run(iterations=20).fingerprint() == first


def test_it_is_refused_from_inside_a_session_s_own_loss(make: Any, blobs: Any) -> None:
    """Training would wait for itself; what was recorded stays."""
    asked = []

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if asked:
            asked[0].reset()
        return torch.nn.functional.cross_entropy(outputs, targets)

    session = make(torch.nn.Linear(5, 3), blobs, loss=loss)
    session.run(iterations=3)
    record = session.record
    asked.append(session)
    with pytest.raises(ConfigurationError, match="would wait for itself for ever"):
        session.run(iterations=3)
    assert session.record is record
    assert session.state == "failed"
