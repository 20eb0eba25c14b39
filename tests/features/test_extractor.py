"""Feature extractors: names, training, caching and errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from toolkit.data.catalog import load_dataset
from toolkit.features import extractor as extractors
from toolkit.features.extractor import FeatureExtractor, build_extractor
from toolkit.foundation.errors import UsageError
from toolkit.training.backbones import build_backbone
from toolkit.training.networks import Classifier
from toolkit.training.weights import save_network

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def demo():  # type: ignore[no-untyped-def]
    return load_dataset("demo", 16)


def test_stage0_knows_only_the_first_stages_classes(demo, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    seen: list[set[int]] = []
    real = extractors.Pool

    def spy(images: torch.Tensor, labels: torch.Tensor) -> extractors.Pool:
        for image in images[::50].numpy():
            matches = (demo.train.images == image).all(axis=(1, 2, 3))
            seen.append({int(label) for label in demo.train.labels[matches]})
        return real(images, labels)

    monkeypatch.setattr(extractors, "Pool", spy)
    extractor = build_extractor(
        "stage0", demo, device=CPU, class_order=[3, 1, 4, 0, 2, 5, 6, 7, 8, 9], initial=3, steps=2
    )
    assert set.union(*seen) == {3, 1, 4}
    assert extractor(demo.test.images[:7]).shape == (7, 64)


def test_a_trained_extractor_is_kept_and_the_same_the_second_time(demo, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    first = build_extractor("self", demo, device=CPU, steps=3, seed=5)(demo.test.images[:5])

    def fail(*args: object, **kwargs: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(extractors, "train", fail)
    torch.testing.assert_close(build_extractor("self", demo, device=CPU, steps=3, seed=5)(demo.test.images[:5]), first)


def test_features_do_not_depend_on_the_batch(demo) -> None:  # type: ignore[no-untyped-def]
    extractor = build_extractor("self", demo, device=CPU, steps=3, seed=5)
    whole, parts = extractor(demo.test.images[:9]), extractor(demo.test.images[:9], batch_size=2)
    torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-5)


def test_a_named_layer_is_pooled_over_space(demo, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    network = Classifier(build_backbone("resnet8"), 2)
    save_network(network, "resnet8", tmp_path / "n.pt")
    extractor = build_extractor(f"checkpoint:{tmp_path / 'n.pt'}", demo, device=CPU, layer="backbone.stage1")
    assert extractor(demo.test.images[:3]).shape == (3, 16)
    pixels = torch.from_numpy(np.ascontiguousarray(demo.test.images[:3])).permute(0, 3, 1, 2)
    backbone = extractor.network.backbone
    normal = (pixels.float() - extractor.network.mean) / extractor.network.std
    with torch.inference_mode():
        expected = backbone.stage1(torch.relu(backbone.bn1(backbone.conv1(normal)))).mean(dim=(2, 3))
    torch.testing.assert_close(extractor(demo.test.images[:3]), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(UsageError, match=r"no layer 'nowhere'.*backbone"):
        build_extractor(f"checkpoint:{tmp_path / 'n.pt'}", demo, device=CPU, layer="nowhere")


def test_the_penultimate_layer_is_what_the_head_sees(demo, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    network = Classifier(build_backbone("resnet8"), 2)
    save_network(network, "resnet8", tmp_path / "n.pt")
    extractor = build_extractor(f"checkpoint:{tmp_path / 'n.pt'}", demo, device=CPU)
    pixels = torch.from_numpy(np.ascontiguousarray(demo.test.images[:4])).permute(0, 3, 1, 2)
    with torch.inference_mode():
        logits = extractor.network(pixels)
        torch.testing.assert_close(
            extractor.network.head(extractor(demo.test.images[:4])), logits, rtol=1e-4, atol=1e-4
        )


def test_auto_is_the_pretrained_network_from_96_pixels_on(demo) -> None:  # type: ignore[no-untyped-def]
    small = build_extractor("auto", demo, device=CPU, steps=2)
    assert (small.name, small.architecture) == ("stage0", "resnet8")
    assert small.weights == "trained here on 2 classes"
    large = build_extractor("auto", load_dataset("demo", 96), device=CPU)
    assert (large.name, large.architecture) == ("timm:tf_efficientnet_lite0", "timm:tf_efficientnet_lite0")
    assert large(np.zeros((2, 96, 96, 3), np.uint8)).shape == (2, 1280)


def test_a_network_that_does_not_take_the_images_is_refused(demo) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match="does not take images of 16 pixels"):
        build_extractor("timm:vit_tiny_patch16_224,pretrained=no", demo, device=CPU)


@pytest.mark.parametrize("spec", ["best", "timm:", "checkpoint:", "checkpoint:/no/such/file.pt", "timm:no_such_net"])
def test_unknown_extractors_are_refused(demo, spec: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError):
        build_extractor(spec, demo, device=CPU)


@pytest.mark.parametrize(
    "images",
    [np.zeros((0, 16, 16, 3), np.uint8), np.zeros((2, 16, 16, 3), np.float32), np.zeros((16, 16, 3), np.uint8)],
)
def test_images_of_another_shape_or_type_are_refused(images: np.ndarray) -> None:
    extractor = FeatureExtractor("x", Classifier(build_backbone("resnet8"), 2), CPU)
    with pytest.raises(UsageError, match=r"images must be uint8 \(N, H, W, 3\) with N > 0, got (uint8|float32) \("):
        extractor(images)


class Pair(nn.Module):
    """Gives two tensors, as some layers do."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x


class Forked(nn.Module):
    num_features = 3

    def __init__(self) -> None:
        super().__init__()
        self.fork = Pair()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fork(x)[0].mean((2, 3))


def test_a_layer_that_does_not_return_a_tensor_is_refused_in_one_line() -> None:
    extractor = FeatureExtractor("x", Classifier(Forked(), 2), CPU, layer="backbone.fork")
    with pytest.raises(UsageError, match=r"layer backbone\.fork returns a tuple, not a tensor: choose one inside it"):
        extractor(np.zeros((2, 16, 16, 3), np.uint8))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_features_of_a_cast_network_are_float32(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    network = Classifier(build_backbone("resnet8"), 2)
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    expected = FeatureExtractor("x", network, CPU)(images)
    found = FeatureExtractor("x", network.to(dtype), CPU)(images)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02)
