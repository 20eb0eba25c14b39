"""``jpeg train|export|attack``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from toolkit.cli import console
from toolkit.cli.options import CsvTo, Dataset, Device, JsonTo, TestFolder, Threads, TrainFolder, refuse_folder
from toolkit.data.spec import with_splits
from toolkit.foundation.files import default_runs_dir
from toolkit.foundation.seeds import parse_seeds
from toolkit.foundation.threads import set_threads

jpeg_app = typer.Typer(help="The trainable JPEG layer.", no_args_is_help=True)

Run = Annotated[str, typer.Argument(help="the run folder of one seed, as `jpeg train` names it, or its name")]


@jpeg_app.command()
def train(
    dataset: Dataset,
    size: Annotated[int, typer.Option(help="side of the images in pixels")] = 64,
    train_folder: TrainFolder = None,
    test_folder: TestFolder = None,
    network: Annotated[str, typer.Option(help="resnet8|20|32|56 or timm:NAME")] = "resnet20",
    init: Annotated[
        str, typer.Option(help="tables to begin with: ones, quality=Q, sensitivity, magnitude or laplace")
    ] = "sensitivity",
    largest: Annotated[float, typer.Option(help="the largest step of sensitivity")] = 10.0,
    alpha: Annotated[float, typer.Option(help="sharpness of the soft quantiser")] = 5.0,
    alpha_mode: Annotated[str, typer.Option(help="fixed, matched (hardness / q^2) or trained")] = "fixed",
    hardness: Annotated[float, typer.Option(help="of alpha mode matched")] = 0.7,
    bits: Annotated[int, typer.Option(help="of an index, 3..12; 8 in the paper; 12 clip nothing at steps from 1")] = 8,
    subsampling: Annotated[str, typer.Option(help="chroma: 444 or 420")] = "444",
    steps: Annotated[int, typer.Option(help="optimiser steps of every network")] = 1000,
    batch_size: Annotated[int, typer.Option(help="images a step")] = 64,
    lr: Annotated[float, typer.Option(help="of the network's SGD")] = 0.1,
    weight_decay: Annotated[float, typer.Option(help="of the network's SGD")] = 5e-4,
    table_lr: Annotated[float, typer.Option(help="of the tables' Adam")] = 0.005,
    rate_weight: Annotated[float, typer.Option(help="lambda: loss = cross entropy + lambda * bits a pixel")] = 0.0,
    start: Annotated[str, typer.Option(help="of the layered network: scratch, or the plain one's weights")] = "scratch",
    freeze: Annotated[bool, typer.Option("--freeze", help="train the tables only (with --start plain)")] = False,
    controls: Annotated[str, typer.Option(help="all, none or some of standard,zero-dc,ste,noise,unclipped")] = "all",
    codec: Annotated[str, typer.Option(help="what training and test images have passed before")] = "raw",
    held_out: Annotated[
        bool, typer.Option("--held-out", help="test on a fifth of the training images: for making choices")
    ] = False,
    seeds: Annotated[str, typer.Option(help="comma-separated; several give a mean and a 95 % interval")] = "0",
    runs_dir: Annotated[Path | None, typer.Option(help="where run folders go")] = None,
    device: Device = "auto",
    threads: Threads = 0,
    json: JsonTo = None,
    csv: CsvTo = None,
) -> None:
    """Train a network plain, behind the layer and behind its controls; killed runs resume with the same command."""
    from toolkit.jpeg_dl.config import CONTROLS, make_jpeg_config
    from toolkit.jpeg_dl.foreground import run_jpeg

    set_threads(threads)
    dataset = with_splits(dataset, train_folder, test_folder)
    named = {"all": tuple(CONTROLS), "none": ()}
    compared = named[controls] if controls in named else tuple(filter(None, controls.split(",")))
    config = make_jpeg_config(
        dataset=dataset,
        size=size,
        network=network,
        init=init,
        largest=largest,
        alpha=alpha,
        alpha_mode=alpha_mode,
        hardness=hardness,
        bits=bits,
        subsampling=subsampling,
        steps=steps,
        batch_size=batch_size,
        lr=lr,
        weight_decay=weight_decay,
        table_lr=table_lr,
        rate_weight=rate_weight,
        start=start,
        freeze=freeze,
        variants=("plain", "jpeg", *compared),
        codec=codec,
        held_out=held_out,
        device=device,
    )
    with console.progress_bar() as progress:
        result = run_jpeg(config, parse_seeds(seeds), runs_dir or default_runs_dir(), progress)
    rows = [_row(name, variant) for name, variant in result["variants"].items()]
    console.table(
        f"{dataset}: {network}, {steps} steps, {len(result['runs'])} seeds", rows, to_stderr="-" in (json, csv)
    )
    for run in result["runs"]:
        console.stderr.print(f"seed {run['seed']}: {run['run_dir']}", markup=False, soft_wrap=True)
    console.emit(result, json, rows, csv)


@jpeg_app.command()
def export(
    run: Run,
    output: Annotated[Path, typer.Option("-o", "--output", help="the tables file to make", callback=refuse_folder)],
    variant: Annotated[str, typer.Option(help="whose tables: jpeg or a control")] = "jpeg",
    threads: Threads = 0,
    json: JsonTo = None,
) -> None:
    """Write learned tables as integers, for the codec learned-jpeg:tables=FILE."""
    from toolkit.jpeg_dl.request import ExportRequest

    set_threads(threads)
    with console.progress_bar() as progress:
        tables = ExportRequest(_training(run), variant, str(output)).run(progress)
    console.stderr.print(f"wrote {output}: use it as learned-jpeg:tables={output}", markup=False, soft_wrap=True)
    console.emit(tables, json)


@jpeg_app.command()
def attack(
    run: Run,
    eps: Annotated[str, typer.Option(help="comma-separated L-infinity bounds in units of 1/255")] = "1,2,3,4",
    mode: Annotated[str, typer.Option(help="the quantiser as deployed: soft or hard")] = "soft",
    images: Annotated[int, typer.Option(help="test images attacked at most", min=1)] = 200,
    queries: Annotated[int, typer.Option(help="of the gradient-free attack, an image", min=1)] = 300,
    variant: Annotated[str, typer.Option(help="jpeg or a control")] = "jpeg",
    seed: Annotated[int, typer.Option(help="seed of everything random")] = 0,
    device: Device = "auto",
    threads: Threads = 0,
    json: JsonTo = None,
    csv: CsvTo = None,
) -> None:
    """Attack the plain network and the layered one; what counts is the strongest attack on each image."""
    from toolkit.jpeg_dl.request import AttackRequest

    set_threads(threads)
    request = AttackRequest(_training(run), variant, eps, mode, images, queries, seed, device)
    bounds = request.bounds()
    with console.progress_bar() as progress:
        report = request.run(progress)
    columns = [f"eps {255 * bound:g}/255" for bound in bounds]
    rows = [
        {"network": name, "attack": attack, **dict(zip(columns, accuracies, strict=True))}
        for name, model in report["models"].items()
        for attack, accuracies in (*model["attacks"].items(), ("all: worst case", model["worst"]))
    ]
    clean = ", ".join(f"{name} {model['clean']:.1%}" for name, model in report["models"].items())
    console.table(
        f"accuracy of {report['images']} images under attack; without: {clean}", rows, to_stderr="-" in (json, csv)
    )
    for name, model in report["models"].items():
        for note in model["notes"]:
            console.stderr.print(f"{name}: {note}", markup=False)
    console.emit(report, json, rows, csv)


def _training(run: str) -> str:
    """The path of a training; a name that is no path here is looked for among the runs."""
    from toolkit.runs.find import find_run

    return run if Path(run).exists() else str(find_run(run, default_runs_dir()).path)


def _row(name: str, variant: dict[str, Any]) -> dict[str, Any]:
    """A line of the table: percentages as people read them."""
    mean, half = variant["mean"], variant["ci95"]

    def cell(measure: str, scale: float = 100) -> str:
        if measure not in mean:
            return "-"
        return f"{scale * mean[measure]:.1f}" + ("" if half[measure] is None else f" +- {scale * half[measure]:.1f}")

    return {
        "network": name,
        "accuracy %": cell("accuracy"),
        "gain over plain": "-" if name == "plain" else cell("gain_over_plain"),
        "soft %": cell("soft_accuracy"),
        "hard %": cell("hard_accuracy"),
        "bits a pixel (estimate)": cell("bits_per_pixel", 1),
    }
