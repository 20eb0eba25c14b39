"""One small finished training shared by several tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jpeg_samples import small_config

from toolkit.jpeg_dl.foreground import run_jpeg
from toolkit.runs.folder import RunFolder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, dict[str, Any]]:
    """A run folder with every variant, also trained for rate, and its JSON."""
    config = small_config(rate_weight=0.05, bits=12, init="quality=50", alpha=0.05)
    folder: Path = tmp_path_factory.mktemp("jpeg-runs")
    result = run_jpeg(config, [0], folder)
    return RunFolder(folder / config.run_name(0)), result
