"""Tasks of a sharded build that any process on any machine can do: encode a part of the images, write a shard.

Tasks communicate through the build's working folder, which every worker can read and write: the plan, the listing, the
network, and one file per finished part. A task is done when its file exists. Files are written atomically, so a task
that is started again either finds its file or repeats the work.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from toolkit.codecs.base import Codec, image_size
from toolkit.codecs.encoders import encoder_versions
from toolkit.codecs.original import give_originals
from toolkit.codecs.spec import parse_codec
from toolkit.data.images import Unreadable, content_digest
from toolkit.data.listing import ListedImages, Listing, open_listing
from toolkit.features.extractor import FeatureExtractor
from toolkit.foundation.errors import WorkError, describe_os_error, one_line
from toolkit.foundation.files import read_json, sha256_of, write_atomically, write_json
from toolkit.foundation.image_size import WrittenSize, parse_image_size
from toolkit.foundation.threads import ordered_map, set_threads
from toolkit.memory.disk import fixed_bytes, prefix_bytes
from toolkit.memory.sharded import Shard, shard_entry
from toolkit.memory.store import ExemplarMemory
from toolkit.memory.streaming import Candidate, StreamingHerding
from toolkit.training.device import torch_threads
from toolkit.training.weights import load_network

PART_IMAGES = 2048
"""Images per task. Part and batch sizes are fixed so that features do not depend on the number of workers."""
_BATCH = 64


class BuildPlan(BaseModel):
    """Request of a build and the results of its preparation; ``plan.json`` of its working folder.

    Attributes:
        dataset: spec with an absolute path.
        codec: spec with absolute paths.
        budget_bytes: for all shards together.
        candidates: candidates per class held in memory (:class:`StreamingHerding`).
        device: torch device of the feature extractor.
        extractor: its name; None without herding.
        notes, left_out: from the listing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str
    size: WrittenSize
    codec: str
    budget_bytes: int
    selection: str
    extractor: str | None
    seed: int
    shards: int
    device: str
    candidates: int
    images: int
    class_names: list[str]
    notes: list[str] = []
    left_out: list[tuple[str, str]] = []


@dataclass(frozen=True)
class Task:
    """A part to encode or a shard to write: working folder, number, and threads to use."""

    folder: str
    number: int
    threads: int


@dataclass
class Findings:
    """Problems with the images of a part, and what encoded them.

    Attributes:
        unreadable: unreadable files, with reasons.
        remarks: remarks about images, with the number of images.
        encoders: versions of the encoding libraries, of the machine that did it.
    """

    unreadable: dict[str, str] = field(default_factory=dict)
    remarks: Counter[str] = field(default_factory=Counter)
    encoders: list[str] = field(default_factory=list)


class HerdedPart(NamedTuple):
    """A finished part: one herding per label, in ascending order of labels, and the findings."""

    herdings: dict[int, StreamingHerding]
    findings: Findings


@dataclass(frozen=True)
class _Tools:
    plan: BuildPlan
    listing: Listing
    codec: Codec
    judge: FeatureExtractor | None


def part_path(folder: Path, number: int) -> Path:
    """The file of a finished part."""
    return folder / "parts" / f"{number:06d}.npz"


def encode_part(task: Task) -> Findings:
    """Decode, encode and sample :data:`PART_IMAGES` images of the listing.

    Raises:
        WorkError: the working folder cannot be read or written, or a network or table is not available here.
    """
    folder = Path(task.folder)
    path = part_path(folder, task.number)
    if path.exists():
        return read_part(path, 1, 0).findings
    set_threads(task.threads)
    tools = _tools(task.folder, sha256_of(folder / "plan.json"))
    herdings: dict[int, StreamingHerding] = {}
    findings = Findings(encoders=[encoder_versions()])
    first = task.number * PART_IMAGES
    last = min(first + PART_IMAGES, len(tools.listing))
    with torch_threads(1):  # the last bits of sums in a network depend on the number of threads
        for start in range(first, last, _BATCH):
            _add_batch(range(start, min(start + _BATCH, last)), tools, herdings, findings)
    _write_part(path, HerdedPart(herdings, findings))
    return findings


def _add_batch(indices: range, tools: _Tools, herdings: dict[int, StreamingHerding], findings: Findings) -> None:
    """Add a batch of images to the herdings of their classes, and unreadable files and remarks to ``findings``."""
    read = list(ordered_map(lambda index: _read(tools.listing, index, tools.plan.size), indices))
    intact = [index for index, (image, _) in zip(indices, read, strict=True) if not isinstance(image, str)]
    if intact:
        images = np.stack([image for image, _ in read if not isinstance(image, str)])
        labels = tools.listing.labels[intact]
        digests = [content_digest(image) for image in images]
        give_originals([tools.codec], ListedImages.of(tools.listing, intact, digests))
        payloads = tools.codec.encode(images)
        features = np.zeros((len(images), 0), np.float32)
        if tools.judge is not None:
            features = tools.judge(tools.codec.decode(payloads, image_size(images)), batch_size=_BATCH).numpy()
        for label in map(int, np.unique(labels)):
            own = np.flatnonzero(labels == label)
            herding = herdings.setdefault(label, StreamingHerding(tools.plan.candidates, tools.plan.seed))
            herding.update([digests[i] for i in own], [payloads[i] for i in own], features[own])
    for index, (image, remarks) in zip(indices, read, strict=True):
        findings.remarks.update(remarks)
        if isinstance(image, str):
            findings.unreadable[tools.listing.name(index)] = image


def _read(listing: Listing, index: int, size: WrittenSize) -> tuple[np.ndarray | str, list[str]]:
    """An image, or the reason why it is unreadable; and the remarks on it."""
    remarks: list[str] = []
    try:
        return listing.read(index, size, remarks.append), remarks
    except Unreadable as error:
        return one_line(error), []


@lru_cache(maxsize=1)
def _tools(folder: str, plan_checksum: str) -> _Tools:
    """State that a worker keeps between tasks; the checksum distinguishes builds in folders of the same name."""
    plan = read_plan(Path(folder))
    judge = None
    if plan.extractor is not None:
        network = load_network(Path(folder) / "network.pt")
        judge = FeatureExtractor(plan.extractor, network, torch.device(plan.device))
    listing = open_listing(plan.dataset, plan.size, Path(folder) / "listing")
    if len(listing) != plan.images:
        raise WorkError(f"{plan.dataset} must have {plan.images} training images as in the plan, got {len(listing)}")
    return _Tools(plan, listing, _codec(Path(folder), plan), judge)


def read_plan(folder: Path) -> BuildPlan:
    """The plan of a working folder.

    Raises:
        WorkError: the folder does not exist, as on a node that does not mount the storage.
    """
    if not folder.is_dir():
        raise WorkError(f"{folder} does not exist on this node: the output must be on storage that every node mounts")
    return BuildPlan.model_validate(read_json(folder / "plan.json"))


def _codec(folder: Path, plan: BuildPlan) -> Codec:
    codec = parse_codec(plan.codec)
    codec.load_shared((folder / "shared.bin").read_bytes())
    return codec


# -- parts on disk ---------------------------------------------------------------------------------------------


def _write_part(path: Path, part: HerdedPart) -> None:
    pools = [list(herding.pool) for herding in part.herdings.values()]
    candidates = [candidate for pool in pools for candidate in pool]
    arrays: dict[str, Any] = {
        "labels": np.array(list(part.herdings), np.int64),
        "images": np.array([herding.images for herding in part.herdings.values()], np.int64),
        "held": np.array([len(pool) for pool in pools], np.int64),
        "sums": np.array([herding.sums for herding in part.herdings.values()], np.int64),
        "digests": np.frombuffer(b"".join(candidate.digest for candidate in candidates), np.uint8),
        "features": np.array([candidate.feature for candidate in candidates], np.float32),
        "sizes": np.array([len(candidate.payload) for candidate in candidates], np.int64),
        "payloads": np.frombuffer(b"".join(candidate.payload for candidate in candidates), np.uint8),
        "findings": np.array(json.dumps([*vars(part.findings).values()])),
    }

    def write(file: IO[bytes]) -> None:
        np.savez(file, **arrays)

    write_atomically(path, write)


def read_part(path: Path, candidates: int, seed: int) -> HerdedPart:
    """Read a finished part; ``candidates`` and ``seed`` as in the plan.

    Raises:
        WorkError: the file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        herdings: dict[int, StreamingHerding] = {}
        digests = arrays["digests"].reshape(len(arrays["sizes"]), -1)
        ends = np.cumsum(arrays["sizes"])
        stream = arrays["payloads"].tobytes()
        position = 0
        for label, images, held, sums in zip(
            *(arrays[name] for name in ("labels", "images", "held", "sums")), strict=True
        ):
            own = range(position, position + int(held))
            position += int(held)
            pool = (
                Candidate(digests[i].tobytes(), stream[ends[i] - arrays["sizes"][i] : ends[i]], arrays["features"][i])
                for i in own
            )
            herdings[int(label)] = StreamingHerding(candidates, seed)
            herdings[int(label)].merge(int(images), sums, pool)
        unreadable, remarks, encoders = json.loads(str(arrays["findings"]))
        return HerdedPart(herdings, Findings(unreadable, Counter(remarks), encoders))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise WorkError(f"{path} is damaged: delete it and run the same command again") from error


# -- shards ----------------------------------------------------------------------------------------------------


class Chosen(NamedTuple):
    """The exemplars of the whole memory, sorted by label and then in selection order.

    Attributes:
        labels: int64 (N,).
        shards: uint8 (N,).
        sizes: int64 (N,), payload sizes in bytes.
        starts: int64 (N,), payload offsets in ``payloads.bin``.
    """

    labels: np.ndarray
    shards: np.ndarray
    sizes: np.ndarray
    starts: np.ndarray


def read_chosen(folder: Path) -> Chosen:
    """Read the selection from the working folder."""
    with np.load(folder / "chosen.npz", allow_pickle=False) as file:
        return Chosen(*(file[name] for name in Chosen._fields))


def write_shard(task: Task) -> Shard:
    """Write a shard's memory file unless it is finished; return its manifest entry.

    All its exemplars are in memory while it is written.

    Raises:
        WorkError: it cannot be written.
    """
    folder = Path(task.folder)
    final = folder.parent / f"shard-{task.number:03d}.recall"
    record = folder / "shards" / f"{task.number:03d}.json"
    if record.exists() and final.exists():
        shard = Shard.model_validate(read_json(record))
        if sha256_of(final) == shard.sha256:
            return shard
    plan = read_plan(folder)
    building = folder / final.name
    building.unlink(missing_ok=True)
    _fill_shard(building, folder, plan, task.number)
    try:
        os.replace(building, final)
    except OSError as error:
        raise WorkError(describe_os_error(error, "write", final)) from error
    shard = shard_entry(final)
    write_json(record, shard.model_dump())
    return shard


def _fill_shard(path: Path, folder: Path, plan: BuildPlan, number: int) -> None:
    chosen = read_chosen(folder)
    own = np.flatnonzero(chosen.shards == number)
    candidates: dict[int, list[bytes]] = {}
    with open(folder / "payloads.bin", "rb") as stream:
        for index in own:
            stream.seek(int(chosen.starts[index]))
            candidates.setdefault(int(chosen.labels[index]), []).append(stream.read(int(chosen.sizes[index])))
    codec = _codec(folder, plan)
    # what these exemplars take: they have already been selected, and the shard keeps all of them
    totals = (prefix_bytes([len(payload) for payload in payloads])[-1] for payloads in candidates.values())
    with ExemplarMemory(path, fixed_bytes(codec.shared_bytes()) + int(sum(totals)), codec) as memory:
        if candidates:
            memory.add(candidates, names=dict(enumerate(plan.class_names)), size=parse_image_size(plan.size))
