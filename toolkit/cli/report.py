"""``report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolkit.cli import console
from toolkit.cli.options import CsvTo, JsonTo, refuse_folder
from toolkit.foundation.documents import LARGEST_JSON, parse_json, read_stream
from toolkit.foundation.errors import UsageError, one_line
from toolkit.foundation.files import default_runs_dir, write_output
from toolkit.report.cost import Fleet, Prices


def report(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="run folders or names, or a folder of runs (pilots, advice)")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="PDF file to write", callback=refuse_folder)] = Path(
        "report.pdf"
    ),
    lang: Annotated[str, typer.Option(help="en or ja")] = "en",
    title: Annotated[str, typer.Option(help="title; derived from the dataset's name by default")] = "",
    author: Annotated[str, typer.Option(help="author")] = "",
    cost: Annotated[
        Path | None, typer.Option(help="file from `recallrate cost --json FILE` with the fleet and prices to assume")
    ] = None,
    runs_dir: Annotated[Path | None, typer.Option(help="folder of runs given by name")] = None,
    json: JsonTo = None,
    csv: CsvTo = None,
) -> None:
    """Write the study as a PDF for decision makers: answer, figures, protocol, cost, risks and reproduction."""
    from toolkit.language.catalogue import language
    from toolkit.pilots.results import result_rows
    from toolkit.report.contents import write_report
    from toolkit.report.facts import gather_study
    from toolkit.report.pdf import pdf_of
    from toolkit.runs.find import find_runs

    say = language(lang)
    study = gather_study(find_runs(runs, (runs_dir or default_runs_dir()).resolve()))
    fleet, prices = _assumptions(cost)
    pdf = pdf_of(write_report(study, say, title=title, author=author, fleet=fleet, prices=prices))
    write_output(output, lambda file: file.write(pdf))
    console.lines([f"{output}: {len(pdf):,} bytes"], to_stderr="-" in (json, csv))
    console.emit(study.as_dict(), json, result_rows(study.pilots), csv)


def _assumptions(path: Path | None) -> tuple[Fleet, Prices]:
    """The fleet and prices in a ``cost`` JSON."""
    if path is None:
        return Fleet(), Prices()
    try:
        with open(path, "rb") as file:  # may be a pipe, as from a shell's <(recallrate cost ...)
            found = parse_json(read_stream(file, LARGEST_JSON))
        return Fleet(**found["fleet"]), Prices(**found["prices"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is not a file from `recallrate cost --json`: {one_line(error)}") from error
