"""The road's study: does compressing the replay memory pay on Tiny-ImageNet, at equal bytes and equal steps?

Twenty classes at 32 px in five stages of four, replay with a ResNet-8, 200 steps a stage, a memory of four raw
images a class in bytes; raw and png, and six lossy settings with and without alignment, three seeds each. Seeds also
draw the class order, the same for every setting. Takes about 45 minutes on two cores; stopped runs resume.

    python studies/road.py DATA/tiny-imagenet-20 --runs-dir RUNS
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from toolkit.foundation.files import default_runs_dir, write_json
from toolkit.pilots.config import make_config
from toolkit.pilots.environment import environment
from toolkit.pilots.pilot import run_seeds

SEEDS = (0, 1, 2)
LOSSLESS = ("raw", "png")
LOSSY = (
    "jpeg:quality=50", "jpeg:quality=20", "jpeg:quality=75",
    "webp:quality=50", "avif:quality=40", "jpeg2000:psnr=27",
)  # fmt: skip
RESULT = Path(__file__).parent / "results" / "road.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="the folder tiny-imagenet-20")
    parser.add_argument("--runs-dir", type=Path, default=default_runs_dir() / "road")
    parser.add_argument("--seeds", type=int, nargs="*", default=list(SEEDS))
    arguments = parser.parse_args()
    settings = [(codec, "none") for codec in LOSSLESS] + [(c, align) for c in LOSSY for align in ("both", "none")]
    for claim in (("raw", "none"), ("jpeg:quality=50", "both"), ("jpeg:quality=50", "none")):
        _pilot(arguments, *claim, arguments.seeds)
    for count in range(1, len(arguments.seeds) + 1):  # one seed of everything first: an early look at the whole
        pilots = [_pilot(arguments, codec, align, arguments.seeds[:count]) for codec, align in settings]
    command = "python studies/road.py DATA/tiny-imagenet-20"
    write_json(RESULT, {"command": command, "environment": environment(), "pilots": pilots})


def _pilot(arguments: argparse.Namespace, codec: str, align: str, seeds: list[int]) -> dict:
    config = make_config(
        dataset=arguments.dataset, size=32, initial=4, increment=4, codec=codec, budget="4img", align=align, steps=200
    )
    pilot = run_seeds(config, seeds, arguments.runs_dir)
    pilot["config"]["dataset"] = "tiny-imagenet-20"
    mean = pilot["mean"]
    print(
        f"{codec:20} {align:5} seeds {len(seeds)}  last {mean['last_accuracy']:.3f}  "
        f"average {mean['average_incremental_accuracy']:.3f}  {mean['exemplars_per_class']:.1f} a class",
        file=sys.stderr, flush=True,
    )  # fmt: skip
    return pilot


if __name__ == "__main__":
    main()
