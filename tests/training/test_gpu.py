"""The same loop on a CUDA device; ``pytest -m gpu``."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from toolkit.learning.methods import build_method
from toolkit.learning.methods.base import Stage, StageData
from toolkit.pilots.config import make_pilot_config
from toolkit.pilots.foreground import run_pilot
from toolkit.training.augment import crop_flip
from toolkit.training.backbones import build_backbone
from toolkit.training.batches import Pool, ReplayBatches
from toolkit.training.device import resolve_device
from toolkit.training.loop import Recipe, train

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
    config = make_pilot_config(
        dataset="demo", initial=5, increment=5, codec="raw", budget="4img", steps=20, device="cuda"
    )
    result = run_pilot(config, 0, tmp_path)
    assert result["network"] == "resnet32"
    assert result["last_accuracy"] > 0.1
    assert resolve_device("auto").type == "cuda"


@pytest.mark.parametrize("method", ["replay", "icarl", "bic", "wa", "podnet", "der", "foster", "memo", "er-ace"])
def test_a_graphed_step_trains_like_an_eager_one(method: str) -> None:
    """The second stage of every method with a loss of its own (DER++ needs stored logits), in float32."""
    pool, old = (
        Pool(
            torch.randint(0, 256, (64, 32, 32, 3), dtype=torch.uint8, device="cuda", generator=seeded("cuda")),
            torch.arange(64, device="cuda") % 4 + first,
        )
        for first in (4, 0)
    )
    trained = []
    for graphs in (False, True):
        torch.manual_seed(0)
        learner = build_method(method)
        network = learner.build(lambda: build_backbone("resnet8"), 4, (0.5,) * 3, (0.25,) * 3).cuda()
        stage = Stage(1, 4, 8)
        network = learner.begin(network, stage).cuda()
        phase = learner.phases(network, stage, StageData(pool, old, 0.5))[0]
        phase.prepare()
        recipe = Recipe(12, lr=0.01, mixed_precision=False, cuda_graphs=graphs)
        batches = ReplayBatches(phase.data.new, phase.data.memory, 16, seed=3)
        train(phase.network, batches, recipe, device=torch.device("cuda"), loss=phase.loss)
        trained.append({name: one.detach().clone() for name, one in phase.network.named_parameters()})
    for name, value in trained[0].items():
        torch.testing.assert_close(trained[1][name], value, rtol=1e-3, atol=1e-4, msg=name)


def seeded(device: str) -> torch.Generator:
    return torch.Generator(device).manual_seed(5)
