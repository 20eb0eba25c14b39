"""A whole replay pilot against an earlier commit. ``python tests/benchmarks/bench_pilot.py``.

Both versions run the same pilot on the demo set in processes of their own, in turn; ``--against COMMIT`` names the
other version, which is checked out into a temporary folder. Seconds are the pilot's own, without starting Python.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from reporting import save, table

ROOT = Path(__file__).parents[2]
EARLIER = "78094ad"
"""The last commit at which replay was the only method."""
ROUNDS = 3
PILOT = """
import json, sys, tempfile
from pathlib import Path
from toolkit.foundation.threads import set_threads
from toolkit.pilots.config import make_pilot_config
from toolkit.pilots.foreground import run_pilot
set_threads(int(sys.argv[1]))
values = json.loads(sys.argv[2])
config = make_pilot_config(
    dataset="demo", size=32, initial=2, increment=2, codec="jpeg:quality=50", budget="20img", **values
)
with tempfile.TemporaryDirectory() as folder:
    run_pilot(make_pilot_config(**{**config.model_dump(), "steps": 1}), 0, Path(folder))  # fills caches, warms up
    result = run_pilot(config, 0, Path(folder))
print(json.dumps({"seconds": result["seconds"]}))
"""


def run(tree: Path, threads: int, **values: Any) -> dict[str, Any]:
    """One pilot with the toolkit in ``tree``."""
    command = [sys.executable, "-c", PILOT, str(threads), json.dumps(values)]
    done = subprocess.run(
        command, cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def bench_pilot(against: str, steps: int, threads: int) -> dict[str, Any]:
    """Medians over rounds taken in turn, and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        earlier = Path(folder) / "earlier"
        subprocess.run(["git", "worktree", "add", "--detach", "--quiet", str(earlier), against], cwd=ROOT, check=True)
        try:
            pairs = [(run(ROOT, threads, steps=steps), run(earlier, threads, steps=steps)) for _ in range(ROUNDS)]
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(earlier)], cwd=ROOT, check=True)
    now, then = ([pair[side]["seconds"] for pair in pairs] for side in (0, 1))
    return {
        "against": against,
        "steps_a_stage": steps,
        "threads": threads,
        "rounds": ROUNDS,
        "seconds": statistics.median(now),
        "earlier_seconds": statistics.median(then),
        "ratio": statistics.median(a / b for a, b in zip(now, then, strict=True)),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", default=EARLIER)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    result = bench_pilot(arguments.against, arguments.steps, arguments.threads)
    print(table([result]))
    save("pilot-cpu", result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
