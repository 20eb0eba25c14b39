"""Packs of exemplars: what is packed comes back, any changed bit is noticed, and the file stays small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.memory.packs import PACK_BYTES, BrokenHead, Item, Place, damaged_items, grouped, pack, sizes_of, unpack
from toolkit.memory.store import ExemplarMemory

PLACE = Place(0, 3, 17)


@given(blobs=st.lists(st.binary(max_size=400), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_blobs_of_any_sizes_come_back(blobs: list[bytes]) -> None:
    head, data = pack(PLACE, [Item.of(blob) for blob in blobs])
    assert data == b"".join(blobs)
    assert sizes_of(PLACE, head) == [len(blob) for blob in blobs]
    items = unpack(PLACE, head, data)
    assert [item.blob for item in items] == blobs
    assert damaged_items(PLACE, head, data, items) == set()


@pytest.mark.parametrize(("size", "width"), [(0, 1), (255, 1), (256, 2), (65_535, 2), (65_536, 3), (2**24, 4)])
def test_a_head_takes_nine_bytes_and_per_blob_its_size_and_two(size: int, width: int) -> None:
    head, _ = pack(PLACE, [Item.of(bytes(size)), Item.of(b"x")])
    assert len(head) == 9 + 2 * (width + 2)
    assert sizes_of(PLACE, head) == [size, 1]


def test_every_changed_bit_is_noticed_and_in_the_blobs_only_its_exemplar_is_lost() -> None:
    rng = np.random.default_rng(0)
    blobs = [rng.bytes(size) for size in (7, 0, 40, 21)]
    head, data = pack(PLACE, [Item.of(blob) for blob in blobs])
    owner = [n for n, blob in enumerate(blobs) for _ in blob]
    for at in range(8 * len(head)):
        with pytest.raises(BrokenHead):
            unpack(PLACE, _flipped(head, at), data)
    for at in range(8 * len(data)):
        changed = _flipped(data, at)
        items = unpack(PLACE, head, changed)
        assert damaged_items(PLACE, head, changed, items) == {owner[at // 8]}


@pytest.mark.parametrize("place", [Place(1, 3, 17), Place(0, 2, 17), Place(0, 3, 16)])
def test_a_pack_in_another_place_is_noticed(place: Place) -> None:
    head, data = pack(PLACE, [Item.of(b"something")])
    with pytest.raises(BrokenHead):
        unpack(place, head, data)


@pytest.mark.parametrize("head", [b"", b"12345678", bytes(9), bytes(40), b"\0" * 8 + b"\xff" * 30])
def test_a_head_that_is_none_is_refused(head: bytes) -> None:
    with pytest.raises(BrokenHead):
        sizes_of(PLACE, head)


def test_a_damaged_item_that_is_packed_again_stays_damaged() -> None:
    items = [Item.of(b"first"), Item(b"changed", Item.of(b"second").check), Item.of(b"third")]
    head, data = pack(PLACE, items)
    again = unpack(PLACE, head, data)
    assert again == items
    assert damaged_items(PLACE, head, data, again) == {1}


def test_cut_and_lengthened_blobs_are_noticed() -> None:
    items = [Item.of(b"one"), Item.of(b"two")]
    head, data = pack(PLACE, items)
    for changed in (data[:-1], data + b"x", b""):
        assert 1 in damaged_items(PLACE, head, changed, unpack(PLACE, head, changed))


def test_packs_are_filled_in_order_and_a_large_blob_has_its_own() -> None:
    sizes = [PACK_BYTES - 10, 10, 1, PACK_BYTES + 1, 5, 6]
    groups = list(grouped([Item.of(bytes(size)) for size in sizes]))
    assert [[len(item.blob) for item in group] for group in groups] == [
        [PACK_BYTES - 10, 10],
        [1],
        [PACK_BYTES + 1],
        [5, 6],
    ]


@pytest.mark.parametrize("mean", [20, 60, 150, 400, 1_140, 3_000, 30_000, 200_000])
@pytest.mark.parametrize("budget", [2**16, 2**20, 2**22])
def test_the_file_takes_little_more_than_its_contents(tmp_path: Path, mean: int, budget: int) -> None:
    """At most 3 % and 16 KiB, 8 % for payloads under 150 bytes: while it grows, shrinks and forgets."""
    if 10 * mean > budget:
        pytest.skip("the budget holds no ten exemplars")
    rng, path = np.random.default_rng(mean), tmp_path / "m.recall"
    most = 0.03 if mean >= 150 else 0.08

    def require_small() -> None:
        contents = memory.content_bytes
        assert path.stat().st_size <= contents * (1 + most) + 2**14, f"{len(memory)} exemplars, {contents} bytes"

    with ExemplarMemory(path, budget, "png:shared=no") as memory:
        each = max(2, budget // (mean + 2) // 3)
        for stage in range(4):
            sizes = rng.normal(mean, 0.3 * mean, (2, each)).clip(1).astype(int)
            memory.add({2 * stage + k: [rng.bytes(int(size)) for size in row] for k, row in enumerate(sizes)})
            require_small()
        memory.forget(1)
        require_small()
        memory.add({0: [rng.bytes(mean) for _ in range(3)]})
        require_small()


def _flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
