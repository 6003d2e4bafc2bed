"""Races: several sessions side by side, on one device and on one clock."""

from crossbow_lab.racing.lane import Lane
from crossbow_lab.racing.race import Race

__all__ = ["Lane", "Race"]
