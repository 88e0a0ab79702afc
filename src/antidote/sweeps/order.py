"""In which order the cells of a sweep begin, so that no worker waits for what another is at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from antidote.engine import source
from antidote.engine.cell import Cell
from antidote.engine.parts import quiet
from antidote.sweeps.plan import Planner


def order(cells: Sequence[Cell]) -> list[int]:
    """Positions of the cells: whoever makes what others need goes first."""
    return makers_first(work(cells)) if len(cells) > 2 else list(range(len(cells)))


def makers_first(needs: Sequence[Sequence[str]]) -> list[int]:
    """`needs[i]`: the pieces of work that cell i needs, in the order in which it meets them.

    First come cells that make what another meets first (one cell for each victim), then those that
    make what is met next (importances), at last those that find all they share with others; each
    time as they are typed.
    """
    users = Counter(piece for pieces in needs for piece in set(pieces))
    made: set[str] = set()
    first: dict[int, None] = {}
    for depth in range(max(map(len, needs), default=0)):
        for i, pieces in enumerate(needs):
            piece = pieces[depth] if depth < len(pieces) else ""
            if i not in first and piece not in made and users[piece] > 1:
                first[i] = None
                made |= set(pieces)
    return [*first, *(i for i in range(len(needs)) if i not in first)]


def work(cells: Sequence[Cell]) -> list[list[str]]:
    """What each cell needs and the store has not; a cell that is typed twice is needed by both."""
    quiet()
    planner = Planner(cells[0])
    found = []
    for cell in cells:
        try:
            data = source.known(cell, planner.store) or f"unread {source.key_of(cell)}"
            needs = planner.needs(cell, data, planner.where(cell))
            keys = [key for (_, _, key, _), _ in needs if key not in planner.plan.kept]
            found.append([*keys, cell.id(data)])
        except Exception:  # a cell that cannot be built says so in its job
            found.append([])
    return found
