"""Our rANS streams against those of constriction: bytes an exemplar, streams a second, and what damage does.

``pip install --target FOLDER constriction``, then ``PYTHONPATH=FOLDER python tests/benchmarks/bench_entropy.py``: the
toolkit does not need it. The latents are those of ``neural:model=small,quality=2``; networks are not timed. To the
bytes of constriction one is added for the checksum that ours have, without which most damage would go unnoticed.
"""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from reporting import benchmark_images, save, seconds, table

from toolkit.codecs.neural.codec import SMALL_FOLDER
from toolkit.codecs.neural.networks import open_model
from toolkit.codecs.neural.rans import Decoder, Tables

BATCH = 256
ROUNDS = 5
_CHECKSUM = 1


def latents(size: int) -> tuple[Tables, np.ndarray, np.ndarray]:
    """Entropy tables, values int64 (N, S) of as many images as a batch has, and the table of each value int (S,).

    The few values beyond the tables are brought within them: constriction would have to code those apart.
    """
    model: Any = open_model(SMALL_FOLDER / "small-2.npz")
    values = np.concatenate([model._values(part) for part in np.split(benchmark_images(size, BATCH)[1], 8)])
    rows, heard = model._rows(values.shape, model.tables)
    least = model.tables.offsets[rows]
    return model.tables, values.reshape(BATCH, -1)[:, heard].clip(least, least + model.tables.lengths[rows] - 2), rows


class Ours:
    """:mod:`toolkit.codecs.neural.rans`."""

    def __init__(self, tables: Tables, rows: np.ndarray) -> None:
        self.tables, self.rows = tables, rows

    def encode(self, values: np.ndarray) -> list[bytes]:
        return self.tables.encode(values, self.rows)

    def decode(self, streams: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Values, and which streams are damaged."""
        decoder = Decoder(self.tables, streams, len(self.rows))
        values = decoder.read(self.rows)
        return values, decoder.finish()


class Constriction:
    """A stack (ANS) or a queue (range coder) of constriction: a model a channel, or a row of probabilities a value."""

    def __init__(self, tables: Tables, rows: np.ndarray, coder: str, by_channel: bool) -> None:
        import constriction

        stream = constriction.stream
        self._ans = coder == "ANS"
        self._encoder = stream.stack.AnsCoder if self._ans else stream.queue.RangeEncoder
        self._decoder = stream.stack.AnsCoder if self._ans else stream.queue.RangeDecoder
        self._offsets = tables.offsets[rows].astype(np.int32)
        probabilities = [row / 65536 for row in tables.frequencies]
        if by_channel:
            starts = np.flatnonzero(np.diff(rows, prepend=-1))
            ends = [*starts[1:], len(rows)]
            made = [stream.model.Categorical(probabilities[rows[start]], perfect=False) for start in starts]
            self._parts = [(slice(a, b), (model,)) for a, b, model in zip(starts, ends, made, strict=True)]
        else:
            padded = np.zeros((len(rows), max(map(len, probabilities))), np.float32)
            for place, row in zip(padded, rows, strict=True):
                place[: len(probabilities[row])] = probabilities[row]
            self._parts = [(slice(0, len(rows)), (stream.model.Categorical(perfect=False), padded))]

    def encode(self, values: np.ndarray) -> list[bytes]:
        return [self._encode(one) for one in (values - self._offsets).astype(np.int32)]

    def _encode(self, symbols: np.ndarray) -> bytes:
        coder = self._encoder()
        if self._ans:
            for part, model in reversed(self._parts):
                coder.encode_reverse(symbols[part], *model)
        else:
            for part, model in self._parts:
                coder.encode(symbols[part], *model)
        return coder.get_compressed().astype("<u4").tobytes()

    def decode(self, streams: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
        values = np.zeros((len(streams), len(self._offsets)), np.int64)
        damaged = np.zeros(len(streams), bool)
        for number, stream in enumerate(streams):
            try:
                coder = self._decoder(np.frombuffer(stream, "<u4"))
                counts = [(part.stop - part.start,) if len(model) == 1 else () for part, model in self._parts]
                found = [coder.decode(*model, *count) for (_, model), count in zip(self._parts, counts, strict=True)]
                values[number] = np.concatenate(found) + self._offsets
                damaged[number] = not (coder.is_empty() if self._ans else coder.maybe_exhausted())
            except (ValueError, AssertionError):
                damaged[number] = True
        return values, damaged


def bench_coders(size: int, rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """Bytes a stream, streams a second with :data:`BATCH` at a time, and one alone."""
    tables, values, rows = latents(size)
    return [_row(name, coder, values, rounds) for name, coder in _coders(tables, rows).items()]


def _coders(tables: Tables, rows: np.ndarray) -> dict[str, Any]:
    return {
        "ours": Ours(tables, rows),
        "constriction ANS, a model a channel": Constriction(tables, rows, "ANS", True),
        "constriction ANS, a row a value": Constriction(tables, rows, "ANS", False),
        "constriction range, a model a channel": Constriction(tables, rows, "range", True),
    }


def _row(name: str, coder: Any, values: np.ndarray, rounds: int) -> dict[str, Any]:
    streams = coder.encode(values)
    back, damaged = coder.decode(streams)
    assert np.array_equal(back, values)
    assert not damaged.any()
    works: tuple[Callable[[], object], ...] = (
        lambda: coder.encode(values),
        lambda: coder.decode(streams),
        lambda: coder.encode(values[:1]),
        lambda: coder.decode(streams[:1]),
    )
    encoding, decoding, one_in, one_out = (statistics.median(seconds(work) for _ in range(rounds)) for work in works)
    return {
        "coder": name,
        "bytes an image": float(np.mean([len(one) for one in streams]) + (0 if name == "ours" else _CHECKSUM)),
        "encode images/s": BATCH / encoding,
        "decode images/s": BATCH / decoding,
        "encode one ms": 1e3 * one_in,
        "decode one ms": 1e3 * one_out,
    }


def bench_damage(size: int = 32, copies: int = 8) -> list[dict[str, Any]]:
    """Streams with a flipped bit, cut short, or of random bytes: how many of those that give other values say so."""
    tables, values, rows = latents(size)
    found = []
    for name, coder in _coders(tables, rows).items():
        streams = coder.encode(values)
        draw = random.Random(0)
        for harm in (_flipped, _cut, _random):
            wrong = noticed = 0
            for _ in range(copies):
                back, damaged = coder.decode([harm(one, draw) for one in streams])
                other = (back != values).any(axis=1)
                wrong += int((other | damaged).sum())
                noticed += int(damaged.sum())
            found.append({"coder": name, "harm": harm.__name__.strip("_"), "of": wrong, "noticed": noticed / wrong})
    return found


def _flipped(stream: bytes, draw: random.Random) -> bytes:
    bit = draw.randrange(8 * len(stream))
    return bytes(byte ^ (1 << bit % 8 if place == bit // 8 else 0) for place, byte in enumerate(stream))


def _cut(stream: bytes, draw: random.Random) -> bytes:
    return stream[: draw.randrange(0, len(stream), 4)]


def _random(stream: bytes, draw: random.Random) -> bytes:
    return draw.randbytes(len(stream))


def main() -> int:
    import importlib.metadata

    at_32, at_64, damage = bench_coders(32), bench_coders(64), bench_damage()
    for rows in (at_32, at_64, damage):
        print(table(rows))
    version = importlib.metadata.version("constriction")
    save("entropy", {"constriction": version, "batch": BATCH, "at_32": at_32, "at_64": at_64, "damage": damage})
    return 0


if __name__ == "__main__":
    sys.exit(main())
