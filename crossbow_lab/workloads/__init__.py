"""Models and data sets by name, and the door for your own."""

from crossbow_lab.workloads.data import ArraySplit as ArraySplit
from crossbow_lab.workloads.data import Augmentation as Augmentation
from crossbow_lab.workloads.data import DataSet as DataSet
from crossbow_lab.workloads.data import DatasetSplit as DatasetSplit
from crossbow_lab.workloads.data import Split as Split
from crossbow_lab.workloads.models import MODEL_NAMES as MODEL_NAMES
from crossbow_lab.workloads.models import build_model as build_model
from crossbow_lab.workloads.own import as_dataset as as_dataset
from crossbow_lab.workloads.sources import DATASET_NAMES as DATASET_NAMES
from crossbow_lab.workloads.sources import load_dataset as load_dataset
