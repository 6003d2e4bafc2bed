"""The paper's two memory plans: buffers reused within a learner (offline), and shared between learners (online).

Nothing here knows of torch: an iteration is a sequence of operators, each with one output.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

# A buffer that the engine gives a value may be this many times too large.
_MOST_SLACK = 4


@dataclass(frozen=True)
class Operator:
    """One operator of an iteration, in the order in which they run.

    Attributes
    ----------
    name : as torch has it.
    output_bytes : memory for its output; 0 where it returns a view or writes where others read: then whoever reads
        its output reads an operator before it.
    reads : positions of the operators, all before this one, whose output it reads.
    is_planned : whether our engine writes the output into planned memory; where not, torch allocates it.
    """

    name: str
    output_bytes: int
    reads: tuple[int, ...] = ()
    is_planned: bool = True


@dataclass(frozen=True)
class Assignment:
    """The offline plan: which buffer each operator writes.

    Attributes
    ----------
    sizes_bytes : of each buffer.
    buffer_of : for each operator its buffer, None where it has no output of its own.
    last_reader : for each operator the position of the last that reads its output, its own where none does.
    """

    sizes_bytes: tuple[int, ...]
    buffer_of: tuple[int | None, ...]
    last_reader: tuple[int, ...]

    @property
    def total_bytes(self) -> int:
        """Memory of one learner's outputs."""
        return sum(self.sizes_bytes)


@dataclass(frozen=True)
class Sharing:
    """The online plan: pools of buffers that several learners share.

    Attributes
    ----------
    pools : for each buffer of the offline plan, how many there are of it.
    taken : for each learner and each operator, which one of its buffer's pool it writes; None where it has none.
    total_bytes : of all pools.
    """

    pools: tuple[int, ...]
    taken: tuple[tuple[int | None, ...], ...]
    total_bytes: int


Choose = Callable[[Sequence[int], int], int | None]
"""``choose(sizes of free buffers, bytes needed)``: the place of one in the sequence, or None for a new one."""


def first_fit(free_bytes: Sequence[int], needed_bytes: int) -> int | None:
    """Choose the first free buffer that is large enough, as the paper's code does.

    Examples
    --------
    >>> first_fit([8, 64, 32], 16), first_fit([8], 16)
    (1, None)
    """
    return next((place for place, size in enumerate(free_bytes) if size >= needed_bytes), None)


def close_fit(free_bytes: Sequence[int], needed_bytes: int) -> int | None:
    """Choose the smallest free buffer that is large enough and not much too large, as our engine does.

    Examples
    --------
    >>> close_fit([8, 64, 32], 16), close_fit([1000], 16)
    (2, None)
    """
    fitting = [place for place, size in enumerate(free_bytes) if needed_bytes <= size <= _MOST_SLACK * needed_bytes]
    return min(fitting, key=lambda place: free_bytes[place], default=None)


def naive_bytes(operators: Sequence[Operator]) -> int:
    """Return what one learner takes if every output has memory of its own.

    Examples
    --------
    >>> naive_bytes([Operator("relu", 64), Operator("add", 64, (0,))])
    128
    """
    return sum(operator.output_bytes for operator in operators)


def last_readers(operators: Sequence[Operator]) -> tuple[int, ...]:
    """Say for each operator which is the last to read its output: itself where none does.

    Examples
    --------
    >>> last_readers([Operator("relu", 64), Operator("exp", 64, (0,)), Operator("add", 64, (0, 1))])
    (2, 2, 2)
    """
    last = list(range(len(operators)))
    for position, operator in enumerate(operators):
        for source in operator.reads:
            last[source] = position
    return tuple(last)


def peak_bytes(operators: Sequence[Operator]) -> int:
    """Return the most that is live at once: no plan takes less.

    Examples
    --------
    >>> chain = [Operator("relu", 64)] + [Operator("exp", 64, (n,)) for n in range(9)]
    >>> peak_bytes(chain), naive_bytes(chain)
    (128, 640)
    """
    released = [0] * (len(operators) + 1)
    live = most = 0
    for position, (operator, last) in enumerate(zip(operators, last_readers(operators), strict=True)):
        live += operator.output_bytes - released[position]
        released[last + 1] += operator.output_bytes
        most = max(most, live)
    return most


def offline_plan(operators: Sequence[Operator], choose: Choose = first_fit) -> Assignment:
    """Let outputs of one learner reuse buffers that nobody reads any more (the paper's offline plan).

    Operators are visited in the order in which they run. Each output takes a free buffer, or a new one where none
    fits; its reference count is the number of operators that still read it, and at 0 its buffer is free. An operator
    never writes to a buffer that it reads.

    Parameters
    ----------
    operators : sequence of Operator
        One learner's iteration.
    choose : callable
        `first_fit`, as in the paper's code, or another rule.

    Returns
    -------
    Assignment
        Between `peak_bytes` and `naive_bytes`.

    References
    ----------
    Koliousis et al., PVLDB 12(11), 2019, the section on memory, from secondary sources; ``MemoryPlannerV2`` of
    lsds/Crossbow.

    Examples
    --------
    >>> chain = [Operator("relu", 64)] + [Operator("exp", 64, (n,)) for n in range(9)]
    >>> offline_plan(chain).buffer_of
    (0, 1, 0, 1, 0, 1, 0, 1, 0, 1)
    """
    last = last_readers(operators)
    ending: list[list[int]] = [[] for _ in operators]
    sizes: list[int] = []
    free: list[int] = []
    buffer_of: list[int | None] = []
    for position, operator in enumerate(operators):
        buffer = None
        if operator.output_bytes:
            place = choose([sizes[other] for other in free], operator.output_bytes)
            if place is None:
                buffer = len(sizes)
                sizes.append(operator.output_bytes)
            else:
                buffer = free.pop(place)
            ending[last[position]].append(buffer)
        buffer_of.append(buffer)
        free += ending[position]
    return Assignment(tuple(sizes), tuple(buffer_of), last)


def online_plan(assignment: Assignment, learners: int, stagger: int) -> Sharing:
    """Let learners share pools of buffers (the paper's online plan, on top of the offline one).

    Learner j runs ``stagger`` operators behind learner j - 1, all at one pace. For each buffer of the offline plan
    there is a pool: an operator takes the first free one of the pool, which grows by one where none is free, and
    gives it back when its last reader is done. So at ``stagger=0`` every learner has buffers of its own, and from
    ``stagger`` = the number of operators on all use the same.

    Parameters
    ----------
    assignment : Assignment
        The offline plan of one learner.
    learners : int >= 1
        m, on one device.
    stagger : int >= 0
        Operators.

    Returns
    -------
    Sharing
        At most ``learners`` times the offline plan.

    Examples
    --------
    >>> there = [Operator("relu", 64), Operator("relu", 64, (0,)), Operator("relu", 64, (1,))]
    >>> back = [Operator("backward", 64, (2,)), Operator("backward", 64, (1, 3)), Operator("backward", 64, (0, 4))]
    >>> plan = offline_plan([*there, *back])
    >>> [online_plan(plan, 3, stagger).total_bytes for stagger in (0, 1, 2, 3, 6)]
    [768, 704, 576, 448, 256]
    """
    count = len(assignment.buffer_of)
    pools = [0] * len(assignment.sizes_bytes)
    free: list[list[int]] = [[] for _ in pools]
    taken: list[list[int | None]] = [[None] * count for _ in range(learners)]
    ending: list[list[int]] = [[] for _ in range(count)]
    for position, last in enumerate(assignment.last_reader):
        if assignment.buffer_of[position] is not None:
            ending[last].append(position)
    for clock in range(count + stagger * (learners - 1)):
        running = [(j, clock - j * stagger) for j in range(learners) if 0 <= clock - j * stagger < count]
        for j, position in running:
            buffer = assignment.buffer_of[position]
            if buffer is None:
                continue
            if not free[buffer]:
                free[buffer].append(pools[buffer])
                pools[buffer] += 1
            first = min(free[buffer])
            free[buffer].remove(first)
            taken[j][position] = first
        for j, position in running:
            for done in ending[position]:
                free[_given(assignment.buffer_of[done])].append(_given(taken[j][done]))
    total_bytes = sum(size * pool for size, pool in zip(assignment.sizes_bytes, pools, strict=True))
    return Sharing(tuple(pools), tuple(map(tuple, taken)), total_bytes)


def _given(number: int | None) -> int:
    """Return a number that is there."""
    assert number is not None  # noqa: S101  (what ends was taken)
    return number
