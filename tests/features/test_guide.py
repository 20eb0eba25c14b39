"""A network as a guide for encoders: features, and class-activation boxes."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from toolkit.codecs.guide import give_guide
from toolkit.codecs.spec import parse_codec
from toolkit.data.catalog import load_dataset
from toolkit.features.extractor import FeatureExtractor, build_extractor
from toolkit.features.guide import NetworkGuide, spatial_maps, tight_boxes
from toolkit.foundation.errors import UsageError
from toolkit.memory.store import ExemplarMemory
from toolkit.pilots.config import make_pilot_config
from toolkit.pilots.data import PilotData
from toolkit.production.build import build_memory
from toolkit.production.build_sharded import build_sharded_memory
from toolkit.training.backbones import build_backbone
from toolkit.training.networks import Classifier

CPU = torch.device("cpu")


class Colours(nn.Module):
    """A backbone whose maps are the colours of cells of 4 x 4 pixels."""

    num_features = 3

    def feature_maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [nn.functional.avg_pool2d(images, 4)]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.feature_maps(images)[-1].mean(dim=(2, 3))


def colours(classes: tuple[int, ...] | None = None, layer: str | None = None) -> FeatureExtractor:
    network = Classifier(Colours(), len(classes or (0,)), (0.0,) * 3, (1 / 255,) * 3)
    return FeatureExtractor("colours", network, CPU, layer, classes)


def patch(colour: int, top: int, left: int, side: int = 8, size: int = 32) -> np.ndarray:
    """Grey with a square of one colour; uint8 (size, size, 3)."""
    image = np.full((size, size, 3), 60, np.uint8)
    image[top : top + side, left : left + side, colour] = 250
    return image


IMAGES = np.stack([patch(label, 4 * label, 8) for label in (0, 1, 2) for _ in range(4)])
LABELS = np.repeat([5, 7, 9], 4)


def by_hand(height: int, width: int, box: tuple[int, int, int, int]) -> torch.Tensor:
    activation = torch.zeros(1, height, width)
    activation[:, box[0] : box[2], box[1] : box[3]] = 3.0
    return activation


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (2, 3, 5, 4), (0, 0, 8, 8), (7, 7, 8, 8), (3, 0, 4, 8)])
def test_a_map_as_large_as_the_image_gives_its_box_exactly(box: tuple[int, int, int, int]) -> None:
    assert tight_boxes(by_hand(8, 8, box), 0.6, 8, 8).tolist() == [list(box)]
    assert tight_boxes(-5 + 0.001 * by_hand(8, 8, box), 0.6, 8, 8).tolist() == [list(box)], "scale does not matter"


def test_a_box_contains_all_values_above_the_threshold() -> None:
    activation = torch.tensor([[[0.0, 0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]]])
    assert tight_boxes(activation, 0.6, 3, 4).tolist() == [[1, 3, 2, 4]]
    assert tight_boxes(activation, 0.5, 3, 4).tolist() == [[0, 1, 2, 4]]


def test_maps_are_enlarged_bilinearly() -> None:
    """One bright cell of 4 x 4 in an image of 16 x 16: along its row, pixel values by hand are 0, 1/8, 3/8, ..."""
    edge = np.interp(np.arange(16), [1.5, 5.5, 9.5], [0, 1, 0])
    surface = np.outer(edge, edge) / np.outer(edge, edge).max()
    inside = np.argwhere(surface >= 0.6)
    expected = [*inside.min(axis=0), *(inside.max(axis=0) + 1)]
    assert tight_boxes(by_hand(4, 4, (1, 1, 2, 2)), 0.6, 16, 16).tolist() == [expected]


def test_a_constant_map_is_the_whole_image() -> None:
    assert tight_boxes(torch.full((2, 4, 4), 3.0), 0.6, 20, 24).tolist() == [[0, 0, 20, 24]] * 2


def test_the_box_is_where_the_labelled_class_is_active() -> None:
    """Each image has two squares; which one is in the box depends on the label alone."""
    both = np.maximum(patch(0, 0, 0), patch(1, 24, 24))
    for label, inside, outside in ((5, 0, 31), (7, 31, 0)):
        guide = NetworkGuide(colours(), np.concatenate([IMAGES, both[None]]), np.append(LABELS, label))
        top, left, bottom, right = guide.boxes(both[None], 0.6)[0]
        assert top <= inside < bottom
        assert left <= inside < right
        assert not top <= outside < bottom
        assert bottom - top <= 12
        assert right - left <= 12


def test_an_unknown_image_is_assigned_the_nearest_class() -> None:
    guide = NetworkGuide(colours(), IMAGES, LABELS)
    box = guide.boxes(patch(2, 20, 4)[None], 0.6)[0]
    assert box[0] <= 20 < 28 <= box[2] <= 30
    assert box[1] <= 4 < 12 <= box[3] <= 14


def test_classes_outside_the_reference_are_never_assigned() -> None:
    guide = NetworkGuide(colours(), IMAGES, LABELS, reference=[5, 7])
    assert guide.boxes(IMAGES[8:9], 0.6)[0][0] == pytest.approx(8, abs=2), "labelled: its own class"
    unknown = np.maximum(patch(2, 20, 4), patch(0, 4, 20, side=4))
    top, _, bottom, _ = guide.boxes(unknown[None], 0.6)[0]
    assert top < 8
    assert bottom < 20, "not the blue square, but the red one"


def test_later_classes_change_nothing_for_others() -> None:
    before = NetworkGuide(colours(), IMAGES[:8], LABELS[:8], reference=[5, 7])
    after = NetworkGuide(colours(), IMAGES, LABELS, reference=[5, 7])
    images = np.concatenate([IMAGES[:8], patch(1, 3, 3)[None], patch(2, 9, 9)[None]])
    assert np.array_equal(before.boxes(images, 0.5), after.boxes(images, 0.5))
    assert np.array_equal(before.features(images), after.features(images))


def test_a_head_that_knows_the_class_makes_the_map() -> None:
    extractor = colours(classes=(5, 7, 9))
    with torch.no_grad():
        extractor.network.head.weight.copy_(torch.tensor([[0.0, 0, 1], [0, 1, 0], [1, 0, 0]]))
    both = np.maximum(patch(0, 0, 0), patch(2, 24, 24))
    guide = NetworkGuide(extractor, np.concatenate([IMAGES, both[None]]), np.append(LABELS, 5))
    assert guide.boxes(both[None], 0.6)[0][0] > 20, "this head finds class 5 in blue"


def test_a_squared_difference_of_features_is_a_relative_fmse() -> None:
    extractor = colours()
    guide = NetworkGuide(extractor, IMAGES, LABELS)
    assert np.square(guide.features(IMAGES)).mean() == pytest.approx(1, rel=1e-5)
    plain = extractor(IMAGES).numpy()
    np.testing.assert_allclose(guide.features(IMAGES), plain / np.sqrt(np.square(plain).mean()), rtol=1e-5)


def test_the_digest_distinguishes_networks_images_labels_and_references() -> None:
    extractor, other = colours(), colours()
    with torch.no_grad():
        other.network.head.bias += 1
    digests = [
        NetworkGuide(extractor, IMAGES, LABELS).digest,
        NetworkGuide(other, IMAGES, LABELS).digest,
        NetworkGuide(extractor, IMAGES, LABELS, [5, 7]).digest,
        NetworkGuide(extractor, IMAGES, LABELS[::-1]).digest,
        NetworkGuide(extractor, IMAGES[:8], LABELS[:8], [5, 7]).digest,
    ]
    assert len(set(digests)) == 5
    assert NetworkGuide(extractor, IMAGES, LABELS).digest == digests[0]


@pytest.mark.parametrize("make", [colours, lambda: colours(layer="backbone")])
def test_many_threads_get_the_results_of_one(make: Callable[[], FeatureExtractor]) -> None:
    guide = NetworkGuide(make(), IMAGES, LABELS)
    work = [IMAGES[start : start + 4] for start in range(9)] * 6
    alone = [(guide.features(images), guide.boxes(images, 0.6)) for images in work]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda images: (guide.features(images), guide.boxes(images, 0.6)), work))
    for (features, boxes), (others, same) in zip(alone, together, strict=True):
        assert np.array_equal(features, others)
        assert np.array_equal(boxes, same)


@pytest.mark.parametrize("name", ["resnet8", "timm:resnet18", "timm:mobilenetv2_050"])
def test_the_maps_mean_is_the_networks_feature(name: str) -> None:
    network = Classifier(build_backbone(name), 2).eval()
    images = torch.from_numpy(IMAGES).permute(0, 3, 1, 2)
    with torch.inference_mode():
        maps = spatial_maps(network, images)
        torch.testing.assert_close(maps.mean(dim=(2, 3)), network.features(images), rtol=1e-4, atol=1e-5)


def test_networks_without_maps_and_maps_of_one_pixel_are_refused() -> None:
    transformer = FeatureExtractor("vit", Classifier(build_backbone("timm:vit_tiny_patch16_224"), 1), CPU)
    with pytest.raises(UsageError, match="no feature maps before its pooling"):
        spatial_maps(transformer.network, torch.zeros(1, 3, 224, 224))
    deep = FeatureExtractor("deep", Classifier(build_backbone("timm:resnet18"), 1), CPU)
    with pytest.raises(UsageError, match="1 x 1 for images of 32 pixels"):
        NetworkGuide(deep, IMAGES, LABELS).boxes(IMAGES[:1], 0.6)


def test_a_memory_is_built_with_guided_codecs_and_opens_without_a_network(tmp_path) -> None:  # type: ignore[no-untyped-def]
    for number, codec in enumerate(("foreground|jpeg:quality=60", "adaptive:fmse=0.01")):
        path = tmp_path / f"{number}.recall"
        facts = build_memory("demo", path, codec=codec, budget="2img", size=16, selection="random", extractor="random")
        assert facts["memory_bytes"] <= facts["budget_bytes"]
        with ExemplarMemory(path) as memory:
            payloads, _, damaged = memory.all_payloads()
            assert not damaged
            assert memory.codec.decode(payloads).shape == (len(memory), 16, 16, 3)
    with pytest.raises(UsageError, match="a sharded memory cannot use adaptive"):
        build_sharded_memory("demo", tmp_path / "shards", codec="adaptive", budget="2img")
    assert not (tmp_path / "shards").exists()


def test_a_pilot_is_guided_by_its_first_stage_and_each_class_order_has_its_own_images() -> None:
    dataset = load_dataset("demo", 16)
    config = make_pilot_config(
        dataset="demo",
        size=16,
        initial=4,
        increment=2,
        codec="foreground:threshold=0.8|jpeg",
        budget="4img",
        extractor="random",
        device="cpu",
    )
    one, same, other = (PilotData.load(config, dataset, seed) for seed in (0, 0, 1))
    assert one.coded_train.stream.filename == same.coded_train.stream.filename  # type: ignore[attr-defined]
    assert one.coded_train.stream.filename != other.coded_train.stream.filename  # type: ignore[attr-defined]
    assert one.codec.guide._reference == sorted(one.scenario.stages[0])  # type: ignore[attr-defined]


def test_a_pilot_fits_its_codec_on_images_of_its_first_stage() -> None:
    dataset = load_dataset("demo", 16)
    config = make_pilot_config(
        dataset="demo",
        size=16,
        initial=4,
        increment=2,
        codec="adaptive:value=1",
        budget="4img",
        extractor="random",
        device="cpu",
    )
    data = PilotData.load(config, dataset, 0)
    (first,) = np.nonzero(np.isin(dataset.train.labels, data.scenario.stages[0]))
    by_hand = parse_codec("adaptive:value=1")
    give_guide([by_hand], lambda: data.codec.guide)  # type: ignore[attr-defined]
    by_hand.fit(dataset.train.images[first[:: math.ceil(len(first) / 64)]])
    assert by_hand.shared_state() == data.codec.shared_state()


def test_demo_boxes_and_features_go_through_both_codecs() -> None:
    dataset = load_dataset("demo", 32)
    extractor = build_extractor("stage0", dataset, device=CPU, steps=2)
    guide = NetworkGuide(extractor, dataset.train.images[:200], dataset.train.labels[:200])
    images = np.asarray(dataset.test.images[:6])
    for spec in ("foreground|jpeg:quality=60", "adaptive:slope=0.0001", "downscale:factor=2|foreground|png"):
        codec = parse_codec(spec)
        give_guide([codec], lambda: guide)
        assert codec.decode(codec.encode(images)).shape == images.shape
