"""Clocks, losses and throughput."""

import math
from types import SimpleNamespace

import pytest
import torch

from crossbow_lab.errors import DivergedError
from crossbow_lab.session import instruments
from crossbow_lab.session.instruments import Clock, Losses, LossSums, Throughput


@pytest.fixture
def now_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give the time that clocks see, to be turned by hand."""
    now_s = [100.0]
    monkeypatch.setattr(instruments, "time", SimpleNamespace(perf_counter=lambda: now_s[0]))
    return now_s


def test_a_clock_counts_only_while_it_runs(now_s: list[float]) -> None:
    """Starting or stopping twice changes nothing."""
    clock = Clock(5.0)
    now_s[0] += 1
    assert clock.elapsed_s == 5.0
    clock.start()
    now_s[0] += 2
    clock.start()
    now_s[0] += 3
    assert (clock.elapsed_s, clock.is_running) == (10.0, True)
    clock.stop()
    clock.stop()
    now_s[0] += 4
    assert (clock.elapsed_s, clock.is_running) == (10.0, False)


def test_a_clock_stands_still_for_a_while_and_goes_on_as_before(now_s: list[float]) -> None:
    """Also when an error passes; one that stood still goes on standing still."""
    clock, other = Clock(), Clock()
    clock.start()

    def fail_after_seven_seconds() -> None:
        with clock.standing_still(), other.running():
            now_s[0] += 7
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        fail_after_seven_seconds()
    now_s[0] += 1
    assert (clock.elapsed_s, other.elapsed_s) == (1.0, 7.0)
    with other.standing_still():
        pass
    assert not other.is_running


def losses_of(max_learners: int = 4) -> Losses:
    """Return empty losses."""
    return Losses(torch.zeros(1), max_learners, LossSums())


def test_losses_are_read_in_order() -> None:
    """The latest of each learner, the mean since the reading before, and nothing new without new losses."""
    losses = losses_of()
    for value in (1.0, 2.0, 6.0):
        losses.keep(torch.tensor([[value, value + 2]]))
    losses.read(3, 2)
    assert losses.latest(2) == (4.0, (6.0, 8.0))
    losses.read(3, 2)
    assert losses.latest(2) == (4.0, (6.0, 8.0))
    losses.keep(torch.tensor([[0.0, 1.0]]))
    losses.read(4, 2)
    assert losses.latest(2) == (0.5, (0.0, 1.0))


def test_the_kept_tensor_may_be_overwritten() -> None:
    """As an executor does in its next iteration."""
    losses, tensor = losses_of(), torch.tensor([[1.0]])
    losses.keep(tensor)
    tensor.fill_(9.0)
    losses.read(1, 1)
    assert losses.latest(1)[1] == (1.0,)


def test_losses_of_several_iterations_are_those_of_one_after_the_other() -> None:
    """Kept at once or singly, they read the same."""
    at_once, singly = losses_of(), losses_of()
    rows = torch.tensor([[1.0, 2.0], [3.0, 5.0], [0.5, 4.0]])
    at_once.keep(rows)
    for row in rows:
        singly.keep(row[None])
    for losses in (at_once, singly):
        losses.read(3, 2)
    assert at_once.latest(2) == singly.latest(2)
    assert at_once.sums == singly.sums


def test_means_since_the_last_row_are_of_each_learner_as_long_as_it_was_there() -> None:
    """A leaver's are forgotten, a newcomer's begin with it; the mean over all counts every iteration."""
    losses = losses_of()
    losses.keep(torch.tensor([[1.0, 2.0, 3.0]]))
    losses.read(1, 3)
    losses.forget_from(1)
    assert losses.latest(2) == (2.0, (1.0, pytest.approx(math.nan, nan_ok=True)))
    losses.keep(torch.tensor([[3.0, 5.0]]))
    losses.read(2, 2)
    assert losses.take_means() == (3.0, [2.0, 5.0])
    mean, means = losses.take_means()
    assert math.isnan(mean)
    assert means == []


def test_sums_go_on_where_a_checkpoint_left_them() -> None:
    """For a bank of the same size, or of another."""
    losses = losses_of()
    losses.keep(torch.tensor([[1.0, 2.0]]))
    losses.read(1, 2)
    for max_learners in (2, 4, 6):
        again = Losses(torch.zeros(1), max_learners, losses.sums)
        again.keep(torch.tensor([[3.0, 6.0]]))
        again.read(2, 2)
        assert again.take_means() == (3.0, [2.0, 4.0])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("at", [0, 3, 9])
def test_the_first_loss_that_is_not_finite_is_named(value: float, at: int) -> None:
    """Iterations are counted from the session's start, learners from 0."""
    losses = losses_of()
    for iteration in range(10):
        kept = torch.ones(1, 3)
        if iteration >= at:
            kept[:, 1:] = value
        losses.keep(kept)
    with pytest.raises(DivergedError, match=f"learner 1 became {value} in iteration {90 + at}\\. Try a smaller"):
        losses.read(100, 3)


def test_the_ring_says_when_it_is_full() -> None:
    """Before it would overwrite what nobody has read."""
    losses, count = losses_of(1), 0
    while losses.room:
        losses.keep(torch.tensor([[1.0]]))
        count += 1
    losses.read(count, 1)
    assert losses.room == count
    assert losses.take_means() == (1.0, [1.0])


def test_throughput_is_smoothed_over_about_a_second() -> None:
    """NaN before there is any, right at a steady pace, and a second later nothing is left of the old one."""
    throughput = Throughput()
    assert math.isnan(throughput.at(0.0, 0))
    assert math.isnan(throughput.at(0.0, 0))
    for tick in range(1, 40):
        found = throughput.at(0.1 * tick, 10 * tick)
    assert found == pytest.approx(100.0)
    for tick in range(1, 15):
        found = throughput.at(3.9 + 0.1 * tick, 390 + 50 * tick)
    assert found == pytest.approx(500.0)
