"""Does training that continues from a bundle reach the accuracy of the pilot?

The demo set: a pilot on all ten classes in two stages, against a pilot on the first five whose bundle learns the other
five with ``assets/continue_training.py``. Same budget, steps, batch size and class order; three seeds.

    python notebooks/studies/bundle.py [--runs-dir RUNS]

writes ``results/bundle.json`` and ``results/bundle.md``. About five minutes on one core.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from study import RESULTS

from toolkit.data.catalog import load_dataset
from toolkit.foundation.files import default_runs_dir, write_json
from toolkit.foundation.threads import set_threads
from toolkit.learning.metrics import mean_and_ci95
from toolkit.pilots.config import make_pilot_config
from toolkit.pilots.foreground import run_pilot
from toolkit.production.bundle import export_bundle
from toolkit.runs.environment import environment
from toolkit.runs.folder import RunFolder

EXAMPLE = Path(__file__).parents[2] / "assets" / "continue_training.py"
SEEDS, STEPS, BATCH = (0, 1, 2), 300, 64
FIRST, ALL = 5, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs-dir", type=Path, default=default_runs_dir() / "bundle")
    parser.add_argument("--threads", type=int, default=0)
    asked = parser.parse_args()
    set_threads(asked.threads)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        whole, first = write_images(Path(folder) / "demo10", ALL), write_images(Path(folder) / "demo5", FIRST)
        for seed in SEEDS:
            pilot = piloted(whole, ALL, seed, asked.runs_dir)
            begun = piloted(first, FIRST, seed, asked.runs_dir)
            bundle = Path(folder) / f"bundle-{seed}"
            export_bundle(begun, bundle).memory.close()
            command = [sys.executable, str(EXAMPLE), str(bundle), str(whole), "--steps", str(STEPS)]
            command += ["--batch-size", str(BATCH), "--seed", str(seed)]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            assert pilot.result is not None  # piloted() ran it
            accuracy = pilot.result["last_accuracy"] or 0.0
            rows.append({"seed": seed, "pilot": accuracy, "continued": float(said.split()[-1])})
    write_json(RESULTS / "bundle.json", {"rows": rows, "environment": environment()})
    (RESULTS / "bundle.md").write_text(as_table(rows))


def write_images(root: Path, classes: int) -> Path:
    """The first classes of the demo set as a folder of PNG files."""
    dataset = load_dataset("demo", 32)
    for split, part in (("train", dataset.train), ("test", dataset.test)):
        for label in range(classes):
            folder = root / split / f"{label}-{dataset.class_names[label]}"
            folder.mkdir(parents=True)
            for number, image in enumerate(part.images[part.labels == label]):
                Image.fromarray(image).save(folder / f"{number:04}.png")
    return root


def piloted(root: Path, classes: int, seed: int, runs_dir: Path) -> RunFolder:
    """A pilot on a folder in stages of five classes."""
    config = make_pilot_config(
        dataset=str(root),
        size=32,
        initial=FIRST,
        increment=FIRST,
        codec="jpeg:quality=50",
        budget="120000",
        align="both",
        steps=STEPS,
        batch_size=BATCH,
        class_order=tuple(range(classes)),
    )
    return RunFolder(Path(runs_dir) / run_pilot(config, seed, runs_dir)["run_dir"])


def as_table(rows: list[dict[str, float]]) -> str:
    """A Markdown table."""
    lines = ["| last accuracy over ten classes | " + " | ".join(f"seed {row['seed']}" for row in rows) + " | mean |"]
    lines.append("|---|" + "--:|" * (len(rows) + 1))
    for name, title in (("pilot", "pilot in two stages"), ("continued", "pilot, bundle, `continue_training.py`")):
        mean, half = mean_and_ci95([row[name] for row in rows])
        cells = " | ".join(f"{100 * row[name]:.1f}" for row in rows)
        lines.append(f"| {title} | {cells} | {100 * mean:.1f} +- {100 * (half or 0):.1f} |")
    mean, half = mean_and_ci95([row["continued"] - row["pilot"] for row in rows])
    lines.append(f"\nDifference, paired by seed: {100 * mean:+.1f} +- {100 * (half or 0):.1f} points.")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
