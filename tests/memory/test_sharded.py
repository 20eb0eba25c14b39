"""Sharded memories: building, resuming, reading, damage and refused requests."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolkit.codecs.encoders import encoder_versions
from toolkit.data.catalog import load_dataset
from toolkit.data.images import content_digest
from toolkit.foundation.errors import UsageError, WorkError
from toolkit.memory.disk import PAGE_BYTES, fixed_bytes
from toolkit.memory.export import export_files
from toolkit.memory.sharded import ShardedMemory, open_memory
from toolkit.memory.store import ExemplarMemory
from toolkit.memory.streaming import shard_of
from toolkit.memory.views import ExemplarDataset
from toolkit.production import build_sharded
from toolkit.production.build_sharded import build_sharded_memory

SHARDS = 3
REQUEST: dict[str, Any] = {
    "codec": "jpeg:quality=50",
    "budget": "100kB",
    "size": 16,
    "selection": "random",
    "workers": 1,
    "shards": SHARDS,
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "memory"
    build_sharded_memory("demo", out, **REQUEST)
    return out


@pytest.fixture
def copied(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "memory"))


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


def edit_manifest(out: Path, **changes: Any) -> None:
    manifest = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps({**manifest, **changes}))


def kill_after(monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    """Stop the next build before a stage, as a kill would."""

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(build_sharded, stage, killed)


# -- building ----------------------------------------------------------------------------------------------------


def test_a_folder_holds_the_shards_and_the_manifest_and_nothing_else(built: Path) -> None:
    assert sorted(contents(built)) == ["manifest.json", *(f"shard-{number:03d}.recall" for number in range(SHARDS))]


def test_the_budget_is_kept_over_all_files_each_charged_for_its_own_header(built: Path) -> None:
    used = allowed = contents = 0
    for path in built.glob("*.recall"):
        with ExemplarMemory(path) as shard:
            assert shard.nbytes == path.stat().st_size <= shard.budget
            assert shard.codec.shared_bytes() > 0
            used, allowed = used + shard.nbytes, allowed + shard.budget
            contents += shard.content_bytes
    with ShardedMemory(built) as memory:
        assert memory.nbytes == used <= allowed <= memory.budget == 100_000
        assert used > 0.88 * 100_000  # three files, each with pages that every class begins
        assert memory.content_bytes == contents < used
        assert memory.summary()["shared_bytes"] == SHARDS * memory.codec.shared_bytes()


def test_every_exemplar_is_a_training_image_in_the_shard_of_its_pixels(built: Path, tmp_path: Path) -> None:
    out = tmp_path / "lossless"
    build_sharded_memory("demo", out, **{**REQUEST, "codec": "png", "budget": "400kB"})
    train = load_dataset("demo", 16).train
    labels = {content_digest(image): int(label) for image, label in zip(train.images, train.labels, strict=True)}
    for number in range(SHARDS):
        with ExemplarMemory(out / f"shard-{number:03d}.recall") as shard:
            for label in shard.class_counts:
                for digest in map(content_digest, shard.decode(label)):
                    assert labels[digest] == label
                    assert shard_of(digest, SHARDS) == number


def test_the_selection_depends_on_the_number_of_shards_only_through_their_headers(tmp_path: Path) -> None:
    kept = {}
    for shards in (1, 4):
        request = {**REQUEST, "codec": "raw", "budget": "600kB", "shards": shards}
        build_sharded_memory("demo", tmp_path / str(shards), **request)
        with ShardedMemory(tmp_path / str(shards)) as memory:
            kept[shards] = {label: memory.payloads(label)[0] for label in memory.class_counts}
    lost = sum(map(len, kept[1].values())) - sum(map(len, kept[4].values()))
    # three more empty files with a shared header, and for each class three more packs that end within a page
    assert 0 < lost <= 3 * (fixed_bytes(shared=4) + 10 * 1.1 * PAGE_BYTES) / (3 * 16 * 16)
    for label, payloads in kept[1].items():
        common = min(len(payloads), len(kept[4][label]))
        assert common >= 60
        assert payloads[:common] == kept[4][label][:common]


@pytest.mark.slow
def test_two_processes_make_the_same_bytes_as_one(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_sharded_memory("demo", tmp_path / "memory", **{**REQUEST, "workers": 2})
    assert contents(tmp_path / "memory") == contents(built)


def test_herding_and_random_selection_differ(tmp_path: Path) -> None:
    for selection in ("herding", "random"):
        request = {**REQUEST, "selection": selection, "extractor": "stage0", "seed": 3}
        facts = build_sharded_memory("demo", tmp_path / selection, **request)
        assert facts["selection"]["images"] == 1600
        assert facts["selection"]["extractor"] == ("stage0" if selection == "herding" else None)
    assert contents(tmp_path / "herding") != contents(tmp_path / "random")


# -- resuming ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["_encode_parts", "_choose", "_write_shards", "_finish"])
def test_a_killed_build_resumes_to_the_same_bytes(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    out = tmp_path / "memory"
    with monkeypatch.context() as patch:
        kill_after(patch, stage)
        with pytest.raises(KeyboardInterrupt):
            build_sharded_memory("demo", out, **REQUEST)
    assert not (out / "manifest.json").exists()
    build_sharded_memory("demo", out, **REQUEST)
    assert contents(out) == contents(built)


def test_finished_parts_and_shards_are_kept_and_a_lost_one_is_made_again(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "memory"
    with monkeypatch.context() as patch:
        kill_after(patch, "_finish")
        with pytest.raises(KeyboardInterrupt):
            build_sharded_memory("demo", out, **REQUEST)
    (out / "shard-001.recall").unlink()
    (out / "shard-002.recall").write_bytes(b"half")
    kept = {path.name: path.stat().st_ino for path in (*out.glob("*.recall"), *out.glob(".build/parts/*"))}
    with monkeypatch.context() as patch:
        kill_after(patch, "_finish")
        with pytest.raises(KeyboardInterrupt):
            build_sharded_memory("demo", out, **REQUEST)
    again = {path.name: path.stat().st_ino for path in (*out.glob("*.recall"), *out.glob(".build/parts/*"))}
    assert {name for name in kept if again[name] == kept[name]} == {"shard-000.recall", "000000.npz"}
    build_sharded_memory("demo", out, **REQUEST)
    assert contents(out) == contents(built)


def test_another_request_does_not_go_on_with_an_unfinished_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        kill_after(patch, "_choose")
        with pytest.raises(KeyboardInterrupt):
            build_sharded_memory("demo", tmp_path / "memory", **REQUEST)
    with pytest.raises(UsageError, match="unfinished build with budget '100kB', not '250kB'"):
        build_sharded_memory("demo", tmp_path / "memory", **{**REQUEST, "budget": "250kB"})


# -- reading -------------------------------------------------------------------------------------------------------


def test_it_reads_like_one_memory_in_selection_order(built: Path, tmp_path: Path) -> None:
    with ShardedMemory(built / "manifest.json") as memory:
        images, labels, damaged = memory.decode_all()
        assert (len(images), damaged) == (len(memory), [])
        assert np.bincount(labels).tolist() == list(memory.class_counts.values())
        np.testing.assert_array_equal(images[labels == 4], memory.decode(4))
        payloads, _ = memory.payloads(4)
        assert [memory.payload(4, rank) for rank in range(len(payloads))] == payloads
        with pytest.raises(IndexError, match="no exemplar of rank"):
            memory.payload(4, len(payloads))
        assert memory.verify() == []
        assert export_files(memory, tmp_path / "files") == (len(memory), [])
        dataset = ExemplarDataset(memory)
        assert (len(dataset), dataset[len(memory) - 1][1]) == (len(memory), 9)
    assert memory.class_names[0] == "disc-rising"


def test_a_damaged_exemplar_is_named_and_left_out(copied: Path) -> None:
    with ShardedMemory(copied) as memory:
        victim = memory.payload(2, 1)
        before = memory.payloads(2)[0]
        shard = copied / f"shard-{int(memory.manifest.order[2][2:4], 16):03d}.recall"
    data = bytearray(shard.read_bytes())
    data[data.index(victim[-30:]) + 5] ^= 0x40
    shard.write_bytes(data)
    with ShardedMemory(copied) as memory:
        found = memory.verify()
        assert [(item.label, item.rank) for item in found] == [(2, 1)]
        assert shard.name in found[0].reason
        with pytest.warns(UserWarning, match="damaged"):
            intact, left_out = memory.payloads(2)
    assert intact == before[:1] + before[2:]
    assert [(item.label, item.rank) for item in left_out] == [(2, 1)]


def test_missing_swapped_and_corrupted_shards_are_reported(copied: Path) -> None:
    shards = sorted(copied.glob("*.recall"))
    saved = shards[0].read_bytes()
    shards[0].write_bytes(shards[1].read_bytes())
    with ShardedMemory(copied) as memory, pytest.raises(WorkError, match=r"shard-000\.recall does not match"):
        memory.verify()
    shards[0].write_bytes(saved[:100] + b"ruined" * 1000)
    with ShardedMemory(copied) as memory, pytest.raises(WorkError, match=r"shard-000\.recall"):
        memory.verify()
    shards[0].unlink()
    with ShardedMemory(copied) as memory, pytest.raises(WorkError, match=r"shard-000\.recall is missing"):
        memory.decode_all()


def test_a_manifest_of_format_1_is_read(copied: Path) -> None:
    """It has the shards' contents as ``memory_bytes``, and no encoders."""
    with ShardedMemory(copied) as memory:
        contents, images = memory.content_bytes, memory.decode_all()[0]
        assert memory.summary()["encoders"] == [encoder_versions()]
    manifest = json.loads((copied / "manifest.json").read_text())
    del manifest["encoders"]
    for shard in manifest["shards"]:
        shard["memory_bytes"] = shard.pop("content_bytes")
    (copied / "manifest.json").write_text(json.dumps({**manifest, "format": 1}))
    with ShardedMemory(copied) as memory:
        assert memory.summary()["encoders"] == []
        assert memory.content_bytes == contents
        assert memory.verify() == []
        np.testing.assert_array_equal(memory.decode_all()[0], images)


def test_a_newer_or_damaged_manifest_is_refused(copied: Path) -> None:
    edit_manifest(copied, format=3)
    with pytest.raises(WorkError, match="newer version of Recall Rate"):
        open_memory(copied)
    edit_manifest(copied, format=1, shards=3)
    with pytest.raises(WorkError, match="not a memory's manifest: shards"):
        open_memory(copied)
    (copied / "manifest.json").write_text("{")
    with pytest.raises(WorkError, match="not valid JSON"):
        open_memory(copied)
    with pytest.raises(UsageError, match="expected a memory file, a manifest"):
        open_memory(copied.parent)


def test_a_manifest_that_contradicts_itself_or_names_other_places_is_refused_in_one_line(copied: Path) -> None:
    manifest = json.loads((copied / "manifest.json").read_text())
    first, *others = manifest["shards"]
    wrong: list[dict[str, Any]] = [
        {"order": {**manifest["order"], "0": "zz"}},
        {"order": {**manifest["order"], "0": "ff" * (len(manifest["order"]["0"]) // 2)}},
        {"order": {**manifest["order"], "0": manifest["order"]["0"][2:]}},
        {"shards": [{**first, "file": "../shard-000.recall"}, *others]},
        {"shards": [{**first, "classes": {"0": -1}}, *others]},
        {"size": 0},
        {"budget_bytes": "much"},
    ]
    for change in wrong:
        edit_manifest(copied, **{**manifest, **change})
        with pytest.raises(WorkError, match="not a memory's manifest") as caught:
            open_memory(copied)
        assert "\n" not in str(caught.value)
    (copied / "manifest.json").write_bytes(b"\xff\xfe")
    with pytest.raises(WorkError, match="not UTF-8 text"):
        open_memory(copied)


# -- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"budget": "900"}, r"cannot hold one exemplar of each of 10 classes in 3 shards: about \d+ bytes are needed"),
        ({"shards": 257}, "shards must be 1..256, got 257"),
        ({"backend": "slurm"}, "unknown backend 'slurm': choose one of local, ray"),
        ({"selection": "best"}, "herding, random"),
        ({"address": "head:6379"}, "an address requires --backend ray"),
        ({"workers": -1}, "workers must be 0"),
    ],
)
def test_bad_requests_leave_nothing_behind(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        build_sharded_memory("demo", tmp_path / "memory", **{**REQUEST, **change})
    assert list(tmp_path.iterdir()) == []


def test_nonempty_folders_and_remote_paths_are_refused(built: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exists: choose another folder"):
        build_sharded_memory("demo", built, **REQUEST)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError, match="contains other files"):
        build_sharded_memory("demo", tmp_path, **REQUEST)
    for spec, out in (("s3://bucket/images", tmp_path / "memory"), ("demo", Path("gs://bucket/memory"))):
        with pytest.raises(UsageError, match="is not a folder; mount the storage"):
            build_sharded_memory(spec, out, **REQUEST)


def test_several_ranks_of_torchrun_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UsageError, match="torchrun with 4 ranks"):
        build_sharded_memory("demo", tmp_path / "memory", **REQUEST)


def test_unreadable_files_are_counted_and_a_class_without_any_image_is_named(tmp_path: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for label in "abc":
        for index in range(5):
            path = tmp_path / "data" / "train" / label / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
            (tmp_path / "data" / "test" / label).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, tmp_path / "data" / "test" / label)
    (tmp_path / "data/train/a/1.png").write_bytes(b"")
    shutil.copy(tmp_path / "data/train/a/2.png", tmp_path / "data/train/a/3.png")
    facts = build_sharded_memory(str(tmp_path / "data"), tmp_path / "m", **{**REQUEST, "codec": "raw"})
    assert (facts["selection"]["images"], facts["selection"]["unreadable"]) == (14, 1)
    assert facts["classes"] == {"0": 3, "1": 5, "2": 5}  # the repeated image is kept once
    for path in (tmp_path / "data/train/b").iterdir():
        path.write_bytes(b"")
    with pytest.raises(WorkError, match="no training image of b can be read"):
        build_sharded_memory(str(tmp_path / "data"), tmp_path / "n", **{**REQUEST, "codec": "raw"})
