"""A Dask cluster on this machine, in its own process: ``python -m crossbow_lab.runs.sweeps.local_cluster NAME...``.

It holds the scheduler and the nannies, which start a worker of each name and start it again when it dies. It prints
the scheduler's address, and ends when its standard input does: so it goes with the driver, however that ends. In a
process of its own it works from a notebook, a script and a prompt alike: Python's way of starting processes imports
the driver's main module once more, which a script without a guard doesn't survive. And Ctrl-C at the driver's terminal
doesn't reach it.
"""

import asyncio
import os
import sys
import threading

import dask
from distributed import Nanny, Scheduler

_HOST = "127.0.0.1"  # nobody else's business: whoever reaches a scheduler can run code
_SETTINGS = {
    # A profiler that looks at every thread 100 times a second has no place beside a timed run.
    "distributed.worker.profile.enabled": False,
    "distributed.worker.memory.terminate": False,
    # The runs are processes of their own, whose threads are counted where they start.
    "distributed.nanny.pre-spawn-environ": {},
}


async def serve(names: list[str]) -> None:
    """Run the scheduler and a worker of each name until this process ends."""
    with dask.config.set(_SETTINGS):
        async with Scheduler(host=_HOST, port=0, dashboard=False, dashboard_address=f"{_HOST}:0") as scheduler:
            nannies = [
                Nanny(
                    scheduler.address,
                    name=name,
                    nthreads=1,
                    host=_HOST,
                    memory_limit=0,
                    dashboard=False,
                    dashboard_address=f"{_HOST}:0",
                )
                for name in names
            ]
            await asyncio.gather(*nannies)
            print(scheduler.address, flush=True)  # noqa: T201 (standard output is the channel to the driver)
            await asyncio.Event().wait()


def main() -> None:
    """Serve the workers that the arguments name."""
    threading.Thread(target=_end_with_driver, daemon=True).start()
    asyncio.run(serve(sys.argv[1:]))


def _end_with_driver() -> None:
    """Wait for the end of standard input, and end at once; the workers see that and end too."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
