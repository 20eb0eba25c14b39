"""The same loop on a CUDA device; ``pytest -m gpu``."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from toolkit.pilots.config import make_config
from toolkit.pilots.pilot import run_pilot
from toolkit.training.augment import crop_flip
from toolkit.training.device import resolve_device

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def test_augmentation_draws_the_same_on_the_gpu_as_on_the_cpu() -> None:
    images = torch.randint(0, 256, (16, 32, 32, 3), dtype=torch.uint8)
    on_cpu = crop_flip(images, torch.Generator().manual_seed(1))
    on_gpu = crop_flip(images.cuda(), torch.Generator().manual_seed(1))
    assert torch.equal(on_gpu.cpu(), on_cpu)


def test_a_pilot_runs_on_the_gpu_with_its_default_network(tmp_path: Path) -> None:
    config = make_config(dataset="demo", initial=5, increment=5, codec="raw", budget="4img", steps=20, device="cuda")
    result = run_pilot(config, 0, tmp_path)
    assert result["network"] == "resnet32"
    assert result["last_accuracy"] > 0.1
    assert resolve_device("auto").type == "cuda"
