"""Records on disk: what they hold, how they are published, listed, checked, watched, and recovered after a kill.

What runs a notebook writes them; nothing here knows how that is done, or of sweeps and comparisons.
"""
