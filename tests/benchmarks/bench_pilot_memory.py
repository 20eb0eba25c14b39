"""A pilot's peak memory against what it works on. ``python tests/benchmarks/bench_pilot_memory.py``.

In a process of its own: the growth of its peak from when its libraries are loaded, against the bytes of the data (both
splits, original and coded), the network and the optimiser. Activations come on top; they grow with the batch, not with
the data.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from reporting import benchmark_spec, save, table

ROOT = Path(__file__).parents[2]
MEASURE = """
import json, sys, tempfile
from pathlib import Path
import psutil
from toolkit.codecs.coded import coded_images
from toolkit.codecs.spec import parse_codec
from toolkit.data.catalog import load_dataset
from toolkit.foundation.parallel import set_threads
from toolkit.pilots.config import make_config
from toolkit.pilots.pilot import run_pilot
from toolkit.runs.usage import peak_memory_bytes
from toolkit.training.networks import build_backbone
set_threads(2)
values = json.loads(sys.argv[1])
config = make_config(codec="jpeg:quality=50", align="both", budget="20img", initial=4, increment=4, steps=4, **values)
before = psutil.Process().memory_info().rss
with tempfile.TemporaryDirectory() as folder:
    result = run_pilot(config, 0, Path(folder))
dataset = load_dataset(config.dataset, config.size)
data = 2 * (dataset.train.images.nbytes + dataset.test.images.nbytes)
network = sum(one.nbytes for one in build_backbone(result["network"]).parameters())
print(json.dumps({"growth": peak_memory_bytes() - before, "data": data, "network_and_optimizer": 3 * network}))
"""


def bench_memory(size: int, batch_size: int) -> dict[str, Any]:
    """MiB, and the growth over what the pilot works on."""
    values = json.dumps({"dataset": benchmark_spec(), "size": size, "batch_size": batch_size})
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", MEASURE, values]
    for _ in range(2):  # the first one fills the cache of coded images
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    mib = {name: value / 2**20 for name, value in json.loads(done.stdout.splitlines()[-1]).items()}
    ratio = mib["growth"] / (mib["data"] + mib["network_and_optimizer"])
    return {"size": size, "batch_size": batch_size, **mib, "ratio": ratio}


def main() -> int:
    rows = [bench_memory(size, batch) for size, batch in ((32, 128), (64, 128), (64, 32))]
    print(table(rows))
    save("pilot-memory", {"rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
