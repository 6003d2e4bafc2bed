"""Notebooks as runs: strict parameters, one process and one published folder per run."""

from crossbow_lab.runs.recording import record as record
from crossbow_lab.runs.runner import Run as Run
from crossbow_lab.runs.runner import load_run as load_run
from crossbow_lab.runs.runner import run_notebook as run_notebook
from crossbow_lab.runs.summary import summarise as summarise
from crossbow_lab.runs.summary import verdict as verdict
