"""Advice on 1,000 images and 20 settings at 32 px, beside its probe. ``python tests/benchmarks/bench_advice.py``."""

from __future__ import annotations

import sys
import time

from bench_probe import GRID
from reporting import benchmark_spec, save, table

from toolkit.advice.gather import gather
from toolkit.advice.recommend import advise
from toolkit.codecs.spec import expand_grid
from toolkit.data.catalog import load_dataset
from toolkit.data.dataset import validation_view
from toolkit.features.extractor import build_extractor
from toolkit.foundation.threads import thread_count
from toolkit.training.device import resolve_device


def bench_advice(images: int = 1000) -> dict[str, object]:
    """Seconds of the probe, of all that advice adds to it, and of the slowest rule, all of one run."""
    view = validation_view(load_dataset(benchmark_spec(), 32))
    extractor = build_extractor("stage0", view, device=resolve_device("auto"))
    codecs = expand_grid(GRID)
    started = time.perf_counter()
    probe, evidence = gather(view, codecs, budget=245_924, extractor=extractor, images=images)
    middle = time.perf_counter()
    result = advise(probe, evidence)
    ended = time.perf_counter()
    slowest = max(result["rules"], key=lambda row: row["seconds"])
    return {
        "settings": len(codecs),
        "images": images,
        "threads": thread_count(),
        "seconds": ended - started,
        "probe_seconds": probe["seconds"],
        "advice_seconds": ended - middle,
        "share_beyond_the_probe": (ended - started - probe["seconds"]) / probe["seconds"],
        "slowest_rule": slowest["rule"],
        "slowest_rule_seconds": slowest["seconds"],
    }


def main() -> int:
    result = bench_advice()
    print(table([result]))
    save("advice", result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
