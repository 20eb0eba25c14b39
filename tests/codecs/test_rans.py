"""The entropy coder: exact, close to the entropy, and safe against damage."""

from __future__ import annotations

import numpy as np
import pytest
from compressai.entropy_models import EntropyBottleneck

from toolkit.codecs.neural.rans import PRECISION, Decoder, Tables
from toolkit.foundation.errors import WorkError

TOTAL = 1 << PRECISION


def tables(rows: int = 12, reach: int = 9) -> Tables:
    """Two-sided geometric distributions of growing width around 0, with an escape of frequency 1."""
    made = []
    for scale in np.geomspace(0.2, 4, rows):
        weights = np.exp(-np.abs(np.arange(-reach, reach + 1)) / scale)
        frequencies = np.maximum(1, np.floor(weights / weights.sum() * (TOTAL - 100))).astype(np.int64)
        frequencies[reach] += TOTAL - 1 - frequencies.sum()
        made.append(np.append(frequencies, 1))
    return Tables(tuple(made), np.full(rows, -reach))


def decode(made: Tables, streams: list[bytes], rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    decoder = Decoder(made, streams, rows.shape[-1])
    return decoder.read(rows), decoder.finish()


def draw(made: Tables, rows: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    columns = [
        rng.choice(len(made.frequencies[row]) - 1, count, p=made.frequencies[row][:-1] / (TOTAL - 1)) for row in rows
    ]
    return np.stack(columns, axis=1) + made.offsets[rows]


@pytest.mark.parametrize("length", [1, 2, 3, 50, 1000, 8192, 8193, 20000])
def test_values_are_restored(length: int) -> None:
    made = tables()
    rows = np.arange(length) % len(made)
    values = draw(made, rows, 5)
    streams = made.encode(values, rows)
    found, damaged = decode(made, streams, rows)
    assert np.array_equal(found, values)
    assert not damaged.any()


def test_each_image_may_have_its_own_tables() -> None:
    made = tables()
    rows = np.random.default_rng(3).integers(0, len(made), (7, 300))
    values = np.concatenate([draw(made, row, 1, seed) for seed, row in enumerate(rows)])
    found, damaged = decode(made, made.encode(values, rows), rows)
    assert np.array_equal(found, values)
    assert not damaged.any()


@pytest.mark.parametrize(
    ("length", "cuts"), [(200, [77]), (20000, [1, 2, 5001, 19999]), (40001, [40000]), (9000, [8500])]
)
@pytest.mark.parametrize("count", [1, 4, 40])
def test_a_stream_can_be_read_in_parts(length: int, cuts: list[int], count: int) -> None:
    made = tables()
    rows = np.arange(length) % len(made)
    values = draw(made, rows, count)
    decoder = Decoder(made, made.encode(values, rows), length)
    found = [decoder.read(part) for part in np.split(rows, cuts)]
    assert np.array_equal(np.concatenate(found, axis=1), values)
    assert not decoder.finish().any()


def test_values_beyond_the_tables_are_restored() -> None:
    made = tables()
    rows = np.arange(40) % len(made)
    values = draw(made, rows, 3)
    values[0, :5] = [10, -10, 500, -123456, 2**30]
    values[2, 39] = 99
    found, damaged = decode(made, made.encode(values, rows), rows)
    assert np.array_equal(found, values)
    assert not damaged.any()


def test_a_stream_is_three_bytes_longer_than_its_content() -> None:
    made = tables()
    rows = np.arange(1500) % len(made)
    values = draw(made, rows, 200)
    symbols = values - made.offsets[rows]
    likelihood = np.stack([made.frequencies[row][symbols[:, at]] / TOTAL for at, row in enumerate(rows)])
    entropy = -np.log2(likelihood).sum(axis=0) / 8
    excess = np.array([len(stream) for stream in made.encode(values, rows)]) - entropy
    assert 2 < excess.mean() < 3.5
    assert excess.max() < 5


def test_streams_do_not_depend_on_their_neighbours() -> None:
    made = tables()
    rows = np.arange(333) % len(made)
    values = draw(made, rows, 20)
    together = made.encode(values, rows)
    assert together == [made.encode(one[None], rows)[0] for one in values]
    assert np.array_equal(decode(made, together[4:5], rows)[0][0], values[4])


@pytest.mark.parametrize("length", [30, 9000])
def test_every_truncation_and_every_flipped_bit_is_detected(length: int) -> None:
    made = tables()
    rows = np.arange(length) % len(made)
    values = draw(made, rows, 1)
    values[0, 3] = 1000
    stream = made.encode(values, rows)[0]
    step = max(1, len(stream) // 60)
    cut = [stream[:end] for end in range(0, len(stream), step)]
    flipped = [
        bytes([*stream[:at], stream[at] ^ 1 << bit, *stream[at + 1 :]])
        for at in range(0, len(stream), step)
        for bit in range(8)
    ]
    assert decode(made, cut + flipped, rows)[1].all()


def test_decoding_terminates_for_any_bytes() -> None:
    made, rng = tables(), np.random.default_rng(5)
    rows = np.arange(400) % len(made)
    streams = [rng.bytes(int(length)) for length in rng.integers(0, 300, 3000)]
    found, damaged = decode(made, streams, rows)
    assert found.shape == (3000, 400)
    assert damaged.mean() > 0.999, "seven bits of checksum, the last state and the length must all fit"


def test_no_streams_give_no_values() -> None:
    found, damaged = decode(tables(), [], np.arange(5))
    assert found.shape == (0, 5)
    assert damaged.shape == (0,)


def test_tables_survive_a_file() -> None:
    made = tables()
    again = Tables.from_bytes(made.to_bytes())
    assert np.array_equal(again.offsets, made.offsets)
    assert all(np.array_equal(a, b) for a, b in zip(again.frequencies, made.frequencies, strict=True))
    state = made.to_bytes()
    for damaged in (b"", state[:1], state[:20], state[:-3], bytes([9, 9]) + state[2:], state[:2] + b"y" + state[3:]):
        with pytest.raises(WorkError, match="entropy tables are damaged"):
            Tables.from_bytes(damaged)


def test_streams_are_slightly_shorter_than_those_of_compressai() -> None:
    """Its own coder needs more bytes for the same values from the same tables, but not many more."""
    import torch

    torch.manual_seed(0)
    bottleneck = EntropyBottleneck(24, init_scale=6).eval()
    bottleneck.update()
    made = Tables.of_cdfs(bottleneck.quantized_cdf.numpy(), bottleneck.cdf_length.numpy(), bottleneck.offset.numpy())
    latents = (torch.randn(6, 24, 8, 8) * 3).clamp(-5, 5)
    values = torch.round(latents - bottleneck._get_medians().reshape(1, -1, 1, 1)).long().flatten(1).numpy()
    ours = made.encode(values, np.repeat(np.arange(24), 64))
    theirs = bottleneck.compress(latents)
    difference = np.array([len(a) - len(b) for a, b in zip(ours, theirs, strict=True)])
    assert np.abs(difference).max() <= 8
    assert difference.mean() < 0
