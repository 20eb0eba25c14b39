"""The monitor study: how soon is a change detected, and how frequent are false alarms?

Twelve classes of flowers17 at 64 px: half of each class trains a pilot (JPEG at quality 50, all images coded), the
other half arrives later. Of that half, one random half is the monitor's baseline and the other the stream, in ten
random splits. Streams of accepted images count false alarms (the charts restart after each); for each change, 20
streams per split have 200 accepted images followed by changed ones, until a chart exceeds its threshold.

    python notebooks/studies/monitor.py DATA/flowers17 [--runs-dir RUNS]

writes ``results/monitor.json`` and ``results/monitor.md``. About five minutes on one core.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from study import RESULTS, parser

from toolkit.codecs.spec import parse_codec
from toolkit.data.images import decode_image
from toolkit.features.extractor import FeatureExtractor
from toolkit.foundation.files import write_json
from toolkit.foundation.threads import set_threads
from toolkit.pilots.config import make_pilot_config
from toolkit.pilots.foreground import run_pilot
from toolkit.production.monitor import CHARTS, Monitor
from toolkit.runs.environment import environment
from toolkit.training.weights import load_network

SIZE, CLASSES = 64, 12
CODEC = "jpeg:quality=50"
SPLITS, STREAMS, ACCEPTED, LONG, PATIENCE = 10, 20, 200, 10_000, 2000


def main() -> None:
    asked = parser(__doc__, "monitor", "the folder flowers17").parse_args()
    set_threads(asked.threads)
    classes = class_folders(Path(asked.dataset))
    extractor = trained(classes[:CLASSES], asked.runs_dir)
    arriving = np.concatenate([read(files[1::2]) for _, files in classes[:CLASSES]])
    unseen = np.concatenate([read(files) for _, files in classes[CLASSES:]])
    changes: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "codec: JPEG quality 30, 4:2:0, before the images arrive": recoded,
        "blur: Gaussian, sigma 1 pixel": lambda images: each(images, blurred),
        "exposure: half a stop more": lambda images: each(images, lambda one: one.point(lambda value: value * 2**0.5)),
    }
    rows = [split(arriving, unseen, changes, extractor, np.random.default_rng(seed)) for seed in range(SPLITS)]
    result = summary(rows)
    write_json(RESULTS / "monitor.json", {**result, "splits": rows, "environment": environment()})
    (RESULTS / "monitor.md").write_text(as_table(result))


def class_folders(root: Path) -> list[tuple[str, list[Path]]]:
    """Every class with all its training and test files."""
    names = sorted(path.name for path in (root / "train").iterdir() if path.is_dir())
    return [(name, sorted(root.glob(f"*/{name}/*"), key=lambda path: path.name)) for name in names]


def read(files: list[Path]) -> np.ndarray:
    """Images as in a dataset, uint8 (N, H, W, 3)."""
    return np.stack([decode_image(path.read_bytes(), SIZE) for path in files])


def trained(classes: list[tuple[str, list[Path]]], runs_dir: Path) -> FeatureExtractor:
    """The network of a pilot trained on every other image of these classes."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / f"flowers{CLASSES}"
        for name, files in classes:
            for place, part in (("train", files[::2]), ("test", files[1::2][:4])):
                (root / place / name).mkdir(parents=True)
                for file in part:
                    (root / place / name / file.name).symlink_to(file)
        config = make_pilot_config(
            dataset=str(root),
            size=SIZE,
            initial=4,
            increment=4,
            codec=CODEC,
            budget="20img",
            align="both",
            steps=150,
            batch_size=64,
        )
        run = run_pilot(config, 0, runs_dir)
    network = load_network(Path(runs_dir) / run["run_dir"] / "network.pt")
    return FeatureExtractor("pilot", network, torch.device("cpu"))


def each(images: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    """Apply a change to each image."""
    return np.stack([np.asarray(change(Image.fromarray(image))) for image in images])


def blurred(image: Image.Image) -> Image.Image:
    """A slightly blurred image."""
    return image.filter(ImageFilter.GaussianBlur(1))


def recoded(images: np.ndarray) -> np.ndarray:
    """Images coded and decoded with another codec."""
    codec = parse_codec("jpeg:quality=30,subsampling=420")
    codec.fit(images[:1])
    return codec.decode(codec.encode(images))


def split(
    arriving: np.ndarray,
    unseen: np.ndarray,
    changes: dict[str, Callable[[np.ndarray], np.ndarray]],
    extractor: FeatureExtractor,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Results of one random split into baseline and stream."""
    order = rng.permutation(len(arriving))
    known, stream = arriving[order[: len(order) // 2]], arriving[order[len(order) // 2 :]]
    monitor = Monitor.of(parse_codec(CODEC), extractor, known, seed=int(rng.integers(1 << 31)))
    accepted = monitor.measure(stream)
    changed = {name: monitor.measure(change(stream)) for name, change in changes.items()}
    changed["new classes: five that the network has never seen"] = monitor.measure(unseen)
    false = 0
    monitor.charts.start_over()
    for drawn in rng.integers(0, len(stream), LONG):
        if alarm(monitor, accepted, drawn):
            false += 1
            monitor.charts.start_over()
    return {
        "baseline": len(known),
        "false_alarms": false,
        "images": LONG,
        "delays": {
            name: [delay(monitor, accepted, measured, rng) for _ in range(STREAMS)]
            for name, measured in changed.items()
        },
    }


def alarm(monitor: Monitor, measured: tuple[np.ndarray, np.ndarray], drawn: int) -> str | None:
    """Add an image to the charts; return the highest chart above its threshold, if any."""
    heights = monitor.charts.take(measured[0][drawn], measured[1][drawn])
    highest = max(heights, key=heights.__getitem__)
    return highest if heights[highest] > 1 else None


def delay(
    monitor: Monitor,
    accepted: tuple[np.ndarray, np.ndarray],
    changed: tuple[np.ndarray, np.ndarray],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Changed images until the first alarm, and its chart; None if there is none within :data:`PATIENCE` images."""
    monitor.charts.start_over()
    for drawn in rng.integers(0, len(accepted[0]), ACCEPTED):
        alarm(monitor, accepted, drawn)
    for count, drawn in enumerate(rng.integers(0, len(changed[0]), PATIENCE), 1):
        if (chart := alarm(monitor, changed, drawn)) is not None:
            return {"images": count, "chart": chart}
    return {"images": None, "chart": None}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """False alarms per 10,000 images, and for each change the number of images until its detection."""
    found: dict[str, dict[str, Any]] = {}
    for name in rows[0]["delays"]:
        delays = [one for row in rows for one in row["delays"][name]]
        images = np.array([one["images"] or np.inf for one in delays], dtype=float)
        found[name] = {
            "median": float(np.median(images)),
            "within": float(np.quantile(images, 0.95, method="higher")),
            "missed": int(np.isinf(images).sum()),
            "charts": {chart: sum(one["chart"] == chart for one in delays) for chart in CHARTS},
        }
        found[name] |= {key: None for key in ("median", "within") if np.isinf(found[name][key])}
    images = sum(row["images"] for row in rows)
    return {
        "baseline_images": rows[0]["baseline"],
        "streams": SPLITS * STREAMS,
        "images": images,
        "false_alarms": sum(row["false_alarms"] for row in rows),
        "false_alarms_in_10000": 10_000 * sum(row["false_alarms"] for row in rows) / images,
        "by_split": [row["false_alarms"] for row in rows],
        "changes": found,
    }


def as_table(result: dict[str, Any]) -> str:
    """A Markdown table."""
    lines = [
        f"Baseline of {result['baseline_images']} images, {SPLITS} random splits. False alarms: "
        f"{result['false_alarms']} in {result['images']:,} accepted images, "
        f"{result['false_alarms_in_10000']:.1f} per 10,000 (by split: {', '.join(map(str, result['by_split']))}).",
        "",
        f"| change, {result['streams']} streams | median images until detection | 95 % within | missed | detected by |",
        "|---|--:|--:|--:|---|",
    ]
    for name, row in result["changes"].items():
        charts = ", ".join(f"{chart} {count}" for chart, count in row["charts"].items() if count)
        lines.append(f"| {name} | {_count(row['median'])} | {_count(row['within'])} | {row['missed']} | {charts} |")
    return "\n".join(lines) + "\n"


def _count(value: float | None) -> str:
    return f"over {PATIENCE:,}" if value is None else f"{value:.0f}"


if __name__ == "__main__":
    main()
