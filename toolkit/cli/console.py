"""What commands print: results on standard output, everything else on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from toolkit.data.summary import FoundFacts
from toolkit.foundation.files import write_output
from toolkit.foundation.printing import visible
from toolkit.foundation.progress import Progress as ProgressCallback
from toolkit.report.tables import csv_text, json_text


class PlainConsole(Console):
    """Prints everything that people read as plain text, in sentences, table cells and titles.

    Names of classes, files and folders come from data. As rich markup, ``[large]`` would vanish, ``[/x]`` would end
    the command and ``:cat:`` would become a picture; a control character would move the cursor.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options | {"markup": False, "emoji": False, "highlight": False})


stderr = PlainConsole(stderr=True)


@contextmanager
def progress_bar() -> Iterator[ProgressCallback]:
    """A progress callback drawn on standard error if that is a terminal: one bar per phase, removed when done."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as bars:
        task = bars.add_task("starting", total=None)
        current = ""

        def show(what: str, done: int, total: int) -> None:
            nonlocal current
            if what != current:
                bars.reset(task, description=visible(what), total=total)
                current = what
            bars.update(task, completed=done, total=total)

        yield show


def emit(
    result: object, json_to: str | None, rows: Sequence[Mapping[str, object]] = (), csv_to: str | None = None
) -> None:
    """Write JSON and CSV to the given files; ``-`` is standard output."""
    if json_to is not None:
        write(json_text(result), json_to)
    if csv_to is not None:
        write(csv_text(rows), csv_to)


def write(text: str, where: str) -> None:
    if where == "-":
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        write_output(Path(where), lambda file: file.write(text.encode()))


def table(title: str, rows: Sequence[Mapping[str, object]], *, to_stderr: bool) -> None:
    """Print rows as a table for people; on standard error when standard output carries JSON or CSV."""
    drawn = Table(title=title, title_justify="left")
    names = list(rows[0]) if rows else []
    for name in names:
        numeric = isinstance(rows[0][name], (int, float))
        # in a narrow terminal, column names and long texts are folded; numbers and short texts are not
        longest = max(len(_text(row[name])) for row in rows)
        width = longest if numeric else min(longest, 24)
        title = name.replace("_", " ")
        drawn.add_column(title, justify="right" if numeric else "left", overflow="fold", min_width=width)
    for row in rows:
        drawn.add_row(*(_text(row[name]) for name in names))
    (stderr if to_stderr else PlainConsole()).print(drawn)


def lines(texts: Sequence[str], *, to_stderr: bool) -> None:
    """Print sentences for people; on standard error when standard output carries JSON or CSV."""
    for text in texts:
        (stderr if to_stderr else PlainConsole()).print(text, soft_wrap=True)


def findings(facts: FoundFacts) -> None:
    """Print on standard error the notes from opening a dataset and the files left out."""
    for note in facts["notes"]:
        stderr.print(f"note: {note}", markup=False, soft_wrap=True)
    for left_out in facts["quarantine"]:
        stderr.print(f"left out: {left_out['file']}: {left_out['reason']}", markup=False, soft_wrap=True)


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 10 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else visible(str(value))
