"""How many learners, and how large a batch: the auto-tuner's rules, and what they are decided from. Numbers only.

Nothing here trains, reads a clock or knows a session: the same measurements give the same decisions, so a recorded
trace can be replayed (`decide_on_trace`).
"""

from crossbow_lab.tuning.efficiency import goodput, statistical_efficiency
from crossbow_lab.tuning.measurements import Measurement, Stopwatch, Window
from crossbow_lab.tuning.noise import NoiseAverage, NoiseEstimate, estimate_noise
from crossbow_lab.tuning.rules import Decision, GoodputRule, PaperRule, TuningRule, decide
from crossbow_lab.tuning.traces import decide_on_trace

__all__ = [
    "Decision",
    "GoodputRule",
    "Measurement",
    "NoiseAverage",
    "NoiseEstimate",
    "PaperRule",
    "Stopwatch",
    "TuningRule",
    "Window",
    "decide",
    "decide_on_trace",
    "estimate_noise",
    "goodput",
    "statistical_efficiency",
]
