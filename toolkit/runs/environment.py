"""The facts about machine and libraries that belong beside a measurement."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import Any

from toolkit.foundation import parallel

_LIBRARIES = ("recallrate", "torch", "torchvision", "numpy", "pillow", "imagecodecs", "timm", "compressai")


def environment() -> dict[str, Any]:
    """Python, libraries, processor and threads; no host or user names."""
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": parallel.available_cores(),
        "threads": parallel.threads(),
        "libraries": versions,
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
        return names[0] if names else platform.processor()
    except OSError:
        return platform.processor() or os.name
