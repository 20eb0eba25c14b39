"""`ShardedMemory`: a memory in several files, read like one. A manifest lists the files and their contents.

The hash of its pixels assigns an exemplar to a shard, so identical images share a file. Selection runs over all
images together; shards only store. Every shard file can be opened on its own and therefore carries its own copy of
the codec's shared header: the budget is charged for each copy.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import cast

import numpy as np
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator

from toolkit.codecs.base import Codec
from toolkit.codecs.spec import parse_codec, short_spec
from toolkit.foundation.errors import UsageError, WorkError, newer
from toolkit.foundation.files import read_json, sha256_of
from toolkit.foundation.image_size import WrittenSize, parse_image_size
from toolkit.memory.budget import LABEL_BYTES
from toolkit.memory.decoding import decode_all, warned
from toolkit.memory.facts import SelectionFacts, ShardedMemoryFacts, ShardFacts
from toolkit.memory.rows import DamagedExemplar, Stored
from toolkit.memory.store import ExemplarMemory

FORMAT = 2
MANIFEST = "manifest.json"
MAX_SHARDS = 256
"""The manifest stores the shard of an exemplar in one byte."""


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=True)


class Shard(_Frozen):
    """One file: its name in the manifest's folder, checksum, size, bytes of its contents, and exemplars per label."""

    file: str = Field(pattern=r"^shard-\d{3}\.recall$")
    sha256: str
    file_bytes: int
    content_bytes: int = Field(validation_alias=AliasChoices("content_bytes", "memory_bytes"))
    classes: dict[int, int]


class Selection(_Frozen):
    """How the exemplars were selected.

    Attributes:
        name: ``herding`` or ``random``.
        extractor: source of the features for herding, or None.
        seed: random seed.
        candidates: images per class held at a time.
        images, unreadable: training images used, and files that could not be read.
    """

    name: str
    extractor: str | None
    seed: int
    candidates: int
    images: int
    unreadable: int


class ShardManifest(_Frozen):
    """The contents of ``manifest.json``.

    Attributes:
        format: version of this layout.
        codec: spec, without paths.
        size: of the images.
        budget_bytes: bytes on disk of all shards together.
        class_names: by label.
        encoders: versions of the libraries that encoded the exemplars; empty in manifests of format 1.
        order: for each label the shards of its exemplars in selection order, two hexadecimal digits each.
    """

    format: int
    codec: str
    size: WrittenSize
    budget_bytes: int = Field(ge=0)
    class_names: dict[int, str]
    selection: Selection
    shards: list[Shard]
    encoders: list[str] = []
    order: dict[int, str]

    @model_validator(mode="after")
    def _every_exemplar_has_a_shard(self) -> ShardManifest:
        held = [dict(shard.classes) for shard in self.shards]
        ordered: list[dict[int, int]] = [{} for _ in self.shards]
        for label, text in self.order.items():
            for number in bytes.fromhex(text):
                if number >= len(self.shards):
                    raise ValueError(f"class {label} has exemplars in shard {number} of {len(self.shards)}")
                ordered[number][label] = ordered[number].get(label, 0) + 1
        if held != ordered:
            raise ValueError("the exemplars of the shards do not match the order")
        return self


def read_shard_manifest(path: Path) -> ShardManifest:
    """Read a manifest.

    Raises:
        WorkError: it cannot be read, is damaged, or was written by a newer version.
    """
    value = read_json(path)
    version = value.get("format") if isinstance(value, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise WorkError(newer(path, "format", version, FORMAT))
    try:
        return ShardManifest.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise WorkError(f"{path} is not a memory's manifest: {where or 'it'}: {first['msg']}") from error


class ShardedMemory:
    """A memory in several files, read like one.

    Args:
        path: the manifest or its folder. Shard files are opened when first needed.
        codec: see :func:`open_memory`.

    Raises:
        WorkError: here, if the manifest is invalid; later, if a shard is missing or does not match the manifest.
    """

    def __init__(self, path: str | Path, codec: str | None = None) -> None:
        self._spec = codec
        self.path = Path(path) / MANIFEST if Path(path).is_dir() else Path(path)
        self.manifest = read_shard_manifest(self.path)
        self.budget = self.manifest.budget_bytes
        self._orders = {
            label: np.frombuffer(bytes.fromhex(text), np.uint8) for label, text in sorted(self.manifest.order.items())
        }
        self._open: dict[int, ExemplarMemory] = {}

    def close(self) -> None:
        """Close the files."""
        for memory in self._open.values():
            memory.close()
        self._open.clear()

    def __enter__(self) -> ShardedMemory:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every exemplar."""
        return parse_image_size(self.manifest.size)

    @cached_property
    def codec(self) -> Codec:
        """Decodes the payloads of every shard: all shards carry the same shared header."""
        filled = next((number for number, shard in enumerate(self.manifest.shards) if shard.classes), None)
        return parse_codec(self.manifest.codec) if filled is None else self._shard(filled).codec

    # -- contents ----------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return sum(self.class_counts.values())

    @property
    def class_counts(self) -> dict[int, int]:
        """Exemplars per class, by label."""
        return {label: len(order) for label, order in self._orders.items()}

    @property
    def class_names(self) -> dict[int, str]:
        """Names by label."""
        return {label: self.manifest.class_names.get(label, str(label)) for label in self._orders}

    @property
    def nbytes(self) -> int:
        """Bytes that count against the budget: the files of all shards."""
        return sum(shard.file_bytes for shard in self.manifest.shards)

    @property
    def content_bytes(self) -> int:
        """Bytes of payloads, labels and every shard's copy of the shared header: what papers count."""
        return sum(shard.content_bytes for shard in self.manifest.shards)

    def summary(self) -> ShardedMemoryFacts:
        """Budget, bytes, counts, shards and selection, for people and JSON."""
        filled = sum(bool(shard.classes) for shard in self.manifest.shards)
        return {
            "codec": short_spec(self.manifest.codec),
            "budget_bytes": self.budget,
            "memory_bytes": self.nbytes,
            "content_bytes": self.content_bytes,
            "shared_bytes": filled * self.codec.shared_bytes(),
            "weights_bytes": self.codec.weights_bytes() if filled else 0,
            "label_bytes": LABEL_BYTES * len(self),
            "file_bytes": sum(shard.file_bytes for shard in self.manifest.shards),
            "exemplars": len(self),
            "classes": {str(label): count for label, count in self.class_counts.items()},
            "class_names": list(self.class_names.values()),
            "encoders": self.manifest.encoders,
            "shards": [cast(ShardFacts, shard.model_dump(exclude={"classes"})) for shard in self.manifest.shards],
            "selection": cast(SelectionFacts, self.manifest.selection.model_dump()),
        }

    # -- reading -----------------------------------------------------------------------------------------------

    def payload(self, label: int, rank: int) -> bytes:
        """One stored payload, its checksum verified.

        Raises:
            IndexError: there is no such exemplar.
            WorkError: it is damaged, or its shard is.
        """
        order = self._orders.get(label, np.empty(0, np.uint8))
        if not 0 <= rank < len(order):
            raise IndexError(f"class {label} has no exemplar of rank {rank}")
        return self._shard(int(order[rank])).payload(label, int((order[:rank] == order[rank]).sum()))

    def intact(self, label: int) -> tuple[list[Stored], list[DamagedExemplar]]:
        """A class's intact exemplars in selection order, and those left out because they are damaged."""
        order = self._orders[label]
        found: list[Stored] = []
        damaged: list[DamagedExemplar] = []
        for number in map(int, np.unique(order)):
            ranks = np.flatnonzero(order == number).tolist()
            intact, left_out = self._shard(number).intact(label)
            found += [one._replace(rank=ranks[one.rank]) for one in intact if one.rank < len(ranks)]
            damaged += [
                DamagedExemplar(label, ranks[item.rank], item.reason) for item in left_out if item.rank < len(ranks)
            ]
        return sorted(found, key=lambda one: one.rank), sorted(damaged, key=lambda item: item.rank)

    def payloads(self, label: int) -> tuple[list[bytes], list[DamagedExemplar]]:
        """A class's intact payloads in selection order, and the exemplars left out because they are damaged.

        Warns if any are left out.
        """
        intact, damaged = warned(self.path, label, self.intact(label))
        return [one.payload for one in intact], damaged

    def decode(self, label: int) -> np.ndarray:
        """A class's intact exemplars, uint8 (N, H, W, 3), in selection order; warns about damaged ones."""
        intact, _ = warned(self.path, label, self.intact(label))
        return decode_all(self.codec, [(label, one) for one in intact], self.size)[0]

    def decode_all(self) -> tuple[np.ndarray, np.ndarray, list[DamagedExemplar]]:
        """All intact exemplars: images uint8 (N, H, W, 3), labels int64 (N,), and the damaged ones left out."""
        read = {label: warned(self.path, label, self.intact(label)) for label in self._orders}
        exemplars = [(label, one) for label, (intact, _) in read.items() for one in intact]
        images, labels, failed = decode_all(self.codec, exemplars, self.size)
        return images, labels, [item for _, damaged in read.values() for item in damaged] + failed

    def verify(self) -> list[DamagedExemplar]:
        """Check every file and exemplar like :meth:`ExemplarMemory.verify`; returns the exemplars that fail.

        Raises:
            WorkError: a shard is missing or unreadable, or its checksum differs from the manifest's although all its
                exemplars can be decoded.
        """
        found: list[DamagedExemplar] = []
        for number, shard in enumerate(self.manifest.shards):
            own = self._shard(number).verify()
            if not own and sha256_of(self.path.parent / shard.file) != shard.sha256:
                raise WorkError(f"{shard.file} has changed: its checksum does not match the manifest")
            for item in own:
                ranks = np.flatnonzero(self._orders.get(item.label, np.empty(0, np.uint8)) == number)
                rank = int(ranks[item.rank]) if item.rank < len(ranks) else item.rank  # not in the manifest
                found.append(DamagedExemplar(item.label, rank, f"{item.reason} ({shard.file})"))
        return sorted(found, key=lambda item: (item.label, item.rank))

    def _shard(self, number: int) -> ExemplarMemory:
        if number not in self._open:
            shard = self.manifest.shards[number]
            path = self.path.parent / shard.file
            if not path.is_file():
                raise WorkError(f"{shard.file} is missing from the folder of {self.path}")
            memory = ExemplarMemory(path, codec=self._spec)
            if memory.class_counts != shard.classes or memory.size not in (None, self.size):
                memory.close()
                raise WorkError(f"{shard.file} does not match the manifest: it holds other exemplars")
            self._open[number] = memory
        return self._open[number]


def open_memory(path: str | Path, codec: str | None = None) -> ExemplarMemory | ShardedMemory:
    """Open an existing memory: a file, a manifest or its folder.

    Args:
        path: of the memory.
        codec: spec of its codec, if that needs files that have moved.

    Raises:
        UsageError: ``path`` is not a memory, or the memory was made with another codec.
        WorkError: it cannot be read.
    """
    path = Path(path)
    if (path.is_dir() and (path / MANIFEST).is_file()) or (path.is_file() and path.name == MANIFEST):
        return ShardedMemory(path, codec)
    if not path.is_file():
        raise UsageError(f"{path} does not exist: expected a memory file, a {MANIFEST} or its folder")
    return ExemplarMemory(path, codec=codec)


def shard_entry(path: Path) -> Shard:
    """The manifest entry of a finished shard file.

    Raises:
        WorkError: it cannot be read.
    """
    with ExemplarMemory(path) as memory:
        counts, contents = memory.class_counts, memory.content_bytes
    return Shard(
        file=path.name,
        sha256=sha256_of(path),
        file_bytes=path.stat().st_size,
        content_bytes=contents,
        classes=counts,
    )
