"""The shared header: common bytes, exact stripping and restoring, and reports of damage."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.codecs.shared_header import SharedHeader, calibration_images
from toolkit.foundation.errors import WorkError

WHOLE = 255


@st.composite
def similar_files(draw: st.DrawFn) -> list[bytes]:
    """Files of different lengths that share a head, something in the middle and an end, all possibly empty."""
    head, middle, end = draw(st.binary(max_size=30)), draw(st.binary(max_size=8)), draw(st.binary(max_size=6))
    gap = draw(st.integers(0, 4))
    count = draw(st.integers(1, 6))
    return [
        head + draw(st.binary(min_size=gap, max_size=gap)) + middle + draw(st.binary(max_size=20)) + end
        for _ in range(count)
    ]


@st.composite
def altered(draw: st.DrawFn, file: bytes) -> bytes:
    """``file`` with a few bytes changed, cut off or added."""
    changed = bytearray(file)
    for at, value in draw(st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), max_size=6)):
        if at < len(changed):
            changed[at] = value
    return bytes(changed[: draw(st.integers(0, 100))]) + draw(st.binary(max_size=5))


def test_learning_finds_the_bytes_in_common() -> None:
    header = SharedHeader.learn([b"HEAD" + bytes([n]) + b"mid" + bytes([9 * n, n]) * n + b"END" for n in range(1, 8)])
    assert header.runs == ((0, 4), (5, 8))
    assert header.template[:4] == b"HEAD"
    assert header.template[5:8] == b"mid"
    assert header.suffix == b"END"


@pytest.mark.parametrize(("agreeing", "shared"), [(4, True), (3, False)])
def test_a_byte_is_shared_when_four_fifths_agree(agreeing: int, shared: bool) -> None:
    files = [b"A" + bytes([7 if n < agreeing else n]) + bytes([n, 50 + n]) for n in range(5)]
    header = SharedHeader.learn(files)
    assert header.runs == ((0, 2 if shared else 1),)
    assert [header.restore(header.strip(file)) for file in files] == files


def test_a_stripped_file_is_the_patches_and_the_other_bytes() -> None:
    header = SharedHeader(b"ABC\0\0FG", ((0, 3), (5, 7)), b"!")
    assert header.strip(b"ABCxyFGrest!") == b"\0xyrest"
    assert header.strip(b"AbCxyFGrest!") == b"\1" + struct.pack("<H", 1) + b"bxyrest"
    assert header.restore(b"\1\5\0?xyrest") == b"ABCxy?Grest!"


@given(similar_files(), st.data())
def test_stripping_and_restoring_any_bytes_is_exact(files: list[bytes], data: st.DataObject) -> None:
    header = SharedHeader.learn(files)
    stranger = data.draw(st.one_of(st.binary(max_size=100), altered(data.draw(st.sampled_from(files)))))
    for file in [*files, stranger]:
        payload = header.strip(file)
        assert header.restore(payload) == file
        assert len(payload) <= len(file) + 1


@given(similar_files(), st.data())
def test_a_header_read_back_from_bytes_restores_the_same(files: list[bytes], data: st.DataObject) -> None:
    header = SharedHeader.learn(files)
    copy = SharedHeader.from_bytes(header.to_bytes())
    assert copy.to_bytes() == header.to_bytes()
    stranger = data.draw(altered(files[0]))
    for file in [*files, stranger]:
        assert copy.restore(header.strip(file)) == file
        assert copy.strip(file) == header.strip(file)


def test_a_file_shorter_than_the_template_is_stored_whole() -> None:
    header = SharedHeader(b"0123456789", ((0, 10),), b"END")
    for file in (b"", b"0", b"0123456789", b"012345678END"):
        assert header.strip(file) == bytes([WHOLE]) + file
        assert header.restore(header.strip(file)) == file


def test_a_file_with_another_ending_is_stored_whole() -> None:
    header = SharedHeader(b"0123456789", ((0, 10),), b"END")
    assert header.strip(b"0123456789...and") == bytes([WHOLE]) + b"0123456789...and"


@pytest.mark.parametrize(("mismatches", "whole"), [(254, False), (255, True), (300, True)])
def test_up_to_254_mismatches_are_patched(mismatches: int, whole: bool) -> None:
    header = SharedHeader(bytes(2000), ((0, 2000),), b"")
    file = bytes(2000 - mismatches) + b"\1" * mismatches + b"content"
    payload = header.strip(file)
    assert (payload[0] == WHOLE) == whole
    assert len(payload) == (1 + len(file) if whole else 1 + 3 * mismatches + len(b"content"))
    assert header.restore(payload) == file


def test_files_are_not_patched_if_that_costs_more() -> None:
    header = SharedHeader(bytes(60), ((0, 60),), b"")
    assert header.strip(b"\1" * 60) == bytes([WHOLE]) + b"\1" * 60


def test_files_with_nothing_in_common_share_nothing() -> None:
    files = [bytes([n, 100 + n, 200 + n]) for n in range(6)]
    header = SharedHeader.learn(files)
    assert (header.template, header.runs, header.suffix) == (b"", (), b"")
    assert [header.strip(file)[0] for file in files] == [WHOLE] * 6, "a count byte and the file would be as long"
    assert [SharedHeader.from_bytes(header.to_bytes()).restore(header.strip(file)) for file in files] == files


def test_equal_bytes_beyond_the_reach_of_16_bits_are_not_shared() -> None:
    files = [bytes(66_000) + bytes([n]) + bytes(10_000) + bytes([n]) for n in range(1, 9)]
    header = SharedHeader.learn(files)
    assert header.runs == ((0, 65_535),)
    copy = SharedHeader.from_bytes(header.to_bytes())
    stranger = bytearray(files[0])
    stranger[65_534] = stranger[65_535] = stranger[70_000] = 9
    for file in [*files, bytes(stranger)]:
        assert copy.restore(header.strip(file)) == file
        assert len(header.strip(file)) < len(file) - 65_000


def test_a_truncated_or_lengthened_state_is_refused() -> None:
    state = SharedHeader(b"ABC\0\0FG", ((0, 3), (5, 7)), b"END").to_bytes()
    assert SharedHeader.from_bytes(state).runs == ((0, 3), (5, 7))
    for damaged in [state[:length] for length in range(len(state))] + [state + b"\0"]:
        with pytest.raises(WorkError, match="shared header is damaged"):
            SharedHeader.from_bytes(damaged)


@pytest.mark.parametrize("edges", [(5, 7, 0, 3), (0, 3, 2, 4), (3, 0, 5, 7), (2, 2, 5, 10)])
def test_a_state_with_runs_out_of_order_is_refused(edges: tuple[int, ...]) -> None:
    with pytest.raises(WorkError, match="not in order"):
        SharedHeader.from_bytes(struct.pack("<H4HB", 2, *edges, 0) + b"12345")


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_bytes_are_a_state_or_refused(state: bytes, payload: bytes) -> None:
    try:
        restored = SharedHeader.from_bytes(state).restore(payload)
    except WorkError:
        return
    assert isinstance(restored, bytes)


@given(st.binary(max_size=30))
def test_any_bytes_are_a_payload_or_refused(payload: bytes) -> None:
    header = SharedHeader(b"ABC\0\0FG", ((0, 3), (5, 7)), b"!")
    try:
        file = header.restore(payload)
    except WorkError:
        return
    assert payload[0] == WHOLE or (len(file) >= 8 and len(file) == len(payload) + 5 - 3 * payload[0])


@pytest.mark.parametrize("payload", [b"", b"\0x", b"\1xy", b"\1\7\7?xy", b"\2" + b"\0" * 6 + b"x"])
def test_a_damaged_payload_is_refused(payload: bytes) -> None:
    with pytest.raises(WorkError, match="stored exemplar"):
        SharedHeader(b"ABC\0\0FG", ((0, 3), (5, 7)), b"!").restore(payload)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (33, 33), (32, 64)])
def test_calibration_images_are_the_same_every_time_and_of_varied_contrast(height: int, width: int) -> None:
    images = calibration_images(height, width)
    assert images.shape == (32, height, width, 3)
    assert images.dtype == np.uint8
    assert np.array_equal(images, calibration_images(height, width))
    contrast = images.reshape(32, -1).std(axis=1)
    assert contrast.max() > 4 * contrast.min()
