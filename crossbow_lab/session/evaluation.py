"""Evaluates the central average model z. Looking never changes what training does next."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from crossbow_lab.learners import Loss, Preparation, learner_loss
from crossbow_lab.workloads import DataSet

_CHUNK_BYTES = 4 << 20
_CHUNK_SAMPLES = 256  # enough to keep the cores busy, few enough that activations stay below training's
_CALIBRATION_SAMPLES = 1024
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class Evaluation:
    """How z does on the test data.

    Attributes
    ----------
    loss : mean over samples; NaN without test data.
    accuracy : share of samples classified correctly; NaN also where the model's outputs are not one per class.
    """

    loss: float
    accuracy: float


@torch.no_grad()
def evaluate(model: nn.Module, data: DataSet, prepare: Preparation, loss: Loss) -> Evaluation:
    """Run ``model``, which is in evaluation mode, over all test samples."""
    if data.test is None:
        return Evaluation(math.nan, math.nan)
    n_samples = len(data.test)
    chunk = max(1, min(_CHUNK_SAMPLES, _CHUNK_BYTES // prepare.bytes_per_sample))
    total_loss, correct, classified = 0.0, 0, True
    for start in range(0, n_samples, chunk):
        indices = torch.arange(start, min(start + chunk, n_samples))
        inputs, targets = prepare(*data.test.fetch(indices))
        outputs = model(inputs)
        total_loss += float(learner_loss(loss, outputs, targets)) * len(indices)
        classified = classified and classifies(data, outputs)
        if classified:
            correct += int((outputs.argmax(1) == targets).sum())
    return Evaluation(total_loss / n_samples, correct / n_samples if classified else math.nan)


def classifies(data: DataSet, outputs: Tensor) -> bool:
    """Tell whether outputs are (m, classes), so that the largest one says which class it is."""
    return data.n_classes is not None and outputs.dim() == 2 and outputs.shape[1] >= data.n_classes


@torch.no_grad()
def recalibrate(model: nn.Module, data: DataSet, prepare: Preparation) -> None:
    """Set batch-norm statistics, in place, to their averages over the first 1,024 training samples.

    Leaves the model in evaluation mode.
    """
    model.eval()
    norms = [part for part in model.modules() if isinstance(part, _BATCH_NORMS)]
    norms = [norm for norm in norms if norm.running_mean is not None]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over what follows
        norm.train()
    inputs, _ = prepare(*data.train.fetch(torch.arange(min(_CALIBRATION_SAMPLES, len(data.train)))))
    for start in range(0, len(inputs), _CHUNK_SAMPLES):
        if len(inputs) - start > 1:  # batch norm can't do with one sample
            model(inputs[start : start + _CHUNK_SAMPLES])
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
