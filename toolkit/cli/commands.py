"""``data``, ``probe``, ``pilot`` and ``app``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from toolkit.cli import console
from toolkit.cli.advise import advise, regret
from toolkit.cli.cost import cost
from toolkit.cli.estimates import show_estimate
from toolkit.cli.jpeg import jpeg_app
from toolkit.cli.memory import memory_app
from toolkit.cli.neural import neural_app
from toolkit.cli.options import (
    CsvTo,
    Dataset,
    JsonTo,
    Seed,
    Size,
    Store,
    Strict,
    TestFolder,
    Threads,
    TrainFolder,
    is_given,
)
from toolkit.cli.production import bundle_app, monitor
from toolkit.cli.report import report
from toolkit.cli.requests import options_of
from toolkit.cli.runs import runs_app
from toolkit.cli.study import study
from toolkit.cli.sweep import sweep
from toolkit.data.spec import with_splits
from toolkit.foundation.errors import UsageError
from toolkit.foundation.files import default_runs_dir
from toolkit.foundation.seeds import parse_seeds
from toolkit.foundation.threads import set_threads
from toolkit.language.catalogue import ENGLISH
from toolkit.learning.recipes import published
from toolkit.pilots.config import BY_NETWORK, PilotConfig, make_pilot_config, parse_choices
from toolkit.pilots.contents import PilotSummary
from toolkit.probe.request import ImagesRequest, ProbeRequest
from toolkit.report.tables import columns

app = typer.Typer(
    name="recallrate",
    help="How hard can you compress the images that a continually learning model remembers?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(memory_app, name="memory")
app.add_typer(jpeg_app, name="jpeg")
app.add_typer(neural_app, name="neural")
app.add_typer(runs_app, name="runs")
app.add_typer(bundle_app, name="bundle")
app.command()(study)
app.command()(sweep)
app.command()(advise)
app.command()(regret)
app.command()(cost)
app.command()(report)
app.command()(monitor)


@app.command()
def data(
    dataset: Dataset,
    size: Size = "32",
    train_folder: TrainFolder = None,
    test_folder: TestFolder = None,
    json: JsonTo = None,
    csv: CsvTo = None,
    strict: Strict = False,
    threads: Threads = 0,
) -> None:
    """Open a dataset and show classes, counts, bytes and unreadable files."""
    from toolkit.data.catalog import load_dataset
    from toolkit.data.summary import class_rows, summary

    set_threads(threads)
    dataset = with_splits(dataset, train_folder, test_folder)
    with console.progress_bar() as progress:
        opened = load_dataset(dataset, size, strict=strict, progress=progress)
    rows = class_rows(opened)
    facts = summary(opened)
    console.table(
        f"{dataset}: {facts['train_images']} training and {facts['test_images']} test images at {opened.size} px",
        rows,
        to_stderr="-" in (json, csv),
    )
    console.findings(facts)
    console.emit(facts, json, rows, csv)


@app.command()
@options_of(ProbeRequest, size=32, codecs="", budget="")
def probe(
    chosen: dict[str, Any],
    store: Store = None,
    threads: Threads = 0,
    json: JsonTo = None,
    csv: CsvTo = None,
) -> None:
    """Code and decode the images with every setting: bytes, exemplars that fit, distortion in features and pixels.

    The default budget is 20img, or 1img for images of 96 pixels or more.
    """
    from toolkit.codecs.spec import expand_grid, short_spec, with_store
    from toolkit.probe.contents import pixels_left_out
    from toolkit.probe.presets import PRESETS, usual_budget

    set_threads(threads)
    chosen["codecs"] = with_store(chosen["codecs"] or PRESETS["quick"], store)
    expand_grid(chosen["codecs"])
    chosen["budget"] = chosen["budget"] or usual_budget(chosen["size"])
    request = ProbeRequest(**chosen)
    with console.progress_bar() as progress:
        result = request.run(progress)
    shown = (
        "codec",
        "stored_bytes",
        "file_bytes",
        "ratio_raw",
        "ratio_original",
        "exemplars_per_class",
        "psnr",
        "fmse_relative",
        "fmse_relative_ci95",
        "encode_us",
        "decode_us",
    )
    title = f"{request.dataset} at {request.size} px, {result['images']} images, features of {result['extractor']}"
    rows = [{**columns(row, shown), "codec": short_spec(row["codec"])} for row in result["settings"]]
    console.table(title, rows, to_stderr="-" in (json, csv))
    if (times := pixels_left_out(result["settings"])) is not None:
        console.lines([ENGLISH("probe.pixels_left_out", times=f"{times:.1f}")], to_stderr="-" in (json, csv))
    console.emit(result, json, result["settings"], csv)


@app.command()
@options_of(ImagesRequest, size=32)
def images(
    chosen: dict[str, Any],
    store: Store = None,
    threads: Threads = 0,
    json: JsonTo = None,
    csv: CsvTo = None,
) -> None:
    """Measure single images coded with one codec, those with the most distorted features first."""
    from toolkit.codecs.spec import with_store

    set_threads(threads)
    request = ImagesRequest(**chosen | {"codec": with_store(chosen["codec"], store)})
    with console.progress_bar() as progress:
        result = request.run(progress)
    rows = sorted(result["images"], key=lambda row: -row["fmse"])
    shown = ("index", "class", "stored_bytes", "psnr", "ssim", "fmse_relative")
    title = f"{request.dataset} at {request.size} px through {result['codec']}: the worst of {len(rows)} images"
    console.table(title, [columns(row, shown) for row in rows[:20]], to_stderr="-" in (json, csv))
    console.emit(result, json, rows, csv)


@app.command()
@options_of(PilotConfig, codec="raw", budget="", initial=None, increment=None, omitted=BY_NETWORK)
def pilot(
    given: dict[str, Any],
    context: typer.Context,
    recipe: Annotated[
        str, typer.Option(help="a published setting, such as pycil-icarl; options you give override it")
    ] = "",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="any other field, such as lr=0.05 or schedule=milestones"),
    ] = None,
    store: Store = None,
    seeds: Annotated[str, typer.Option(help="comma-separated; several seeds give a mean and a 95 % interval")] = "",
    seed: Seed = 0,
    runs_dir: Annotated[Path | None, typer.Option(help="folder for run folders")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the estimated time and bytes, and stop")] = False,
    threads: Threads = 0,
    json: JsonTo = None,
    csv: CsvTo = None,
) -> None:
    """Train a class-incremental learner with a compressed memory; the same command resumes a killed run.

    The default budget is 20img, or 1img for images of 96 pixels or more.
    """
    from toolkit.codecs.spec import short_spec, with_store
    from toolkit.data.catalog import load_dataset
    from toolkit.data.scenario import default_initial
    from toolkit.pilots.foreground import run_seeds
    from toolkit.pilots.request import PilotRequest
    from toolkit.pilots.results import SHOWN, network_of
    from toolkit.probe.presets import usual_budget
    from toolkit.runs.environment import require_one_rank

    require_one_rank()
    set_threads(threads)
    dataset = given.pop("dataset")
    chosen, usual_seed = apply_recipe(context, recipe, given)
    chosen["codec"] = with_store(chosen["codec"], store)
    chosen["budget"] = chosen["budget"] or usual_budget(chosen["size"])
    with console.progress_bar() as progress:
        opened = load_dataset(dataset, chosen["size"], progress=progress)
        chosen["initial"] = first = chosen["initial"] or default_initial(len(opened.class_names))
        chosen["increment"] = chosen["increment"] or first
        config = make_pilot_config(**{"dataset": dataset, **chosen, **parse_choices(set_ or [], ("dataset", *given))})
        which = parse_seeds(seeds) or [seed if is_given(context, "seed") else usual_seed]
        where = runs_dir or default_runs_dir()
        if not dry_run:
            result = run_seeds(config, which, where, progress, opened)
    if dry_run:
        planned = [PilotRequest(config, one) for one in which]
        show_estimate(short_spec(config.codec), planned, where.resolve(), 1, json, csv)
        return
    shown = ("seed", *SHOWN)
    rows = [columns(run, (*shown, "run_dir")) for run in result["runs"]]
    title = f"{dataset}: {short_spec(result['codec'])}, align {config.align}, {result['method']}"
    table = [{**columns(run, shown), "seed": str(run["seed"])} for run in result["runs"]]
    console.table(title, table, to_stderr="-" in (json, csv))
    for run in result["runs"]:
        console.stderr.print(f"run folder: {run['run_dir']}", markup=False, soft_wrap=True)
    console.stderr.print(f"network: {network_of(result['runs'][0])}; tuned: {config.tune}", markup=False)
    for head, (mean, interval) in last_accuracies(result).items():
        spread = "" if interval is None else f" +- {interval:.1%} (95 %)"
        console.stderr.print(f"last accuracy {mean:.1%}{spread}{head}", markup=False)
    console.emit(result, json, rows, csv)


def last_accuracies(result: PilotSummary) -> dict[str, tuple[float, float | None]]:
    """Mean last accuracy and interval per head; the key names the head and is empty if there is only one."""
    from toolkit.learning.metrics import mean_and_ci95

    first = result["runs"][0]
    heads = sorted(first["heads"], key=lambda head: head != first["head"])  # the method's own one first
    return {
        f", {head} head" if len(heads) > 1 else "": mean_and_ci95(
            [run["heads"][head]["last_accuracy"] for run in result["runs"]]
        )
        for head in heads
    }


def apply_recipe(context: typer.Context, recipe: str, given: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """The choices, with the recipe's values in place of defaults, and the seed to use if none is given."""
    if not recipe:
        return dict(given), 0
    found = published(recipe)
    if found.departs:
        console.stderr.print(f"{recipe} differs from the published setting: {found.departs}", markup=False)
    explicit = {name: value for name, value in given.items() if is_given(context, name)}
    if "steps" in explicit:
        explicit = {"epochs": None, "initial_epochs": None, **explicit}
    return {**given, **found.choices, **explicit}, found.seed


@app.command(name="app")
def open_app(
    port: Annotated[int, typer.Option(help="port to listen on")] = 8501,
    address: Annotated[str, typer.Option(help="address to listen on; any other address needs a login")] = "127.0.0.1",
    root: Annotated[
        list[Path] | None, typer.Option(help="folder that typed paths must be inside; may be repeated")
    ] = None,
) -> None:
    """Open the app in a browser, like ``streamlit run app.py``."""
    import toolkit.ui
    from toolkit.ui.access import LARGEST_UPLOAD, ROOTS, has_oidc, is_local, why_closed

    if (reason := why_closed(address, has_oidc())) is not None:
        raise UsageError(f"the app does not start: {reason}")
    environment = dict(os.environ)
    if root:
        environment[ROOTS] = os.pathsep.join(str(folder.resolve()) for folder in root)
    script = Path(toolkit.ui.__file__).with_name("served.py")
    command = [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        str(script),
        "--server.port",
        str(port),
        "--server.address",
        address,
        "--browser.gatherUsageStats",
        "false",
        "--server.fileWatcherType",
        "none",
        "--server.maxUploadSize",
        str(4096 if is_local(address) else LARGEST_UPLOAD),
    ]
    raise typer.Exit(subprocess.call(command, env=environment))
