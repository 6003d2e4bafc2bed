"""How a sweep shows itself: a bar with the time left in a terminal; elsewhere a line for each run that ends."""

import contextlib
import sys
from collections.abc import Callable, Iterator

from crossbow_lab.runs.sweeps.jobs import COMPLETED, Ending
from crossbow_lab.runs.sweeps.progress import Progress


@contextlib.contextmanager
def shown_progress() -> Iterator[Callable[[Progress], None]]:
    """Yield a listener that shows a sweep's progress where the output goes."""
    if not sys.stdout.isatty():
        yield _lines(lambda line: sys.stdout.write(f"{line}\n"))
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    with Bar(BarColumn(bar_width=20), MofNCompleteColumn(), TextColumn("{task.description}", markup=False)) as bar:
        task = bar.add_task("starting workers", total=None)
        say = _lines(lambda line: bar.console.print(line, markup=False, highlight=False))

        def show(progress: Progress) -> None:
            say(progress)
            latest = "; ".join(" ".join(filter(None, running)) for running in progress.running.items())
            description = f"{_left(progress)}  {latest}"[: max(20, bar.console.width - 40)]
            bar.update(task, total=progress.n_total, completed=len(progress.ended), description=description)

        yield show


def ending_line(ending: Ending, n_ended: int, progress: Progress) -> str:
    """Return the line that tells how a run ended.

    Examples
    --------
    >>> ending = Ending("seed=1", "completed", 12.34)
    >>> ending_line(ending, 1, Progress(3, (ending,), {}, 12.4, 25.0))
    '1/3  completed  seed=1  12.3 s  25 s left'
    """
    parts = [f"{n_ended}/{progress.n_total}", ending.status, ending.label]
    parts.append("cached" if ending.is_cached else f"{ending.seconds:.1f} s")
    if ending.status != COMPLETED:
        parts.append((ending.message.splitlines() or [""])[0][:200])
    elif progress.left_s:
        parts.append(_left(progress))
    return "  ".join(filter(None, parts))


def _left(progress: Progress) -> str:
    """Say how long the rest will take, as exactly as that is known."""
    if progress.left_s is None:
        return ""
    seconds = progress.left_s
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} left"
    return f"{seconds:.0f} s left"


def _lines(say: Callable[[str], object]) -> Callable[[Progress], None]:
    """Return a listener that says a line for each run that has ended since it was called last."""
    n_said = 0

    def listen(progress: Progress) -> None:
        nonlocal n_said
        for ending in progress.ended[n_said:]:
            n_said += 1
            say(ending_line(ending, n_said, progress))

    return listen
