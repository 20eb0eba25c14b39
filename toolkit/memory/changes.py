"""Changes to the rows of a memory within one transaction, and the new state: adding, forgetting, another budget."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from toolkit.memory.allocation import BudgetTooSmall, allocate
from toolkit.memory.database import journal_bytes, trimmed_bytes
from toolkit.memory.disk import fixed_bytes, prefix_bytes
from toolkit.memory.offer import NOTHING, Offer
from toolkit.memory.rows import EXTRA, NO_SIZES, PAYLOAD, Sizes, delete, delete_class, delete_from, insert, stored_sizes
from toolkit.memory.state import ClassRow, State, write_state


def add_rows(
    connection: sqlite3.Connection, state: State, stored: Mapping[int, Sizes], offer: Offer, shared_bytes: int
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
        label: _joined(stored.get(label, NO_SIZES), offered.get(label, NO_SIZES))
        for label in sorted({*state.classes, *stored, *offered})
    }
    names = {**{label: row.name for label, row in state.classes.items()}, **offer.names}
    totals = {label: prefix_bytes(own.payloads, own.extras) for label, own in sizes.items()}
    allowed, fixed = state.budget - state.charged, fixed_bytes(shared_bytes)
    kept = _fitting(totals, state, allowed, fixed)
    had = {label: len(stored.get(label, NO_SIZES).payloads) for label in sizes}
    _shrink(connection, had, kept)
    for label, count in kept.items():
        new = max(0, count - had[label])
        insert(connection, PAYLOAD, label, had[label], offer.payloads.get(label, ())[:new])
        if label in offer.extras:
            insert(connection, EXTRA, label, had[label], offer.extras[label][:new])
    while True:
        classes = {
            label: ClassRow(count, _bytes_of(sizes[label], count), names.get(label, str(label)))
            for label, count in kept.items()
        }
        state = replace(state, classes=classes)
        write_state(connection, state)
        excess = trimmed_bytes(connection) + state.charged - state.budget
        if excess <= 0:
            break
        if not kept:
            raise BudgetTooSmall(state.budget, state.budget + excess, 0)
        used = fixed + sum(int(totals[label][count - 1]) for label, count in kept.items())
        allowed = min(allowed, used) - excess  # leaf pages are emptier than estimated
        fewer = _fitting(totals, state, allowed, fixed)
        fewer = {label: min(count, kept[label]) for label, count in fewer.items()}  # what is left over may move
        _shrink(connection, kept, fewer)
        kept = fewer
    return _with_journal(connection, state)


def remove_rows(
    connection: sqlite3.Connection, state: State, gone: Sequence[tuple[int, int]], shared_bytes: int
) -> State:
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
        classes[label] = classes[label]._replace(exemplars=len(left.payloads), payload_bytes=left.total)
    state = replace(state, classes=classes)
    write_state(connection, state)
    if trimmed_bytes(connection) + state.charged > state.budget:  # packs written again may fill their pages less
        return add_rows(connection, state, stored_sizes(connection), NOTHING, shared_bytes)
    return _with_journal(connection, state)


def _fitting(totals: Mapping[int, np.ndarray], state: State, allowed: int, fixed: int) -> dict[int, int]:
    """Exemplars of each class that fit into ``allowed`` bytes."""
    try:
        return allocate(totals, allowed, fixed)
    except BudgetTooSmall as error:
        raise BudgetTooSmall(state.budget, error.smallest + state.budget - allowed, len(totals)) from None


def _shrink(connection: sqlite3.Connection, had: Mapping[int, int], kept: Mapping[int, int]) -> None:
    """Drop what is beyond the ranks kept; nothing is inserted meanwhile, so the file does not grow."""
    for label, count in kept.items():
        for kind in (PAYLOAD, EXTRA) if count < had[label] else ():
            delete_from(connection, kind, label, count)


def _joined(first: Sizes, then: Sizes) -> Sizes:
    """Sizes of one class's stored and offered exemplars."""
    payloads = [*first.payloads, *then.payloads]
    if not first.extras and not then.extras:
        return Sizes(payloads, [])
    extras = [one.extras or [0] * len(one.payloads) for one in (first, then)]
    return Sizes(payloads, [*extras[0], *extras[1]])


def _bytes_of(sizes: Sizes, count: int) -> int:
    """Bytes of payloads and extras of the first ``count`` exemplars."""
    return sum(sizes.payloads[:count]) + sum(sizes.extras[:count])


def _with_journal(connection: sqlite3.Connection, state: State) -> State:
    """The state with the size of this transaction's journal, if it is the largest so far, written."""
    taken = journal_bytes(connection)
    if taken <= state.journal:
        return state
    state = replace(state, journal=taken)
    write_state(connection, state)
    return state
