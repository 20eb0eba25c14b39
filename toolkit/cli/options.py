"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

JsonTo = Annotated[str | None, typer.Option("--json", metavar="FILE", help="write the result as JSON; - for stdout")]
CsvTo = Annotated[str | None, typer.Option("--csv", metavar="FILE", help="write the table as CSV; - for stdout")]
Threads = Annotated[int, typer.Option(help="CPU threads; 0 for one per core")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda")]
