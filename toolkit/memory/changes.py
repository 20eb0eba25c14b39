"""Adding and forgetting exemplars: changes to the rows of a memory within one transaction, and the new state."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace

from toolkit.memory.allocation import allocate
from toolkit.memory.budget import LABEL_BYTES
from toolkit.memory.offer import Offer
from toolkit.memory.rows import EXTRA, PAYLOAD, delete, delete_class, delete_from, insert, stored_sizes
from toolkit.memory.state import ClassRow, State, write_state


def add_rows(
    connection: sqlite3.Connection, state: State, stored: Mapping[int, Sequence[int]], offer: Offer, shared_bytes: int
) -> State:
    """Add as many offered exemplars as fit, and drop stored ones to make room.

    Args:
        connection: in a transaction.
        state: before the change.
        stored: :func:`~toolkit.memory.rows.stored_sizes` before the change.
        offer: the candidates.
        shared_bytes: size of the codec's shared header.

    Returns:
        The new state, already written.

    Raises:
        BudgetTooSmall: one exemplar per class does not fit.
    """
    if offer.extras:
        state = replace(state, extras=True)
    if offer.charged is not None:
        state = replace(state, charged=offer.charged)
    offered = offer.sizes()
    sizes = {
        label: [size + LABEL_BYTES for size in (*stored.get(label, ()), *offered.get(label, ()))]
        for label in sorted({*state.classes, *stored, *offered})
    }
    kept = allocate(sizes, state.budget, shared_bytes + state.charged)
    for label, count in kept.items():
        had = len(stored.get(label, ()))
        for kind in (PAYLOAD, EXTRA) if count < had else ():
            delete_from(connection, kind, label, count)
        insert(connection, PAYLOAD, label, had, offer.payloads.get(label, ())[: max(0, count - had)])
        if label in offer.extras:
            insert(connection, EXTRA, label, had, offer.extras[label][: max(0, count - had)])
    names = {**{label: row.name for label, row in state.classes.items()}, **offer.names}
    classes = {
        label: ClassRow(count, sum(sizes[label][:count]) - LABEL_BYTES * count, names.get(label, str(label)))
        for label, count in kept.items()
    }
    state = replace(state, classes=classes, commits=state.commits + 1)
    write_state(connection, state)
    return state


def remove_rows(connection: sqlite3.Connection, state: State, gone: Sequence[tuple[int, int]]) -> State:
    """Remove exemplars by label and rank, and classes left empty; write and return the new state.

    A whole class is removed without a look into its packs, which may be damaged, as may those of other classes.
    """
    ranks: dict[int, set[int]] = {}
    for label, rank in gone:
        ranks.setdefault(label, set()).add(rank)
    classes = dict(state.classes)
    for label, removed in ranks.items():
        if len(removed) == classes[label].exemplars:
            delete_class(connection, label)
            del classes[label]
            continue
        for kind in (PAYLOAD, EXTRA):
            delete(connection, kind, label, removed)
        left = stored_sizes(connection, label)[label]
        classes[label] = classes[label]._replace(exemplars=len(left), payload_bytes=sum(left))
    state = replace(state, classes=classes)
    write_state(connection, state)
    return state
