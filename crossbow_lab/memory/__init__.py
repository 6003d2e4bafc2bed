"""Memory plans: buffers reused within a learner and shared between learners, and how many learners fit."""

from crossbow_lab.memory.buffers import (
    Assignment,
    Operator,
    Sharing,
    close_fit,
    first_fit,
    naive_bytes,
    offline_plan,
    online_plan,
    peak_bytes,
)
from crossbow_lab.memory.door import memory_plan
from crossbow_lab.memory.plan import MemoryPlan
from crossbow_lab.memory.replay import clash, shared_clash

__all__ = [
    "Assignment",
    "MemoryPlan",
    "Operator",
    "Sharing",
    "clash",
    "close_fit",
    "first_fit",
    "memory_plan",
    "naive_bytes",
    "offline_plan",
    "online_plan",
    "peak_bytes",
    "shared_clash",
]
