"""The app's server as a process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[1]


class Server:
    """``streamlit run app.py``; ``environment`` may be changed before the start."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.runs_dir = folder / "runs"
        self.environment = os.environ | {
            "RECALLRATE_CACHE": str(folder / "cache"),
            "RECALLRATE_RUNS": str(self.runs_dir),
            "PYTHONPATH": str(ROOT),
        }
        self.cwd = ROOT
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, address: str = "127.0.0.1") -> None:
        """Start it and wait until it listens."""
        streamlit = ["streamlit", "run", "app.py", "--server.headless", "true", "--server.maxUploadSize", "200"]
        self.launch(*streamlit, "--server.port", str(self.port), "--server.address", address)

    def launch(self, module: str, *arguments: str) -> None:
        """Start a Python module that serves the app, and wait until it listens."""
        command = [sys.executable, "-m", module, *arguments]
        self.process = subprocess.Popen(
            command,
            cwd=self.cwd,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        said = b""
        while b"URL:" not in said:
            line = self.process.stdout.readline()
            assert line, said.decode()
            said += line
        self.reader = threading.Thread(
            target=self.process.stdout.read, daemon=True
        )  # so that the pipe does not fill up
        self.reader.start()
        urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=60).close()

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)  # the server is a child of `recallrate app`
            self.process.wait()
            self.reader.join()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None
