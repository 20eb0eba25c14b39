"""``neural train|list``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from toolkit.cli import console
from toolkit.cli.options import CsvTo, JsonTo, Threads
from toolkit.cli.requests import options_of
from toolkit.codec_training.config import CodecTraining, make_codec_config, parse_numbers
from toolkit.codecs.neural.inventory import ListedModels
from toolkit.foundation.errors import UsageError
from toolkit.foundation.threads import set_threads

neural_app = typer.Typer(help="Neural codecs, trained on your own images.", no_args_is_help=True)

_NETWORK = ("architecture", "channels", "latent", "stages")
"""Fields that an adapted codec takes from its model file."""


@neural_app.command()
@options_of(CodecTraining, architecture=None, channels=None, latent=None, stages=None, feature_weight=None)
def train(
    chosen: dict[str, Any],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for the model files")],
    size: Annotated[str, typer.Option(help="side of the images in pixels; several sizes alternate: 32,64")] = "32",
    bpp: Annotated[str, typer.Option(help="target bits per pixel, one codec per value; not with --continue")] = "",
    adapt: Annotated[
        Path | None,
        typer.Option("--continue", help="model file to adapt; its decoder is frozen, so existing streams stay valid"),
    ] = None,
    threads: Threads = 0,
    json: JsonTo = None,
    csv: CsvTo = None,
) -> None:
    """Train codecs for neural:checkpoint=FILE; the same command resumes an interrupted training."""
    from toolkit.codec_training.training import adapted_feature_weight, adapted_rate, train_codecs

    set_threads(threads)
    given = {name: value for name in _NETWORK if (value := chosen.pop(name)) is not None}
    if adapt is not None and given:
        raise UsageError(f"--continue keeps the network of {adapt}: remove --{', --'.join(given)}")
    rates = parse_numbers(bpp or "0.5,1,2", float, "--bpp") if adapt is None else [adapted_rate(adapt, bpp)]
    if chosen["feature_weight"] is None:
        chosen["feature_weight"] = 0.0 if adapt is None else adapted_feature_weight(adapt)
    config = make_codec_config(
        **chosen,
        **given,
        sizes=tuple(parse_numbers(size, int, "--size")),
        rates=tuple(rates),
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
    console.table(f"{chosen['dataset']}: held-out training images", rows, to_stderr="-" in (json, csv))
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
    result: ListedModels = {"models": rows}
    console.emit(result, json, rows, csv)
