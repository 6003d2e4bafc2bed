"""Figures of what sessions did, and how they are shown where nothing is live."""

from crossbow_lab.dashboard import figures as figures
from crossbow_lab.dashboard.still import Still as Still
from crossbow_lab.dashboard.still import static as static
