"""A training small enough for tests."""

from __future__ import annotations

from typing import Any

from toolkit.jpeg_dl.config import JPEGConfig, make_jpeg_config


def small_config(**choices: Any) -> JPEGConfig:
    common = {
        "dataset": "demo",
        "size": 16,
        "network": "resnet8",
        "steps": 8,
        "batch_size": 16,
        "device": "cpu",
        "checkpoint_every": 3,
        "table_lr": 0.05,
    }
    return make_jpeg_config(**{**common, **choices})
