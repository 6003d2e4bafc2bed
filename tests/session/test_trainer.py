"""The trainer against plain torch and against the algorithms as the paper writes them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from small_sessions import RATE, B, K, batches_of, flat, gradient, session_of, small_model, trained, trainer_of
from torch import Tensor, nn
from torch.nn import functional

from crossbow_lab.averaging import EASGD, SMA, SSGD, Algorithm, reference, resolve_alpha
from crossbow_lab.errors import ConfigurationError, ExecutorError, ModelError


@pytest.mark.parametrize(("executor", "decay"), [("loop", 0.0), ("loop", 0.01), ("fused", 0.01)])
def test_ssgd_in_a_session_equals_plain_torch_sgd(make: Any, blobs: Any, executor: str, decay: float) -> None:
    """S-SGD is torch's SGD with momentum on batches of k x b, to 1e-12 after 40 iterations over epochs' ends."""
    session = session_of(make, blobs, SSGD(momentum=0.8), executor=executor, weight_decay=decay)
    model, stream = small_model(), batches_of(blobs)
    optimiser = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.8, weight_decay=decay)
    for iteration in range(40):
        inputs, targets = stream.take(iteration * K * B, K * B)
        optimiser.zero_grad()
        functional.cross_entropy(model(inputs), targets).backward()
        optimiser.step()
    session.run(iterations=40)
    np.testing.assert_allclose(flat(session.central_model()), flat(model), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("executor", "algorithm", "settings"),
    [
        ("loop", SMA(), {}),
        ("loop", SMA(), {"learners": 1}),
        ("fused", SMA(alpha=0.2, momentum=0.5), {"weight_decay": 0.02}),
        ("loop", SMA(sync_period=3), {"weight_decay": 0.02}),
        ("loop", SMA(local_momentum=0.7, sync_period=2), {}),
        ("fused", SMA(sync_period=4, local_momentum=0.5), {"learning_rate_steps": ((0.7, 0.05), (1.5, 0.01))}),
        ("loop", SMA(sync_period=4, local_momentum=0.5), {"learning_rate_steps": ((0.7, 0.05), (1.5, 0.01))}),
        ("loop", SMA(restart="never"), {"learning_rate_steps": ((0.7, 0.05),)}),
        ("loop", EASGD(), {"learning_rate_steps": ((0.7, 0.05),)}),
        ("loop", EASGD(alpha=0.3, sync_period=2, local_momentum=0.4), {"weight_decay": 0.02}),
    ],
)
def test_averaging_in_a_session_equals_the_reference(
    make: Any, blobs: Any, executor: str, algorithm: SMA | EASGD, settings: dict[str, Any]
) -> None:
    """Every learner and z follow the algorithm as the paper writes it, to 1e-10, through steps and restarts."""
    session = session_of(make, blobs, algorithm, executor=executor, **settings)
    k, steps = settings.get("learners", K), list(settings.get("learning_rate_steps", ()))
    state, stream, rate, restart_due = reference.start(flat(small_model()), k), batches_of(blobs), RATE, False
    common = {
        "alpha": resolve_alpha(algorithm, k),
        "tau": algorithm.sync_period,
        "mu_l": algorithm.local_momentum,
        "lam": settings.get("weight_decay", 0.0),
    }
    for iteration in range(36):
        inputs, targets = stream.take(iteration * k * B, k * B)
        parts = [slice(j * B, (j + 1) * B) for j in range(k)]
        g = np.stack([gradient(state.w[j], inputs[part], targets[part]) for j, part in enumerate(parts)])
        if isinstance(algorithm, SMA):
            state = reference.sma(state, g, gamma=rate, mu=algorithm.momentum, **common)
        else:
            state = reference.easgd(state, g, gamma=rate, **common)
        if restart_due and state.t % algorithm.sync_period == 0:
            state, restart_due = reference.restart(state), False
        if steps and (iteration + 1) * k * B >= steps[0][0] * 60:
            rate = steps.pop(0)[1]
            restart_due = getattr(algorithm, "restart", "never") == "on_lr_change"
    session.run(iterations=36)
    assert not steps
    bank = session._loop.trainer.bank
    np.testing.assert_allclose(bank.centre[:39].numpy(), state.z, rtol=0, atol=1e-10)
    np.testing.assert_allclose(bank.weights[:k, :39].numpy(), state.w, rtol=0, atol=1e-10)


def test_a_new_learner_starts_at_z_to_the_bit_and_the_others_stay(blobs: Any) -> None:
    """Adding learners changes neither z nor its momentum nor the learners that are there."""
    trainer = trained(blobs, SMA(local_momentum=0.5))
    before = [t.clone() for t in (trainer.bank.weights[:K], trainer.bank.centre, trainer.bank.centre_velocity)]
    trainer.adjust({"learners": 5})
    bank = trainer.bank
    for was, now in zip(before, (bank.weights[:K], bank.centre, bank.centre_velocity), strict=True):
        assert torch.equal(was, now)
    assert all(torch.equal(bank.weights[j], bank.centre) for j in (3, 4))
    assert not bank.local_velocity[3:5].any()
    assert trainer.distances()[3:].tolist() == [0.0, 0.0]


def test_a_learner_that_leaves_takes_nothing_with_it(blobs: Any) -> None:
    """Removing learners leaves z and the others as they are; one that comes back starts at z again."""
    trainer = trained(blobs, SMA())
    centre, weights = trainer.bank.centre.clone(), trainer.bank.weights[:2].clone()
    trainer.adjust({"learners": 2})
    assert torch.equal(trainer.bank.centre, centre)
    assert torch.equal(trainer.bank.weights[:2], weights)
    trainer.adjust({"learners": 3})
    assert torch.equal(trainer.bank.weights[2], centre)


def test_alpha_follows_the_number_of_learners(blobs: Any) -> None:
    """After an adjustment of k a synchronisation is the reference's with alpha = 1/k of the new k."""
    trainer = trained(blobs, SMA(momentum=0.5))
    trainer.adjust({"learners": 4})
    bank = trainer.bank
    w, z, e = (t.numpy()[..., :39].copy() for t in (bank.weights[:4], bank.centre, bank.centre_velocity))
    trainer.step()
    gradients = bank.gradients[:4, :39].numpy()
    state = reference.State(w=w, z=z, z_prev=z - e, v=np.zeros_like(w))
    state = reference.sma(state, gradients, gamma=RATE, alpha=1 / 4, mu=0.5)
    np.testing.assert_allclose(bank.centre[:39].numpy(), state.z, rtol=0, atol=1e-12)
    np.testing.assert_allclose(bank.weights[:4, :39].numpy(), state.w, rtol=0, atol=1e-12)


def test_a_learning_rate_change_restarts_after_the_next_synchronisation(blobs: Any) -> None:
    """SMA with tau = 3: the learners are set to z by the next synchronisation, not before it."""
    trainer = trained(blobs, SMA(sync_period=3, local_momentum=0.5), iterations=4)
    trainer.adjust({"learning_rate": 0.05})
    trainer.step()
    assert trainer.distances().min() > 0
    before = trainer.bank.centre.clone()
    trainer.step()
    assert trainer.distances().tolist() == [0.0] * K
    assert not torch.equal(trainer.bank.centre, before)  # it did synchronise first
    assert not trainer.bank.centre_velocity.any()
    assert not trainer.bank.local_velocity[:K].any()
    trainer.step()
    assert trainer.distances().min() > 0


@pytest.mark.parametrize("algorithm", [SMA(restart="never"), EASGD(), SSGD()])
def test_a_learning_rate_change_restarts_nothing_else(blobs: Any, algorithm: Algorithm) -> None:
    """Only SMA restarts, and only if it is to."""
    trainer = trained(blobs, algorithm)
    trainer.adjust({"learning_rate": 0.05})
    assert not trainer.progress.restart_due


@pytest.mark.parametrize("other", [EASGD(), SSGD()])
def test_another_algorithm_restarts_at_once(blobs: Any, other: Algorithm) -> None:
    """All replicas are at z, momentum is cleared, z stays, and the synchronisation period begins anew."""
    trainer = trained(blobs, SMA(sync_period=3), iterations=4)
    centre = trainer.bank.centre.clone()
    trainer.adjust({"algorithm": other})
    assert torch.equal(trainer.bank.centre, centre)
    assert trainer.distances().tolist() == [0.0] * (1 if other == SSGD() else K)
    assert not trainer.bank.centre_velocity.any()
    assert trainer.progress.since_synchronisation == 0
    trainer.step()


def test_another_algorithm_begins_with_the_statistics_of_z(blobs: Any) -> None:
    """All of its replicas have the learners' average, none its own from before."""
    model = nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 3)).double()
    trainer = trained(blobs, SMA(), model=model)
    rows = trainer.bank.buffers["0.running_mean"]
    for algorithm, replicas in ((SSGD(), 1), (EASGD(), K)):
        average = trainer.central_model().get_buffer("0.running_mean")
        trainer.adjust({"algorithm": algorithm})
        assert torch.equal(rows[:replicas], average.expand(replicas, -1))
        trainer.step()


def test_the_same_algorithm_again_restarts_nothing(blobs: Any) -> None:
    """Choosing what is chosen already leaves every weight where it was."""
    trainer = trained(blobs, SMA())
    weights = trainer.bank.weights[:K].clone()
    trainer.adjust({"algorithm": SMA()})
    assert torch.equal(trainer.bank.weights[:K], weights)


@pytest.mark.parametrize("same", [SMA(alpha=0.2), SMA(momentum=0.5), SMA(momentum=0.0), SMA(local_momentum=0.5)])
def test_the_same_algorithm_with_other_constants_goes_on(blobs: Any, same: Algorithm) -> None:
    """Learners, z and its momentum stay where they are; a local momentum that wasn't there begins at zero."""
    trainer = trained(blobs, SMA(sync_period=3), iterations=4)
    bank = trainer.bank
    bank.local_velocity.fill_(torch.nan)  # undefined until it is used
    before = [bank.weights[:K].clone(), bank.centre.clone(), bank.centre_velocity.clone()]
    trainer.adjust({"algorithm": replace(same, sync_period=3)})
    assert all(map(torch.equal, before, (bank.weights[:K], bank.centre, bank.centre_velocity)))
    assert trainer.progress.since_synchronisation == 1
    assert trainer.step().isfinite().all()
    assert bank.weights[:K].isfinite().all()


def test_a_change_of_the_synchronisation_period_restarts_nothing(blobs: Any) -> None:
    """Learners and momenta stay, and a period that has passed already ends with the next iteration."""
    trainer = trained(blobs, SMA(sync_period=6), iterations=4)
    weights = trainer.bank.weights[:K].clone()
    trainer.adjust({"sync_period": 2})
    assert torch.equal(trainer.bank.weights[:K], weights)
    assert trainer.setting.algorithm == SMA(sync_period=2)
    trainer.step()
    assert trainer.progress.since_synchronisation == 0


def test_restart_averaging_sets_all_learners_to_z(blobs: Any) -> None:
    """An asked-for restart takes effect before the next iteration."""
    trainer = trained(blobs, SMA(local_momentum=0.5))
    trainer.adjust({"restart": True})
    assert trainer.distances().tolist() == [0.0] * K
    assert not trainer.bank.local_velocity[:K].any()


def test_ssgd_runs_one_replica_on_the_aggregate_batch(blobs: Any) -> None:
    """S-SGD with k learners has one loss an iteration, and takes k x b samples."""
    trainer = trainer_of(blobs, SSGD())
    assert trainer.step().shape == (1, 1)
    assert trainer.progress.position == K * B
    trainer.adjust({"learners": 5})
    assert trainer.step().shape == (1, 1)
    assert trainer.progress.position == K * B + 5 * B


def test_from_ssgd_to_sma_and_back_z_goes_on(blobs: Any) -> None:
    """Neither change moves z, and k learners or one replica start from it."""
    trainer = trained(blobs, SSGD())
    for algorithm, replicas in ((SMA(), K), (SSGD(), 1)):
        centre = trainer.bank.centre.clone()
        trainer.adjust({"algorithm": algorithm})
        assert torch.equal(trainer.bank.centre, centre)
        assert torch.equal(trainer.bank.weights[:replicas], centre.expand(replicas, -1))
        assert trainer.step().shape == (1, replicas)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learners": 0}, "learners is 0; it must be a whole number >= 1"),
        ({"learners": 9}, "9 learners asked for, but the bank holds max_learners=8"),
        ({"batch_size": 21}, "only 60 training samples; use at most batch_size=20"),
        ({"learners": 2, "sync_period": 0}, "sync_period is 0"),
        ({"algorithm": SMA(alpha=0.6), "learners": 8}, "alpha must be below"),
        ({"algorithm": EASGD(alpha=0.3), "learners": 8}, "alpha must be below"),
    ],
)
def test_an_impossible_adjustment_changes_nothing(blobs: Any, changes: dict[str, Any], message: str) -> None:
    """It says why, and setting and weights are as before."""
    trainer = trained(blobs, SMA(alpha=0.3))
    setting, weights = trainer.setting, trainer.bank.weights[:K].clone()
    with pytest.raises(ConfigurationError, match=message):
        trainer.adjust(changes)
    assert trainer.setting == setting
    assert torch.equal(trainer.bank.weights[:K], weights)


class Untraceable(nn.Module):
    """A model whose forward pass depends on values, so that only the loop executor can run it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 3).double()

    def forward(self, x: Tensor) -> Tensor:
        """Branch on a value."""
        return self.layer(x) if float(x.sum()) > -1e9 else x


def test_an_executor_that_cannot_run_the_model_is_refused_before_anything_changes(blobs: Any) -> None:
    """Adjusting to fused says why not, and loop goes on."""
    trainer = trained(blobs, SMA(), model=Untraceable())
    with pytest.raises(ExecutorError, match="can't run fused"):
        trainer.adjust({"executor": "fused"})
    assert trainer.setting.executor == "loop"
    trainer.step()


def test_a_batch_of_one_that_batch_norm_cannot_take_is_refused(blobs: Any) -> None:
    """Statistics of one sample don't exist: the adjustment is refused, and training goes on."""
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).double()
    trainer = trained(blobs, SMA(), model=model)
    with pytest.raises(ModelError, match="one sample at a time"):
        trainer.adjust({"batch_size": 1})
    assert trainer.setting.batch_size == B
    trainer.step()


@pytest.mark.parametrize("batch_norm", ["average", "recalibrate"])
def test_z_gets_its_batch_norm_statistics_as_the_recipe_says(blobs: Any, batch_norm: str) -> None:
    """They are the learners' average, or those of z itself over the training samples."""
    model = nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 3)).double()
    trainer = trained(blobs, SMA(), model=model, batch_norm=batch_norm)
    found = trainer.central_model().get_buffer("0.running_mean")
    if batch_norm == "average":
        expected = trainer.bank.buffers["0.running_mean"][:K].mean(0)
    else:
        expected = blobs[0][0].double().mean(0)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_the_central_model_is_a_copy_of_its_own(blobs: Any) -> None:
    """Changing it, or training on, doesn't reach the other."""
    trainer = trained(blobs, SMA())
    model = trainer.central_model()
    before, centre = flat(model), trainer.bank.centre.clone()
    trainer.step()
    assert np.array_equal(flat(model), before)
    assert not model.training
    after = trainer.fingerprint()
    with torch.no_grad():
        next(iter(model.parameters())).zero_()
    assert trainer.fingerprint() == after
    assert not torch.equal(trainer.bank.centre, centre)


def test_frozen_and_tied_parameters_stay_so(blobs: Any) -> None:
    """A frozen layer doesn't move, and a tied one is one parameter."""
    model = small_model()
    model[0].weight.requires_grad_(False)
    model.append(nn.Linear(3, 3).double())
    model.append(nn.Linear(3, 3).double())
    model[4].weight = model[3].weight
    frozen = model[0].weight.clone()
    trainer = trained(blobs, SMA(), model=model)
    after = trainer.central_model()
    assert torch.equal(after.get_parameter("0.weight"), frozen)
    assert after.get_parameter("4.weight") is after.get_parameter("3.weight")
    assert trainer.bank.n_parameters == 4 + 12 + 3 + 9 + 3 + 3


def test_no_graph_stays_alive(blobs: Any) -> None:
    """Nothing that the trainer holds remembers how it was computed."""
    trainer = trained(blobs, SMA())
    losses = trainer.step()
    held = [losses, trainer.bank.weights, trainer.bank.gradients, trainer.bank.centre]
    assert all(tensor.grad_fn is None and not tensor.requires_grad for tensor in held)
