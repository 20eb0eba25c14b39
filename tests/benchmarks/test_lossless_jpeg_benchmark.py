"""The smallest run of the benchmark of lossless JPEG coding, and the ratios that make it the default."""

from __future__ import annotations

import bench_lossless_jpeg
import pytest


def test_the_benchmark_measures_all_three_ways() -> None:
    row = bench_lossless_jpeg.bench_lossless_jpeg(32, "tiny-imagenet-20", 6)
    assert row["images"] == 6
    assert row["context bytes"] < row["huffman bytes"] < row["jxl bytes"]
    assert all(row[f"{way} {step}/s"] > 0 for way in ("context", "huffman", "jxl") for step in ("encode", "decode"))


@pytest.mark.benchmark
@pytest.mark.parametrize("one", bench_lossless_jpeg.SETS)
def test_a_tenth_fewer_bytes_at_every_size_and_fewer_than_jpeg_xl(one: tuple[int, str, int]) -> None:
    row = bench_lossless_jpeg.bench_lossless_jpeg(*one)
    assert row["context over huffman"] <= 0.9
    assert row["context over jxl"] <= 1
