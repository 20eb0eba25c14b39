"""People browsing the app, many at once or beside a pilot. ``python tests/benchmarks/bench_app_load.py``.

A session speaks Streamlit's own protocol over its websocket, so no browser takes processor time: it opens one page
after the other on finished results and reads each for a while. First sixty sessions come at the same moment and browse;
server and sessions share two cores. Then the same pilot runs with nobody there and with twenty sessions, in turn.
Counted are pages that failed or showed an exception, the time from asking for a page until all of it was sent, and how
much slower the pilot was.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import websockets
from reporting import save, table
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

ROOT = Path(__file__).parents[2]
PAGES = ("data", "probe", "images", "pilot", "tradeoff", "jpeg", "cost")
SESSIONS = 20
CROWD = 60
CROWD_SECONDS = 150.0
CORES = 2
ALLOWED_SECONDS = 10.0
"""For the slowest page of the crowd."""
READING_SECONDS = 20.0
"""Between two pages of a session, on average."""
ROUNDS = 3
PILOT = """
import sys, json, tempfile
from pathlib import Path
from toolkit.foundation.threads import set_threads
from toolkit.pilots.config import make_pilot_config
from toolkit.pilots.foreground import run_pilot
set_threads(0)
config = make_pilot_config(dataset="demo", size=32, initial=2, increment=2, codec="jpeg:quality=50", budget="20img",
                     steps=int(sys.argv[1]))
with tempfile.TemporaryDirectory() as folder:
    result = run_pilot(config, 0, Path(folder))
print(json.dumps(result["seconds"]))
"""


class Session:
    """One tab: asks for pages and takes in what is sent."""

    def __init__(self, url: str, rng: random.Random, first: float = READING_SECONDS) -> None:
        self.url = url
        self.first = first
        self.rng = rng
        self.seconds: list[float] = []
        self.errors: list[str] = []

    async def browse(self, stop: asyncio.Event) -> None:
        """Open page after page until ``stop``."""
        pages = itertools.cycle(self.rng.sample(PAGES, len(PAGES)))
        await asyncio.sleep(self.rng.uniform(0, self.first))
        spoken: Any = ["streamlit"]
        async with websockets.connect(self.url, subprotocols=spoken, max_size=None, open_timeout=120) as channel:
            while not stop.is_set():
                page = next(pages)
                try:
                    self.seconds.append(await asyncio.wait_for(self._open(channel, page), 120))
                except Exception as error:
                    self.errors.append(f"{page}: {type(error).__name__}: {error}")
                try:
                    await asyncio.wait_for(stop.wait(), self.rng.uniform(0.5, 1.5) * READING_SECONDS)
                except TimeoutError:
                    continue

    async def _open(self, channel: Any, page: str) -> float:
        asked = BackMsg()
        asked.rerun_script.query_string = "dataset=demo&size=32"
        asked.rerun_script.page_name = page
        start = time.perf_counter()
        await channel.send(asked.SerializeToString())
        while True:
            said = ForwardMsg.FromString(await channel.recv())
            kind = said.WhichOneof("type")
            if kind == "delta" and said.delta.new_element.WhichOneof("type") == "exception":
                self.errors.append(f"{page}: {said.delta.new_element.exception.message}")
            if kind == "script_finished":
                if said.script_finished != ForwardMsg.FINISHED_SUCCESSFULLY:
                    self.errors.append(f"{page}: finished with {said.script_finished}")
                return time.perf_counter() - start


def pilot_seconds(steps: int, environment: dict[str, str]) -> float:
    """One pilot in a process of its own; its own clock, without starting Python."""
    done = subprocess.run(
        [sys.executable, "-c", PILOT, str(steps)], env=environment, capture_output=True, text=True, check=True
    )
    return float(json.loads(done.stdout.splitlines()[-1]))


async def under_load(url: str, steps: int, environment: dict[str, str]) -> tuple[float, list[Session]]:
    """A pilot's seconds while the sessions browse."""
    stop = asyncio.Event()
    sessions = [Session(url, random.Random(seed)) for seed in range(SESSIONS)]
    browsing = [asyncio.create_task(session.browse(stop)) for session in sessions]
    await asyncio.sleep(2)
    seconds = await asyncio.to_thread(pilot_seconds, steps, environment)
    stop.set()
    await asyncio.gather(*browsing)
    return seconds, sessions


async def crowd(url: str) -> dict[str, Any]:
    """Sixty sessions that come at the same moment."""
    stop, load = asyncio.Event(), os.getloadavg()[0]
    sessions = [Session(url, random.Random(100 + seed), first=0.0) for seed in range(CROWD)]
    browsing = [asyncio.create_task(session.browse(stop)) for session in sessions]
    await asyncio.sleep(CROWD_SECONDS)
    stop.set()
    await asyncio.gather(*browsing)
    return {"sessions": CROWD, "cores": CORES, "seconds": CROWD_SECONDS, "load_before": load, **pages_of(sessions)}


def pages_of(sessions: list[Session]) -> dict[str, Any]:
    """What the sessions saw."""
    pages = [value for session in sessions for value in session.seconds]
    return {
        "pages": len(pages),
        "errors": [error for session in sessions for error in session.errors],
        "page_seconds_median": statistics.median(pages),
        "page_seconds_worst": max(pages),
        "first_page_seconds_median": statistics.median(session.seconds[0] for session in sessions if session.seconds),
    }


def bench_app_load(steps: int, rounds: int) -> dict[str, Any] | None:
    """The crowd, then rounds with nobody and with everybody there, in turn; None where there are no rounds."""
    sys.path.insert(0, str(ROOT / "tests"))
    from run_samples import finished_advice, finished_images, finished_training, pilot_config, pilot_folder

    with tempfile.TemporaryDirectory() as name, socket.socket() as probe:
        folder = Path(name)
        runs_dir = folder / "runs"
        runs_dir.mkdir()
        finished_advice(runs_dir)
        finished_images(runs_dir)
        finished_training(runs_dir)
        for codec, align in (("raw", "none"), ("jpeg:quality=50", "both")):
            pilot_folder(runs_dir, pilot_config(codec=codec, align=align), 0, 0.4)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        environment = os.environ | {"RECALLRATE_RUNS": str(runs_dir), "PYTHONPATH": str(ROOT)}
        server = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "streamlit",
                "run",
                "app.py",
                "--server.headless",
                "true",
                "--server.port",
                str(port),
            ],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}/_stcore/health")
            url = f"ws://127.0.0.1:{port}/_stcore/stream"
            many = asyncio.run(crowd(url))
            save("app-crowd", many)
            print(crowd_table(many), flush=True)
            if not rounds:
                return None
            pilot_seconds(1, environment)  # fills the caches
            alone, loaded, sessions = [], [], []
            for _ in range(rounds):
                alone.append(pilot_seconds(steps, environment))
                seconds, took_part = asyncio.run(under_load(url, steps, environment))
                loaded.append(seconds)
                sessions += took_part
        finally:
            server.terminate()
            server.wait()
    return {
        "sessions": SESSIONS,
        "reading_seconds": READING_SECONDS,
        "rounds": rounds,
        "steps_a_stage": steps,
        **pages_of(sessions),
        "pilot_alone": alone,
        "pilot_under_load": loaded,
        "slower": statistics.median(loaded) / statistics.median(alone),
    }


def crowd_table(many: dict[str, Any]) -> str:
    """The crowd's figures as text."""
    within = many["page_seconds_worst"] <= ALLOWED_SECONDS and not many["errors"]
    row = {
        "crowd": many["sessions"],
        "pages": many["pages"],
        "errors": len(many["errors"]),
        "page, median s": many["page_seconds_median"],
        "worst": many["page_seconds_worst"],
        "first page, median s": many["first_page_seconds_median"],
        f"none above {ALLOWED_SECONDS:g} s": within,
        "other load": many["load_before"],
    }
    return "\n".join([table([row]), *many["errors"][:10]])


def _wait_for(url: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"no server at {url}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="with pilots; 0 for the crowd alone")
    given = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # before anything starts: what is started inherits it
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    result = bench_app_load(given.steps, given.rounds)
    if result is None:
        return
    print(
        table(
            [
                {
                    "sessions": result["sessions"],
                    "pages": result["pages"],
                    "errors": len(result["errors"]),
                    "page, median s": round(result["page_seconds_median"], 2),
                    "worst": round(result["page_seconds_worst"], 2),
                    "pilot alone, s": round(statistics.median(result["pilot_alone"]), 1),
                    "under load": round(statistics.median(result["pilot_under_load"]), 1),
                    "ratio": round(result["slower"], 3),
                }
            ]
        )
    )
    for error in result["errors"][:10]:
        print(error)
    save("app-load", result)


if __name__ == "__main__":
    main()
