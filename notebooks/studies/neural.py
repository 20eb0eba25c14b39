"""Do neural and content-aware codecs pay? Distortion and pilots on ten classes unseen by the neural codec.

    python notebooks/studies/neural.py DATA/tiny-imagenet-20 --folder FOLDER [--runs-dir RUNS] [--sizes 32,64]
        [--part pilots]

``results/neural-distortion.{json,md,svg}``: bytes against PSNR and relative FMSE on 300 training images of the held-out
classes, with features of a ResNet-8 trained on those classes (three seeds; the network that guides an encoder has
another seed than the one that measures). ``results/neural.{json,md}``: pilots on the held-out classes, five stages of
two classes, replay, 200 steps per stage at 32 px and 100 steps of half a batch at 64 px, a memory of four raw images
per class, all images coded (``both``), three seeds; content-aware codecs at 32 px only. The controls of ``foreground``
are a random box of the same size and ``downscale`` at equal bytes; those of ``adaptive`` are single settings of its
family, of which quality 10 and 20 take equal bytes. ``--report`` runs no pilots and writes the results of finished
ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from small_codec import CLASSES, part_of
from study import RESULTS, Study, parser, percent

from toolkit.codecs.spec import codec_family, short_spec
from toolkit.data.catalog import load_dataset
from toolkit.features.extractor import build_extractor
from toolkit.foundation.files import read_json, write_json
from toolkit.foundation.threads import set_threads
from toolkit.pilots.config import PilotConfig, make_pilot_config
from toolkit.pilots.contents import PilotSummary
from toolkit.probe.table import probe_codecs
from toolkit.runs.environment import environment

SEEDS = (0, 1, 2)
EXTRACTOR_STEPS = 400
IMAGES = 300
TABLES = Path(__file__).parent / "tables" / "tables-tiny-imagenet-20-0.03.json"
MEASURED = (
    *(f"neural:model=small,quality={quality}" for quality in (1, 2, 3)),
    *(f"avif:quality={quality}" for quality in (5, 10, 20, 30, 40, 50)),
    *(f"jpeg:quality={quality}" for quality in (5, 10, 20, 30, 50)),
    *(f"webp:quality={quality}" for quality in (1, 5, 20, 50)),
    f"learned-jpeg:tables={TABLES}",
    *(f"foreground:background=jpeg:quality=10|jpeg:quality={quality}" for quality in (30, 50)),
    *(f"foreground:background=jpeg:quality=10,box=random|jpeg:quality={quality}" for quality in (30, 50)),
    "foreground:background=cim|jpeg:quality=50",
    *(f"downscale:factor=2|jpeg:quality={quality}" for quality in (50, 94)),
    *(f"adaptive:family=jpeg,fmse={bound}" for bound in (0.05, 0.2)),
    *(f"adaptive:family=jpeg,value={value}" for value in (0.01, 0.03, 0.1, 0.5)),
    *(f"cp:rank={rank}" for rank in (2, 4)),
)
PILOTED = (
    "raw",
    *(f"neural:model=small,quality={quality}" for quality in (1, 2, 3)),
    "avif:quality=20",
    "avif:quality=40",
    "jpeg:quality=10",
    "jpeg:quality=20",
    "jpeg:quality=50",
    "webp:quality=20",
    f"learned-jpeg:tables={TABLES}",
    "foreground:background=jpeg:quality=10|jpeg:quality=50",
    "foreground:background=jpeg:quality=10,box=random|jpeg:quality=50",
    "foreground:background=cim|jpeg:quality=50",
    "downscale:factor=2|jpeg:quality=94",
    "adaptive:family=jpeg,fmse=0.05",
    "adaptive:family=jpeg,value=0.03",
    "adaptive:family=jpeg,value=0.01",
)
CONTENT_AWARE = ("foreground", "downscale", "adaptive")
"""Not piloted at 64 px."""
TRAINING = {32: {"steps": 200, "batch_size": 128}, 64: {"steps": 100, "batch_size": 64}}
"""By size, so that runs take about equally long."""


def main() -> None:
    own = parser(__doc__, "neural", "the folder tiny-imagenet-20")
    own.add_argument("--folder", type=Path, required=True, help="folder for a copy of the held-out classes")
    own.add_argument("--sizes", default="32,64")
    own.add_argument("--part", choices=("distortion", "pilots"), help="both by default")
    asked = own.parse_args()
    set_threads(asked.threads)
    held_out = part_of(Path(asked.dataset), asked.folder / "last-ten-classes", CLASSES, 2 * CLASSES)
    sizes = [int(size) for size in asked.sizes.split(",")]
    if asked.part != "pilots" and not asked.report:
        path = RESULTS / "neural-distortion.json"
        held = read_json(path)["settings"] if path.exists() else []
        distortion = [row for row in held if row["size"] not in sizes]
        distortion += [row for size in sizes for row in measured(held_out, size, MEASURED)]
        distortion.sort(key=lambda row: row["size"])
        write_json(path, {"environment": environment(), "settings": distortion})
        (RESULTS / "neural-distortion.md").write_text(distortion_table(distortion))
        draw(distortion, RESULTS / "neural-distortion.svg")
    if asked.part != "distortion":
        study = Study("neural", asked.runs_dir, asked.afresh)
        configs = [
            configuration(str(held_out), size, codec)
            for size in sizes
            for codec in PILOTED
            if size == 32 or not codec.startswith(CONTENT_AWARE)
        ]
        for seed in SEEDS if not asked.report else ():
            for config in configs:
                study.run(config, seed)
        pilots = [pilot for config in configs if (pilot := study.summary(config, SEEDS)) is not None]
        study.write(pilots, "python notebooks/studies/neural.py DATA/tiny-imagenet-20 --folder FOLDER")
        study.write_tables(pilot_table(pilots))


def measured(dataset: Path, size: int, settings: Sequence[str]) -> list[dict[str, Any]]:
    """One row per setting: means of the probe over the extractor's seeds.

    The network that guides an encoder is that of the next seed, not the one that measures.
    """
    images = load_dataset(str(dataset), size)
    judges = [
        build_extractor("self", images, device=torch.device("cpu"), seed=seed, steps=EXTRACTOR_STEPS) for seed in SEEDS
    ]
    kept = (
        "stored_bytes",
        "shared_bytes",
        "weights_bytes",
        "bpp",
        "psnr",
        "ssim",
        "encode_us",
        "decode_us",
        "fmse_relative",
    )
    budget = 4 * len(images.class_names) * 3 * size**2
    tables = [
        probe_codecs(images, settings, budget=budget, extractor=judge, guide_extractor=guide, images=IMAGES)["settings"]
        for judge, guide in zip(judges, [*judges[1:], judges[0]], strict=True)
    ]
    rows = []
    for same in zip(*tables, strict=True):
        means = {name: sum(row[name] for row in same) / len(same) for name in kept}
        by_seed = [row["fmse_relative"] for row in same]
        rows.append({"size": size, "codec": short_spec(same[0]["codec"]), **means, "fmse_by_seed": by_seed})
    return rows


def configuration(dataset: str, size: int, codec: str) -> PilotConfig:
    """One setting of the pilots."""
    align = "none" if codec == "raw" else "both"
    return make_pilot_config(
        dataset=dataset, size=size, initial=2, increment=2, codec=codec, budget="4img", align=align, **TRAINING[size]
    )


def distortion_table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table, one row per setting."""
    lines = [
        "| size | codec | bytes per image | shared bytes | bits per pixel | PSNR, dB | relative FMSE |",
        "|--:|---|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        cells = (
            f"{row['stored_bytes']:.0f}",
            f"{row['shared_bytes']:.0f}",
            f"{row['bpp']:.2f}",
            f"{row['psnr']:.1f}",
            f"{row['fmse_relative']:.3f}",
        )
        lines.append(f"| {row['size']} | `{row['codec']}` | " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def pilot_table(pilots: list[PilotSummary]) -> str:
    """A Markdown table, one row per setting."""
    lines = [
        "| size | codec | exemplars per class | last accuracy, % | average, % | seeds |",
        "|--:|---|--:|--:|--:|--:|",
    ]
    for pilot in pilots:
        cells = (
            f"{pilot['mean']['exemplars_per_class']:.0f}",
            percent(pilot, "last_accuracy"),
            percent(pilot, "average_incremental_accuracy"),
            str(len(pilot["runs"])),
        )
        lines.append(f"| {pilot['config']['size']} | `{short_spec(pilot['codec'])}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """PSNR and FMSE against bits per pixel, one column per size."""
    plt.rcParams["svg.hashsalt"] = "neural"
    sizes = sorted({row["size"] for row in rows})
    figure, grid = plt.subplots(2, len(sizes), figsize=(5.2 * len(sizes), 7.5), squeeze=False)
    for column, size in enumerate(sizes):
        families: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            if row["size"] == size:
                control = ", random box" if "box=random" in row["codec"] else ""
                families.setdefault(codec_family(row["codec"]) + control, []).append(row)
        for axes, value, words in (
            (grid[0][column], "psnr", "PSNR in dB"),
            (grid[1][column], "fmse_relative", "relative FMSE"),
        ):
            for name, members in families.items():
                members = sorted(members, key=lambda row: row["bpp"])
                marker = "*-" if name == "neural" else "o-"
                axes.plot([row["bpp"] for row in members], [row[value] for row in members], marker, label=name, ms=5)
            axes.set(xlabel="bits per pixel, headers shared", ylabel=words, xlim=(0, 2.5), title=f"{size} px")
            axes.grid(alpha=0.3)
        grid[1][column].set_yscale("log")
    figure.legend(*grid[0][0].get_legend_handles_labels(), loc="lower center", ncol=5, fontsize=8)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
