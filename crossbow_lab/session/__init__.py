"""The session: a recipe being trained, adjusted while it trains, and recorded so that it can be replayed."""

from crossbow_lab.session.auto_tuner import AutoTuner
from crossbow_lab.session.gradient_noise import GradientNoise
from crossbow_lab.session.history import Event, LearnerRow, Row
from crossbow_lab.session.limits import Accuracy, TimeToAccuracy
from crossbow_lab.session.noise_meter import NoiseReading
from crossbow_lab.session.observer import Snapshot
from crossbow_lab.session.policies import (
    Cosine,
    Cyclic,
    ExponentialDecay,
    InverseDecay,
    MultiStepDecay,
    OneCycle,
    StepDecay,
)
from crossbow_lab.session.predictions import Prediction, PredictionError, Reference
from crossbow_lab.session.recipe import Recipe
from crossbow_lab.session.scans import Scan, ScanPoint, scan
from crossbow_lab.session.session import Session
from crossbow_lab.session.setting import Adjustment
from crossbow_lab.session.timeline import Timeline

__all__ = [
    "Accuracy",
    "Adjustment",
    "AutoTuner",
    "Cosine",
    "Cyclic",
    "Event",
    "ExponentialDecay",
    "GradientNoise",
    "InverseDecay",
    "LearnerRow",
    "MultiStepDecay",
    "NoiseReading",
    "OneCycle",
    "Prediction",
    "PredictionError",
    "Recipe",
    "Reference",
    "Row",
    "Scan",
    "ScanPoint",
    "Session",
    "Snapshot",
    "StepDecay",
    "TimeToAccuracy",
    "Timeline",
    "scan",
]
