"""Our own contenders: an executor, the shared batches and an update rule in a bare loop, and a Session."""

from collections.abc import Callable

import numpy as np
import torch

from crossbow_lab.averaging import SMA, SSGD, make_scratch, resolve_alpha, sma_step, ssgd_step
from crossbow_lab.bench.baselines import Training
from crossbow_lab.bench.measure import Contender, Run
from crossbow_lab.bench.subjects import LEARNING_RATE, Subject, subject_model
from crossbow_lab.learners import Bank, Batches, Work, admit, make_bank, make_step
from crossbow_lab.session import Session
from crossbow_lab.workloads import DataSet

_SMA, _S_SGD = SMA(), SSGD()


def our_contenders(subject: Subject, data: DataSet) -> list[Contender]:
    """List SMA with each executor, and S-SGD at the same aggregate batch with the fused one.

    Parameters
    ----------
    subject : Subject
        What to train.
    data : DataSet
        Its data.
    """
    return [
        Contender("fused", lambda: our_training(subject, data, "fused").run),
        Contender("loop", lambda: our_training(subject, data, "loop").run),
        Contender("fused S-SGD", lambda: our_training(subject, data, "fused", is_s_sgd=True).run),
    ]


def our_training(subject: Subject, data: DataSet, executor: str, *, is_s_sgd: bool = False) -> Training:
    """Set up a bank, an executor and the batches.

    Parameters
    ----------
    subject : Subject
        What to train.
    data : DataSet
        Its data.
    executor : str
        "fused" or "loop".
    is_s_sgd : bool
        One replica on the aggregate batch with S-SGD, in place of k learners with SMA.

    Returns
    -------
    Training
        As a baseline gives it; samples come in the order of `Batches`.
    """
    n_learners = 1 if is_s_sgd else subject.n_learners
    aggregate_batch = subject.n_learners * subject.batch_size
    model = subject_model(subject, data)
    bank = make_bank(model, max_learners=n_learners)
    admit(bank, 0, n_learners, model, local_momentum=False)
    batches = Batches(data, 0, augment=False, device=torch.device("cpu"), dtype=torch.float32)
    work = Work(model=model, bank=bank, loss="cross_entropy", seed=0, has_dropout=False)
    example = batches.take(0, aggregate_batch)
    step = make_step(work, executor, n_learners, aggregate_batch // n_learners, *example)
    update = _s_sgd_update(bank) if is_s_sgd else _sma_update(bank)
    iteration = 0

    def run(n_iterations: int) -> None:
        nonlocal iteration
        for _ in range(n_iterations):
            step(*batches.take(iteration * aggregate_batch, aggregate_batch), iteration)
            update()
            iteration += 1

    def state() -> tuple[np.ndarray, np.ndarray]:
        n = bank.n_parameters
        return bank.weights[:, :n].numpy().copy(), bank.centre[:n].numpy().copy()

    return Training(run, state)


def session_run(
    subject: Subject,
    executor: str,
    *,
    counts_evaluations: bool,
    begin: Callable[[Session], None] | None = None,
) -> Run:
    """Set up a Session that trains as `our_training` does, evaluates z every epoch, and keeps its history.

    Parameters
    ----------
    subject : Subject
        What to train.
    executor : str
        "fused" or "loop".
    counts_evaluations : bool
        Whether evaluations are part of the time, or on their own clock as a Session has them.
    begin : callable, optional
        Gets the session first, to start an instrument.

    Returns
    -------
    Run
        Goes on where the call before ended.
    """
    session = Session(
        subject.model,
        subject.dataset,
        _SMA,
        subject.n_learners,
        subject.batch_size,
        LEARNING_RATE,
        seed=0,
        executor=executor,
    )
    if begin is not None:
        begin(session)

    def run(n_iterations: int) -> float | None:
        before_s = session.snapshot.evaluation_s
        session.run(iterations=n_iterations)
        return None if counts_evaluations else session.snapshot.evaluation_s - before_s

    return run


def _sma_update(bank: Bank) -> Callable[[], None]:
    """Return SMA's update of a whole bank."""
    alpha = resolve_alpha(_SMA, bank.max_learners)
    scratch = make_scratch(bank.weights)

    def update() -> None:
        sma_step(
            bank.weights,
            bank.gradients,
            bank.centre,
            bank.centre_velocity,
            learning_rate=LEARNING_RATE,
            alpha=alpha,
            momentum=_SMA.momentum,
            scratch=scratch,
        )

    return update


def _s_sgd_update(bank: Bank) -> Callable[[], None]:
    """Return S-SGD's update of a bank of one."""

    def update() -> None:
        ssgd_step(
            bank.weights,
            bank.gradients,
            bank.centre,
            bank.centre_velocity,
            learning_rate=LEARNING_RATE,
            momentum=_S_SGD.momentum,
        )

    return update
