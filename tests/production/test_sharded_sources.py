"""Sharded builds of a folder with links, pipes and unreadable files, and their reports."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from toolkit.data.catalog import load_dataset
from toolkit.data.images import content_digest, framed_array
from toolkit.data.spec import with_splits
from toolkit.foundation.errors import UsageError
from toolkit.memory.sharded import ShardedMemory
from toolkit.production import build_sharded
from toolkit.production.build import build_memory
from toolkit.production.build_sharded import build_sharded_memory

REQUEST: dict[str, Any] = {"codec": "png", "budget": "1MB", "size": 16, "selection": "random"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of six images, one of them a link, and beside the images what is none."""
    rng = np.random.default_rng(0)
    root = tmp_path / "images"
    for name in ("train/ant", "train/bee", "test/ant", "test/bee"):
        (root / name).mkdir(parents=True)
        for index in range(6):
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(root / name / f"{index}.png")
    (root / "train/bee").rename(tmp_path / "bee")
    (root / "train/bee").symlink_to(tmp_path / "bee")
    os.mkfifo(root / "train/ant/pipe.png")
    (root / "train/ant/gone.png").symlink_to(tmp_path / "nowhere")
    (root / "train/ant/text.png").write_text("no image")
    Image.fromarray(np.arange(0, 4096, 16, dtype=np.uint16).reshape(16, 16)).save(tmp_path / "bee/wide.png")
    return root


LEFT_OUT = {
    "train/ant/gone.png": "a broken link",
    "train/ant/pipe.png": "neither a file nor a folder",
    "train/ant/text.png": "not an image in a known format",
}
NOTES = ["1 image: 16-bit samples: their range was guessed to be 12 bits"]


def test_a_sharded_build_reads_the_images_of_the_catalog_and_reports_the_rest(folder: Path, tmp_path: Path) -> None:
    facts = build_sharded_memory(str(folder), tmp_path / "memory", **REQUEST, shards=2, workers=1)
    assert {one["file"]: one["reason"] for one in facts["quarantine"]} == LEFT_OUT
    assert facts["notes"] == NOTES
    assert facts["classes"] == {"0": 6, "1": 7}
    train = load_dataset(str(folder), 16).train
    with ShardedMemory(tmp_path / "memory") as memory:
        kept = [set(map(content_digest, memory.decode(label))) for label in (0, 1)]
        assert memory.manifest.selection.unreadable == 1
    assert kept == [{content_digest(image) for image in train.images[train.labels == label]} for label in (0, 1)]


def test_a_plain_build_reports_the_same(folder: Path, tmp_path: Path) -> None:
    facts = build_memory(str(folder), tmp_path / "memory.recall", **REQUEST)
    assert {one["file"]: one["reason"] for one in facts["quarantine"]} == LEFT_OUT
    assert facts["notes"] == NOTES


def test_a_resumed_build_reports_the_findings_of_its_first_half(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = with_splits(str(folder), "train", "test")

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(build_sharded, "_choose", killed)
        with pytest.raises(KeyboardInterrupt):
            build_sharded_memory(spec, tmp_path / "memory", **REQUEST, shards=2, workers=1)
    facts = build_sharded_memory(spec, tmp_path / "memory", **REQUEST, shards=2, workers=1)
    assert {one["file"]: one["reason"] for one in facts["quarantine"]} == LEFT_OUT
    assert facts["notes"] == NOTES


@pytest.mark.parametrize("archive", [False, True])
def test_whole_images_are_kept_in_shards(folder: Path, tmp_path: Path, archive: bool) -> None:
    where = folder
    if archive:
        train = load_dataset(str(folder), 16).train
        where = tmp_path / "images.npz"
        first = np.unique(train.labels, return_index=True)[1]
        arrays = {"train_images": train.images, "train_labels": train.labels, "test_images": train.images[first]}
        np.savez(where, **arrays, test_labels=train.labels[first])
    choices = REQUEST | {"size": "8x12", "codec": "store:side=16|png"}
    build_sharded_memory(str(where), tmp_path / "memory", **choices, shards=2, workers=1)
    expected = load_dataset(str(folder), 16).train
    with ShardedMemory(tmp_path / "memory") as memory:
        assert memory.size == (8, 12)
        for label in (0, 1):
            wholes = memory.codec.decode_whole([one.payload for one in memory.intact(label)[0]])  # type: ignore[attr-defined]
            sources = expected.images[expected.labels == label]
            assert set(map(content_digest, wholes)) == set(map(content_digest, sources))
            crops = {content_digest(framed_array(image, "8x12")) for image in sources}
            assert set(map(content_digest, memory.decode(label))) == crops
    refused = {"original": "needs the sources of the images", "store:side=9|png": "its side must be at least 12"}
    for codec, reason in refused.items():
        with pytest.raises(UsageError, match=reason):
            build_sharded_memory(str(where), tmp_path / codec[:5], **choices | {"codec": codec}, shards=2, workers=1)
