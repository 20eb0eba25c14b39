"""``neural train|list``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from toolkit.cli import console
from toolkit.cli.options import CsvTo, Dataset, Device, JsonTo, Seed, TestFolder, Threads, TrainFolder
from toolkit.data.spec import with_splits
from toolkit.foundation.errors import UsageError
from toolkit.foundation.threads import set_threads

neural_app = typer.Typer(help="Neural codecs, trained on your own images.", no_args_is_help=True)


@neural_app.command()
def train(
    dataset: Dataset,
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for the model files")],
    size: Annotated[str, typer.Option(help="side of the images in pixels; several sizes alternate: 32,64")] = "32",
    train_folder: TrainFolder = None,
    test_folder: TestFolder = None,
    bpp: Annotated[str, typer.Option(help="target bits per pixel, one codec per value; not with --continue")] = "",
    steps: Annotated[int, typer.Option(help="optimiser steps per codec")] = 5000,
    architecture: Annotated[str | None, typer.Option(help="factorized (default) or hyperprior")] = None,
    channels: Annotated[int | None, typer.Option(help="channels of the network, 64 by default")] = None,
    latent: Annotated[int | None, typer.Option(help="channels of the latents, 64 by default")] = None,
    stages: Annotated[int | None, typer.Option(help="number of downsampling steps, 3 by default")] = None,
    feature_weight: Annotated[
        float | None,
        typer.Option(help="weight of the relative FMSE next to the relative MSE; 0, or with --continue the file's"),
    ] = None,
    extractor: Annotated[str, typer.Option(help="feature extractor: auto, stage0, self, timm:NAME, ...")] = "auto",
    batch_size: Annotated[int, typer.Option(help="images per step at the first size")] = 64,
    lr: Annotated[float, typer.Option(help="learning rate of Adam; at least 0.001 for the entropy model")] = 1e-3,
    afresh: Annotated[
        bool,
        typer.Option("--afresh", help="start every rate from principal components, not from the nearest trained rate"),
    ] = False,
    adapt: Annotated[
        Path | None,
        typer.Option("--continue", help="model file to adapt; its decoder is frozen, so existing streams stay valid"),
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    threads: Threads = 0,
    json: JsonTo = None,
    csv: CsvTo = None,
) -> None:
    """Train codecs for neural:checkpoint=FILE; the same command resumes an interrupted training."""
    from toolkit.codec_training.config import make_codec_config, parse_numbers
    from toolkit.codec_training.training import adapted_feature_weight, adapted_rate, train_codecs

    set_threads(threads)
    dataset = with_splits(dataset, train_folder, test_folder)
    rates = parse_numbers(bpp or "0.5,1,2", float, "--bpp") if adapt is None else [adapted_rate(adapt, bpp)]
    if feature_weight is None:
        feature_weight = 0.0 if adapt is None else adapted_feature_weight(adapt)
    network = {"architecture": architecture, "channels": channels, "latent": latent, "stages": stages}
    given = {name: value for name, value in network.items() if value is not None}
    if adapt is not None and given:
        raise UsageError(f"--continue keeps the network of {adapt}: remove --{', --'.join(given)}")
    config = make_codec_config(
        dataset=dataset,
        sizes=tuple(parse_numbers(size, int, "--size")),
        rates=tuple(rates),
        steps=steps,
        **given,
        feature_weight=feature_weight,
        extractor=extractor,
        batch_size=batch_size,
        lr=lr,
        afresh=afresh,
        seed=seed,
        device=device,
        adapts=None if adapt is None else str(adapt.absolute()),
    )
    with console.progress_bar() as progress:
        result = train_codecs(config, output, progress)
    rows = [
        {"file": codec["file"], "decoder": codec["decoder"], "weights": codec["weights_bytes"]}
        | {key: round(value, 4) for key, value in cast("dict[str, float]", measured).items()}
        for codec in result["codecs"]
        for measured in codec["measured"]
    ]
    console.table(f"{dataset}: held-out training images", rows, to_stderr="-" in (json, csv))
    for codec in result["codecs"]:
        console.stderr.print(f"use it as neural:checkpoint={output / codec['file']}", markup=False, soft_wrap=True)
    console.emit(result, json, rows, csv)


@neural_app.command("list")
def list_models(
    folder: Annotated[Path | None, typer.Argument(help="folder of model files to list as well")] = None,
    json: JsonTo = None,
    csv: CsvTo = None,
) -> None:
    """List the neural codecs that a grid can name, and whether their weights are on this machine."""
    from toolkit.codecs.neural.inventory import known_models

    rows = known_models(folder)
    console.table("neural codecs", rows, to_stderr="-" in (json, csv))
    console.emit({"models": rows}, json, rows, csv)
