"""Sessions beside each other, and what is left when they are closed."""

import gc
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch

from crossbow_lab.averaging import EASGD, SMA, SSGD
from crossbow_lab.errors import CrossbowError
from crossbow_lab.session import Session

Make = Callable[..., Session]

SETTINGS: tuple[dict[str, Any], ...] = (
    {"algorithm": SMA(sync_period=2), "seed": 1},
    {"algorithm": SSGD(), "learners": 3, "seed": 2},
    {"model": "mlp", "seed": 3, "executor": "fused"},
)


def test_sessions_in_the_background_at_once_are_all_right(make: Make) -> None:
    """Each has the z that it has alone."""
    alone = [make(**settings).run(iterations=60).fingerprint() for settings in SETTINGS]
    together = [make(**settings) for settings in SETTINGS]
    for session in together:
        session.start(iterations=60)
    assert [session.wait() for session in together] == ["finished"] * 3
    assert [session.fingerprint() for session in together] == alone


def test_sessions_in_the_foreground_of_two_threads_are_both_right(make: Make) -> None:
    """Running works outside the main thread, and at the same time as inside it."""
    alone = [make(**settings).run(iterations=60).fingerprint() for settings in SETTINGS[:2]]
    first, second = (make(**settings) for settings in SETTINGS[:2])
    thread = threading.Thread(target=first.run, kwargs={"iterations": 60})
    thread.start()
    second.run(iterations=60)
    thread.join()
    assert [first.fingerprint(), second.fingerprint()] == alone


def test_stop_from_another_thread_waits_for_a_foreground_session(make: Make, wait_for: Any) -> None:
    """When it returns, training has ended."""
    session = make()
    states = []

    def stop() -> None:
        wait_for(lambda: session.snapshot.iteration > 3)
        session.stop()
        states.append(session.state)

    thread = threading.Thread(target=stop)
    thread.start()
    session.run(epochs=1e6)
    thread.join()
    assert states == [session.state] == ["stopped"]


def test_whatever_many_threads_ask_for_nobody_waits_for_ever_and_the_recipe_replays(make: Make, tmp_path: Any) -> None:
    """Three people at one session: everything is done or refused in words, and what was done is recorded."""
    session = make(evaluate_every=0.3, learning_rate_steps=((0.5, 0.03), (2.0, 0.02)))
    end_s = time.monotonic() + 1.0

    def play(seed: int) -> None:
        draw = random.Random(seed)  # noqa: S311  (nothing to guess here)
        calls: list[Callable[[], object]] = [
            session.pause,
            session.resume,
            session.start,
            session.stop,
            session.fingerprint,
            session.restart_averaging,
            lambda: session.wait(0.001),
            lambda: session.step(draw.randint(1, 5)),
            lambda: session.run(iterations=draw.randint(1, 9)),
            lambda: session.adjust(learners=draw.randint(1, 6)),
            lambda: session.adjust(batch_size=draw.randint(1, 9)),
            lambda: session.adjust(algorithm=draw.choice([SMA(), SSGD(), EASGD(sync_period=2)])),
            lambda: session.checkpoint(tmp_path / str(seed)),
        ]
        while time.monotonic() < end_s:
            with suppress(CrossbowError):
                draw.choice(calls)()

    threads = [threading.Thread(target=play, args=(seed,), daemon=True) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive() and time.monotonic() < end_s + 30:
            thread.join(0.2)
            session.stop()  # somebody may run what somebody else has paused
        assert not thread.is_alive()
    assert session.state != "failed", session.error
    if session.recipe.iterations:
        again = make(session.recipe).run()
        assert again.fingerprint() == session.fingerprint()
        assert again.recipe == session.recipe


def test_only_one_of_many_threads_gets_to_train(make: Make) -> None:
    """The others are told that it trains already."""
    session, outcomes = make(), []
    barrier = threading.Barrier(4)

    def start() -> None:
        barrier.wait()
        try:
            session.start(epochs=1e6)
            outcomes.append("started")
        except ValueError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    session.stop()
    assert outcomes.count("started") == 1
    assert sum("start() while the session is running" in outcome for outcome in outcomes) == 3


def test_nothing_runs_and_no_graph_is_alive_after_closing(make: Make) -> None:
    """No thread, and no tensor that remembers how it was computed."""
    before = {id(thing) for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor)}
    session = make("mlp")
    session.start(iterations=20)
    session.wait()
    session.central_model()
    session.close()
    gc.collect()
    tensors = [thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor) and id(thing) not in before]
    assert tensors
    assert not [tensor for tensor in tensors if tensor.grad_fn is not None or tensor.grad is not None]
    assert not [thread for thread in threading.enumerate() if thread.name == "crossbow-training"]


def test_a_session_that_is_dropped_is_freed(make: Make) -> None:
    """Nobody else holds its bank, also after it trained in the background."""
    del make
    session = Session("logreg", executor="loop", threads=1, learners=2)
    session.start(iterations=5).wait()
    address = session._loop.trainer.bank.weights.data_ptr()
    session.close()
    del session
    gc.collect()
    assert not [
        thing
        for thing in gc.get_objects()
        if issubclass(type(thing), torch.Tensor) and torch._C._has_storage(thing) and thing.data_ptr() == address
    ]


def test_the_number_of_threads_is_put_back(make: Make) -> None:
    """A session uses its own while it trains, and only then."""
    before, seen = torch.get_num_threads(), []
    session = make(threads=2)
    trainer = session._loop.trainer
    step = trainer.step

    def watched(most: int) -> Any:
        seen.append(torch.get_num_threads())
        return step(most)

    trainer.step = watched  # type: ignore[method-assign]
    session.run(iterations=2)
    assert seen == [2, 2]
    assert torch.get_num_threads() == before
