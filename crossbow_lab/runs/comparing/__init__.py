"""Comparisons: records read as trainings, sorted into rows that may be averaged, and what they say with intervals."""
