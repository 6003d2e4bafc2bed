"""The whole algorithm family in sessions: as their twins, live, and to the same bits again."""

import dataclasses
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_sessions import RATE, B, K, batches_of, flat, gradient, session_of, small_model, trained, trainer_of

from crossbow_lab.averaging import (
    ALGORITHMS,
    EAMSGD,
    EASGD,
    SMA,
    SSGD,
    Algorithm,
    AsyncEAMSGD,
    DiLoCo,
    Downpour,
    HierarchicalSMA,
    Hogwild,
    KungFuSMA,
    LocalSGD,
    PairAveraging,
    PolyakRuppert,
    has_field,
    sma_as_coded,
)
from crossbow_lab.averaging.family_reference import begin, iterate
from crossbow_lab.errors import ConfigurationError
from crossbow_lab.session import Recipe, Session

FAMILY: list[Algorithm] = [
    HierarchicalSMA(devices=2, local_momentum=0.5),
    EAMSGD(sync_period=2),
    AsyncEAMSGD(exchange_period=2),
    LocalSGD(sync_period=4, local_momentum=0.5),
    LocalSGD(sync_period=3, local_from_epoch=3),
    DiLoCo(sync_period=3, local_momentum=0.3),
    PolyakRuppert(alpha=0.2, sync_period=2),
    KungFuSMA(),
    PairAveraging(sync_period=2),
    Downpour(fetch_period=3),
    Hogwild(),
]
EVERY_OTHER_EPOCH = ((0.7, 0.05), (1.5, 0.02))


@pytest.mark.parametrize("executor", ["loop", "fused"])
@pytest.mark.parametrize("algorithm", FAMILY, ids=repr)
def test_a_session_equals_the_reference(make: Any, blobs: Any, algorithm: Algorithm, executor: str) -> None:
    """Every learner and z follow the algorithm as its paper writes it, to 1e-10, through steps of the rate."""
    steps = list(EVERY_OTHER_EPOCH)
    session = session_of(
        make, blobs, algorithm, executor=executor, weight_decay=0.02, learning_rate_steps=EVERY_OTHER_EPOCH
    )
    state, stream, rate, restart_due = begin(flat(small_model()), K), batches_of(blobs), RATE, False
    period = getattr(algorithm, "sync_period", 1)
    for iteration in range(36):
        position = iteration * K * B
        inputs, targets = stream.take(position, K * B)
        parts = [slice(j * B, (j + 1) * B) for j in range(K)]
        g = np.stack([gradient(state.inner.w[j], inputs[part], targets[part]) for j, part in enumerate(parts)])
        state = iterate(algorithm, state, g, gamma=rate, lam=0.02, epoch=position / 60)
        if restart_due and state.inner.t % period == 0:
            state, restart_due = begin(state.inner.z, K), False
        if steps and position + K * B >= steps[0][0] * 60:
            rate = steps.pop(0)[1]
            restart_due = has_field(algorithm, "restart")
    session.run(iterations=36)
    bank = session._loop.trainer.bank
    np.testing.assert_allclose(bank.centre[:39].numpy(), state.inner.z, rtol=0, atol=1e-10)
    np.testing.assert_allclose(bank.weights[:K, :39].numpy(), state.inner.w, rtol=0, atol=1e-10)


@pytest.mark.parametrize("algorithm", FAMILY, ids=repr)
def test_it_learns_and_replays_from_json_to_the_same_bits(make: Any, algorithm: Algorithm) -> None:
    """On digits, with learners, batch size and rate adjusted on the way."""
    session: Session = make(algorithm=algorithm, learners=3, learning_rate=0.02)
    session.run(iterations=60)
    session.adjust(learners=2)
    session.run(iterations=31)
    session.adjust(learners=5, batch_size=4, learning_rate=0.01)
    session.run(iterations=60)
    again = make(Recipe.from_json(session.recipe.to_json())).run()

    assert again.fingerprint() == session.fingerprint()
    assert session.history["test_accuracy"].iloc[-1] > 0.5
    assert again.recipe.algorithm == algorithm


@pytest.mark.parametrize("algorithm", FAMILY, ids=repr)
def test_a_checkpoint_goes_on_to_the_same_bits(make: Any, tmp_path: Path, algorithm: Algorithm) -> None:
    """From between two synchronisations, too: counts and momenta are in it."""
    straight: Session = make(algorithm=algorithm, learners=3)
    straight.run(iterations=47)
    halved: Session = make(algorithm=algorithm, learners=3)
    halved.run(iterations=25)
    restored = Session.restore(halved.checkpoint(tmp_path / "half.safetensors"))
    restored.run(iterations=22)

    assert restored.fingerprint() == straight.fingerprint()
    restored.close()


@pytest.mark.parametrize("seed", range(3))
def test_any_algorithm_follows_any_other_live(make: Any, seed: int) -> None:
    """In random order, with their usual settings; what was done replays to the same bits."""
    draw = random.Random(seed)  # noqa: S311  (nothing to guess here)
    names = draw.sample(list(ALGORITHMS), len(ALGORITHMS))
    session: Session = make(learners=3, batch_size=4)
    for name in names:
        session.adjust(algorithm=ALGORITHMS[name]())
        session.run(iterations=draw.randint(1, 12))
    again = make(Recipe.from_json(session.recipe.to_json())).run()

    assert again.fingerprint() == session.fingerprint()
    assert session._loop.trainer.bank.centre.isfinite().all()


@pytest.mark.parametrize("algorithm", FAMILY, ids=repr)
def test_another_algorithm_starts_from_z_with_nothing_counted(blobs: Any, algorithm: Algorithm) -> None:
    """Learners at z, momenta cleared, synchronisations counted from none; z stays."""
    trainer = trained(blobs, SMA(sync_period=2, local_momentum=0.5), iterations=5)
    assert trainer.progress.synchronisations == 2
    centre = trainer.bank.centre.clone()
    trainer.adjust({"algorithm": algorithm})

    assert torch.equal(trainer.bank.centre, centre)
    assert trainer.distances().tolist() == [0.0] * K
    assert not trainer.bank.centre_velocity.any()
    assert trainer.progress.synchronisations == trainer.progress.since_synchronisation == 0
    trainer.step()


@pytest.mark.parametrize(
    ("algorithm", "changed"),
    [
        (DiLoCo(sync_period=2), {"outer_learning_rate": 0.5}),
        (PolyakRuppert(), {"alpha": 0.1}),
        (HierarchicalSMA(), {"devices": 3}),
        (LocalSGD(sync_period=2), {"local_momentum": 0.5}),
        (Downpour(), {"fetch_period": 2}),
    ],
)
def test_the_same_algorithm_with_other_constants_goes_on(
    blobs: Any, algorithm: Algorithm, changed: dict[str, Any]
) -> None:
    """Learners, z, its momentum and the counts stay where they are."""
    trainer = trained(blobs, algorithm)
    bank, progress = trainer.bank, dataclasses.replace(trainer.progress)
    before = [bank.weights[:K].clone(), bank.centre.clone(), bank.centre_velocity.clone()]
    trainer.adjust({"algorithm": dataclasses.replace(algorithm, **changed)})

    assert all(map(torch.equal, before, (bank.weights[:K], bank.centre, bank.centre_velocity)))
    assert trainer.progress == progress
    assert trainer.step().isfinite().all()


def test_post_local_sgd_explores_from_its_epoch_on(blobs: Any) -> None:
    """Learners agree after every iteration until then, and after every third from then on."""
    trainer = trainer_of(blobs, LocalSGD(sync_period=3, local_from_epoch=1.0))
    agree = []
    for _ in range(11):
        trainer.step(100)
        agree.append(not trainer.distances().any())

    assert agree == [True] * 5 + [False, False, True, False, False, True]


@pytest.mark.parametrize(
    ("algorithm", "keeps"),
    [(SMA(local_momentum=0.5), False), (sma_as_coded(0.2, momentum=0.5), True), (PolyakRuppert(), False)],
)
def test_a_restart_clears_what_the_mode_says(blobs: Any, algorithm: Algorithm, keeps: bool) -> None:
    """After a step of the rate learners are at z in either mode; momentum is cleared in the paper's alone."""
    trainer = trained(blobs, algorithm)
    trainer.adjust({"learning_rate": 0.05})
    assert trainer.progress.restart_due
    trainer.step()

    assert trainer.distances().tolist() == [0.0] * K
    assert trainer.progress.synchronisations == 0
    assert bool(trainer.bank.centre_velocity.any()) is keeps
    assert getattr(algorithm, "local_momentum", 0.0) == 0.0 or bool(trainer.bank.local_velocity[:K].any()) is keeps
    trainer.adjust({"restart": True})
    assert not trainer.bank.centre_velocity.any()


@pytest.mark.parametrize("algorithm", [SSGD(), Downpour(), Hogwild()])
def test_a_period_that_an_algorithm_lacks_cannot_be_adjusted(blobs: Any, algorithm: Algorithm) -> None:
    """The message says which have one; tau > 1 with S-SGD is a contradiction."""
    trainer = trained(blobs, algorithm)
    with pytest.raises(ConfigurationError, match=r"has no sync_period: .* such as SMA, EASGD or LocalSGD"):
        trainer.adjust({"sync_period": 2})
    trainer.step()


def test_fewer_learners_than_devices_are_refused_live(blobs: Any) -> None:
    """And nothing changes; with the number of devices, they may go."""
    trainer = trained(blobs, HierarchicalSMA(devices=3))
    with pytest.raises(ConfigurationError, match="3 simulated devices need at least 3 learners, but there are 2"):
        trainer.adjust({"learners": 2})
    trainer.adjust({"learners": 2, "algorithm": HierarchicalSMA(devices=2)})
    trainer.step()


def test_rows_name_what_is_simulated(make: Any) -> None:
    """History and snapshots carry the label."""
    session = make(algorithm=Hogwild(), learning_rate=0.01).run(iterations=5)

    assert session.history["algorithm"].iloc[-1] == session.snapshot.algorithm == "Hogwild (simulated)"


def test_easgd_and_its_kin_stay_as_they_were(blobs: Any) -> None:
    """EAMSGD without momentum trains EA-SGD's very bits."""
    first, second = (trained(blobs, algorithm) for algorithm in (EASGD(), EAMSGD(local_momentum=0.0)))

    assert first.fingerprint() == second.fingerprint()
