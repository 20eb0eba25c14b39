"""Hostile streams and bombs in a process of their own: ``python tests/codecs/hostile.py STREAMS`` prints JSON.

STREAMS damaged payloads, with every codec in turn, then all of :mod:`bombs`. Each must give pixels or one of the two
errors in one line. Memory counts from when all of it is built and every codec has decoded something.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from bombs import SIZE, Bomb, bombs, coded, decode
from neural_samples import model_file, own_streams_model

from toolkit.foundation.errors import UsageError, WorkError

SPECS = (
    "raw",
    "png",
    "webp:lossless=yes",
    "webp:quality=50",
    "jpeg:quality=50",
    "avif:quality=40,speed=10",
    "jxl:quality=60,effort=3",
    "jpeg2000:psnr=31",
    "downscale:factor=2|jpeg:quality=50",
    "cp:rank=6",
    "adaptive",
    "foreground|jpeg:quality=50",
    "neural:model=small,quality=1",
    "png:shared=no",
    "webp:quality=50,shared=no",
    "jpeg:quality=50,shared=no",
    "avif:quality=40,speed=10,shared=no",
    "jxl:quality=60,effort=3,shared=no",
    "jpeg2000:psnr=31,shared=no",
)


def mutations(payloads: Sequence[bytes], count: int, seed: int = 5) -> Iterator[bytes]:
    """Payloads with a flipped byte, cut off, with a stretch replaced, or with another patch count."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        damaged = bytearray(payloads[number % len(payloads)])
        at = int(rng.integers(len(damaged)))
        match number // len(payloads) % 4:
            case 0:
                damaged[at] ^= int(rng.integers(1, 256))
            case 1:
                del damaged[at:]
            case 2:
                damaged[at : at + int(rng.integers(12))] = rng.bytes(int(rng.integers(12)))
            case 3:
                damaged[0] = int(rng.integers(256))
        yield bytes(damaged)


def streams(folder: Path, count: int) -> Iterator[tuple[str, Bomb]]:
    """Damaged payloads and, one in four, damaged states; with the size that a memory knows and without."""
    specs = [*SPECS, f"neural:checkpoint={model_file(folder, 'hyperprior', seed=1)}"]
    for number, spec in enumerate(specs):
        state, payloads = coded(spec)
        share = count // len(specs) + (number < count % len(specs))
        states = mutations([state or b"\0"], share, seed=number)
        for index, damaged in enumerate(mutations(payloads, share, seed=number)):
            size = SIZE if index % 2 else None
            if index % 4 == 3:
                yield spec, _attempt(spec, next(states), payloads[:1], size)
            else:
                yield spec, _attempt(spec, state, [damaged], size)


def _attempt(spec: str, state: bytes, payloads: list[bytes], size: tuple[int, int] | None) -> Bomb:
    return lambda: decode(spec, state, payloads, size)


def outcome(attempt: Callable[[], object]) -> str:
    """``decoded``, ``refused`` in one line, or what else was raised."""
    try:
        attempt()
    except (UsageError, WorkError) as error:
        text = str(error)
        return "refused" if "\n" not in text and len(text) < 600 else "refused in too many words"
    except Exception as error:
        return type(error).__name__
    return "decoded"


def run(count: int) -> dict[str, Any]:
    """Peak memory above the start in MiB, outcomes, and the slowest of them in seconds."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepared = bombs(folder)
        own = own_streams_model(folder)
        for spec in (*SPECS, f"neural:checkpoint={own}"):
            decode(spec, *coded(spec, count=1), SIZE)
        attempts = [("streams", spec, attempt) for spec, attempt in streams(folder, count)]
        attempts += [("bombs", bomb, attempt) for bomb, attempt in prepared.items()]
        start = _reset_peak()
        outcomes: dict[str, Counter[str]] = {"streams": Counter(), "bombs": Counter()}
        unexpected, slowest, seen = [], [], start
        for kind, what, attempt in attempts:
            clock = time.perf_counter()
            found = outcome(attempt)
            seconds = time.perf_counter() - clock
            seen, before = max(seen, _peak()), seen
            outcomes[kind][found] += 1
            grown = round((seen - before) / 2**20, 1)
            slowest.append({"what": what, "seconds": round(seconds, 4), "raised_the_peak_by_mb": grown})
            if found not in ("refused", "decoded"):
                unexpected.append(f"{what}: {found}")
    slowest.sort(key=lambda one: -one["seconds"])
    return {
        "peak_mb_above_the_start": round((_peak() - start) / 2**20, 1),
        "slowest_seconds": slowest[0]["seconds"],
        "slowest": slowest[:5],
        "outcomes": {kind: dict(found) for kind, found in outcomes.items()},
        "unexpected": unexpected,
    }


def _reset_peak() -> int:
    """Bytes resident now, from where the peak counts again."""
    Path("/proc/self/clear_refs").write_text("5")
    return psutil.Process().memory_info().rss


def _peak() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]))))
