"""Options shared by several commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from toolkit.foundation.errors import UsageError
from toolkit.runs import choices

_STANDARD_OUTPUT = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


def _destination(context: typer.Context, value: str | None) -> str | None:
    """Refuse an output that cannot be written, before the work starts."""
    if value in _STANDARD_OUTPUT:
        value = "-"
    if value == "-" and "-" in (context.params.get("json"), context.params.get("csv")):
        raise UsageError("--json - and --csv - cannot both take standard output")
    if value is not None and value != "-":
        refuse_folder(Path(value))
    return value


def refuse_folder(value: Path) -> Path:
    """The file to write; a folder is refused."""
    if value.is_dir():
        raise UsageError(f"{value} is a folder: name a file to write")
    return value


def _help(choice: Any) -> str:
    """Description of a field of requests."""
    return str(get_args(choice)[-1].description)


JsonTo = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE", help="write the result as JSON; - for stdout", callback=_destination),
]
CsvTo = Annotated[
    str | None,
    typer.Option("--csv", metavar="FILE", help="write the table as CSV; - for stdout", callback=_destination),
]
Threads = Annotated[int, typer.Option(help="CPU threads; 0 for one per core")]
Device = Annotated[str, typer.Option(help=_help(choices.Device))]
Dataset = Annotated[str, typer.Argument(help=_help(choices.Dataset))]
TrainFolder = Annotated[
    str | None,
    typer.Option("--train", metavar="FOLDER", help="folder of the training split; . if every folder is a class"),
]
TestFolder = Annotated[
    str | None,
    typer.Option("--test", metavar="FOLDER", help="folder of the test split, with --train; else a fifth is held out"),
]
Size = Annotated[str, typer.Option(help=_help(choices.Size))]
Store = Annotated[
    int | None,
    typer.Option(
        "--store",
        metavar="SIDE",
        help="keep all of each image, its shorter side scaled down to this; by default what the network is given",
    ),
]
Seed = Annotated[int, typer.Option(help=_help(choices.Seed), min=0, max=2**32 - 1)]
Strict = Annotated[bool, typer.Option("--strict", help=_help(choices.Strict))]


Slots = Annotated[int, typer.Option(help="concurrent runs; 0 for one per GPU, or one with all CPU threads", min=0)]
Backend = Annotated[str, typer.Option(help="local: a supervisor on this machine; ray: a Ray cluster")]
Address = Annotated[
    str | None,
    typer.Option(help="Ray cluster: auto or HOST:6379 on one of its nodes, http://HOST:8265 from elsewhere"),
]
GPUs = Annotated[float, typer.Option(help="GPUs per run on a Ray cluster; may be a fraction", min=0)]


def require_backend(backend: str, address: str | None, gpus: float) -> None:
    """Refuse an unknown backend, and options of Ray without it.

    Raises:
        UsageError: one of these.
    """
    if backend not in ("local", "ray"):
        raise UsageError(f"--backend must be local or ray, got {backend!r}")
    if backend == "local" and (address or gpus):
        raise UsageError("--address and --gpus need --backend ray")


def is_given(context: typer.Context, name: str) -> bool:
    """Whether the user gave the option."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"
