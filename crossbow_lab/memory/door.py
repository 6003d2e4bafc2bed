"""Makes memory plans of sessions and of models."""

from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from crossbow_lab.averaging import SMA, Algorithm
from crossbow_lab.errors import ConfigurationError, CrossbowError
from crossbow_lab.learners import Loss, Preparation, check_executor, make_bank
from crossbow_lab.memory.buffers import offline_plan, online_plan
from crossbow_lab.memory.dataflow import dataflow
from crossbow_lab.memory.engine import make_engine
from crossbow_lab.memory.plan import MemoryPlan
from crossbow_lab.memory.replay import clash, shared_clash
from crossbow_lab.session import Session
from crossbow_lab.session.checks import check_whole
from crossbow_lab.session.sources import find_dataset, find_loss, find_model, name_of
from crossbow_lab.workloads import DataSet


def memory_plan(
    of: Session | str | nn.Module | Any,
    dataset: object = None,
    *,
    batch_size: int | None = None,
    learners: int | None = None,
    stagger: int | None = None,
    executor: str | None = None,
    loss: Loss | None = None,
    data_dir: str | None = None,
) -> MemoryPlan:
    """Plan the memory of m learners of a model; nothing is trained.

    Forward and backward pass are traced. A deep model's operators' outputs take more than its weights, and take it m
    times, so the paper plans them twice. *Offline*: within one learner an output reuses a buffer that nobody reads
    any more, by reference counts and first fit. *Online*: learners that don't run the same operator at the same time
    share pools, one for each buffer of the offline plan; how far apart they run is ``stagger``. Both are checked by
    running them with signatures in place of values before they are returned.

    Our engine is beside it, in `MemoryPlan.engine_table`: executor ``fused`` runs all learners in step, so that they
    share nothing; ``loop`` runs one after the other, so that all use the memory of one.

    Parameters
    ----------
    of : Session, str, nn.Module or callable
        A session, whose settings are then the defaults, and which may be training; or a model as a session takes it.
    dataset : str, DataSet or (inputs, targets)
        As a session takes it; only shapes matter. Not with a session.
    batch_size : int >= 1, optional
        b; 16, or the session's.
    learners : int >= 1, optional
        m; 4, or the session's.
    stagger : int >= 0, optional
        Operators by which each learner is behind the one before. By default learners are spread evenly over an
        iteration, where the online plan gains most. 1 is the least that lets no two run the same operator at once;
        0 is in step.
    executor : str, optional
        "fused", "loop" or "streams", for what our engine takes; "fused", or the session's.
    loss : str or callable, optional
        As a session takes it; "cross_entropy". Not with a session.
    data_dir : str, optional
        Folder with data sets.

    Returns
    -------
    MemoryPlan
        Tables in bytes. The prediction for our engine is calibrated on a CPU: above 40 MB it came within 9 % of what
        a fresh process takes for LeNet and ``mlp``, and within 13 % for ``digits-cnn`` and residual networks, whose
        repetitions differ by 8 %. On CUDA it is for ``max_learners`` = m, and not calibrated.

    Raises
    ------
    ConfigurationError
        If a number is outside its range, or what a session has is given again.
    ExecutorError
        If the model can't be traced.

    References
    ----------
    Koliousis et al., PVLDB 12(11), 2019, the section on memory plans (after secondary sources), and
    ``MemoryPlannerV2`` of lsds/Crossbow.

    Examples
    --------
    >>> plan = memory_plan("digits-cnn", "digits", batch_size=8, learners=4)
    >>> plan
    <MemoryPlan digits-cnn on digits: 4 learners x 8, 25 operators apart
      naive                 1.16 MiB of outputs, 100 % of naive
      offline               0.80 MiB of outputs, 69 % of naive
      offline + online      0.49 MiB of outputs, 42 % of naive
      predicted             8.43 MiB with executor fused, models included>
    >>> plan.largest(budget_bytes=64 * 2**20)
    110

    Closer together, learners share less:

    >>> for stagger in (0, 1, 10):
    ...     plan = memory_plan("digits-cnn", "digits", batch_size=8, learners=4, stagger=stagger)
    ...     print(stagger, plan.online.total_bytes)
    0 839040
    1 839008
    10 654176
    """
    if isinstance(of, Session):
        if dataset is not None or loss is not None or data_dir is not None:
            raise ConfigurationError("a session has its data and its loss; leave out dataset, loss and data_dir")
        return _of_session(of, batch_size=batch_size, learners=learners, stagger=stagger, executor=executor)
    if dataset is None:
        raise ConfigurationError("a model's memory depends on its data; give dataset, as a session takes it")
    data = find_dataset(dataset, data_dir=data_dir, allow_imports=False)
    model = find_model(of, data, seed=0, allow_imports=False).train()
    known = find_loss("cross_entropy" if loss is None else loss, allow_imports=False)
    example = _example(data, model, 16 if batch_size is None else check_whole("batch_size", batch_size))
    return _planned(
        model,
        (name_of(of) or type(model).__name__, data.name),
        known,
        example,
        learners=4 if learners is None else check_whole("learners", learners),
        stagger=stagger,
        executor="fused" if executor is None else executor,
    )


def _of_session(
    session: Session, *, batch_size: int | None, learners: int | None, stagger: int | None, executor: str | None
) -> MemoryPlan:
    """Plan a session's memory between two iterations, since tracing a model disturbs others that run meanwhile."""

    def plan() -> MemoryPlan:
        trainer = session._loop.trainer
        setting, model = trainer.setting, trainer.work.model
        samples = setting.replica_batch if batch_size is None else check_whole("batch_size", batch_size)
        return _planned(
            model,
            (trainer.recipe.model or type(model).__name__, trainer.data.name),
            trainer.loss,
            _example(trainer.data, model, samples),
            learners=setting.replicas if learners is None else check_whole("learners", learners),
            stagger=stagger,
            executor=setting.executor if executor is None else executor,
            algorithm=setting.algorithm,
            amp=trainer.recipe.amp,
        )

    return session._driver.ask_and_wait(plan)


def _example(data: DataSet, model: nn.Module, samples: int) -> tuple[Tensor, Tensor]:
    """Return a batch as the model takes it; small data is taken again from its beginning."""
    parameter = next((parameter for parameter in model.parameters() if parameter.requires_grad), torch.zeros(()))
    prepare = Preparation(data, parameter.device, parameter.dtype)
    return prepare(*data.train.fetch(torch.arange(samples) % len(data.train)))


def _planned(
    model: nn.Module,
    names: tuple[str, str],
    loss: Loss,
    example: tuple[Tensor, Tensor],
    *,
    learners: int,
    stagger: int | None,
    executor: str,
    algorithm: Algorithm | None = None,
    amp: bool = False,
) -> MemoryPlan:
    """Trace, plan and check."""
    check_executor(executor)
    if executor == "auto":
        raise ConfigurationError("executor 'auto' measures before it knows; give 'fused', 'loop' or 'streams'")
    operators = dataflow(model, loss, *example, amp=amp)
    stagger = ceil(len(operators) / learners) if stagger is None else check_whole("stagger", stagger, least=0)
    offline = offline_plan(operators)
    online = online_plan(offline, learners, stagger)
    found = clash(operators, offline) or shared_clash(operators, offline, online, stagger=stagger)
    if found is not None:
        raise CrossbowError(f"the memory plan of {names[0]} is wrong: {found}; please report this with the model")
    centre = make_bank(model, max_learners=1).centre
    engine = make_engine(
        operators,
        executor,
        row_bytes=centre.numel() * centre.itemsize,
        buffer_bytes=sum(buffer.numel() * buffer.itemsize for buffer in model.buffers()),
        batch_bytes=sum(tensor.numel() * tensor.itemsize for tensor in example),
        algorithm=algorithm or SMA(),
        on_cuda=centre.is_cuda,
    )
    return MemoryPlan(*names, learners, len(example[0]), operators, offline, online, stagger, engine)
