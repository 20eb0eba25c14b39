"""``jpeg train|export|attack``."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer

from toolkit.cli import console
from toolkit.cli.options import CsvTo, JsonTo, Threads, refuse_folder
from toolkit.cli.requests import options_of
from toolkit.foundation.files import default_runs_dir
from toolkit.foundation.seeds import parse_seeds
from toolkit.foundation.threads import set_threads
from toolkit.jpeg_dl.config import CONTROLS, JPEGConfig, make_jpeg_config
from toolkit.jpeg_dl.contents import VariantSummary, networks
from toolkit.jpeg_dl.request import AttackRequest, ExportRequest

jpeg_app = typer.Typer(help="The trainable JPEG layer.", no_args_is_help=True)


@jpeg_app.command()
@options_of(JPEGConfig)
def train(
    chosen: dict[str, Any],
    controls: Annotated[str, typer.Option(help=f"all, none or any of {','.join(CONTROLS)}")] = "all",
    seeds: Annotated[str, typer.Option(help="comma-separated; several seeds give a mean and a 95 % interval")] = "0",
    runs_dir: Annotated[Path | None, typer.Option(help="folder for run folders")] = None,
    threads: Threads = 0,
    json: JsonTo = None,
    csv: CsvTo = None,
) -> None:
    """Train a network plain, behind the layer and behind its controls; the same command resumes a killed run."""
    from toolkit.jpeg_dl.foreground import run_jpeg

    set_threads(threads)
    named = {"all": tuple(CONTROLS), "none": ()}
    compared = named[controls] if controls in named else tuple(filter(None, controls.split(",")))
    config = make_jpeg_config(**chosen, variants=("plain", "jpeg", *compared))
    with console.progress_bar() as progress:
        result = run_jpeg(config, parse_seeds(seeds), runs_dir or default_runs_dir(), progress)
    rows = [_row(name, variant) for name, variant in result["variants"].items()]
    console.table(
        f"{chosen['dataset']}: {config.network}, {config.steps} steps, {len(result['runs'])} seeds",
        rows,
        to_stderr="-" in (json, csv),
    )
    for run in result["runs"]:
        console.stderr.print(f"seed {run['seed']}: {run['run_dir']}", markup=False, soft_wrap=True)
    console.emit(result, json, rows, csv)


@jpeg_app.command()
@options_of(ExportRequest, first="training", short={"output": "-o"}, output=inspect.Parameter.empty)
def export(chosen: dict[str, Any], threads: Threads = 0, json: JsonTo = None) -> None:
    """Write learned tables as integers, for the codec learned-jpeg:tables=FILE."""
    set_threads(threads)
    output = refuse_folder(Path(chosen["output"]))
    request = ExportRequest(**chosen | {"training": _training(chosen["training"])})
    with console.progress_bar() as progress:
        tables = request.run(progress)
    console.stderr.print(f"wrote {output}: use it as learned-jpeg:tables={output}", markup=False, soft_wrap=True)
    console.emit(tables, json)


@jpeg_app.command()
@options_of(AttackRequest, first="training")
def attack(chosen: dict[str, Any], threads: Threads = 0, json: JsonTo = None, csv: CsvTo = None) -> None:
    """Attack the plain and the layered network; the worst case takes the strongest attack on each image."""
    set_threads(threads)
    request = AttackRequest(**chosen | {"training": _training(chosen["training"])})
    bounds = request.bounds()
    with console.progress_bar() as progress:
        report = request.run(progress)
    columns = [f"eps {255 * bound:g}/255" for bound in bounds]
    models = networks(report)
    rows = [
        {"network": name, "attack": attack, **dict(zip(columns, accuracies, strict=True))}
        for name, model in models.items()
        for attack, accuracies in (*model["attacks"].items(), ("all: worst case", model["worst"]))
    ]
    clean = ", ".join(f"{name} {model['clean']:.1%}" for name, model in models.items())
    console.table(
        f"accuracy on {report['images']} images under attack; clean: {clean}", rows, to_stderr="-" in (json, csv)
    )
    for name, model in models.items():
        for note in model["notes"]:
            console.stderr.print(f"{name}: {note}", markup=False)
    console.emit(report, json, rows, csv)


def _training(run: str) -> str:
    """The path of a training; a name that is not a path is looked up among the runs."""
    from toolkit.runs.find import find_run

    return run if Path(run).exists() else str(find_run(run, default_runs_dir()).path)


def _row(name: str, variant: VariantSummary) -> dict[str, str]:
    """A row of the table, with percentages."""
    mean, half = variant["mean"], variant["ci95"]

    def cell(measure: str, scale: float = 100) -> str:
        if measure not in mean:
            return "-"
        interval = half[measure]
        return f"{scale * mean[measure]:.1f}" + ("" if interval is None else f" +- {scale * interval:.1f}")

    return {
        "network": name,
        "accuracy %": cell("accuracy"),
        "gain over plain": "-" if name == "plain" else cell("gain_over_plain"),
        "soft %": cell("soft_accuracy"),
        "hard %": cell("hard_accuracy"),
        "bits per pixel (estimate)": cell("bits_per_pixel", 1),
    }
