"""Recall Rate: how hard can you compress the images a continually learning model remembers?

The public names load on first use, so that ``import toolkit`` costs neither torch nor streamlit.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {  # where each name is; its type stands in __init__.pyi
    "load_dataset": "toolkit.data.catalog",
    "ImageDataset": "toolkit.data.dataset",
    "Scenario": "toolkit.data.scenario",
    "parse_codec": "toolkit.codecs.spec",
    "expand_grid": "toolkit.codecs.spec",
    "JPEGLayer": "toolkit.jpeg.layer",
    "prepend": "toolkit.jpeg.layer",
    "standard_tables": "toolkit.jpeg.tables",
    "ExemplarMemory": "toolkit.memory.store",
    "ReplayMemory": "toolkit.memory.replay",
    "build_extractor": "toolkit.features.extractor",
    "probe_codecs": "toolkit.probe.table",
    "AdviceRequest": "toolkit.advice.request",
    "run_advice": "toolkit.advice.request",
    "PilotConfig": "toolkit.pilots.config",
    "run_pilot": "toolkit.pilots.foreground",
    "run_seeds": "toolkit.pilots.foreground",
    "budget_bytes": "toolkit.memory.budget",
    "fmse": "toolkit.features.distortion",
    "relative_fmse": "toolkit.features.distortion",
    "linear_cka": "toolkit.features.distortion",
    "psnr": "toolkit.features.distortion",
    "calibration": "toolkit.advice.calibration",
    "JPEGConfig": "toolkit.jpeg_dl.config",
    "run_jpeg": "toolkit.jpeg_dl.foreground",
    "RunFolder": "toolkit.runs.folder",
    "find_runs": "toolkit.runs.find",
    "gather_study": "toolkit.report.facts",
    "write_report": "toolkit.report.contents",
    "pdf_of": "toolkit.report.pdf",
    "export_bundle": "toolkit.production.bundle",
    "load_bundle": "toolkit.production.bundle",
    "StudyChoices": "toolkit.study.plan",
    "run_study": "toolkit.study.foreground",
    "Monitor": "toolkit.production.monitor",
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
