"""Sweeps: a grid, the plan that it makes with the records that there are, and the Dask workers that do the rest."""
