"""Learners: the bank that holds them, the executors that run them, and the batches they are fed."""

from crossbow_lab.learners.bank import Bank, Slot, admit, bind, make_bank
from crossbow_lab.learners.batches import Batches, Preparation, check_batch
from crossbow_lab.learners.dropout import draws_random_numbers
from crossbow_lab.learners.executors import EXECUTOR_NAMES, Choice, check_executor, choose, make_step
from crossbow_lab.learners.lanes import one_device
from crossbow_lab.learners.losses import LOSS_NAMES, Loss, check_loss, learner_loss
from crossbow_lab.learners.work import Step, Work

__all__ = [
    "EXECUTOR_NAMES",
    "LOSS_NAMES",
    "Bank",
    "Batches",
    "Choice",
    "Loss",
    "Preparation",
    "Slot",
    "Step",
    "Work",
    "admit",
    "bind",
    "check_batch",
    "check_executor",
    "check_loss",
    "choose",
    "draws_random_numbers",
    "learner_loss",
    "make_bank",
    "make_step",
    "one_device",
]
