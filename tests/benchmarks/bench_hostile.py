"""What hostile streams, states, files and grids cost. ``python tests/benchmarks/bench_hostile.py``.

10,000 damaged streams and states of every codec, then bombs: inputs of a few bytes that ask for gigabytes or minutes.
All of it runs in a process of its own (``tests/codecs/hostile.py``), whose peak memory counts from when everything is
built. Each must end in pixels or in one line.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from reporting import save, table

SCRIPT = Path(__file__).parents[1] / "codecs" / "hostile.py"


def bench_hostile(streams: int) -> dict[str, Any]:
    """Peak in MiB above the start, the slowest in seconds, and how often each outcome was met."""
    done = subprocess.run([sys.executable, str(SCRIPT), str(streams)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main() -> int:
    result = bench_hostile(10_000)
    rows = [
        {"inputs": kind, "refused": found.get("refused", 0), "decoded": found.get("decoded", 0)}
        for kind, found in result["outcomes"].items()
    ]
    print(table(rows))
    print(f"unexpected: {', '.join(result['unexpected']) or 'none'}")
    print(f"\npeak {result['peak_mb_above_the_start']} MiB above the start; the slowest:\n{table(result['slowest'])}")
    save("hostile", result)
    return int(bool(result["unexpected"]))


if __name__ == "__main__":
    sys.exit(main())
