"""The replay memory: which images it keeps of a stream, what it draws, and what it refuses."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from memory_samples import pictures
from PIL import Image
from torch.utils.data import DataLoader

from toolkit.foundation.errors import UsageError
from toolkit.memory import replay
from toolkit.memory.replay import ReplayMemory
from toolkit.memory.store import ExemplarMemory

LABELS = np.array(([0] * 6 + [1] * 3 + [2]) * 60)
IMAGES = pictures(len(LABELS), seed=5)


def key_of(image: np.ndarray, seed: int = 0) -> int:
    content = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
    return int.from_bytes(hashlib.blake2b(content, key=seed.to_bytes(8, "little"), digest_size=4).digest(), "little")


def filled(path: Path, *, batch: int = 32, order: np.ndarray | None = None, **options: Any) -> ReplayMemory:
    """A memory of raw images after the whole stream."""
    memory = ReplayMemory(path, 120_000, "raw", **options)
    order = np.arange(len(LABELS)) if order is None else order
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        memory.add(IMAGES[part], LABELS[part])
    memory.commit()
    return memory


def kept(memory: ReplayMemory) -> dict[int, list[bytes]]:
    images, labels, _ = memory.memory.decode_all()
    return {label: [image.tobytes() for image in images[labels == label]] for label in sorted(set(labels.tolist()))}


@pytest.mark.parametrize("batch", [7, 64, 600])
def test_balanced_keeps_the_smallest_keys_of_every_class(tmp_path: Path, batch: int) -> None:
    with filled(tmp_path / "m.recall", batch=batch) as memory:
        assert memory.memory.path.stat().st_size <= 120_000
        counts = memory.class_counts
        assert max(counts.values()) - min(counts.values()) <= 1
        for label, found in kept(memory).items():
            ranked = sorted((key_of(image), image.tobytes()) for image in IMAGES[label == LABELS])
            assert found == [content for _, content in ranked[: len(found)]]


def test_a_reservoir_keeps_the_smallest_keys_of_the_stream(tmp_path: Path) -> None:
    with filled(tmp_path / "m.recall", policy="reservoir") as memory:
        assert memory.memory.path.stat().st_size <= 120_000
        ranked = sorted((key_of(image), label, image.tobytes()) for image, label in zip(IMAGES, LABELS, strict=True))
        expected = ranked[: len(memory)]
        assert kept(memory) == {label: [one for _, own, one in expected if own == label] for label in (0, 1, 2)}
        # 60 : 30 : 10 in the stream
        assert [memory.class_counts[label] / len(memory) for label in (0, 1, 2)] == pytest.approx(
            [0.6, 0.3, 0.1], abs=0.1
        )


@pytest.mark.parametrize("policy", replay.POLICIES)
def test_the_order_of_the_stream_hardly_matters(tmp_path: Path, policy: Any) -> None:
    by_class = np.argsort(LABELS, kind="stable")
    with (
        filled(tmp_path / "a.recall", policy=policy) as one,
        filled(tmp_path / "b.recall", policy=policy, order=by_class, batch=50) as other,
    ):
        for label, mine in kept(one).items():
            theirs = kept(other)[label]
            fewer = min(len(mine), len(theirs))
            assert fewer > 0.9 * max(len(mine), len(theirs))  # packs round differently
            assert mine[:fewer] == theirs[:fewer]


def test_images_that_cannot_stay_are_not_encoded(tmp_path: Path) -> None:
    with ReplayMemory(tmp_path / "m.recall", 60_000, "raw", policy="reservoir") as memory:
        taken = [memory.add(IMAGES[start : start + 50], LABELS[start : start + 50]) for start in range(0, 600, 50)]
        assert taken[0] == 50
        assert sum(taken[-4:]) < 0.5 * 200
        assert memory.add(IMAGES[:100], LABELS[:100]) == 0  # seen before, kept or not


def test_it_draws_different_images_with_their_labels(tmp_path: Path) -> None:
    by_content = {image.tobytes(): label for image, label in zip(IMAGES, LABELS.tolist(), strict=True)}
    draws = []
    for name in ("a", "b"):
        memory = ReplayMemory(tmp_path / f"{name}.recall", 120_000, "raw", seed=4)
        memory.add(IMAGES[:300], LABELS[:300])
        memory.add(IMAGES[300:330], LABELS[300:330])  # these wait
        images, labels = memory.sample(40)
        assert (images.shape, images.dtype, labels.dtype) == ((40, 3, 16, 16), torch.uint8, torch.int64)
        contents = [image.permute(1, 2, 0).numpy().tobytes() for image in images]
        assert len(set(contents)) == 40
        assert [by_content[content] for content in contents] == labels.tolist()
        everything, _ = memory.sample(10_000)
        assert len(everything) == len(memory) == sum(memory.class_counts.values())
        draws.append(images)
        memory.memory.close()
    assert torch.equal(draws[0], draws[1])


def test_decoded_images_are_kept_within_a_limit(tmp_path: Path) -> None:
    size = IMAGES[0].nbytes
    memory = filled(tmp_path / "m.recall", decoded_bytes=10 * size)
    for _ in range(5):
        memory.sample(30)
        assert len(memory._decoded) == 10
    memory.memory.close()


def test_a_data_loader_with_workers_reads_it(tmp_path: Path) -> None:
    with filled(tmp_path / "m.recall") as memory:
        loader = DataLoader(memory.dataset(), batch_size=16, num_workers=2)
        labels = torch.cat([batch for _, batch in loader])
        assert len(labels) == len(memory)
        assert torch.bincount(labels).tolist() == list(memory.class_counts.values())


def test_what_is_written_survives_and_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "m.recall"
    whole = filled(tmp_path / "whole.recall")
    memory = ReplayMemory(path, "120kB", "raw")
    memory.add(IMAGES[:300], LABELS[:300])  # written, since more than COMMIT_EVERY
    memory.add(IMAGES[300:340], LABELS[300:340])
    memory.memory.close()  # a kill: forty images had to wait
    with ReplayMemory(path) as again:
        assert again.summary()["commits"] == 1
        again.add(IMAGES[300:], LABELS[300:])
    with ReplayMemory(path) as again:
        for label, mine in kept(again).items():
            theirs = kept(whole)[label]
            fewer = min(len(mine), len(theirs))
            assert abs(len(mine) - len(theirs)) <= 2
            assert mine[:fewer] == theirs[:fewer]
    whole.memory.close()


def test_there_is_room_again_after_forgetting(tmp_path: Path) -> None:
    with filled(tmp_path / "m.recall") as memory:
        before = memory.class_counts[0]
        assert memory.forget(label=1) > 0
        memory.add(IMAGES, LABELS)
        memory.commit()
        assert 1 in memory.class_counts
        memory.forget(label=1)
        memory.add(IMAGES[LABELS == 0], LABELS[LABELS == 0])
        memory.commit()
        assert memory.class_counts[0] > before


def test_tensors_arrays_and_pil_images_are_alike(tmp_path: Path) -> None:
    tensor = torch.from_numpy(IMAGES[:20]).permute(0, 3, 1, 2)
    pils = [Image.fromarray(image) for image in IMAGES[:20]]
    found = []
    for number, images in enumerate((IMAGES[:20], tensor, pils)):
        with ReplayMemory(tmp_path / f"{number}.recall", 60_000, "png") as memory:
            memory.add(images, torch.from_numpy(LABELS[:20]))
            memory.commit()
            found.append(kept(memory))
    assert found[0] == found[1] == found[2]
    with ReplayMemory(tmp_path / "grey.recall", 60_000, "png") as memory:
        memory.add(tensor[:, :1], LABELS[:20])
        images, _ = memory.sample(20)
        assert torch.equal(images[:, 0], images[:, 2])
    with ReplayMemory(tmp_path / "empty.recall", 60_000, "png") as memory:
        assert memory.add([], []) == 0


@pytest.mark.parametrize(
    ("images", "labels", "problem"),
    [
        (torch.rand(2, 3, 16, 16), [0, 1], "images must be uint8, before normalisation, got float32"),
        (IMAGES[:2, :, :, :2], [0, 1], r"one or three channels, got \(2, 16, 16, 2\)"),
        (IMAGES[0], [0], "images must be a tensor"),
        (IMAGES[:2], [0], "2 images need as many labels, got 1"),
        (pictures(2, size=24), [0, 1], r"the memory holds images of \(height, width\) \(16, 16\), not \(24, 24\)"),
        ([Image.new("RGB", (16, 16)), Image.new("RGB", (16, 8))], [0, 1], "all images of a memory must have one size"),
        (IMAGES[:2], [0, -1], "a label must be a whole number of at least 0"),
    ],
)
def test_refused_images_are_one_line(tmp_path: Path, images: Any, labels: list[int], problem: str) -> None:
    with filled(tmp_path / "m.recall") as memory:
        before = kept(memory)
        with pytest.raises(UsageError, match=problem) as error:
            memory.add(images, labels)
        assert "\n" not in str(error.value)
        assert kept(memory) == before


def test_refused_memories_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="policy must be one of balanced, reservoir, got 'newest'"):
        ReplayMemory(tmp_path / "m.recall", 60_000, "raw", policy="newest")  # type: ignore[arg-type]
    for codec in ("adaptive:family=jpeg", "features:bits=4"):
        with pytest.raises(UsageError, match="its encoder runs a network"):
            ReplayMemory(tmp_path / f"{codec[:4]}.recall", 60_000, codec)
    with (
        ReplayMemory(tmp_path / "o.recall", 60_000, "original") as memory,
        pytest.raises(UsageError, match="needs the source files of a dataset"),
    ):
        memory.add(IMAGES[:2], [0, 1])
    memory = ReplayMemory(tmp_path / "small.recall", 9_000, "raw")
    memory.add(IMAGES[:10], np.arange(10))
    with pytest.raises(UsageError, match="cannot hold one exemplar of each of 10 classes"):
        memory.commit()
    memory.memory.close()
    with pytest.raises(UsageError, match="the memory is empty: add images before drawing from it"):
        ReplayMemory(tmp_path / "new.recall", 60_000, "raw").sample(3)
    with ExemplarMemory(tmp_path / "other.recall", 60_000, "raw") as other:
        other.add_images({0: IMAGES[:5]})
    with pytest.raises(UsageError, match="holds exemplars without keys: a replay memory continues only its own files"):
        ReplayMemory(tmp_path / "other.recall")


def test_changes_by_others_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "m.recall"
    with filled(path) as memory:
        memory.sample(10_000)
        with ExemplarMemory(path) as other:  # as another process would
            other.forget(label=1)
        images, labels = memory.sample(10_000)
        assert 1 not in labels.tolist()
        assert len(images) == len(memory)
        memory.add(IMAGES, LABELS)
        memory.commit()
        assert memory.class_counts[1] > 0
        assert memory.memory.forget(label=2) > 0
        assert 2 not in memory.sample(10_000)[1].tolist()
        with ExemplarMemory(path) as other:
            other.resize(60_000)
        assert len(memory) == len(ExemplarMemory(path))


def test_two_writers_lose_nothing_of_each_other(tmp_path: Path) -> None:
    path = tmp_path / "m.recall"
    with ReplayMemory(path, 700_000, "raw") as one, ReplayMemory(path) as other:
        for start in range(0, 200, 40):
            one.add(IMAGES[start : start + 30], LABELS[start : start + 30])
            other.add(IMAGES[start + 10 : start + 40], LABELS[start + 10 : start + 40])  # twenty of them alike
            one.commit()
            other.commit()
        assert len(one) == len(other) == len({image.tobytes() for image in IMAGES[:200]})
        assert one.memory.verify() == []


def test_images_of_two_sizes_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with ReplayMemory(tmp_path / "m.recall", 60_000, "png") as memory:
        memory.add(IMAGES[:4], LABELS[:4])
        with pytest.raises(UsageError, match="holds images of"):
            memory.add(pictures(4, size=24), LABELS[:4])
        assert memory.sample(8)[0].shape == (4, 3, 16, 16)


def test_a_batch_that_cannot_be_written_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "COMMIT_EVERY", 10)
    with ReplayMemory(tmp_path / "m.recall", 20_000, "raw") as memory:
        memory.add(IMAGES[:10], [0] * 10)
        with pytest.raises(UsageError, match="cannot hold one exemplar of each of"):
            memory.add(IMAGES[10:60], np.arange(50))
        assert list(memory.class_counts) == [0]
        memory.add(IMAGES[10:13], [1] * 3)
        assert memory.forget(label=1) == 3  # they only waited
        assert memory.forget(label=0) > 0
        assert len(memory) == 0
        with pytest.raises(UsageError, match="has no class 7"):
            memory.forget(label=7)


def test_decoded_images_are_kept_again_after_forgetting(tmp_path: Path) -> None:
    with filled(tmp_path / "m.recall", decoded_bytes=10 * IMAGES[0].nbytes) as memory:
        memory.sample(30)
        memory.forget(label=2)
        memory.sample(30)
        assert len(memory._decoded) == 10


def test_a_refused_codec_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "m.recall"
    with pytest.raises(UsageError):
        ReplayMemory(path, "1MiB", "features:bits=4")
    assert not path.exists()
    with ReplayMemory(path, "1MiB", "jpeg:quality=50") as memory:
        memory.add(IMAGES[:3], LABELS[:3])
