"""Build a sharded memory from a dataset of any size, with local processes or on a Ray cluster.

1. List the training images. A sample of them trains the feature extractor if necessary, fits the codec and gives an
   estimate of the exemplars per class.
2. Decode, encode and decode again each part of the listing once, in parallel. The result is the exact feature sum of
   each class and a bounded sample of candidates with their payloads.
3. Merge the parts class by class, and rank the candidates by herding towards the exact class mean.
4. Allocate the budget over all classes at once.
5. Write the shard files in parallel, then the manifest.

The selection does not depend on the number of workers or the backend. It depends on the number of shards only because
each shard's copy of the shared header counts towards the budget. A killed build continues with the same command:
finished parts and shards are kept.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
from filelock import FileLock, Timeout

from toolkit.codecs.features import refuse_features
from toolkit.codecs.guide import refuse_guide
from toolkit.codecs.original import refuse_originals
from toolkit.codecs.spec import parse_codec, short_spec
from toolkit.codecs.store import require_larger_stores
from toolkit.data.catalog import absolute_spec
from toolkit.data.samples import remark_notes
from toolkit.data.summary import found_facts
from toolkit.foundation import ray_cluster
from toolkit.foundation.errors import UsageError, WorkError, describe_os_error
from toolkit.foundation.files import read_json, write_atomically, write_json
from toolkit.foundation.image_size import WrittenSize, written_size
from toolkit.foundation.processes import Outcome, map_tasks
from toolkit.foundation.progress import Progress, silent
from toolkit.foundation.threads import available_cores, thread_count
from toolkit.memory.allocation import allocate
from toolkit.memory.disk import fixed_bytes, prefix_bytes_in_shards
from toolkit.memory.selection import require_selection
from toolkit.memory.sharded import FORMAT, MANIFEST, MAX_SHARDS, Selection, Shard, ShardedMemory, ShardManifest
from toolkit.memory.streaming import Candidate, StreamingHerding, shard_of
from toolkit.production.build_prepare import prepare
from toolkit.production.build_tasks import (
    PART_IMAGES,
    BuildPlan,
    Chosen,
    Findings,
    Task,
    encode_part,
    part_path,
    read_chosen,
    read_part,
    read_plan,
    write_shard,
)
from toolkit.production.facts import BuildRequest, ShardedBuildFacts
from toolkit.runs.environment import require_one_rank
from toolkit.training.device import resolve_device

BACKENDS = ("local", "ray")
_ORDERED_SHARE = 2
"""One candidate in this many is ranked: still at least twice as many as the budget is expected to hold."""

RunTasks = Callable[[Callable[[Task], Any], list[Task]], Iterator[Outcome[Any]]]


def build_sharded_memory(
    spec: str,
    out: Path,
    *,
    codec: str,
    budget: str,
    shards: int = 1,
    size: WrittenSize = 32,
    selection: str = "herding",
    extractor: str = "auto",
    seed: int = 0,
    device: str = "auto",
    backend: str = "local",
    address: str | None = None,
    workers: int = 0,
    progress: Progress = silent,
) -> ShardedBuildFacts:
    """Write shard files and their manifest; the result is the memory's summary with notes and files left out.

    Args:
        spec: the dataset, on storage that every worker can read.
        out: output folder: new, empty, or with an unfinished build of the same request to continue.
        budget: bytes of all shards together.
        shards: number of files, 1..256.
        backend: ``local`` or ``ray``.
        address: address of a Ray cluster; None starts Ray on this machine.
        workers: local processes; 0 for one per core. A cluster uses all its resources.
        progress: called in each stage.

    Raises:
        UsageError: an invalid choice, a folder with other contents, or a budget below one exemplar per class.
        WorkError: the build failed; the same command continues it.
    """
    require_one_rank()
    require_selection(selection)
    if not 1 <= shards <= MAX_SHARDS:
        raise UsageError(f"shards must be 1..{MAX_SHARDS}, got {shards}")
    if workers < 0:
        raise UsageError(f"workers must be 0 (one per core) or more, got {workers}")
    for path in (spec, out):
        ray_cluster.require_shared(path)
    parsed = parse_codec(codec)
    refuse_originals(parsed, "a sharded memory", files_only=True)
    for refuse in (refuse_guide, refuse_features):
        refuse(parsed, "a sharded memory")
    require_larger_stores([parsed], size)
    request: BuildRequest = {
        "dataset": absolute_spec(spec),
        "size": written_size(size),
        "codec": str(parsed),
        "budget": budget,
        "selection": selection,
        "extractor": extractor,
        "seed": seed,
        "shards": shards,
        "device": str(resolve_device(device)),
    }
    workers = workers or available_cores()
    with _working_folder(Path(out).absolute(), request) as folder:
        with _backend(backend, address, workers, gpus=request["device"] != "cpu") as run:
            if not (folder / "plan.json").exists():
                prepare(folder, request, progress)
            plan = read_plan(folder)
            threads = thread_count() if backend == "local" and workers == 1 else 1
            findings = _encode_parts(folder, plan, run, threads, progress)
            if not (folder / "chosen.npz").exists():
                _choose(folder, plan, progress)
            written = _write_shards(folder, plan, run, threads, progress)
        _finish(folder, plan, written, findings)
    left_out = dict(plan.left_out) | findings.unreadable
    with ShardedMemory(out) as memory:
        found = found_facts(left_out.items(), [*plan.notes, *remark_notes(findings.remarks)])
        return {**memory.summary(), **found}


@contextmanager
def _working_folder(out: Path, request: BuildRequest) -> Iterator[Path]:
    """The folder ``out/.build`` of this request, locked by this process and deleted once the manifest exists.

    A request that fails before its first task leaves nothing behind.
    """
    folder = out / ".build"
    if (out / MANIFEST).exists() or out.is_file():
        raise UsageError(f"{out} exists: choose another folder")
    if out.is_dir() and not folder.exists() and any(out.iterdir()):
        raise UsageError(f"{out} contains other files: choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise WorkError(f"{out} is being built by another process") from None
    except OSError as error:
        raise WorkError(describe_os_error(error, "write", out)) from error
    try:
        path = folder / "request.json"
        if path.exists():
            before = read_json(path)
            changed = [
                f"{key} {before.get(key)!r}, not {wanted!r}"
                for key, wanted in request.items()
                if before.get(key) != wanted
            ]
            if changed:
                raise UsageError(f"{out} contains an unfinished build with {', '.join(changed)}: choose another folder")
        write_json(path, request)
        yield folder
    finally:
        lock.release()
        done = (out / MANIFEST).exists()
        if done or not (folder / "plan.json").exists():
            shutil.rmtree(folder, ignore_errors=True)
        if not done and out.is_dir() and not any(out.iterdir()):
            out.rmdir()


@contextmanager
def _backend(name: str, address: str | None, workers: int, gpus: bool) -> Iterator[RunTasks]:
    if name not in BACKENDS:
        raise UsageError(f"unknown backend {name!r}: choose one of {', '.join(BACKENDS)}")
    if name == "local":
        if address is not None:
            raise UsageError("an address requires --backend ray")
        yield partial(map_tasks, workers=workers)
        return
    with ray_cluster.connect(address, workers):
        yield partial(ray_cluster.map_tasks_on_ray, num_gpus=1 if gpus else 0)


# -- 2. parts --------------------------------------------------------------------------------------------------


def _encode_parts(folder: Path, plan: BuildPlan, run: RunTasks, threads: int, progress: Progress) -> Findings:
    """Encode all parts; return their findings together."""
    tasks = [Task(str(folder), number, threads) for number in range(_parts(plan))]
    parts: dict[int, Findings] = {}
    progress("encoding", 0, plan.images)
    for done, outcome in enumerate(run(encode_part, tasks), 1):
        parts[outcome.index] = outcome.unwrap()
        progress("encoding", min(done * PART_IMAGES, plan.images), plan.images)
    found = Findings()
    for number in range(_parts(plan)):
        found.unreadable |= parts[number].unreadable
        found.remarks += parts[number].remarks
        found.encoders = sorted({*found.encoders, *parts[number].encoders})
    return found


def _parts(plan: BuildPlan) -> int:
    return -(-plan.images // PART_IMAGES)


# -- 3. and 4. selection ---------------------------------------------------------------------------------------


def _choose(folder: Path, plan: BuildPlan, progress: Progress) -> None:
    """Rank the candidates, allocate the budget, and write the selection: ``payloads.bin``, ``chosen.npz``."""
    labels: list[int] = []
    shards: list[int] = []
    sizes: dict[int, list[int]] = {}

    def write_payloads(file: IO[bytes]) -> None:
        for label, herding in _merged_classes(folder, plan):
            candidates = herding.chosen(plan.candidates // _ORDERED_SHARE, plan.selection)
            sizes[label] = [_put(file, candidate) for candidate in candidates]
            labels.extend([label] * len(candidates))
            shards.extend(shard_of(candidate.digest, plan.shards) for candidate in candidates)
            progress("selecting exemplars", label + 1, len(plan.class_names))

    write_atomically(folder / "payloads.bin", write_payloads)
    missing = [name for label, name in enumerate(plan.class_names) if label not in sizes]
    if missing:
        raise WorkError(f"no training image of {', '.join(missing[:5])} can be read")
    fixed = fixed_bytes(len((folder / "shared.bin").read_bytes()), plan.shards)
    placed, every_label = np.array(shards), np.array(labels)
    totals = {
        label: prefix_bytes_in_shards(np.array(own), placed[every_label == label]) for label, own in sizes.items()
    }
    counts = allocate(totals, plan.budget_bytes, fixed)
    kept = np.concatenate([np.arange(len(own)) < counts[label] for label, own in sizes.items()])
    every = np.array([size for own in sizes.values() for size in own], np.int64)
    chosen = Chosen(every_label[kept], placed.astype(np.uint8)[kept], every[kept], (np.cumsum(every) - every)[kept])
    write_atomically(folder / "chosen.npz", lambda file: np.savez(file, **chosen._asdict()))


def _merged_classes(folder: Path, plan: BuildPlan) -> Iterator[tuple[int, StreamingHerding]]:
    """Classes in label order, each with its parts merged; one class and one part are in memory at a time."""
    current: int | None = None
    merged = StreamingHerding(plan.candidates, plan.seed)
    for number in range(_parts(plan)):
        for label, herding in sorted(read_part(part_path(folder, number), plan.candidates, plan.seed).herdings.items()):
            if label != current:
                if current is not None:
                    yield current, merged
                current, merged = label, StreamingHerding(plan.candidates, plan.seed)
            if herding.sums is not None:
                merged.merge(herding.images, herding.sums, iter(herding.pool))
    if current is not None:
        yield current, merged


def _put(file: IO[bytes], candidate: Candidate) -> int:
    file.write(candidate.payload)
    return len(candidate.payload)


# -- 5. files --------------------------------------------------------------------------------------------------


def _write_shards(folder: Path, plan: BuildPlan, run: RunTasks, threads: int, progress: Progress) -> list[Shard]:
    written: dict[int, Shard] = {}
    for outcome in run(write_shard, [Task(str(folder), number, threads) for number in range(plan.shards)]):
        written[outcome.index] = outcome.unwrap()
        progress("writing shards", len(written), plan.shards)
    return [written[number] for number in range(plan.shards)]


def _finish(folder: Path, plan: BuildPlan, shards: list[Shard], findings: Findings) -> None:
    """Write the manifest, which completes the memory."""
    chosen = read_chosen(folder)
    # labels ascend, so each class is one slice
    bounds = np.searchsorted(chosen.labels, np.arange(len(plan.class_names) + 1))
    order = {label: chosen.shards[start:stop].tobytes().hex() for label, (start, stop) in enumerate(pairwise(bounds))}
    selection = Selection(
        name=plan.selection,
        extractor=plan.extractor,
        seed=plan.seed,
        candidates=plan.candidates,
        images=plan.images - len(findings.unreadable),
        unreadable=len(findings.unreadable),
    )
    manifest = ShardManifest(
        format=FORMAT,
        codec=short_spec(plan.codec),
        size=plan.size,
        budget_bytes=plan.budget_bytes,
        class_names=dict(enumerate(plan.class_names)),
        selection=selection,
        shards=shards,
        encoders=findings.encoders,
        order=order,
    )
    write_json(folder.parent / MANIFEST, json.loads(manifest.model_dump_json()))
