"""``crossbow-lab bench``: speed, memory and overhead with medians and spread, as tables and JSON."""

from collections.abc import Sequence
from pathlib import Path

from crossbow_lab.errors import ConfigurationError, nearest

BENCH_NAMES = ("throughput", "memory", "overhead")


def run_bench(names: Sequence[str], json_path: Path | None, quick: bool) -> int:
    """Measure, print tables, and write the JSON.

    Parameters
    ----------
    names : sequence of str
        Which of `BENCH_NAMES`; all when empty.
    json_path : Path or None
        Written after every measurement, so that a later failure loses nothing.
    quick : bool
        A smoke test of a few seconds, whose numbers mean nothing.

    Returns
    -------
    int
        Exit status: 0.

    Raises
    ------
    ConfigurationError
        If a name is unknown; the nearest is named.
    """
    for name in names:
        if name not in BENCH_NAMES:
            raise ConfigurationError(f"unknown bench {name!r}: {nearest(name, BENCH_NAMES)}")
    # Here, so that `crossbow-lab --help` needs no torch.
    from crossbow_lab.bench.suite import measure_all

    return measure_all(list(names or BENCH_NAMES), json_path, quick)
