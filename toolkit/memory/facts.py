"""Types of the summaries of memories, and of the state of a pickled dataset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NotRequired, TypedDict


class MemoryFacts(TypedDict):
    """Facts of any memory; the budget and all sizes are in bytes.

    Attributes:
        memory_bytes: counted against the budget: the files, and other charged data.
        content_bytes: payloads, extras, labels and shared headers, as papers count.
        shared_bytes: the codec's shared header, once per file.
        weights_bytes: the decoder's weights; not counted.
        file_bytes: size on disk.
        classes: exemplars by label.
        encoders: versions of the libraries that encoded them; bytes at one setting differ between versions.
        journal_bytes: the most that a commit has taken beside a memory's file until it was done.
        images: names of the exemplars by label, as ``memory inspect --images`` adds them.
    """

    codec: str
    budget_bytes: int
    memory_bytes: int
    content_bytes: int
    shared_bytes: int
    weights_bytes: int
    label_bytes: int
    file_bytes: int
    exemplars: int
    classes: dict[str, int]
    class_names: list[str]
    encoders: list[str]
    journal_bytes: NotRequired[int]
    images: NotRequired[dict[str, list[str]]]


class FileMemoryFacts(MemoryFacts):
    """Facts of a memory in one file.

    Attributes:
        size: height and width of every exemplar, or None if not set yet.
        charged_bytes: of the budget, reserved for other data.
        commits: number of commits that added exemplars.
    """

    size: list[int] | None
    charged_bytes: int
    commits: int


class ShardFacts(TypedDict):
    """Facts of one shard file: a shard of the manifest without its exemplars per label."""

    file: str
    sha256: str
    file_bytes: int
    content_bytes: int


class SelectionFacts(TypedDict):
    """How the exemplars of a sharded memory were selected, as in its manifest."""

    name: str
    extractor: str | None
    seed: int
    candidates: int
    images: int
    unreadable: int


class ShardedMemoryFacts(MemoryFacts):
    """Facts of a memory in several files."""

    shards: list[ShardFacts]
    selection: SelectionFacts


class DamagedFacts(TypedDict):
    """A damaged exemplar: its class, its place in selection order, and the problem."""

    label: int
    rank: int
    reason: str


class VerifyResult(TypedDict):
    """The ``memory verify`` JSON; ``exemplars`` counts all that were checked."""

    exemplars: int
    damaged: list[DamagedFacts]


class DatasetState(TypedDict):
    """A pickled :class:`~toolkit.memory.views.ExemplarDataset`: the worker process opens the memory again."""

    path: Path
    transform: Callable[[Any], Any] | None
