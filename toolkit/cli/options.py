"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

JsonTo = Annotated[str | None, typer.Option("--json", metavar="FILE", help="write the result as JSON; - for stdout")]
CsvTo = Annotated[str | None, typer.Option("--csv", metavar="FILE", help="write the table as CSV; - for stdout")]
Threads = Annotated[int, typer.Option(help="CPU threads; 0 for one per core")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda")]
Dataset = Annotated[str, typer.Argument(help="demo, a folder, a .zip, a .npz or torchvision:NAME")]
Size = Annotated[int, typer.Option(help="side of the images in pixels")]
Seed = Annotated[int, typer.Option(help="seed of everything random", min=0)]
Strict = Annotated[bool, typer.Option("--strict", help="fail if any file is unreadable")]
Budget = Annotated[str, typer.Option(help="bytes: 262144, 256KiB, 1.5MB or 20img (raw images a class)")]
Codecs = Annotated[str, typer.Option(help="a grid, such as jpeg:quality={10,50};png")]
Layer = Annotated[str | None, typer.Option(help="a named layer instead of the pooled penultimate features")]
