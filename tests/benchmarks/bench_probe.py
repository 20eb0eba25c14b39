"""The 20-setting probe on 1,000 images at 32 px. ``python tests/benchmarks/bench_probe.py``."""

from __future__ import annotations

import sys

from reporting import benchmark_spec, save, table

from toolkit.codecs.spec import expand_grid
from toolkit.data.catalog import load_dataset
from toolkit.features.extractor import build_extractor
from toolkit.foundation.threads import thread_count
from toolkit.probe.table import probe_codecs
from toolkit.training.device import resolve_device

GRID = (
    "raw;png;jpeg:quality={10,30,50,75,90};webp:quality={10,30,50,75};avif:quality={20,40,60};"
    "jxl:quality={30,60,80};jpeg2000:psnr={27,31,35}"
)


def bench_probe(images: int = 1000) -> dict[str, object]:
    """Seconds of the whole grid, of the codec work on all cores, and of the network work, all of one run."""
    dataset = load_dataset(benchmark_spec(), 32)
    extractor = build_extractor("stage0", dataset, device=resolve_device("auto"))
    codecs = expand_grid(GRID)
    result = probe_codecs(dataset, codecs, budget=245_924, extractor=extractor, images=images)
    codec_seconds = result["codec_cpu_seconds"] / thread_count()
    return {
        "settings": len(codecs),
        "images": images,
        "threads": thread_count(),
        "seconds": result["seconds"],
        "codec_seconds": codec_seconds,
        "network_seconds": result["network_seconds"],
        "ratio": result["seconds"] / max(codec_seconds, result["network_seconds"]),
    }


def main() -> int:
    result = bench_probe()
    print(table([result]))
    save("probe", result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
