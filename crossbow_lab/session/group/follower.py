"""A device that follows: does what the leader's trainer does, in the same order, with its own learners."""

from typing import Any

import torch
from torch import Tensor

from crossbow_lab.devices.group import Group
from crossbow_lab.devices.lifeline import live
from crossbow_lab.errors import CrossbowError, DeviceLost
from crossbow_lab.learners import one_device
from crossbow_lab.session import checkpoint as checkpoints
from crossbow_lab.session.build import Own, another, build_beside
from crossbow_lab.session.group.start import Job, meet_leader
from crossbow_lab.session.group.updates import overlap
from crossbow_lab.session.recipe import Recipe
from crossbow_lab.session.setting import adjustments_from_json
from crossbow_lab.session.trainer import Trainer


class Follower:
    """One device's trainer, by order of the leader.

    Parameters
    ----------
    group : Group
    own : the user's own objects
    """

    def __init__(self, group: Group, own: Own) -> None:
        self._group, self._own = group, own
        self._losses: list[Tensor] = []
        self._trainer = self._build()

    def follow(self) -> None:
        """Obey, until the leader is done."""
        trainer = self._trainer
        with one_device(trainer.bank.centre.device), torch.enable_grad():
            while True:
                name, arguments = self._group.next_order()
                if name == "end":
                    return
                self._obey(name, arguments)

    def _obey(self, name: str, arguments: dict[str, Any]) -> None:
        """Do one thing that the leader does at the same time."""
        trainer = self._trainer
        match name:
            case "step":
                self._losses.append(trainer.step(arguments["most"]).clone())
                trainer.follow_schedule()
            case "losses":
                trainer.join_losses(torch.cat(self._losses))
                self._losses.clear()
            case "distances":
                trainer.distances(**arguments)
            case "buffers":
                trainer.central_copy()
            case "adjust":
                self._adjust(arguments["changes"])
            case "collect":
                checkpoints.collected(trainer)
            case "load":
                checkpoints.put(trainer, arguments["standing"], None)
            case "rebuild":
                self._trainer = another(trainer, trainer.recipe)
                self._losses.clear()
            case "overlap":
                overlap(trainer, **arguments)
            case _:
                raise AssertionError(f"unknown order {name!r}")

    def _adjust(self, changes: dict[str, Any]) -> None:
        """Adjust as the leader does; what is refused there is refused here."""
        (adjustment,) = adjustments_from_json([[0, changes]])
        try:
            self._trainer.adjust(adjustment.changes)
        except DeviceLost:
            raise
        except CrossbowError:  # the leader has the same, and tells it
            return

    def _build(self) -> Trainer:
        """Make the trainer by the leader's recipe, and say whether that is possible."""
        name, arguments = self._group.next_order()
        assert name == "build", name  # noqa: S101 (it is the first order)
        recipe = Recipe.from_json(arguments["recipe"])
        torch.set_num_threads(recipe.threads or torch.get_num_threads())
        refusal: CrossbowError | None = None
        try:
            trainer = build_beside(recipe, self._own, self._group, has_dropout=arguments["has_dropout"])
        except CrossbowError as error:
            refusal = error
        self._group.exchange("" if refusal is None else str(refusal))
        if refusal is not None:
            raise refusal
        return trainer


def _work(job: Job) -> None:
    """Follow the leader that sends the job."""
    Follower(meet_leader(job), job.own).follow()


if __name__ == "__main__":
    live(_work)
