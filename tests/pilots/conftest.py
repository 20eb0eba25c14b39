"""Shared by the tests of pilots."""

from __future__ import annotations

import pytest
import torch

from toolkit.training.backbones import build_backbone
from toolkit.training.networks import Classifier
from toolkit.training.weights import save_network


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small network as if it had been trained, so that pilots take seconds."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "n.pt"
    save_network(Classifier(build_backbone("resnet8"), 5, (0.4,) * 3, (0.3,) * 3), "resnet8", path)
    return f"checkpoint:{path}"
