"""`ExemplarMemory`: compressed exemplars of every class seen, within a byte budget, in one SQLite file.

Every change is one transaction. Within a class, exemplars have ranks 0, 1, 2, ... in selection order; a class is
shrunk by dropping its highest ranks, so ranks stay contiguous. The budget is bytes on disk: after every commit the
file, and anything else charged to the budget, such as the weights of a growing network, is within it. Exemplars are
stored in packs (:mod:`toolkit.memory.packs`), so the file takes at most 3 % and 16 KiB more than its contents, which
are payloads, extras (such as logits) that a method keeps with them, :data:`LABEL_BYTES` per label and the codec's
shared header; 8 % with payloads below 150 bytes. :meth:`ExemplarMemory.summary` reports both and, for neural codecs,
the bytes of the decoder's weights.

Several processes may open one memory. Each change starts from the current contents of the file, and an object reads
the state again after another process has committed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np

from toolkit.codecs.base import Codec
from toolkit.codecs.encoders import encoder_versions
from toolkit.codecs.spec import code_alike, parse_codec, require_decoder, short_spec, spec_beside
from toolkit.foundation.errors import UsageError, WorkError
from toolkit.memory.allocation import BudgetTooSmall
from toolkit.memory.budget import LABEL_BYTES
from toolkit.memory.changes import add_rows, remove_rows
from toolkit.memory.database import Database
from toolkit.memory.decoding import decode_all, decode_each, warned
from toolkit.memory.facts import FileMemoryFacts
from toolkit.memory.forgetting import find_gone, identity, require_gone
from toolkit.memory.offer import NOTHING, Offer, whole
from toolkit.memory.rows import (
    DamagedExemplar,
    Stored,
    bytes_of,
    delete_class,
    misplaced,
    read_class,
    read_payload,
    stored_sizes,
    uneven,
)
from toolkit.memory.state import State

Revision = Callable[[dict[int, list[Stored]]], Mapping[int, Sequence[tuple[bytes, bytes]]]]
"""What :meth:`ExemplarMemory.revise` takes: stored exemplars by label to payloads and extras by label."""


class ExemplarMemory:
    """Compressed exemplars within a byte budget.

    Args:
        path: the SQLite file; created if it does not exist.
        budget: bytes on disk, including other charged data. None keeps the budget of an existing file.
        codec: a codec or spec. None takes the codec of an existing file, and looks for the files it needs in the
            memory's folder, then in the working folder. Files used only for encoding, such as tables, are not needed
            to decode; to add exemplars after such files have moved, give a spec with their new paths.

    Raises:
        UsageError: a new memory without budget or codec; an existing one with another budget or codec.
        WorkError: not a memory file, written by another version, damaged, or not accessible.
    """

    def __init__(self, path: str | Path, budget: int | None = None, codec: Codec | str | None = None) -> None:
        self.path = Path(path)
        if budget is not None:
            budget = whole("the budget in bytes", budget, least=1)
        new = not self.path.exists() or self.path.stat().st_size == 0
        if new and (budget is None or codec is None):
            raise UsageError(f"{path} does not exist or is empty: a new memory needs a budget and a codec")
        made = parse_codec(codec) if isinstance(codec, str) else codec
        self._database = Database(self.path)
        try:
            if budget is not None and made is not None and self._database.is_empty():
                # no paths in the spec: they are meaningless on another machine
                self._database.create(State(budget, short_spec(str(made))))
            self._changes = self._database.changes()
            self._last = self._database.state()
            self.codec = made or parse_codec(spec_beside(self._last.codec, self.path.parent))
            self._refuse_others(self._last, budget)
            if self._last.classes and self._last.shared:
                self.codec.load_shared(self._last.shared)
        except BaseException:
            self._database.close()
            raise

    def _refuse_others(self, state: State, budget: int | None) -> None:
        if state.codec != str(self.codec) and not code_alike(state.codec, str(self.codec)):
            raise UsageError(f"{self.path} was made with {state.codec}, not with {self.codec}")
        if budget is not None and budget != state.budget:
            raise UsageError(f"{self.path} was made for {state.budget} bytes, not for {budget}")

    def _state(self) -> State:
        """Facts and classes as currently in the file."""
        changes = self._database.changes()
        if changes != self._changes:
            state = self._database.state()
            if state.classes and state.shared != (mine := self.codec.shared_state()):
                if mine:  # payloads encoded with it may still be waiting to be added
                    raise UsageError(f"another process gave {self.path} another shared header: open it again")
                self.codec.load_shared(state.shared)
            self._last, self._changes = state, changes
        return self._last

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> ExemplarMemory:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # -- contents ----------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self._state().exemplars

    @property
    def budget(self) -> int:
        """Budget in bytes."""
        return self._state().budget

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) of every exemplar; None if not set yet."""
        return self._state().size

    @property
    def commits(self) -> int:
        """Number of commits that added exemplars."""
        return self._state().commits

    @property
    def charged(self) -> int:
        """Bytes of the budget reserved for other data."""
        return self._state().charged

    @property
    def class_counts(self) -> dict[int, int]:
        """Exemplars per class, by label."""
        return {label: row.exemplars for label, row in self._state().classes.items()}

    @property
    def class_names(self) -> dict[int, str]:
        """Names by label; the default name of a class is its label."""
        return {label: row.name for label, row in self._state().classes.items()}

    @property
    def nbytes(self) -> int:
        """Bytes that count against the budget: the file, and other charged data."""
        return self.path.stat().st_size + self._state().charged

    @property
    def content_bytes(self) -> int:
        """Bytes of payloads, extras, labels and shared header: what papers count."""
        state = self._state()
        if not state.classes:
            return 0
        payloads = sum(row.payload_bytes for row in state.classes.values())
        return payloads + LABEL_BYTES * state.exemplars + self.codec.shared_bytes()

    def summary(self) -> FileMemoryFacts:
        """Budget, bytes and counts, for people and JSON."""
        state = self._state()
        return {
            "codec": short_spec(str(self.codec)),
            "size": None if state.size is None else list(state.size),
            "budget_bytes": state.budget,
            "memory_bytes": self.nbytes,
            "content_bytes": self.content_bytes,
            "shared_bytes": self.codec.shared_bytes() if state.classes else 0,
            "weights_bytes": self.codec.weights_bytes() if state.classes else 0,
            "label_bytes": LABEL_BYTES * state.exemplars,
            "charged_bytes": state.charged,
            "file_bytes": self.path.stat().st_size,
            "journal_bytes": state.journal,
            "exemplars": state.exemplars,
            "classes": {str(label): row.exemplars for label, row in state.classes.items()},
            "class_names": [row.name for row in state.classes.values()],
            "commits": state.commits,
            "encoders": list(state.encoders),
        }

    # -- changes -----------------------------------------------------------------------------------------------

    def add_images(self, images: Mapping[int, np.ndarray], names: Mapping[int, str] | None = None) -> None:
        """Encode and :meth:`add` images of new classes, uint8 (N, H, W, 3) each, in selection order."""
        self._state()  # encode with the shared header that another process may have written
        sizes = {(pixels.shape[1], pixels.shape[2]) for pixels in images.values()}
        if len(sizes) > 1:
            raise UsageError(f"the images must have one size, got {', '.join(map(str, sorted(sizes)))}")
        encoded = {label: self.codec.encode(pixels) for label, pixels in images.items()}
        self.add(encoded, names, size=next(iter(sizes), None))

    def add(
        self,
        candidates: Mapping[int, Sequence[bytes]],
        names: Mapping[int, str] | None = None,
        extras: Mapping[int, Sequence[bytes]] | None = None,
        charged: int | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        """Add new classes and shrink the old ones to their new share, in one transaction.

        Args:
            candidates: payloads of each new class in selection order; more than fit may be given. Further candidates
                of a stored class are ranked after its exemplars.
            names: display names of the new classes; by default their labels.
            extras: bytes stored and charged with each candidate, if any.
            charged: bytes of the budget reserved for other data from now on; unchanged by default.
            size: (height, width) of the images; it is stored, and payloads of another size are not decoded.

        Raises:
            BudgetTooSmall: one exemplar per class does not fit; nothing is changed.
            UsageError: a class without candidates, or without exactly one extra per candidate; values that a memory
                cannot hold; images whose size or shared header differs from the stored exemplars'.
            WorkError: the file could not be written; nothing is changed.
        """
        offer = Offer.of(candidates, names or {}, extras or {}, charged, size)
        with self._database.transaction() as connection:
            with self._database.readable():
                state = self._database.state()
                stored = stored_sizes(connection)
            state = add_rows(connection, self._in_common(state, offer), stored, offer, self.codec.shared_bytes())
        self._last = state

    def revise(self, labels: Collection[int] | None, change: Revision, size: tuple[int, int] | None = None) -> None:
        """Replace the exemplars of some classes by what a function makes of them, in one transaction.

        Other classes may shrink. Damaged exemplars are not passed on, so they are removed.

        Args:
            labels: of the classes to revise; None means all that are stored.
            change: takes the stored exemplars of these classes in selection order, and returns (payload, extra) of each
                exemplar to store in their place, by label, in selection order. New labels may be among them; a class
                without any is removed.
            size: as in :meth:`add`.

        Raises:
            BudgetTooSmall, UsageError, WorkError: as :meth:`add`; nothing is changed.
        """
        with self._database.transaction() as connection:
            with self._database.readable():
                state = self._database.state()
                wanted = {label for label in state.classes if labels is None or label in labels}
                stored = {label: read_class(connection, label, state.classes[label].exemplars)[0] for label in wanted}
            made = {label: items for label, items in change(stored).items() if items}
            names = {label: state.classes[label].name for label in made if label in state.classes}
            payloads = {label: [payload for payload, _ in items] for label, items in made.items()}
            extras = {label: [extra for _, extra in items] for label, items in made.items()}
            offer = Offer.of(payloads, names, extras, None, size)
            for label in wanted:
                delete_class(connection, label)
            left = {label: row for label, row in state.classes.items() if label not in wanted}
            state = self._in_common(replace(state, classes=left), offer)
            state = add_rows(connection, state, stored_sizes(connection), offer, self.codec.shared_bytes())
        self._last = state

    def revision(self) -> object:
        """The same object until the contents change, by whichever process."""
        return self._state()

    def _in_common(self, state: State, offer: Offer) -> State:
        """``state`` with what holds for stored and offered exemplars: size, shared header, encoders, one commit more.

        Raises:
            UsageError: the stored exemplars differ in size or shared header.
        """
        shared = self.codec.shared_state()
        if state.classes and state.size is not None and offer.size not in (None, state.size):
            raise UsageError(f"{self.path} holds images of (height, width) {state.size}, not of {offer.size}")
        if state.classes and shared != state.shared:
            raise UsageError(f"{self.path} holds exemplars with another shared header than the new ones")
        known = offer.size or (state.size if state.classes else None)
        encoders = tuple(dict.fromkeys((*state.encoders, encoder_versions())))
        return replace(state, size=known, shared=shared, encoders=encoders, commits=state.commits + 1)

    def resize(self, budget: int) -> int:
        """Set another budget and drop exemplars that no longer fit; the number dropped.

        Raises:
            BudgetTooSmall: one exemplar per class does not fit; nothing is changed.
            WorkError: the file could not be written; nothing is changed.
        """
        budget = whole("the budget in bytes", budget, least=1)
        with self._database.transaction() as connection:
            with self._database.readable():
                before = self._database.state()
                stored = stored_sizes(connection)
            state = add_rows(connection, replace(before, budget=budget), stored, NOTHING, self.codec.shared_bytes())
        self._last = state
        return before.exemplars - state.exemplars

    def identities(self, label: int) -> list[str]:
        """A permanent name for each intact exemplar of a class, derived from its content, in selection order."""
        return [identity(payload) for payload in self.payloads(label)[0]]

    def forget(self, label: int | None = None, image: str | None = None) -> int:
        """Permanently remove a class or an image: its bytes are overwritten, and the file is searched for them.

        The budget is unchanged; the freed bytes go to later classes. A class left without exemplars is removed.

        Args:
            label: of the class to forget.
            image: or the :func:`identity` of an exemplar or a prefix of it; every stored copy of the image is
                forgotten.

        Returns:
            The number of exemplars removed.

        Raises:
            UsageError: neither or both are given, there is no such class or exemplar, or the prefix is ambiguous.
            WorkError: the file could not be written, or bytes of a forgotten exemplar are still in it.
        """
        if (label is None) == (image is None):
            raise UsageError("forget either a class or an image")
        with self._database.transaction(secure=True) as connection:
            with self._database.readable():
                state = self._database.state()
                gone = find_gone(connection, self.path, state.classes, label, image)
                lost = bytes_of(connection, gone)
            state = remove_rows(connection, state, gone, self.codec.shared_bytes())
        self._last = state
        self._database.compact()
        require_gone(self.path, lost, lambda: b"".join(one.payload + one.extra for _, one in self._all()[0]))
        return len(gone)

    # -- reading -----------------------------------------------------------------------------------------------

    def payload(self, label: int, rank: int) -> bytes:
        """One stored payload, its checksum verified.

        Raises:
            IndexError: there is no such exemplar.
            WorkError: it is damaged.
        """
        with self._database.readable() as connection:
            payload = read_payload(connection, label, rank)
        if payload is None:
            raise WorkError(f"exemplar {rank} of class {label} is damaged: its checksum does not match")
        return payload

    def intact(self, label: int) -> tuple[list[Stored], list[DamagedExemplar]]:
        """A class's intact exemplars in selection order, and those left out because they are damaged."""
        with self._database.readable() as connection:
            row = self._state().classes.get(label)
            return read_class(connection, label, 0 if row is None else row.exemplars)

    def _all(self) -> tuple[list[tuple[int, Stored]], list[DamagedExemplar]]:
        """All intact exemplars of one commit with their labels, and the damaged ones; warns about these."""
        with self._database.readable():
            read = {label: warned(self.path, label, self.intact(label)) for label in self._state().classes}
        damaged = [item for _, left_out in read.values() for item in left_out]
        return [(label, one) for label, (intact, _) in read.items() for one in intact], damaged

    def payloads(self, label: int) -> tuple[list[bytes], list[DamagedExemplar]]:
        """A class's intact payloads in selection order, and the exemplars left out because they are damaged.

        Warns if any are left out.
        """
        intact, damaged = warned(self.path, label, self.intact(label))
        return [one.payload for one in intact], damaged

    def extras(self) -> list[bytes]:
        """The extra of each intact exemplar, in the order of :meth:`all_payloads`; empty bytes where there is none."""
        return [one.extra for _, one in self._all()[0]]

    def decode(self, label: int) -> np.ndarray:
        """A class's intact exemplars, uint8 (N, H, W, 3), in selection order; warns about damaged ones."""
        intact, _ = warned(self.path, label, self.intact(label))
        return decode_all(self.codec, [(label, one) for one in intact], self.size)[0]

    def decode_all(self) -> tuple[np.ndarray, np.ndarray, list[DamagedExemplar]]:
        """All intact exemplars: images uint8 (N, H, W, 3), labels int64 (N,), and the damaged ones left out."""
        exemplars, damaged = self._all()
        images, labels, failed = decode_all(self.codec, exemplars, self.size)
        return images, labels, damaged + failed

    def all_payloads(self) -> tuple[list[bytes], np.ndarray, list[DamagedExemplar]]:
        """All intact exemplars as stored: payloads, labels int64 (N,), and the damaged ones left out."""
        exemplars, damaged = self._all()
        labels = np.array([label for label, _ in exemplars], np.int64)
        return [one.payload for _, one in exemplars], labels, damaged

    def verify(self) -> list[DamagedExemplar]:
        """Check the checksum and rank of every exemplar and decode it; returns the exemplars that fail.

        Raises:
            WorkError: the file is no longer a readable database, or a model needed for decoding is missing.
        """
        self._database.check()
        with self._database.readable() as connection:
            state = self._state()
            found = misplaced(connection, state.classes)
            sums = uneven(connection, state.classes)
        if state.classes:
            require_decoder(self.codec)
        for label in state.classes:
            intact, damaged = self.intact(label)
            failed = decode_each(self.codec, [one.payload for one in intact], state.size)[1]
            found += damaged + [DamagedExemplar(label, intact[index].rank, reason) for index, reason in failed.items()]
        named = {item.label for item in found}
        found += [item for item in sums if item.label not in named]
        return list({(item.label, item.rank): item for item in reversed(found)}.values())[::-1]


__all__ = ["BudgetTooSmall", "DamagedExemplar", "ExemplarMemory"]
