"""Finds, compiles and launches cuda/*.cu through CuPy, on torch's tensors and streams. Nothing else imports cupy.

`averaging`, `batches` and `landscape` are the doors: typed functions on torch tensors. They need no GPU to be imported,
and no CuPy until something is launched. `why_not` says whether kernels can run on a device; `prepare` compiles them
ahead, as a capture of a CUDA graph needs it.
"""

from crossbow_lab.kernels.compile import check, no_cupy, prepare, why_not

__all__ = ["check", "no_cupy", "prepare", "why_not"]
