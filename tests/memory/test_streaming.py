"""Streaming selection against selection over all images at once, and its bounded memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from toolkit.data.catalog import load_dataset
from toolkit.data.images import content_digest
from toolkit.memory.selection import herding_order, normalised
from toolkit.memory.streaming import Candidate, HashReservoir, StreamingHerding, shard_of


def digests(count: int) -> list[bytes]:
    return [index.to_bytes(16, "big") for index in range(count)]


def streamed(features: np.ndarray, candidates: int, seed: int = 0, batch: int = 64) -> StreamingHerding:
    herding = StreamingHerding(candidates, seed)
    names = digests(len(features))
    for start in range(0, len(features), batch):
        part = slice(start, start + batch)
        herding.update(names[part], names[part], features[part])
    return herding


def picked(herding: StreamingHerding, count: int, selection: str = "herding") -> list[int]:
    return [int.from_bytes(candidate.digest, "big") for candidate in herding.chosen(count, selection)]


def simple_features(images: np.ndarray) -> np.ndarray:
    """Coarse colours and edges, centred: float (N, 384)."""
    pixels = np.asarray(images).astype(np.float64) / 255
    blocks = (len(pixels), 8, 4, 8, 4, 3)
    edges = np.abs(np.diff(pixels, axis=2, append=pixels[:, :, -1:]))
    parts = [values.reshape(blocks).mean(axis=(2, 4)).reshape(len(pixels), -1) for values in (pixels, 3 * edges)]
    return np.concatenate([part - part.mean(axis=0) for part in parts], axis=1)


def test_it_herds_almost_as_well_as_with_all_images_and_much_better_than_random(real_data: Path) -> None:
    train = load_dataset(str(real_data / "tiny-imagenet-20"), 32).train
    features = normalised(simple_features(train.images))
    distances: dict[str, list[float]] = {"exact": [], "streaming": [], "random": []}
    for members in (np.flatnonzero(train.labels == label) for label in range(20)):
        own = features[members]
        herding = streamed(own, candidates=8 * 20)
        choices = {
            "exact": herding_order(own, 20),
            "streaming": np.array(picked(herding, 20)),
            "random": np.array(picked(herding, 20, "random")),
        }
        for name, chosen in choices.items():
            distances[name].append(float(np.linalg.norm(own[chosen].mean(axis=0) - own.mean(axis=0))))
    exact, streaming, random = (float(np.mean(values)) for values in distances.values())
    assert streaming <= 1.2 * exact
    assert random >= 2 * streaming


def test_with_capacity_for_all_images_it_is_exact_herding() -> None:
    features = np.random.default_rng(1).normal(0.3, 1, (60, 9)).astype(np.float32)
    np.testing.assert_allclose(streamed(features, 60).mean, normalised(features).mean(axis=0), atol=1e-9)
    assert picked(streamed(features, 60), 20) == herding_order(features, 20).tolist()


@pytest.mark.parametrize("images", [200, 5000])
def test_candidates_are_bounded_however_many_images_come(images: int) -> None:
    features = np.random.default_rng(2).normal(size=(images, 4)).astype(np.float32)
    herding = StreamingHerding(50)
    for name, feature in zip(digests(images), features, strict=True):
        herding.update([name], [name], feature[None])
        assert len(herding) <= 50
        assert len(herding.pool._worst_first) <= 50
    assert (herding.images, len(herding)) == (images, 50)


def test_parts_merge_in_any_order_into_what_one_pass_gives() -> None:
    features = np.random.default_rng(3).normal(size=(300, 5)).astype(np.float32)
    names = digests(300)
    parts = []
    for start in (200, 0, 100):
        part = StreamingHerding(40, seed=7)
        part.update(names[start : start + 100], names[start : start + 100], features[start : start + 100])
        parts.append(part)
    merged = StreamingHerding(40, seed=7)
    for part in parts:
        assert part.sums is not None
        merged.merge(part.images, part.sums, iter(part.pool))
    whole = streamed(features, 40, seed=7, batch=300)
    assert np.array_equal(merged.sums, whole.sums)  # type: ignore[arg-type]
    assert picked(merged, 15) == picked(whole, 15)
    assert picked(merged, 15, "random") == picked(whole, 15, "random")


def test_a_repeated_image_is_one_candidate_and_another_seed_draws_others() -> None:
    features = np.ones((3, 2), np.float32)
    herding = StreamingHerding(10)
    herding.update([b"a", b"b", b"a"], [b"1", b"2", b"1"], features)
    assert (len(herding), herding.images) == (2, 3)
    drawn = [picked(streamed(np.ones((500, 2), np.float32), 20, seed), 20, "random") for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_the_reservoir_is_a_uniform_sample() -> None:
    times = np.zeros(40)
    for seed in range(1000):
        reservoir = HashReservoir(10, seed)
        for name in digests(40):
            reservoir.add(Candidate(name, b"", np.empty(0)))
        times[[int.from_bytes(candidate.digest, "big") for candidate in reservoir]] += 1
    assert times.sum() == 10_000
    assert abs(times - 250).max() < 5 * (1000 * 0.25 * 0.75) ** 0.5  # five standard deviations of a binomial


def test_an_image_s_shard_depends_on_its_pixels_alone() -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert shard_of(content_digest(image), 7) == shard_of(content_digest(np.asfortranarray(image)), 7)
    others = {shard_of(content_digest(image + np.uint8(step)), 7) for step in range(100)}
    assert others == set(range(7))
