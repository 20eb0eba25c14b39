"""``memory build|inspect|verify|export|forget`` for memories in one file or in shards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from toolkit.cli import console
from toolkit.cli.options import CsvTo, Dataset, JsonTo, TestFolder, TrainFolder
from toolkit.data.spec import with_splits
from toolkit.foundation.errors import UsageError, WorkError
from toolkit.foundation.threads import set_threads
from toolkit.memory.forgetting import identity

memory_app = typer.Typer(help="The production memory.", no_args_is_help=True)

MemoryFile = Annotated[Path, typer.Argument(help="a memory file, or the folder or manifest of a sharded memory")]
Moved = Annotated[str | None, typer.Option("--codec", help="the memory's codec, if a file needed for decoding moved")]


@memory_app.command()
def build(
    dataset: Dataset,
    output: Annotated[Path, typer.Option("-o", "--output", help="memory file to write; a folder with --shards")],
    codec: Annotated[str, typer.Option(help="one codec spec")],
    budget: Annotated[str, typer.Option(help="bytes: 262144, 256KiB, 1.5MB or 20img (raw images per class)")],
    size: Annotated[int, typer.Option(help="side of the images in pixels")] = 32,
    train_folder: TrainFolder = None,
    test_folder: TestFolder = None,
    selection: Annotated[str, typer.Option(help="herding or random")] = "herding",
    extractor: Annotated[str, typer.Option(help="feature extractor for herding")] = "auto",
    seed: Annotated[int, typer.Option(help="seed of everything random")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads; 0 for one per core")] = 0,
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
    set_threads(threads)
    dataset = with_splits(dataset, train_folder, test_folder)
    chosen: dict[str, Any] = {
        "codec": codec,
        "budget": budget,
        "size": size,
        "selection": selection,
        "extractor": extractor,
        "seed": seed,
        "device": device,
    }
    with console.progress_bar() as progress:
        if shards:
            from toolkit.production.build_sharded import build_sharded_memory

            facts: dict[str, Any] = {
                **build_sharded_memory(
                    dataset,
                    output,
                    **chosen,
                    shards=shards,
                    backend=backend,
                    address=address,
                    workers=workers,
                    progress=progress,
                )
            }
        elif backend != "local" or address is not None or workers:
            raise UsageError("--backend ray, --address and --workers are for a sharded memory: add --shards N")
        else:
            from toolkit.production.build import build_memory

            facts = {**build_memory(dataset, output, **chosen, progress=progress)}
    console.findings({name: facts.pop(name) for name in ("notes", "quarantine")})  # the rest is as inspect has it
    _show(facts, json, csv)


@memory_app.command()
def inspect(
    path: MemoryFile,
    images: Annotated[bool, typer.Option("--images", help="also name every exemplar")] = False,
    json: JsonTo = None,
    csv: CsvTo = None,
) -> None:
    """Show codec, budget, bytes and exemplars per class."""
    with _open(path) as memory:
        facts = memory.summary()
        if images:
            facts["images"] = {
                str(label): [identity(one) for one in memory.payloads(label)[0]] for label in memory.class_counts
            }
        _show(facts, json, csv)
        if images:
            lines = [f"{label}: {' '.join(names)}" for label, names in facts["images"].items()]
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
    from toolkit.memory.store import ExemplarMemory
    from toolkit.production.manifest import MANIFEST, MEMORY, read_bundle_manifest, reseal

    if path.is_dir() or path.name == "manifest.json":
        raise UsageError(f"{path} is a sharded memory: rebuild it without the images to forget")
    if not path.exists():
        raise UsageError(f"{path} does not exist")
    sealed = read_bundle_manifest(path.parent) if (path.parent / MANIFEST).exists() and path.name == MEMORY else None
    with ExemplarMemory(path) as memory:
        label = None if class_ is None else _label(class_, memory.class_names)
        count = memory.forget(label, image)
    if sealed is not None:
        reseal(path.parent, sealed)
    console.stderr.print(f"removed {count} exemplars from {path}", markup=False)


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
    found = [{"label": item.label, "rank": item.rank, "reason": item.reason} for item in damaged]
    console.emit({"exemplars": checked, "damaged": found}, json)
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


def _open(path: Path, codec: str | None = None):  # type: ignore[no-untyped-def]  # its room is imported when used
    from toolkit.memory.sharded import open_memory

    return open_memory(path, codec)


def _show(facts: dict, json: str | None, csv: str | None) -> None:
    rows = [
        {"class": name, "exemplars": count}
        for name, count in zip(facts["class_names"], facts["classes"].values(), strict=True)
    ]
    used = f"{facts['memory_bytes']:,} of {facts['budget_bytes']:,} bytes"
    console.table(f"{facts['codec']}: {facts['exemplars']:,} exemplars in {used}", rows, to_stderr="-" in (json, csv))
    if facts["weights_bytes"]:
        console.stderr.print(f"decoding also needs the codec's model: {facts['weights_bytes']:,} bytes of weights")
    console.emit(facts, json, rows, csv)
