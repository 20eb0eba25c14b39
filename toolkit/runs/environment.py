"""Facts about machine and libraries that are recorded with every measurement."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import psutil

import toolkit
from toolkit.foundation import threads
from toolkit.foundation.errors import UsageError
from toolkit.runs.contents import Attempt, GitState
from toolkit.runs.folder import RunFolder
from toolkit.runs.gpus import gpu_names

_LIBRARIES = ("recallrate", "torch", "torchvision", "numpy", "pillow", "imagecodecs", "timm", "compressai")


def environment() -> Attempt:
    """Python, libraries, the toolkit's commit, processor, memory, GPUs and threads; no host or user names."""
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    facts: Attempt = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": threads.available_cores(),
        "threads": threads.thread_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": gpu_names(),
        "libraries": versions,
    }
    state = git_state()
    return facts if state is None else {**facts, "git": state}


def attempt_facts(run: RunFolder, command: str) -> Attempt:
    """Contents of ``environment.json`` for the attempt that has just logged ``started``.

    Args:
        run: its folder.
        command: the command that reproduces it.
    """
    attempt = sum(event["event"] == "started" for event in run.events())
    return {**environment(), "attempt": attempt, "command": command, "sweeps": run.origin.get("sweeps", [])}


def require_one_rank() -> None:
    """Refuse to run as one of several ranks, because each would train and fill its own memory.

    Raises:
        UsageError: torchrun started several ranks.
    """
    ranks = os.environ.get("WORLD_SIZE", "1").strip()
    if ranks not in ("", "0", "1"):
        raise UsageError(
            f"started by torchrun with {ranks} ranks: each would select exemplars and fill its own memory, so the "
            "budget would be spent several times; start one process, and parallelise with a sweep's slots, --workers "
            "or --backend ray"
        )


@lru_cache(maxsize=1)
def git_state() -> GitState | None:
    """Commit of the toolkit's checkout and whether files have changed since; None if it is not a checkout."""
    root = Path(toolkit.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    try:
        commit, changes = (
            subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=10)
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit.stdout.strip(), "dirty": bool(changes.stdout.strip())}


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
        return names[0] if names else platform.processor()
    except OSError:
        return platform.processor() or os.name
