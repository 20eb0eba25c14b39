"""Encode images to entropy-coded streams, one per exemplar, and decode them, with prepared networks.

Streams are those of :mod:`toolkit.codecs.neural.rans`, except for autoregressive and variable-rate models. These use
CompressAI's own streams behind a checksum, because its decoder can abort the process on damaged streams.
"""

from __future__ import annotations

import contextlib
import math
import struct
import threading
import time
import warnings
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch.nn import functional

from toolkit.codecs.neural.rans import Decoder, Tables
from toolkit.foundation.errors import WorkError

_PIXELS_A_BATCH = 2**18
_BATCHES_TOGETHER = 8
_OWN_STREAMS = struct.Struct("<IHHI")
"""Checksum, latent height and width, length of the first of two strings."""
_LOWEST_STATE = 1 << 31
"""Valid states of CompressAI's coder are in [2^31, 2^63)."""


class Model(Protocol):
    """A network and its entropy model, ready to code.

    Attributes:
        name: of its architecture.
        decoder: digest of everything that decoding needs.
        weights_bytes: bytes of the decoder's weights, without entropy tables.
    """

    name: str
    decoder: str
    weights_bytes: int

    @property
    def tables(self) -> Tables | None:
        """Entropy tables; None for CompressAI's own streams."""

    def encode(self, images: np.ndarray, tables: Tables | None) -> list[bytes]:
        """Verified streams of images uint8 (N, H, W, 3)."""

    def decode(self, streams: Sequence[bytes], size: tuple[int, int], tables: Tables | None) -> np.ndarray:
        """Images uint8 (N, height, width, 3); a :class:`WorkError` if a stream is damaged."""


class FactorizedModel:
    """A factorized prior: one table per channel, the same at every position and on every machine."""

    def __init__(self, network: Any, name: str, decoder: str, weights_bytes: int) -> None:
        self.network = network.to(memory_format=torch.channels_last)
        self.name, self.decoder, self.weights_bytes = name, decoder, weights_bytes
        self.tables = _tables(network.entropy_bottleneck)

    def encode(self, images: np.ndarray, tables: Tables | None) -> list[bytes]:
        tables = tables or self.tables
        streams = []
        for part in _parts(images):
            values = self._values(part)
            rows, heard = self._rows(values.shape, tables)
            coded = tables.encode(values.reshape(len(part), -1)[:, heard], rows)
            if not np.array_equal(_read(tables, coded, rows), values.reshape(len(part), -1)[:, heard]):
                raise WorkError(f"{self.name}: a stream does not decode to what was encoded")
            streams += coded
        return streams

    def decode(self, streams: Sequence[bytes], size: tuple[int, int], tables: Tables | None) -> np.ndarray:
        tables = tables or self.tables
        return np.concatenate([self._decoded(some, size, tables) for some in _groups(streams, size)])

    def _decoded(self, streams: Sequence[bytes], size: tuple[int, int], tables: Tables) -> np.ndarray:
        shape = (len(streams), self.network.M, *_latent_size(self.network, size))
        rows, heard = self._rows(shape, tables)
        values = np.empty((len(streams), len(heard)), np.int64)
        values[:] = tables.offsets[_channels(shape)]
        values[:, heard] = _read(tables, streams, rows)
        return self.pixels(torch.from_numpy(values.reshape(shape)) + _medians(self.network), size)

    def range_of_values(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest value of each channel over all images, int64 (M,) each."""
        found = [self._values(part) for some in images for part in _parts(some)]
        lows, highs = (np.stack([bound(one, (0, 2, 3)) for one in found]) for bound in (np.min, np.max))
        return lows.min(axis=0), highs.max(axis=0)

    def _values(self, images: np.ndarray) -> np.ndarray:
        """Quantised latents, int64 (N, M, h, w)."""
        return torch.round(_analysed(self.network, images) - _medians(self.network)).to(torch.int64).numpy()

    def pixels(self, latents: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
        """Images uint8 (N, height, width, 3) of latents float32 (N, M, h, w)."""
        return _synthesised(self.network, latents, size)

    def _rows(self, shape: Sequence[int], tables: Tables) -> tuple[np.ndarray, np.ndarray]:
        """Tables of the values in a stream, and which values these are, bool (M h w,).

        Channels with a single-symbol table are constant and left out.
        """
        rows = _channels(shape)
        heard = tables.lengths[rows] > 1
        return rows[heard], heard


class HyperpriorModel:
    """A scale (and mean) hyperprior: a first, factorized part of each stream selects the tables of the rest.

    A network computes the selection, and its rounding may depend on the batch size, so it always processes one image at
    a time. A machine that selects other tables is detected at the end of a stream.
    """

    def __init__(self, network: Any, name: str, decoder: str, weights_bytes: int, has_means: bool) -> None:
        self.network = network.to(memory_format=torch.channels_last)
        self.name, self.decoder, self.weights_bytes = name, decoder, weights_bytes
        side, main = _tables(network.entropy_bottleneck), _tables(network.gaussian_conditional)
        self._side_rows = len(side)
        self.tables = Tables(side.frequencies + main.frequencies, np.concatenate([side.offsets, main.offsets]))
        self._has_means = has_means

    def encode(self, images: np.ndarray, tables: Tables | None) -> list[bytes]:
        tables = tables or self.tables
        streams = []
        for part in _parts(images):
            latents = _analysed(self.network, part)
            with torch.inference_mode():
                side = self.network.h_a(latents if self._has_means else latents.abs())
                side_values = torch.round(side - _medians(self.network)).to(torch.int64)
                rows, means = self._predicted(side_values)
                values = torch.round(latents - means).to(torch.int64)
            sequence = np.concatenate([side_values.flatten(1).numpy(), values.flatten(1).numpy()], axis=1)
            side_rows = np.broadcast_to(_channels(side_values.shape), (len(part), side_values[0].numel()))
            coded = tables.encode(sequence, np.concatenate([side_rows, rows], axis=1))
            if not torch.equal(self._latents(coded, (part.shape[1], part.shape[2]), tables), values + means):
                raise WorkError(f"{self.name}: a stream does not decode to what was encoded")
            streams += coded
        return streams

    def decode(self, streams: Sequence[bytes], size: tuple[int, int], tables: Tables | None) -> np.ndarray:
        tables = tables or self.tables
        latents = (self._latents(some, size, tables) for some in _groups(streams, size))
        return np.concatenate([_synthesised(self.network, some, size) for some in latents])

    def _latents(self, streams: Sequence[bytes], size: tuple[int, int], tables: Tables) -> torch.Tensor:
        height, width = _latent_size(self.network, size)
        factor = self.network.downsampling_factor // _shrinks_by(self.network)
        side_shape = (len(streams), self.network.N, height // factor, width // factor)
        shape = (len(streams), self.network.M, height, width)
        length = math.prod(side_shape[1:]) + math.prod(shape[1:])
        decoder = _opened(tables, streams, length)
        side_values = torch.from_numpy(decoder.read(_channels(side_shape))).reshape(side_shape)
        rows, means = self._predicted(side_values)
        values = torch.from_numpy(decoder.read(rows)).reshape(shape)
        _refuse_damaged(decoder.finish())
        return values + means

    @torch.inference_mode()
    def _predicted(self, side_values: torch.Tensor) -> tuple[np.ndarray, torch.Tensor]:
        """Tables int64 (N, M h w) and means float32 (N, M, h, w) or 0, one image at a time."""
        side = side_values + _medians(self.network)
        out = torch.cat([self.network.h_s(one) for one in side.split(1)])
        scales, means = out.chunk(2, 1) if self._has_means else (out, torch.zeros(()))
        # damaged streams may give NaN scales
        indexes = self.network.gaussian_conditional.build_indexes(torch.nan_to_num(scales))
        return self._side_rows + indexes.flatten(1).to(torch.int64).numpy(), means


class OwnStreamsModel:
    """CompressAI's own streams, one image at a time: autoregressive and variable-rate models (``level``)."""

    def __init__(self, network: Any, name: str, decoder: str, weights_bytes: int, level: int | None) -> None:
        self.network = network
        self.name, self.decoder, self.weights_bytes = name, decoder, weights_bytes
        self.tables = None
        self._options = {} if level is None else {"s": level}
        # decoded latents are within a whole step with the offsets of variable rates, otherwise within half a step
        self._reach = 0.5 if level is None else 1 / float(network.Gain[level].abs())
        self._timed = not is_autoregressive(network)
        self._one_at_a_time = threading.Lock()

    @torch.inference_mode()
    def encode(self, images: np.ndarray, tables: Tables | None) -> list[bytes]:
        streams = []
        for image in images:
            with self._one_at_a_time, _seen_latents(self.network) as seen:
                coded = self.network.compress(_padded(self.network, image[None]), **self._options)
                main, side = (strings[0] for strings in coded["strings"])
                body = _OWN_STREAMS.pack(0, *coded["shape"], len(main))[4:] + main + side
                streams.append(struct.pack("<I", zlib.crc32(body)) + body)
                clock = time.perf_counter()
                self.decode(streams[-1:], image.shape[:2], None)
                self._say_how_long(time.perf_counter() - clock, image.shape[:2])
                given, back = seen
            if not bool(((given - back).abs() <= self._reach + 1e-3).all()):
                raise WorkError(f"{self.name}: a stream does not decode to what was encoded")
        return streams

    @torch.inference_mode()
    def decode(self, streams: Sequence[bytes], size: tuple[int, int], tables: Tables | None) -> np.ndarray:
        damaged = [
            len(one) < _OWN_STREAMS.size or zlib.crc32(one[4:]) != _OWN_STREAMS.unpack_from(one)[0] for one in streams
        ]
        _refuse_damaged(np.array(damaged, bool))
        factor = self.network.downsampling_factor
        side = (-(-size[0] // factor), -(-size[1] // factor))
        values = math.prod(_latent_size(self.network, size)) * self.network.M + math.prod(side) * self.network.N
        images = []
        for stream in streams:
            _, height, width, length = _OWN_STREAMS.unpack_from(stream)
            strings = stream[_OWN_STREAMS.size :]
            if (height, width) != side or length > len(strings):
                raise WorkError(f"a stream claims {height} x {width} latents, expected {side[0]} x {side[1]}")
            parts = [[_readable(part, values)] for part in (strings[:length], strings[length:])]
            decoded = self.network.decompress(parts, side, **self._options)["x_hat"]
            images.append(_as_images(decoded, size))
        return np.concatenate(images)

    def _say_how_long(self, seconds: float, size: tuple[int, int]) -> None:
        """Warn once if the model is slow."""
        if not self._timed:
            self._timed = True
            warnings.warn(
                f"{self.name} decodes an image of {size[1]} x {size[0]} pixels in {seconds:.2f} s here: "
                "too slow for exemplars; use a factorized or hyperprior model",
                RuntimeWarning,
                stacklevel=2,
            )


def _readable(string: bytes, values: int) -> bytes:
    """Check and pad a CompressAI string so that its decoder neither aborts nor reads beyond the end.

    The decoder starts from a state in the first 8 bytes; from a valid state it never reaches an invalid one, on which
    it would abort. It does not check for the end: a value takes 2 bytes, and a value beyond the tables another half
    byte for each unit of a number in the string itself.
    """
    if len(string) < 8 or not _LOWEST_STATE <= int.from_bytes(string[:8], "little") < _LOWEST_STATE << 32:
        raise WorkError("a stream is damaged: it does not begin with a state")
    return string + bytes(16 * len(string) + 64 * values)


@contextlib.contextmanager
def _seen_latents(network: Any) -> Iterator[list[torch.Tensor]]:
    """Collect the latents after the analysis and before the synthesis, which CompressAI does not return."""
    seen: list[torch.Tensor] = []
    hooks = (
        network.g_a.register_forward_hook(lambda _, given, latents: seen.append(latents)),
        network.g_s.register_forward_pre_hook(lambda _, latents: seen.append(latents[0])),
    )
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def is_autoregressive(network: Any) -> bool:
    """Whether decoding takes one step per pixel of the latents."""
    return hasattr(network, "context_prediction")


def _medians(network: Any) -> torch.Tensor:
    """Median of each channel's density, float32 (1, C, 1, 1)."""
    return network.entropy_bottleneck.quantiles[:, 0, 1].reshape(1, -1, 1, 1)


def _tables(model: Any) -> Tables:
    return Tables.of_cdfs(model.quantized_cdf.numpy(), model.cdf_length.numpy(), model.offset.numpy())


def _channels(shape: Sequence[int]) -> np.ndarray:
    """The channel of each value of flattened latents (N, M, h, w), int64 (M h w,)."""
    return np.repeat(np.arange(shape[1]), shape[2] * shape[3])


def _opened(tables: Tables, streams: Sequence[bytes], length: int) -> Decoder:
    """A decoder for streams; checksums are verified before memory is allocated for the values."""
    decoder = Decoder(tables, streams, length)
    _refuse_damaged(decoder.damaged)
    return decoder


def _read(tables: Tables, streams: Sequence[bytes], rows: np.ndarray) -> np.ndarray:
    decoder = _opened(tables, streams, len(rows))
    values = decoder.read(rows)
    _refuse_damaged(decoder.finish())
    return values


def _refuse_damaged(damaged: np.ndarray) -> None:
    if damaged.any():
        raise WorkError(f"{int(damaged.sum())} of {len(damaged)} streams are damaged")


def _parts(images: np.ndarray) -> list[np.ndarray]:
    """Batches that fit a cache."""
    size = _batch((images.shape[1], images.shape[2]))
    return [images[start : start + size] for start in range(0, len(images), size)]


def _groups(streams: Sequence[bytes], size: tuple[int, int]) -> list[Sequence[bytes]]:
    """Streams whose values are in memory together, in whole batches, so that batches do not depend on the grouping."""
    group = _BATCHES_TOGETHER * _batch(size)
    return [streams[start : start + group] for start in range(0, len(streams), group)]


def _batch(size: tuple[int, int]) -> int:
    return max(1, _PIXELS_A_BATCH // (size[0] * size[1]))


def _latent_size(network: Any, size: tuple[int, int]) -> tuple[int, int]:
    factor = network.downsampling_factor
    height, width = (-(-side // factor) * factor // _shrinks_by(network) for side in size)
    return height, width


def _shrinks_by(network: Any) -> int:
    """Pixels per side of a latent; CompressAI networks have four downsampling steps."""
    return int(2 ** getattr(network, "stages", 4))


def _padded(network: Any, images: np.ndarray) -> torch.Tensor:
    """Images as float32 (N, 3, H, W) in [0, 1], padded by replication to a multiple of the downsampling factor."""
    factor = network.downsampling_factor
    height, width = images.shape[1:3]
    pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).to(torch.float32) / 255
    return functional.pad(pixels, (0, -width % factor, 0, -height % factor), mode="replicate")


@torch.inference_mode()
def _analysed(network: Any, images: np.ndarray) -> torch.Tensor:
    """Latents, float32 (N, M, h, w), contiguous."""
    return network.g_a(_padded(network, images).contiguous(memory_format=torch.channels_last)).contiguous()


@torch.inference_mode()
def _synthesised(network: Any, latents: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    batches = latents.split(_batch(size))
    parts = [network.g_s(batch.contiguous(memory_format=torch.channels_last)) for batch in batches]
    return np.concatenate([_as_images(part, size) for part in parts])


def _as_images(pixels: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    cut = pixels[:, :, : size[0], : size[1]]
    return (cut.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
