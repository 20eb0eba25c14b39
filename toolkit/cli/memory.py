"""``memory build|inspect|verify|export|forget|resize`` for memories in one file or in shards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from toolkit.cli import console
from toolkit.cli.options import CsvTo, JsonTo, Store, Threads
from toolkit.cli.requests import options_of
from toolkit.foundation.errors import UsageError, WorkError
from toolkit.foundation.sizes import parse_size
from toolkit.foundation.threads import set_threads
from toolkit.memory.facts import MemoryFacts, VerifyResult
from toolkit.memory.forgetting import identity
from toolkit.production.facts import BuildFacts, ShardedBuildFacts
from toolkit.production.request import MemoryRequest

if TYPE_CHECKING:
    from toolkit.memory.sharded import ShardedMemory
    from toolkit.memory.store import ExemplarMemory

memory_app = typer.Typer(help="The production memory.", no_args_is_help=True)

MemoryFile = Annotated[Path, typer.Argument(help="a memory file, or the folder or manifest of a sharded memory")]
Moved = Annotated[str | None, typer.Option("--codec", help="the memory's codec, if a file needed for decoding moved")]


@memory_app.command()
@options_of(MemoryRequest)
def build(
    chosen: dict[str, Any],
    output: Annotated[Path, typer.Option("-o", "--output", help="memory file to write; a folder with --shards")],
    store: Store = None,
    threads: Threads = 0,
    shards: Annotated[int, typer.Option(help="number of shards, for datasets of any size; 0 for one plain file")] = 0,
    backend: Annotated[str, typer.Option(help="where to encode: local or ray (with --shards)")] = "local",
    address: Annotated[str | None, typer.Option(help="address of a Ray cluster; a local one by default")] = None,
    workers: Annotated[int, typer.Option(help="local worker processes (with --shards); 0 for one per core")] = 0,
    json: JsonTo = None,
    csv: CsvTo = None,
) -> None:
    """Fill a new memory with exemplars of every class of a dataset's training split.

    With --shards the images are encoded in parallel and never all held in memory; a killed build can be continued.
    """
    from toolkit.codecs.spec import with_store

    set_threads(threads)
    dataset = chosen.pop("dataset")
    chosen["codec"] = with_store(chosen["codec"], store)
    built: BuildFacts | ShardedBuildFacts
    with console.progress_bar() as progress:
        if shards:
            from toolkit.production.build_sharded import build_sharded_memory

            places: dict[str, Any] = {"shards": shards, "backend": backend, "address": address, "workers": workers}
            built = build_sharded_memory(dataset, output, **chosen, **places, progress=progress)
        elif backend != "local" or address is not None or workers:
            raise UsageError("--backend ray, --address and --workers are for a sharded memory: add --shards N")
        else:
            from toolkit.production.build import build_memory

            built = build_memory(dataset, output, **chosen, progress=progress)
    console.findings(built)
    _show(_without_findings(built), json, csv)


@memory_app.command()
def inspect(
    path: MemoryFile,
    images: Annotated[bool, typer.Option("--images", help="also name every exemplar")] = False,
    json: JsonTo = None,
    csv: CsvTo = None,
) -> None:
    """Show codec, budget, bytes and exemplars per class."""
    with _open(path) as memory:
        facts: MemoryFacts = memory.summary()
        if images:
            facts["images"] = {
                str(label): [identity(one) for one in memory.payloads(label)[0]] for label in memory.class_counts
            }
    _show(facts, json, csv)
    lines = [f"{label}: {' '.join(names)}" for label, names in facts.get("images", {}).items()]
    console.lines(lines, to_stderr="-" in (json, csv))


@memory_app.command()
def forget(
    path: Annotated[Path, typer.Argument(help="a memory file")],
    class_: Annotated[str | None, typer.Option("--class", help="name or label of a class")] = None,
    image: Annotated[str | None, typer.Option(help="name of an exemplar, as `inspect --images` shows it")] = None,
) -> None:
    """Remove a class or an exemplar permanently, and check that its bytes are gone from the file.

    The checksums of a bundle are updated.
    """
    with _single(path) as memory:
        label = None if class_ is None else _label(class_, memory.class_names)
        count = memory.forget(label, image)
    console.stderr.print(f"removed {count} exemplars from {path}", markup=False)


@memory_app.command()
def resize(
    path: Annotated[Path, typer.Argument(help="a memory file")],
    budget: Annotated[str, typer.Option(help="the new budget in bytes on disk, such as 262144, 256KiB or 1.5MB")],
) -> None:
    """Set another budget; the last exemplars of each class are dropped if they no longer fit.

    The checksums of a bundle are updated.
    """
    with _single(path) as memory:
        dropped = memory.resize(parse_size(budget))
        left = len(memory)
    console.stderr.print(f"dropped {dropped} exemplars from {path}; {left} are left", markup=False)


@contextmanager
def _single(path: Path) -> Iterator[ExemplarMemory]:
    """A memory in one file, to be changed; if it is part of a bundle, that is sealed again.

    Raises:
        UsageError: there is no such file, or the memory is sharded.
    """
    from toolkit.memory.store import ExemplarMemory
    from toolkit.production.manifest import MANIFEST, MEMORY, read_bundle_manifest, reseal

    if path.is_dir() or path.name == "manifest.json":
        raise UsageError(f"{path} is a sharded memory: build it again instead")
    if not path.exists():
        raise UsageError(f"{path} does not exist")
    sealed = read_bundle_manifest(path.parent) if (path.parent / MANIFEST).exists() and path.name == MEMORY else None
    with ExemplarMemory(path) as memory:
        yield memory
    if sealed is not None:
        reseal(path.parent, sealed)


def _label(text: str, names: dict[int, str]) -> int:
    """The label of the class with this name, else with this label."""
    named = [label for label, name in names.items() if name == text]
    if len(named) == 1:
        return named[0]
    if text.isdecimal():
        return int(text)
    raise UsageError(f"no class is named {text!r}; the classes are {', '.join(names.values())}")


@memory_app.command()
def verify(path: MemoryFile, codec: Moved = None, json: JsonTo = None) -> None:
    """Check the checksum of every exemplar and decode it; exit status 1 if any is damaged."""
    with _open(path, codec) as memory:
        damaged = memory.verify()
        checked = len(memory)
    result: VerifyResult = {
        "exemplars": checked,
        "damaged": [{"label": item.label, "rank": item.rank, "reason": item.reason} for item in damaged],
    }
    console.emit(result, json)
    for item in damaged:
        console.stderr.print(f"class {item.label}, exemplar {item.rank}: {item.reason}", markup=False)
    if damaged:
        raise WorkError(f"{len(damaged)} of {checked} exemplars are damaged; reads skip them")
    console.stderr.print(f"all {checked} exemplars are intact")


@memory_app.command()
def export(
    path: MemoryFile,
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for class/*.ext")],
    codec: Moved = None,
) -> None:
    """Write every intact exemplar as an ordinary image file."""
    from toolkit.memory.export import export_files

    with _open(path, codec) as memory:
        written, damaged = export_files(memory, output)
    for item in damaged:
        console.stderr.print(f"class {item.label}, exemplar {item.rank}: {item.reason}", markup=False)
    console.stderr.print(f"wrote {written} files to {output}", markup=False)


def _open(path: Path, codec: str | None = None) -> ExemplarMemory | ShardedMemory:
    from toolkit.memory.sharded import open_memory

    return open_memory(path, codec)


def _without_findings(built: BuildFacts | ShardedBuildFacts) -> MemoryFacts:
    """A build's facts as ``memory inspect`` has them."""
    return cast(MemoryFacts, {name: fact for name, fact in built.items() if name not in ("notes", "quarantine")})


def _show(facts: MemoryFacts, json: str | None, csv: str | None) -> None:
    rows = [
        {"class": name, "exemplars": count}
        for name, count in zip(facts["class_names"], facts["classes"].values(), strict=True)
    ]
    used = (
        f"{facts['memory_bytes']:,} of {facts['budget_bytes']:,} bytes on disk, {facts['content_bytes']:,} of content"
    )
    console.table(f"{facts['codec']}: {facts['exemplars']:,} exemplars in {used}", rows, to_stderr="-" in (json, csv))
    if len(facts["encoders"]) > 1:
        console.stderr.print(f"exemplars encoded by different versions: {'; '.join(facts['encoders'])}", markup=False)
    if journal := facts.get("journal_bytes"):
        console.stderr.print(f"a commit has taken up to {journal:,} bytes beside the file until it was done")
    if facts["weights_bytes"]:
        console.stderr.print(f"decoding also needs the codec's model: {facts['weights_bytes']:,} bytes of weights")
    console.emit(facts, json, rows, csv)
