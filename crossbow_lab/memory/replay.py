"""Checks a memory plan by running it: operators sign what they write, and look for the signatures they read.

Knows nothing of live ranges or reference counts, from which plans are made.
"""

from collections.abc import Sequence

from crossbow_lab.memory.buffers import Assignment, Operator, Sharing

Place = tuple[int, int]
"""A buffer of the offline plan, and a number within its pool."""

Writer = tuple[int, int]
"""A learner, and the position of its operator."""


def clash(operators: Sequence[Operator], assignment: Assignment) -> str | None:
    """Run one learner by its offline plan.

    Parameters
    ----------
    operators : sequence of Operator
        One learner's iteration.
    assignment : Assignment
        Its plan.

    Returns
    -------
    str or None
        The first operator that finds something else than what it should read, writes where it reads, or writes to a
        buffer that is too small; None where the plan is safe.

    Examples
    --------
    >>> chain = [Operator("relu", 64), Operator("exp", 64, (0,)), Operator("add", 64, (0, 1))]
    >>> clash(chain, Assignment((64, 64), (0, 1, 0), (2, 2, 2)))
    'operator 2 (add) of learner 0 overwrites the output of operator 0 that it reads'
    """
    alone = Sharing(
        tuple(1 for _ in assignment.sizes_bytes),
        (tuple(None if buffer is None else 0 for buffer in assignment.buffer_of),),
        assignment.total_bytes,
    )
    return shared_clash(operators, assignment, alone, stagger=len(operators))


def shared_clash(
    operators: Sequence[Operator], assignment: Assignment, sharing: Sharing, *, stagger: int
) -> str | None:
    """Run learners ``stagger`` operators apart by their online plan, as `clash` does one.

    Within one step of the clock the learners' operators run at the same time: what one writes none may read.

    Parameters
    ----------
    operators : sequence of Operator
        One learner's iteration.
    assignment, sharing : Assignment, Sharing
        The plans.
    stagger : int >= 0
        For which ``sharing`` was made.

    Returns
    -------
    str or None
        As of `clash`.
    """
    learners = len(sharing.taken)
    signed: dict[Place, Writer] = {}
    for clock in range(len(operators) + stagger * (learners - 1)):
        running = [(j, clock - j * stagger) for j in range(learners) if 0 <= clock - j * stagger < len(operators)]
        written: dict[Place, Writer] = {}
        for writer in running:
            found = _misplaced(operators, assignment, sharing, writer, written)
            if found is not None:
                return found
        for reader in running:
            found = _misread(operators, assignment, sharing, reader, signed, written)
            if found is not None:
                return found
        signed |= written
    return None


def _misplaced(
    operators: Sequence[Operator],
    assignment: Assignment,
    sharing: Sharing,
    writer: Writer,
    written: dict[Place, Writer],
) -> str | None:
    """Sign what an operator writes in this step of the clock; say why it can't."""
    place, needed_bytes = _place(assignment, sharing, writer), operators[writer[1]].output_bytes
    if place is None:
        return f"{_who(operators, writer)} has no buffer" if needed_bytes else None
    buffer, number = place
    if assignment.sizes_bytes[buffer] < needed_bytes or number >= sharing.pools[buffer]:
        return f"{_who(operators, writer)} writes beyond buffer {buffer}"
    if place in written:
        return f"{_who(operators, writer)} writes where {_who(operators, written[place])} does"
    written[place] = writer
    return None


def _misread(
    operators: Sequence[Operator],
    assignment: Assignment,
    sharing: Sharing,
    reader: Writer,
    signed: dict[Place, Writer],
    written: dict[Place, Writer],
) -> str | None:
    """Say which of an operator's inputs is not what it should be, by what was signed before and is written now."""
    learner, position = reader
    for source in operators[position].reads:
        place = _place(assignment, sharing, (learner, source))
        if place is None:
            continue
        if signed.get(place) != (learner, source):
            return f"{_who(operators, reader)} finds the output of operator {source} overwritten"
        if place in written:
            whom = "it reads" if written[place] == reader else f"learner {learner} reads"
            return f"{_who(operators, written[place])} overwrites the output of operator {source} that {whom}"
    return None


def _place(assignment: Assignment, sharing: Sharing, writer: Writer) -> Place | None:
    """Return the buffer, and the number within its pool, that an operator of a learner writes."""
    learner, position = writer
    buffer, number = assignment.buffer_of[position], sharing.taken[learner][position]
    return None if buffer is None or number is None else (buffer, number)


def _who(operators: Sequence[Operator], writer: Writer) -> str:
    """Name an operator of a learner."""
    return f"operator {writer[1]} ({operators[writer[1]].name}) of learner {writer[0]}"
