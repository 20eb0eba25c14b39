"""Recall Rate: how hard can you compress the images a continually learning model remembers?

The public names load on first use, so that ``import toolkit`` costs neither torch nor streamlit.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "load_dataset": "toolkit.data.catalog",
    "ImageDataset": "toolkit.data.dataset",
    "Scenario": "toolkit.data.scenario",
    "parse_codec": "toolkit.codecs.spec",
    "expand_grid": "toolkit.codecs.spec",
    "JPEGLayer": "toolkit.jpeg.layer",
    "prepend": "toolkit.jpeg.layer",
    "standard_tables": "toolkit.jpeg.tables",
    "ExemplarMemory": "toolkit.memory.store",
    "build_extractor": "toolkit.features.extractor",
    "probe_codecs": "toolkit.probe.sweep",
    "AdviceRequest": "toolkit.probe.request",
    "run_advice": "toolkit.probe.request",
    "PilotConfig": "toolkit.pilots.config",
    "run_pilot": "toolkit.pilots.pilot",
    "run_seeds": "toolkit.pilots.pilot",
    "load_bundle": "toolkit.bundle.folder",
    "herding_order": "toolkit.memory.selection",
    "Pool": "toolkit.training.batches",
    "ReplayBatches": "toolkit.training.batches",
    "Recipe": "toolkit.training.loop",
    "train": "toolkit.training.loop",
    "predict": "toolkit.training.loop",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'toolkit' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
