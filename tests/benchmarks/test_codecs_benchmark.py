"""The codec benchmark's ratios against peers measured in the same run; ``pytest -m benchmark``."""

from __future__ import annotations

import statistics

import bench_codecs
import pytest

from toolkit.foundation.threads import available_cores

pytestmark = pytest.mark.benchmark


def test_small_jpegs_decode_in_about_a_third_of_pillows_time() -> None:
    assert bench_codecs.bench_decode()["ratio"] <= 0.35


@pytest.mark.parametrize("size", [32, 64])
def test_the_shared_header_beats_deflate_with_a_dictionary_and_ordinary_files(size: int) -> None:
    for row in bench_codecs.bench_bytes(size):
        assert row["ours"] <= 1.01 * row["deflate"], row
        assert row["ours"] < row["file"], row


@pytest.mark.skipif(available_cores() < 2, reason="two threads need two cores")
def test_two_threads_never_slow_a_fast_codec_and_speed_up_a_slow_one() -> None:
    rows = {row["codec"]: row for row in bench_codecs.bench_threads(32, 400, repeats=5)}
    assert statistics.median(row["decode_ratio"] for row in rows.values()) <= 1.15
    assert rows["jpeg:quality=50,entropy=huffman"]["encode_ratio"] <= 1.2
    slow = rows["webp:quality=60"]
    assert slow["encode_ratio"] <= 1.3 * slow["peer_ratio"], slow
