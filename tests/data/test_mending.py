"""Failures are not cached: repairs are noticed, and so is new damage to files that are read."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from data_samples import encoded, noise, pixels_of, pngs, write_files, write_zip

from toolkit.data import images, sources
from toolkit.data.catalog import load_dataset
from toolkit.foundation.errors import UsageError, WorkError

COUNTS = {"train/ant": 3, "train/bee": 3, "test/ant": 1, "test/bee": 1}


def _replace(path: Path, data: bytes) -> None:
    """New content with the same size and times."""
    before = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _damage_member(path: Path, name: str) -> None:
    """Invert the bits in the middle of a zip's member; its directory is unchanged."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(name)
    data = bytearray(path.read_bytes())
    start = info.header_offset + 30 + len(name)
    data[start + 50 : start + 90] = bytes(255 - byte for byte in data[start + 50 : start + 90])
    _replace(path, bytes(data))


def test_a_file_that_becomes_readable_leaves_quarantine(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = pngs(COUNTS)
    root = write_files(tmp_path / "set", files)
    read_bytes = Path.read_bytes

    def guarded(path: Path) -> bytes:
        if path.name == "2.png":
            raise PermissionError(13, "Permission denied", str(path))
        return read_bytes(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", guarded)
        for _ in range(2):
            refused = load_dataset(str(root), 16)
            assert [item.file for item in refused.quarantine] == ["train/ant/2.png", "train/bee/2.png"]
    mended = load_dataset(str(root), 16)
    assert (mended.quarantine, len(mended.train)) == ((), 6)
    assert mended.signature != refused.signature
    np.testing.assert_array_equal(mended.train.images[2], pixels_of(files["train/ant/2.png"]))
    with monkeypatch.context() as patch:  # read earlier: its cache entry is not a failure
        patch.setattr(Path, "read_bytes", guarded)
        assert load_dataset(str(root), 16).signature == mended.signature


def test_a_file_repaired_without_a_trace_leaves_quarantine(tmp_path: Path, cache: Path) -> None:
    whole = encoded(noise(9))
    root = write_files(tmp_path / "set", {**pngs(COUNTS), "train/ant/x.png": b"?" * len(whole)})
    assert [item.file for item in load_dataset(str(root), 16).quarantine] == ["train/ant/x.png"]
    _replace(root / "train/ant/x.png", whole)
    mended = load_dataset(str(root), 16)
    assert mended.quarantine == ()
    np.testing.assert_array_equal(mended.train.images[3], noise(9))


def test_a_file_damaged_in_another_way_has_a_new_reason(tmp_path: Path, cache: Path) -> None:
    root = write_files(tmp_path / "set", {**pngs(COUNTS), "train/ant/x.png": b"text"})
    assert load_dataset(str(root), 16).quarantine[0].reason == "not an image in a known format"
    _replace(root / "train/ant/x.png", b"")
    assert load_dataset(str(root), 16).quarantine[0].reason == "empty file"


def test_only_what_failed_is_read_again(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_files(tmp_path / "set", {**pngs(COUNTS), "train/ant/x.png": b"text"})
    first = load_dataset(str(root), 16)
    read: list[bytes] = []
    decode = images.decode_image
    monkeypatch.setattr(images, "decode_image", lambda data, *rest: (read.append(data), decode(data, *rest))[1])
    again = load_dataset(str(root), 16)
    assert read == [b"text"]
    assert (again.signature, again.quarantine) == (first.signature, first.quarantine)


def test_a_repaired_zip_leaves_quarantine_although_its_directory_is_the_same(tmp_path: Path, cache: Path) -> None:
    path = write_zip(tmp_path / "set.zip", pngs(COUNTS))
    whole = path.read_bytes()
    _damage_member(path, "train/ant/1.png")
    (left_out,) = load_dataset(str(path), 16).quarantine
    assert left_out.file == "train/ant/1.png"
    _replace(path, whole)
    assert load_dataset(str(path), 16).quarantine == ()


def test_a_zip_damaged_later_is_not_served_from_the_cache(tmp_path: Path, cache: Path) -> None:
    path = write_zip(tmp_path / "set.zip", pngs(COUNTS))
    assert load_dataset(str(path), 16, strict=True).quarantine == ()
    _damage_member(path, "test/bee/0.png")
    with pytest.raises(UsageError, match=r"found fewer in bee \(0\); 1 unreadable"):
        load_dataset(str(path), 16)
    path = write_zip(tmp_path / "set.zip", pngs(COUNTS))
    _damage_member(path, "train/bee/0.png")
    assert [item.file for item in load_dataset(str(path), 16).quarantine] == ["train/bee/0.png"]


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_strict_reads_files_that_the_source_lost_after_caching(
    form: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_SAMPLED_BLOCKS", 1)
    monkeypatch.setattr(sources, "_BLOCK_BYTES", 30)  # the sample of a large zip would miss the damage as well
    files = pngs(COUNTS)
    if form == "folder":
        path = write_files(tmp_path / "set", files)
        load_dataset(str(path), 16, strict=True)
        _replace(path / "train/bee/0.png", files["train/bee/0.png"][:-200] + bytes(200))
    else:
        path = write_zip(tmp_path / "set.zip", files)
        load_dataset(str(path), 16, strict=True)
        _damage_member(path, "train/bee/0.png")
    assert load_dataset(str(path), 16).quarantine == ()
    with pytest.raises(WorkError, match=r"1 files are unreadable \(--strict\); first: train/bee/0\.png"):
        load_dataset(str(path), 16, strict=True)


def test_strict_reads_a_cached_npz_too(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_SAMPLED_BLOCKS", 1)
    monkeypatch.setattr(sources, "_BLOCK_BYTES", 30)
    labels = np.arange(12) % 2
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), np.uint8)
    path = tmp_path / "set.npz"
    np.savez(path, train_images=pixels, train_labels=labels)
    load_dataset(str(path), 16, strict=True)
    data = bytearray(path.read_bytes())
    data[5000:5010] = bytes(10)
    _replace(path, bytes(data))
    assert len(load_dataset(str(path), 16).train) == 10
    with pytest.raises(UsageError, match="not a readable npz: Bad CRC-32"):
        load_dataset(str(path), 16, strict=True)


def test_equal_content_has_one_signature_in_any_place(tmp_path: Path, cache: Path) -> None:
    root = write_files(tmp_path / "set", pngs(COUNTS))
    shutil.copytree(root, tmp_path / "copy", copy_function=shutil.copyfile)
    path = write_zip(tmp_path / "set.zip", pngs(COUNTS))
    signatures = {load_dataset(str(one), 16).signature for one in (root, tmp_path / "copy", path)}
    assert len(signatures) == 1
    (root / "train/ant/0.png").rename(root / "train/bee/9.png")
    write_files(root, {"train/ant/0.png": (root / "train/bee/9.png").read_bytes()})
    assert load_dataset(str(root), 16).signature not in signatures
