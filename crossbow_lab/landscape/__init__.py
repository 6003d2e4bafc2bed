"""Loss surfaces over two parameters and learners that move on them: SMA against SGD that one can see.

`Landscape` is the lab, with its dashboard. `simulate` is what it is made of, in NumPy;
`crossbow_lab.kernels.landscape` does the same on a CUDA device.
"""

from crossbow_lab.landscape.landscape import Landscape as Landscape
from crossbow_lab.landscape.own import surface_of as surface_of
from crossbow_lab.landscape.reference import Iteration as Iteration
from crossbow_lab.landscape.reference import Settings as Settings
from crossbow_lab.landscape.reference import State as State
from crossbow_lab.landscape.reference import Trail as Trail
from crossbow_lab.landscape.reference import begin as begin
from crossbow_lab.landscape.reference import iteration_of as iteration_of
from crossbow_lab.landscape.reference import simulate as simulate
from crossbow_lab.landscape.surfaces import SURFACES as SURFACES
from crossbow_lab.landscape.surfaces import Surface as Surface
from crossbow_lab.landscape.surfaces import surface as surface

__all__ = [
    "SURFACES",
    "Iteration",
    "Landscape",
    "Settings",
    "State",
    "Surface",
    "Trail",
    "begin",
    "iteration_of",
    "simulate",
    "surface",
    "surface_of",
]
