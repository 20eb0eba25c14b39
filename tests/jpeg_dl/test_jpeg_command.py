"""The command of a run folder repeats its run."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from toolkit.cli import run as run_command
from toolkit.foundation.errors import UsageError
from toolkit.jpeg_dl import foreground
from toolkit.jpeg_dl.config import make_jpeg_config
from toolkit.jpeg_dl.request import JPEGRequest


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"size": 32, "lr": 0.05, "start": "plain", "freeze": True, "variants": ("plain", "jpeg", "ste")},
        {"held_out": True, "init": "quality=50", "rate_weight": 0.1, "variants": ("plain", "jpeg"), "codec": "png"},
    ],
)
def test_the_command_parses_to_the_same_configuration(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, object]
) -> None:
    asked: list[object] = []

    def run_seeds(config: object, seeds: list[int], runs_dir: Path, progress: object) -> dict[str, object]:
        asked.append((config, seeds))
        raise UsageError("far enough")

    monkeypatch.setattr(foreground, "run_jpeg", run_seeds)
    config = make_jpeg_config(dataset="demo", **values)
    assert run_command(shlex.split(JPEGRequest(config, 7).command())[1:]) == 2
    assert asked == [(config, [7])]
