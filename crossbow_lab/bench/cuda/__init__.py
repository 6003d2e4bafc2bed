"""The bench of a GPU: kernels, iterations and sessions beside what one would use without this package."""
