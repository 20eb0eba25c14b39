"""``study``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from toolkit.cli import console
from toolkit.cli.options import (
    Address,
    Backend,
    CsvTo,
    GPUs,
    JsonTo,
    Slots,
    Store,
    Threads,
    refuse_folder,
    require_backend,
)
from toolkit.cli.requests import options_of, part_of
from toolkit.foundation.errors import UsageError, WorkError, one_line
from toolkit.foundation.files import default_runs_dir, write_output
from toolkit.foundation.threads import set_threads
from toolkit.pilots.config import PilotConfig, parse_choices
from toolkit.runs.folder import RunFolder
from toolkit.runs.reporting import RunReporter
from toolkit.study.contents import ArmResult, StudyResult
from toolkit.study.plan import Start, StudyChoices
from toolkit.study.request import PILOT_FIELDS, StudyRequest

_OPTIONS = ("size", "budget", *PILOT_FIELDS, "device")


@options_of(PilotConfig, StudyChoices, only=("dataset", *_OPTIONS), omitted=_OPTIONS)
def study(
    given: dict[str, Any],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="any other field of the pilots, such as batch_size=64"),
    ] = None,
    store: Store = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="PDF file to write; report.pdf in the study's folder by default"),
    ] = None,
    lang: Annotated[str, typer.Option(help="language of the PDF: en or ja")] = "en",
    runs_dir: Annotated[Path | None, typer.Option(help="folder for run folders")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print the number of pilots and the time, and stop")
    ] = False,
    slots: Slots = 0,
    threads: Threads = 0,
    backend: Backend = "local",
    address: Address = None,
    gpus: GPUs = 0,
    json: JsonTo = None,
    csv: CsvTo = None,
) -> None:
    """From images to a decision: probe, a few pilots that race each other, the decision, and a report.

    The same command goes on after a kill and uses pilots that exist. Ctrl-C stops; pilots that have started go on.
    The size follows the images, 224 at most; the default budget is 4img, or 1img from 64 pixels on.
    """
    from toolkit.codecs.spec import with_store
    from toolkit.foundation import ray_cluster
    from toolkit.jobs.listing import list_runs
    from toolkit.jobs.ray_backend import drive
    from toolkit.language.catalogue import language
    from toolkit.runs.environment import require_one_rank
    from toolkit.runs.execution import carry_out
    from toolkit.runs.follow import follow
    from toolkit.runs.supervision import Settings
    from toolkit.study.conduct import in_queue
    from toolkit.study.estimate import estimate_study
    from toolkit.study.request import make_study
    from toolkit.study.sentences import all_sentences, estimated
    from toolkit.study.take_away import bundle_command

    require_one_rank()
    set_threads(threads)
    require_backend(backend, address, gpus)
    if address is not None and address.startswith("http"):
        raise UsageError("a study drives its pilots itself: --address takes auto or HOST:6379 of one of its nodes")
    language(lang)  # refuses an unknown one before the work
    to_stderr = "-" in (json, csv)
    if output is not None:
        refuse_folder(output)
    choices = part_of(StudyChoices, given | {"codecs": with_store(given["codecs"], store)})
    pilots = {name: given[name] for name in ("dataset", *_OPTIONS) if name in given}
    folder = (runs_dir or default_runs_dir()).resolve()
    if backend == "ray":
        ray_cluster.require_shared(folder)
        ray_cluster.load_ray()
    with console.progress_bar() as progress:
        free = parse_choices(set_ or [], ("dataset", "codec", "align", "held_out", *_OPTIONS))
        request = make_study(**pilots, **free, choices=choices, progress=progress)
        request.check()
        estimate = estimate_study(request, list_runs(folder, "pilot"))
    console.stderr.print(str(estimated(estimate)), markup=False, soft_wrap=True)
    if dry_run:
        console.emit(estimate.as_dict(), json)
        return
    run = request.folder(folder)
    StudyRequest.of(run)
    with console.progress_bar() as progress:

        def work(run: RunFolder, reporter: RunReporter) -> StudyResult:
            settings = Settings(slots=slots, threads=threads)

            def on_ray(runs: Sequence[RunFolder], runs_dir: Path) -> None:
                reporter.show("runs on Ray", 0, len(runs))
                drive(runs, runs_dir, address=address, threads=threads, gpus=gpus)
                follow(runs, lambda states: None, reporter.show)  # those that others are carrying out

            here: Start = partial(in_queue, reporter=reporter, settings=settings)
            return request.work(run, reporter, on_ray if backend == "ray" else here)

        result = carry_out(request, run, progress, work)
    show(request, result, to_stderr=to_stderr)
    console.lines([str(one) for one in all_sentences(result)], to_stderr=to_stderr)
    pdf = output or run.path / "report.pdf"
    try:
        _write_report(run, pdf, lang)
        result = {**result, "report": str(pdf.resolve())}
    except WorkError as error:  # such as pilots that have been deleted: the decision stands
        console.stderr.print(f"no report: {one_line(error)}", markup=False, soft_wrap=True)
    packing = bundle_command(result, None if runs_dir is None else str(runs_dir))
    lines = [f"Report: {pdf}"] if "report" in result else []
    console.lines([*lines, *([] if packing is None else [f"Bundle: {packing}"])], to_stderr=to_stderr)
    console.emit(result, json, [{**row} for row in result["arms"]], csv)


def show(request: StudyRequest, result: StudyResult, *, to_stderr: bool) -> None:
    """Print the arms that started."""
    rows = [_shown(row) for row in result["arms"] if row["started"]]
    title = f"{request.config.dataset} at {request.config.size} px: the race, on held-out training images"
    console.table(title, rows, to_stderr=to_stderr)


def _shown(row: ArmResult) -> dict[str, object]:
    from toolkit.study.sentences import left_after, name_of

    return {
        "arm": name_of(row),
        "bytes": row["file_bytes"],
        "per class": row["exemplars_per_class"],
        "seeds": row["seeds"],
        "last accuracy, %": None if row["last_accuracy"] is None else 100 * row["last_accuracy"],
        "near the best, %": 100 * row["within_eps"],
        "left after": left_after(row),
    }


def _write_report(run: RunFolder, path: Path, lang: str) -> None:
    from toolkit.language.catalogue import language
    from toolkit.report.contents import write_report
    from toolkit.report.facts import gather_study
    from toolkit.report.pdf import pdf_of

    pdf = pdf_of(write_report(gather_study([run]), language(lang)))
    write_output(path, lambda file: file.write(pdf))
