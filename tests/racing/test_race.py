"""Races of sessions that really train."""

import dataclasses
import math
import os
import signal
import threading
import time
from typing import Any

import pytest
import torch

from crossbow_lab.averaging import EASGD, SMA, SSGD
from crossbow_lab.errors import ConfigurationError, ModelError
from crossbow_lab.racing import Race
from crossbow_lab.session import Recipe, Session

COMMON = {"learners": 2, "batch_size": 8, "learning_rate": 0.1, "executor": "loop", "threads": 1, "max_learners": 8}


def recipe(algorithm: Any, **settings: Any) -> Recipe:
    """Return a small recipe."""
    return Recipe("logreg", "digits", algorithm, **{**COMMON, "evaluate_every": 0.5, **settings})


def pair(**settings: Any) -> dict[str, Recipe]:
    """Return two entrants."""
    return {"SMA": recipe(SMA()), "other": recipe(SSGD(), **settings)}


class Sleepy(torch.nn.Linear):
    """A model whose iterations take 30 ms at least."""

    def __init__(self) -> None:
        super().__init__(64, 10)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Take a while."""
        time.sleep(0.03)
        return super().forward(inputs.flatten(1))


def test_lanes_have_the_device_equally_long_whatever_an_iteration_takes(race: Any, wait_for: Any) -> None:
    """One lane's iterations are longer than turns: what a turn takes too long is taken off the next."""
    slow = Session(Sleepy, "digits", **{**COMMON, "learners": 1, "evaluate_every": 100})
    raced = race({"slow": slow, "fast": recipe(SMA(), evaluate_every=100)}, slice_s=0.02)
    raced.start()
    wait_for(lambda: slow.snapshot.elapsed_s > 0.9)
    raced.stop()
    shares = [lane.session.snapshot.elapsed_s for lane in raced.lanes.values()]
    assert shares[0] == pytest.approx(shares[1], abs=0.07)
    assert raced["fast"].session.snapshot.iteration > 20 * slow.snapshot.iteration
    slow.close()


def test_at_any_moment_no_lane_is_more_than_a_turn_ahead(race: Any) -> None:
    """Looked at while it runs in the background."""
    raced = race(slice_s=0.03)
    raced.start()
    apart = []
    for _ in range(60):
        time.sleep(0.01)
        clocks = [lane.session.snapshot.elapsed_s for lane in raced.lanes.values()]
        apart.append(max(clocks) - min(clocks))
    raced.stop()
    assert min(clocks) > 0.05
    assert max(apart) < 0.03 + 0.1  # 50 ms is how old a snapshot may be, and a look takes time here


def test_clocks_count_their_own_lanes_training_only(race: Any) -> None:
    """Together not more than the wall's; and evaluations are on a clock of their own."""
    raced = race(slice_s=0.02)
    began_s = time.perf_counter()
    raced.run(seconds=0.2)
    wall_s = time.perf_counter() - began_s
    standing = [lane.session.snapshot for lane in raced.lanes.values()]
    trained_s, evaluated_s = (sum(getattr(now, name) for now in standing) for name in ("elapsed_s", "evaluation_s"))
    assert evaluated_s > 0
    assert trained_s + evaluated_s <= wall_s
    assert trained_s == pytest.approx(0.6, abs=0.06)


def test_only_one_lane_trains_at_a_time(race: Any) -> None:
    """Seen from inside the models."""
    inside, overlaps = [], []

    class Watched(torch.nn.Linear):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            inside.append(1)
            overlaps.append(len(inside))
            outputs = super().forward(inputs.flatten(1))
            inside.pop()
            return outputs

    sessions = [Session(lambda: Watched(64, 10), "digits", **COMMON) for _ in range(2)]
    overlaps.clear()
    race({"a": sessions[0], "b": sessions[1]}, slice_s=0.01).run(seconds=0.1)
    assert len(overlaps) > 20
    assert set(overlaps) == {1}
    for session in sessions:
        session.close()


def test_a_lane_ends_where_it_reaches_the_target_and_the_table_says_who_was_first(race: Any) -> None:
    """The others go on; times are those of `Session.time_to_accuracy`."""
    raced = race({**pair(), "slow": recipe(SMA(), learning_rate=1e-5)}, target=0.85)
    table = raced.run(epochs=8).table
    assert list(table["place"]) == [1, 2, 3]
    assert table["lane"].iloc[2] == "slow"
    assert set(table["state"]) == {"finished"}
    seconds = list(table["seconds_to_target"])
    assert seconds[0] <= seconds[1]
    assert math.isnan(seconds[2])
    first = raced[table["lane"].iloc[0]]
    assert first.reached.seconds == seconds[0] == pytest.approx(first.session.snapshot.elapsed_s, abs=0.01)
    assert raced["slow"].session.snapshot.epoch == pytest.approx(8, abs=0.02)
    assert raced.state == "finished"


def test_every_lane_is_replayed_to_the_same_bits_with_its_adjustments(race: Any, wait_for: Any) -> None:
    """Slices leave no trace in what is computed; nor do pauses."""
    raced = race(slice_s=0.01)
    raced.start()
    wait_for(lambda: raced["SMA"].session.snapshot.iteration > 20)
    raced["SMA"].adjust(learners=4, learning_rate=0.05)
    raced["EA-SGD"].pause()
    wait_for(lambda: raced["EA-SGD"].state == "paused")
    raced["EA-SGD"].adjust(batch_size=5)
    raced["EA-SGD"].resume()
    stands = raced["EA-SGD"].session.snapshot.iteration
    wait_for(lambda: raced["EA-SGD"].session.snapshot.iteration > stands + 20)
    raced.stop()
    assert raced.recipes["SMA"].adjustments[0].changes == {"learners": 4, "learning_rate": 0.05}
    assert raced.recipes["EA-SGD"].adjustments[0].changes == {"batch_size": 5}
    for name, played in raced.recipes.items():
        with Session(Recipe.from_json(played.to_json())) as again:
            assert again.run().fingerprint() == raced[name].session.fingerprint()


def test_a_paused_lane_sits_out_and_nothing_is_made_up_for(race: Any, wait_for: Any) -> None:
    """The others go on meanwhile; afterwards all get equal turns again."""
    raced = race(slice_s=0.01)
    raced["SMA"].pause()
    assert raced.state == "ready"
    raced.start()
    wait_for(lambda: raced["S-SGD"].session.snapshot.elapsed_s > 0.1)
    assert raced["SMA"].session.snapshot.iteration == 0
    raced["SMA"].resume()
    wait_for(lambda: raced["SMA"].session.snapshot.elapsed_s > 0.05)
    raced.pause()
    wait_for(lambda: raced.state == "paused")
    assert raced["S-SGD"].session.snapshot.elapsed_s > raced["SMA"].session.snapshot.elapsed_s + 0.05
    assert raced.wait(0.01) == "paused"
    raced.resume()
    wait_for(lambda: raced.state == "running")
    raced["SMA"].stop()
    wait_for(lambda: raced["SMA"].state == "stopped")
    assert len(raced["SMA"].session.history) > 0
    assert raced.state == "running"
    with pytest.raises(ConfigurationError, match="lane 'SMA', which has stopped"):
        raced["SMA"].pause()
    raced.stop()
    assert raced.state == "stopped"


def test_a_race_goes_on_after_a_stop_and_begins_again_after_a_reset(race: Any) -> None:
    """With the same seeds: to the same bits."""
    raced = race(pair())
    raced.run(epochs=1)
    first = raced["SMA"].session.fingerprint()
    raced.run(epochs=1)
    assert raced["SMA"].session.snapshot.epoch == pytest.approx(2, abs=0.02)
    raced.reset()
    assert (raced.state, raced["SMA"].session.snapshot.iteration) == ("ready", 0)
    raced.run(epochs=1)
    assert raced["SMA"].session.fingerprint() == first


def test_a_lane_that_diverges_ends_and_the_others_go_on(race: Any) -> None:
    """Its error says why."""
    raced = race(pair(learning_rate=1e38))
    raced.run(epochs=1)
    assert raced["other"].state == "failed"
    assert "Try a smaller learning rate" in raced["other"].error
    assert raced["SMA"].state == "finished"
    assert raced.state == "finished"


def test_who_pauses_or_stops_a_lanes_own_session_pauses_or_stops_the_lane(race: Any, wait_for: Any) -> None:
    """As its own dashboard's buttons would; the race doesn't hang."""
    raced = race(pair(), slice_s=0.2)
    raced.start()
    session = raced["SMA"].session
    for _ in range(1000):
        if session.state == "running":
            session.pause()
            break
        time.sleep(0.002)
    wait_for(lambda: raced["SMA"].state == "paused")
    raced["other"].session.stop()
    wait_for(lambda: raced["other"].state in ("stopped", "running"))
    raced.stop()


def test_ctrl_c_stops_all_lanes_and_the_race_can_go_on(race: Any) -> None:
    """In the foreground: between two iterations, with everything kept."""
    raced = race(pair(), slice_s=0.02)
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        raced.run(seconds=60)
    assert raced.state == "stopped"
    before = raced["SMA"].session.snapshot.iteration
    assert before > 0
    raced.run(epochs=0.5)
    assert raced["SMA"].session.snapshot.iteration > before


def test_progress_is_printed_where_nobody_looks(race: Any, monkeypatch: Any, capsys: Any) -> None:
    """A line with every lane."""
    monkeypatch.setattr("crossbow_lab.racing.race._LINE_EVERY_S", 0.0)
    monkeypatch.setenv("CROSSBOW_HEADLESS", "1")
    race(pair(), target=0.5).run(epochs=4)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("SMA: ")
    assert "other: " in lines[-1]


@pytest.mark.parametrize(
    ("entrants", "said"),
    [
        ({"one": recipe(SMA())}, "2 to 6 lanes, but 1 were given"),
        ({str(n): recipe(SMA()) for n in range(7)}, "2 to 6 lanes, but 7 were given"),
        ([recipe(SMA())], "give {name: recipe"),
        ({"sma": recipe(SMA()), "SMA ": recipe(SMA())}, "two lanes are called 'sma' and 'SMA ', .*rename one"),
        ({"": recipe(SMA()), "b": recipe(SMA())}, "a lane's name is ''"),
        ({"a": recipe(SMA()), "b": SMA()}, "lane 'b' is SMA.*give a cb.Recipe"),
        (
            {"a": recipe(SMA()), "b": dataclasses.replace(recipe(EASGD()), device="meta")},
            "device 'meta' can't be used here",
        ),
    ],
)
def test_a_race_that_makes_no_sense_is_refused(entrants: Any, said: str) -> None:
    """Each message says what to give instead."""
    with pytest.raises(Exception, match=said):
        Race(entrants)


def test_sessions_that_cannot_be_compared_are_refused() -> None:
    """Other test data, a head start, one session twice, another device."""
    inputs, targets = torch.randn(64, 64), torch.arange(64) % 10
    test, other_test = (torch.randn(20, 64), torch.arange(20) % 10), (torch.randn(20, 64), torch.arange(20) % 10)
    a, b, c = (Session("logreg", ((inputs, targets), t), **COMMON) for t in (test, other_test, test))
    with pytest.raises(ConfigurationError, match=r"lane 'b' has other training or test data .* give all the same"):
        Race({"a": a, "b": b})
    with pytest.raises(ConfigurationError, match="the same session as another one"):
        Race({"a": a, "b": a})
    c.run(iterations=1)
    with pytest.raises(ConfigurationError, match=r"lane 'c' is a session that is finished after 1 iter.*same line"):
        Race({"a": a, "c": c})
    for session in (a, b, c):
        session.close()


def test_devices_are_compared_as_what_they_are(monkeypatch: Any) -> None:
    """The first CUDA device has two names, and the second is another."""
    from crossbow_lab.racing import entering

    made = {name: Session(recipe(SMA())) for name in ("a", "b")}
    monkeypatch.setattr(
        type(made["a"]),
        "recipe",
        property(lambda self: recipe(SMA(), device="cuda" if self is made["a"] else "cuda:1")),
    )
    with pytest.raises(
        ConfigurationError, match=r"lane 'b' trains on cuda:1, lane 'a' on cuda: .* give all one device"
    ):
        entering._check_comparable(made)
    assert entering._device(recipe(SMA(), device="cuda")) == entering._device(recipe(SMA(), device="cuda:0"))
    monkeypatch.undo()
    for session in made.values():
        session.close()


def test_what_a_lane_refuses_names_the_lane_and_a_race_without_an_end_is_refused(race: Any) -> None:
    """And a target that can't be reached, an unknown lane, a slice or pace out of range."""
    with pytest.raises(ModelError, match=r"lane 'b': .*"):
        Race({"a": recipe(SMA()), "b": dataclasses.replace(recipe(SMA()), model="lenet")})
    raced = race(pair())
    with pytest.raises(ConfigurationError, match="nothing says when to end"):
        raced.run()
    with pytest.raises(ConfigurationError, match="no lane is called 'sma'; did you mean 'SMA'"):
        raced["sma"]
    with pytest.raises(ConfigurationError, match="slice_s is 20"):
        Race(pair(), slice_s=20)
    with pytest.raises(ConfigurationError, match="pace is 2"):
        raced.pace = 2
    with pytest.raises(ConfigurationError, match="target accuracy 97"):
        Race(pair(), target=97)
    done = race(pair(), target=0.3)
    done.run(epochs=8)
    with pytest.raises(ConfigurationError, match="every lane has reached the target"):
        done.run(epochs=1)
