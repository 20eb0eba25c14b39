"""The base class of codecs of one size: shared state, refusals, and no half-fitted state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from codec_samples import natural

from toolkit.codecs.base import Codec, Size
from toolkit.codecs.fixed_size import FixedSizeCodec
from toolkit.codecs.spec import parse_codec
from toolkit.foundation.errors import UsageError, WorkError


class MeanColour(FixedSizeCodec):
    """The mean colour of each image over a colour that the first images share."""

    least_state = 7

    def __init__(self) -> None:
        self.colour = b""

    def __str__(self) -> str:
        return "mean-colour"

    def learn(self, images: np.ndarray) -> None:
        if not images.any():
            raise UsageError("black")
        self.colour = images.mean(axis=(0, 1, 2)).astype(np.uint8).tobytes()

    def rest_of_shared(self) -> bytes:
        return self.colour

    def load_rest(self, rest: bytes, size: Size) -> None:
        if len(rest) != 3:
            raise WorkError("no colour")
        self.colour = rest

    def encode_images(self, images: np.ndarray) -> list[bytes]:
        means = images.mean(axis=(1, 2)).astype(np.uint8) - np.frombuffer(self.colour, np.uint8)
        return [mean.tobytes() for mean in means]

    def decode_images(self, payloads: Sequence[bytes], size: Size) -> np.ndarray:
        means = np.frombuffer(b"".join(payloads), np.uint8).reshape(-1, 3) + np.frombuffer(self.colour, np.uint8)
        return np.broadcast_to(means[:, None, None], (len(payloads), *size, 3)).copy()


def test_size_and_rest_are_shared_and_read_back() -> None:
    codec, other, images = MeanColour(), MeanColour(), natural(4, 16)[:, :12]
    assert isinstance(codec, Codec)
    assert (codec.shared_state(), codec.shared_bytes(), codec.weights_bytes()) == (b"", 0, 0)
    payloads = codec.encode(images)
    assert codec.shared_state() == b"\x0c\x00\x10\x00" + images.mean(axis=(0, 1, 2)).astype(np.uint8).tobytes()
    other.load_shared(codec.shared_state())
    expected = np.broadcast_to(images.mean(axis=(1, 2)).astype(np.uint8)[:, None, None], images.shape)
    np.testing.assert_array_equal(other.decode(payloads, (12, 16)), expected)
    assert other.to_file(payloads[0]) == codec.shared_state() + payloads[0]


def test_a_failed_fit_or_load_leaves_nothing_behind() -> None:
    codec = MeanColour()
    for refused in (np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 8, 8, 3)), np.zeros((8, 8, 3), np.uint8)):
        with pytest.raises(UsageError):
            codec.fit(refused)
    for damaged, reason in (
        (b"\x08\x00\x08\x00", "mean-colour: the stored size has 4 bytes, expected at least 7"),
        (b"\x00\x00\x08\x00abc", r"mean-colour: the stored size is damaged: \(0, 8\)"),
        (b"\xff\xff\xff\xffabc", r"mean-colour: the stored size is damaged: \(65535, 65535\)"),
        (b"\x08\x00\x08\x00abcd", "no colour"),
    ):
        with pytest.raises(WorkError, match=reason):
            codec.load_shared(damaged)
    assert codec.shared_state() == b""
    with pytest.raises(WorkError, match="nothing to decode, or the size is missing; fit or load it before decoding"):
        codec.decode([b"abc"])


@pytest.mark.parametrize("spec", ["raw", "cp:rank=2"])
def test_a_state_that_is_only_the_size_has_four_bytes(spec: str) -> None:
    for state in (b"", b"\x08\x00\x08", b"\x08\x00\x08\x00\x00"):
        with pytest.raises(WorkError, match=f"{spec}: the stored shape has {len(state)} bytes, expected 4"):
            parse_codec(spec).load_shared(state)
