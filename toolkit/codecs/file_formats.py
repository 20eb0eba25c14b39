"""Standard image formats as exemplar codecs, through imagecodecs; Pillow encodes AVIF.

Pillow uses the familiar AVIF quality scale of ``avifenc``; imagecodecs maps the same number to files up to 45 % larger,
but decodes four times as fast.

If all images are grey, they become files of one component. WebP has no such files, and JPEG XL gains nothing by them.
"""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image

from toolkit.codecs import headers, jpeg2000
from toolkit.codecs.base import Size, image_size, require_pixels, require_rgb, within_memory
from toolkit.codecs.fixed_size import SHARED_SIZE, FixedSizeCodec
from toolkit.codecs.kind import CodecKind
from toolkit.codecs.lossless_jpeg.packing import MAGIC, ContextPacking
from toolkit.codecs.shared_header import SharedHeader, calibration_images
from toolkit.data.grey import is_grey, one_channel, three_channels
from toolkit.foundation.errors import WorkError, one_line
from toolkit.foundation.parameters import Parameter, Value
from toolkit.foundation.threads import ordered_map, thread_count

FULL_CHROMA_BELOW = 96
"""subsampling=auto means 4:4:4 below this side: on small images it beats 4:2:0 at equal PSNR from about 28 dB."""
_PIXELS_WORTH_A_THREAD = 128 * 128
_PIXELS_WORTH_A_THREAD_IF_SLOW = 64 * 64
_AOM = {"tune": "iq"}
"""Stated, because libavif's default differs between versions and changes the bytes at a quality by up to 40 %."""
SHARE = Parameter(bool, True, help="store the common header of all files only once")
ENTROPY = Parameter(
    str,
    "context",
    choices=("context", "huffman"),
    help="context: 13 to 20 % fewer bytes for the same pixels; huffman: as in a file; with shared=no always huffman",
)
SUBSAMPLING = Parameter(str, "auto", choices=("auto", "420", "444"), help="chroma; auto: 444 below 96 px, else 420")
RAW_SHARED_BYTES = SHARED_SIZE.size


class FileCodec:
    """A codec that writes files of a standard format, with or without a shared header.

    Args:
        kind: its registry entry, for the spec.
        values: the parsed parameters.
        write: encodes one image, uint8 (H, W, 3), or (H, W) if the format has ``grey`` files, to the bytes of a file.
        read: decodes the bytes of a file.
        claim: reads the claimed size from a file's header; see :mod:`toolkit.codecs.headers`.
        extension: of its files.
        lossless: whether decoding is exact.
        grey: whether the format has files of one component.
        slow: whether encoding a small image takes longer than handing it to a thread; decoding is always faster.
        packing: how payloads share a header, if they do; a stored shared state says for itself how it was packed.
    """

    def __init__(
        self,
        kind: CodecKind,
        values: Mapping[str, Value | None],
        write: Callable[[np.ndarray], bytes],
        read: Callable[[bytes], np.ndarray],
        claim: Callable[[bytes], headers.Claim],
        *,
        extension: str,
        lossless: bool = False,
        grey: bool = False,
        slow: bool = True,
        packing: type[SharedHeader] | type[ContextPacking] = SharedHeader,
    ) -> None:
        self._spec = kind.spec(values)
        self._shares = bool(values["shared"])
        self._write = write
        self._read = read
        self._claim = claim
        self._extension = extension
        self._lossless = lossless
        self._grey = grey
        self._slow = slow
        self._packing = packing
        self._header: SharedHeader | ContextPacking | None = None
        self._one_component: bool | None = None

    def __str__(self) -> str:
        return self._spec

    @property
    def lossless(self) -> bool:
        return self._lossless

    @property
    def extension(self) -> str:
        return self._extension

    def fit(self, images: np.ndarray) -> None:
        self._one_component = self._grey and all(map(is_grey, images))
        if self._shares:
            self._header = self._learned(image_size(images), self._one_component)

    def encode(self, images: np.ndarray) -> list[bytes]:
        require_rgb(self, images)
        if self._one_component is None and self._header is None:
            self.fit(images)
        elif self._one_component is None and self._grey and any(map(is_grey, images)):  # a loaded header
            self._one_component = self.shared_state() == self._learned(image_size(images), True).to_bytes()
        workers = thread_count() if self._slow else self._workers(*images.shape[1:3])
        return list(ordered_map(self._payload, images, workers))

    def assume_grey(self, grey: bool) -> None:
        """Say whether grey images become files of one component, of a header that was learned elsewhere."""
        self._one_component = self._grey and grey

    @within_memory
    def decode(self, payloads: Sequence[bytes], size: Size | None = None) -> np.ndarray:
        if not payloads:
            raise WorkError(f"{self}: nothing to decode")
        first = self.to_file(payloads[0])
        expected = self._claimed(first)
        self._require(expected, len(payloads), size)
        images = np.empty((len(payloads), *expected[:2], 3), np.uint8)
        images[0] = self._read_file(expected, first)
        decode = functools.partial(self._decode_one, expected)
        for index, image in enumerate(ordered_map(decode, payloads[1:], self._workers(*expected[:2])), 1):
            images[index] = image
        return images

    def to_file(self, payload: bytes) -> bytes:
        if not self._shares:
            return payload
        if self._header is None:
            raise WorkError(f"{self}: the shared header is missing; fit or load it before decoding")
        return self._header.restore(payload)

    def shared_state(self) -> bytes:
        return self._header.to_bytes() if self._header is not None else b""

    def load_shared(self, state: bytes) -> None:
        if state and not self._shares:
            raise WorkError(f"{self}: ordinary files have no shared header, got one of {len(state)} bytes")
        packing = ContextPacking if state.startswith(MAGIC) else SharedHeader
        self._header = packing.from_bytes(state) if state else None
        self._one_component = None

    def shared_bytes(self) -> int:
        return len(self.shared_state())

    def weights_bytes(self) -> int:
        return 0

    def _learned(self, size: Size, one_component: bool) -> SharedHeader | ContextPacking:
        samples = calibration_images(*size)
        return self._packing.learn([self._write(one_channel(image) if one_component else image) for image in samples])

    def _payload(self, image: np.ndarray) -> bytes:
        strip = self._header.strip if self._header is not None else bytes
        return strip(self._write(one_channel(image) if self._one_component and is_grey(image) else image))

    def _decode_one(self, expected: headers.Claim, payload: bytes) -> np.ndarray:
        return self._read_file(expected, self.to_file(payload))

    def _read_file(self, expected: headers.Claim, file: bytes) -> np.ndarray:
        claim = self._claimed(file)
        if claim != expected:
            self._require(claim, 1, expected[:2])
        try:
            image = self._read(file)
        except Exception as error:  # every decoder library has its own exceptions
            raise WorkError(f"{self}: a stored exemplar cannot be decoded: {one_line(error)}") from error
        if image.ndim == 2 and claim[2] == 1:
            image = three_channels(image)
        if image.shape != (*claim[:2], 3) or image.dtype != np.uint8:
            raise WorkError(f"{self}: a stored exemplar is not an 8-bit RGB image: {image.dtype} {image.shape}")
        return image

    def _claimed(self, file: bytes) -> headers.Claim:
        try:
            return self._claim(file)
        except (WorkError, struct.error, IndexError) as error:
            raise WorkError(f"{self}: a stored exemplar cannot be decoded: {one_line(error)}") from error

    def _require(self, claim: headers.Claim, count: int, size: Size | None) -> None:
        height, width, components = claim
        if components != 3 and not (self._grey and components == 1):
            raise WorkError(f"{self}: a stored exemplar is not an 8-bit RGB image: it has {components} components")
        require_pixels(self, (height, width), count, size)

    def _workers(self, height: int, width: int) -> int:
        """Number of threads to use: for a 32-pixel JPEG (25 us) a thread's overhead is as large as the work."""
        worth = _PIXELS_WORTH_A_THREAD_IF_SLOW if self._slow else _PIXELS_WORTH_A_THREAD
        return thread_count() if height * width >= worth else 1


class RawCodec(FixedSizeCodec):
    """Uncompressed pixels, one byte per pixel of grey images; the size is shared."""

    lossless = True
    extension = "rgb"
    batch_is_bounded = False
    size_name, state_name = "the image shape", "the stored shape"

    def __str__(self) -> str:
        return "raw"

    def encode_images(self, images: np.ndarray) -> list[bytes]:
        return [(one_channel(image) if is_grey(image) else image).tobytes() for image in images]

    def decode_images(self, payloads: Sequence[bytes], size: Size) -> np.ndarray:
        pixels = size[0] * size[1]
        wrong = next((len(payload) for payload in payloads if len(payload) not in (pixels, 3 * pixels)), None)
        if wrong is not None:
            raise WorkError(f"raw: a stored exemplar has {wrong} bytes, expected {3 * pixels}, or {pixels} if grey")
        images = np.empty((len(payloads), *size, 3), np.uint8)
        for image, payload in zip(images, payloads, strict=True):
            image[:] = np.frombuffer(payload, np.uint8).reshape(*size, -1)
        return images

    def to_file(self, payload: bytes) -> bytes:
        return payload


def chroma_subsampling(subsampling: Value, image: np.ndarray) -> str:
    if subsampling == "auto":
        return "444" if min(image.shape[:2]) < FULL_CHROMA_BELOW else "420"
    return str(subsampling)


def _png(**values: Value) -> FileCodec:

    def write(image: np.ndarray) -> bytes:
        return bytes(imagecodecs.png_encode(image, level=9))

    read = imagecodecs.png_decode
    return FileCodec(PNG, values, write, read, headers.png_size, extension="png", lossless=True, grey=True)


def _webp(quality: int, method: int, lossless: bool, shared: bool) -> FileCodec:
    rate = {"quality": None, "method": 4} if lossless else {"quality": quality, "method": method}
    values: dict[str, Value | None] = {**rate, "lossless": lossless, "shared": shared}

    def write(image: np.ndarray) -> bytes:
        if lossless:
            return bytes(imagecodecs.webp_encode(image, lossless=True, numthreads=1))
        # imagecodecs defaults to lossless
        return bytes(imagecodecs.webp_encode(image, level=quality, lossless=False, method=method, numthreads=1))

    def read(file: bytes) -> np.ndarray:
        return imagecodecs.webp_decode(file, hasalpha=False)

    return FileCodec(WEBP, values, write, read, headers.webp_size, extension="webp", lossless=lossless)


def jpeg_packing(entropy: str) -> type[SharedHeader] | type[ContextPacking]:
    """How payloads of JPEG files are made from them."""
    return ContextPacking if entropy == "context" else SharedHeader


def _jpeg(quality: int, subsampling: str, entropy: str, shared: bool) -> FileCodec:
    def write(image: np.ndarray) -> bytes:
        chroma = chroma_subsampling(subsampling, image)
        file = imagecodecs.jpeg8_encode(image, level=quality, subsampling=chroma, optimize=False, smoothing=False)
        return bytes(file)

    values: dict[str, Value | None] = {
        "quality": quality,
        "subsampling": subsampling,
        "entropy": entropy if shared else None,
        "shared": shared,
    }
    return FileCodec(
        JPEG,
        values,
        write,
        imagecodecs.jpeg8_decode,
        headers.jpeg_size,
        extension="jpg",
        grey=True,
        slow=shared and entropy == "context",
        packing=jpeg_packing(entropy),
    )


def _avif(quality: int, speed: int, subsampling: str, shared: bool) -> FileCodec:
    def write(image: np.ndarray) -> bytes:
        file = io.BytesIO()
        chroma = "4:4:4" if chroma_subsampling(subsampling, image) == "444" else "4:2:0"
        if image.ndim == 2:
            image, chroma = three_channels(image), "4:0:0"
        Image.fromarray(image).save(
            file, "AVIF", quality=quality, speed=speed, subsampling=chroma, max_threads=1, codec="aom", advanced=_AOM
        )
        return file.getvalue()

    values: dict[str, Value | None] = {"quality": quality, "speed": speed, "subsampling": subsampling, "shared": shared}
    read = functools.partial(imagecodecs.avif_decode, numthreads=1)
    return FileCodec(AVIF, values, write, read, headers.avif_size, extension="avif", grey=True)


def _jxl(quality: float, effort: int, lossless: bool, shared: bool, distance: float | None = None) -> FileCodec:
    rate: dict[str, Any] = {"level": quality} if distance is None else {"distance": distance}
    if lossless:  # quality 100 and distance 0 are not exact, and larger
        rate = {"lossless": True}
    stated = {"effort": effort, "decodingspeed": 0, "usecontainer": False, "numthreads": 1, **rate}

    def write(image: np.ndarray) -> bytes:
        return bytes(imagecodecs.jpegxl_encode(image, **stated))

    values: dict[str, Value | None] = {
        "quality": None if lossless or distance is not None else quality,
        "distance": None if lossless else distance,
        "effort": effort,
        "lossless": lossless,
        "shared": shared,
    }
    read = functools.partial(imagecodecs.jpegxl_decode, numthreads=1)
    return FileCodec(JXL, values, write, read, headers.jxl_size, extension="jxl", lossless=lossless)


def _jpeg2000(psnr: float, shared: bool) -> FileCodec:
    write = functools.partial(jpeg2000.encode, psnr=psnr)
    values = {"psnr": psnr, "shared": shared}
    return FileCodec(JPEG2000, values, write, jpeg2000.decode, headers.jpeg2000_size, extension="j2k", grey=True)


def _quality(default: int) -> Parameter:
    return Parameter(int, default, 1, 100, help="1 (smallest) to 100 (best)", always=True)


RAW = CodecKind("raw", "uncompressed pixels", RawCodec)
PNG = CodecKind("png", "lossless PNG, level 9", _png, {"shared": SHARE})
WEBP = CodecKind(
    "webp",
    "WebP, lossy (VP8) or lossless",
    _webp,
    {
        "quality": _quality(75),
        "method": Parameter(int, 4, 0, 6, help="effort"),
        "lossless": Parameter(bool, False),
        "shared": SHARE,
    },
)
JPEG = CodecKind(
    "jpeg",
    "baseline JPEG with the standard tables",
    _jpeg,
    {"quality": _quality(75), "subsampling": SUBSAMPLING, "entropy": ENTROPY, "shared": SHARE},
)
AVIF = CodecKind(
    "avif",
    "AVIF (AV1 intra), slow to encode",
    _avif,
    {
        "quality": _quality(60),
        "speed": Parameter(int, 6, 0, 10, help="0 (slowest) to 10"),
        "subsampling": SUBSAMPLING,
        "shared": SHARE,
    },
)
JXL = CodecKind(
    "jxl",
    "JPEG XL by quality, by distance or lossless",
    _jxl,
    {
        "quality": Parameter(float, 75.0, 1, 100, help="1 to 100", always=True),
        "distance": Parameter(float, None, 0, 15, help="Butteraugli distance, 0 to 15; replaces quality"),
        "effort": Parameter(int, 7, 1, 9),
        "lossless": Parameter(bool, False, help="exact pixels; replaces quality and distance"),
        "shared": SHARE,
    },
)
JPEG2000 = CodecKind(
    "jpeg2000",
    "JPEG 2000 to a target PSNR",
    _jpeg2000,
    {"psnr": Parameter(float, 31.0, 15, 60, help="target PSNR in dB", always=True), "shared": SHARE},
)
KINDS = (RAW, PNG, WEBP, JPEG, AVIF, JXL, JPEG2000)
