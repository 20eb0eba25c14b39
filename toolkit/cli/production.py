"""``bundle export|show`` and ``monitor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolkit.cli import console
from toolkit.cli.options import CsvTo, JsonTo, Threads
from toolkit.foundation.errors import UsageError
from toolkit.foundation.files import default_runs_dir
from toolkit.foundation.threads import set_threads

bundle_app = typer.Typer(help="Production bundles of memory, network, codec and monitor.", no_args_is_help=True)

ALARM = 3
"""Exit status of ``monitor`` if a chart is above its threshold."""


@bundle_app.command()
def export(
    run: Annotated[str, typer.Argument(help="a finished pilot: its folder or name")],
    output: Annotated[Path, typer.Option("--output", "-o", help="folder to create")],
    accepted: Annotated[
        Path | None, typer.Option(help="folder of accepted images for the monitor; the test images by default")
    ] = None,
    false_alarms: Annotated[float, typer.Option(help="expected false alarms of the monitor per image")] = 1e-4,
    runs_dir: Annotated[Path | None, typer.Option(help="folder of runs given by name")] = None,
    threads: Threads = 0,
    json: JsonTo = None,
) -> None:
    """Export a pilot's memory and everything needed to continue with it as one checksummed folder."""
    from toolkit.production.bundle import export_bundle
    from toolkit.runs.find import find_runs

    set_threads(threads)
    found, *others = find_runs([run], (runs_dir or default_runs_dir()).resolve())
    if others:
        raise UsageError(f"{run} contains {1 + len(others)} runs: name one of them")
    with console.progress_bar() as progress:
        made = export_bundle(found, output, accepted=accepted, false_alarms=false_alarms, progress=progress)
    console.stderr.print(f"{output}: {', '.join(made.facts['files'])}", markup=False)
    console.emit(made.facts, json)


@bundle_app.command()
def show(path: Annotated[Path, typer.Argument(help="a bundle")], json: JsonTo = None) -> None:
    """Check every file and show the model card."""
    from toolkit.production.manifest import CARD, read_bundle_manifest

    facts = read_bundle_manifest(path)
    console.lines((path / CARD).read_text().splitlines(), to_stderr=json == "-")
    console.emit(facts, json)


def monitor(
    bundle: Annotated[Path, typer.Argument(help="a bundle")],
    folder: Annotated[Path, typer.Argument(help="folder of new images, read in the order of their names")],
    fresh: Annotated[bool, typer.Option("--fresh", help="discard the stream so far")] = False,
    prometheus: Annotated[
        str | None, typer.Option(metavar="FILE", help="write gauges in the Prometheus text format; - for stdout")
    ] = None,
    threads: Threads = 0,
    json: JsonTo = None,
    csv: CsvTo = None,
) -> None:
    """Check whether new images still look like the accepted ones; exit status 3 on an alarm.

    The stream continues from call to call; --fresh restarts it.
    """
    from toolkit.production.watch import prometheus_text, watch_folder

    set_threads(threads)
    with console.progress_bar() as progress:
        report = watch_folder(bundle, folder, fresh=fresh, progress=progress)
    to_stderr = "-" in (json, csv, prometheus)
    rows = [
        {"chart": name, "share of threshold": round(height, 3), "alarm at": report["alarms"].get(name, "")}
        for name, height in report["heights"].items()
    ]
    console.table(f"{report['images']} images, {report['seen']} in the stream", rows, to_stderr=to_stderr)
    for file, reason in report["unreadable"].items():
        console.stderr.print(f"{file}: {reason}", markup=False)
    console.emit({name: value for name, value in report.items() if name != "readings"}, json, report["readings"], csv)
    if prometheus is not None:
        console.write(prometheus_text(report), prometheus)
    if report["alarm"]:
        console.stderr.print(f"alarm: {', '.join(report['alarms'])}", markup=False)
        raise typer.Exit(ALARM)
