"""Variables for kernels: one thread each, for tests are small, and server, kernel and browser share the machine."""

KERNELS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
