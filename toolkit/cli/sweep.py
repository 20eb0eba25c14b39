"""``sweep``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolkit.cli import console
from toolkit.cli.estimates import show_estimate
from toolkit.cli.options import Address, Backend, CsvTo, GPUs, JsonTo, Slots, Threads, require_backend
from toolkit.foundation.errors import WorkError
from toolkit.foundation.files import default_runs_dir
from toolkit.foundation.threads import set_threads


def sweep(
    file: Annotated[Path, typer.Argument(help="YAML file with codecs, budgets, aligns, methods, seeds, ...")],
    runs_dir: Annotated[Path | None, typer.Option(help="folder for run folders")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="list the runs with estimated hours and bytes")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="queue the runs and return")] = False,
    slots: Slots = 0,
    threads: Threads = 0,
    backend: Backend = "local",
    address: Address = None,
    gpus: GPUs = 0,
    json: JsonTo = None,
    csv: CsvTo = None,
) -> None:
    """Run a grid of pilots in the background; the same command continues it, Ctrl-C only stops watching."""
    from toolkit.jobs import sweep as sweeping
    from toolkit.pilots.results import result_rows
    from toolkit.pilots.sweep_file import read_sweep
    from toolkit.runs import supervision
    from toolkit.runs.environment import require_one_rank
    from toolkit.runs.follow import follow, supervised

    require_one_rank()
    set_threads(threads)
    asked = read_sweep(file)
    folder = (runs_dir or default_runs_dir()).resolve()
    if dry_run:
        show_estimate(asked.name, asked.planned, folder, max(1, slots), json, csv)
        return
    require_backend(backend, address, gpus)
    if backend == "ray":
        from toolkit.jobs import ray_backend

        runs, look_after = ray_backend.start_on_ray(
            asked, file, folder, address=address, threads=threads, gpus=gpus, in_background=detach
        )
    else:
        settings = supervision.Settings(slots=slots, threads=threads)
        runs, look_after = sweeping.start_sweep(asked, folder, settings), supervised(folder, settings)
    look = f"recallrate runs list --sweep {asked.name}" + (f" --runs-dir {runs_dir}" if runs_dir else "")
    if not detach:
        try:
            with console.progress_bar() as progress:
                follow(runs, look_after, progress)
        except KeyboardInterrupt:
            console.stderr.print("The runs continue in the background.", markup=False)
            detach = True
    report = sweeping.report(asked, runs)
    if detach:
        console.stderr.print(f"To see the runs: {look}", markup=False, soft_wrap=True)
    else:
        shown = ("codec", "align", "method", "budget_bytes", "seeds", "last_accuracy", "last_accuracy_ci95")
        rows = [{name: row[name] for name in shown} for row in result_rows(report["pilots"])]
        console.table(f"{asked.name}: {len(runs)} runs", rows, to_stderr="-" in (json, csv))
    console.emit(report, json, result_rows(report["pilots"]), csv)
    failed = [row for row in report["runs"] if row["state"] == "failed"]
    for row in failed:
        console.stderr.print(f"failed: {row['run']}: {row['error']}", markup=False, soft_wrap=True)
    unfinished = [] if detach else [row for row in report["runs"] if row["state"] != "done"]
    if unfinished:
        raise WorkError(f"{len(unfinished)} of {len(runs)} runs are not done")
