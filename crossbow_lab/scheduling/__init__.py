"""Which learner trains next on which stream: the paper's schedulers of learning tasks, simulated."""

from crossbow_lab.scheduling.simulation import POLICIES, Schedule, schedule_tasks

__all__ = ["POLICIES", "Schedule", "schedule_tasks"]
