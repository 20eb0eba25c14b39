"""Small inputs that ask for gigabytes or minutes: files, states, streams, grids. Each is an attempt to read it.

``size`` is what a memory of 32-pixel images knows; the same files are tried without it, too.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import forged_files as forged
import imagecodecs
import numpy as np
from codec_samples import natural
from guide_samples import HandMadeGuide
from neural_samples import model_file, own_streams_model

from toolkit.codecs.guide import give_guide
from toolkit.codecs.spec import expand_grid, grid_paths, parse_codec

Bomb = Callable[[], object]
SIZE = (32, 32)
_HUGE = struct.pack("<HH", 65535, 65535)


def decode(spec: str, state: bytes, payloads: Sequence[bytes], size: tuple[int, int] | None) -> np.ndarray:
    """What a memory does with what it holds."""
    codec = parse_codec(spec)
    codec.load_shared(state)
    return codec.decode(payloads, size)


def coded(spec: str, side: int = 32, count: int = 4) -> tuple[bytes, list[bytes]]:
    """The shared state and the payloads of some images."""
    codec = parse_codec(spec)
    give_guide([codec], HandMadeGuide)
    payloads = codec.encode(natural(count, side))
    return codec.shared_state(), payloads


def bombs(folder: Path) -> dict[str, Bomb]:
    """All of them by name; ``folder`` takes the files that some are."""
    made: dict[str, Bomb] = {}
    for name, spec, file in files():
        made[f"{name}, size known"] = partial(decode, f"{spec}:shared=no", b"", [file], SIZE)
        made[f"{name}, size unknown"] = partial(decode, f"{spec}:shared=no", b"", [file], None)
    for name, (spec, state, payloads) in {**states(), **neural(folder)}.items():
        made[name] = partial(decode, spec, state, payloads, None)
    return made | texts(folder)


def files() -> Iterator[tuple[str, str, bytes]]:
    """Name, codec and content of image files."""
    yield "JPEG of 18000 x 18000", "jpeg", forged.jpeg(18000, 18000)
    yield (
        "JPEG that hides its size behind a comment",
        "jpeg",
        forged.jpeg(18000, 18000, before=forged.segment(0xFFFE, forged.frame(32, 32))),
    )
    yield "JPEG with two frames", "jpeg", forged.jpeg(32, 32, after=forged.frame(18000, 18000))
    yield (
        "JPEG of four components",
        "jpeg",
        forged.jpeg(32, 32).replace(forged.frame(32, 32), forged.frame(16000, 16000, 4)),
    )
    yield "JPEG of 5,000 scans", "jpeg", forged.jpeg_of_scans(2048, 5000)
    yield "JPEG of 1,000 progressive scans", "jpeg", forged.progressive_jpeg(2048, 1000)
    yield "PNG of 12000 x 12000", "png", forged.png(12000, 12000, forged.zeros(3 * 12000**2))
    yield "PNG, interlaced", "png", forged.png(9000, 9000, forged.zeros(3 * 9000**2), interlaced=1)
    yield "PNG of 16 bits and 4 channels", "png", forged.png(5000, 5000, forged.zeros(8 * 5000**2), 16, 6)
    text = forged.png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(7_900_000)))
    yield "PNG with texts", "png", forged.png(32, 32, forged.zeros(3200), more=300 * text)
    yield "WebP of 16383 x 16383", "webp", forged.webp(16383, 16383)
    yield "WebP of 38 bytes", "webp", forged.flat_webp(16383, 16383)
    yield (
        "WebP whose canvas is smaller than its frame",
        "webp",
        forged.extended_webp(32, 32, forged.flat_webp(16383, 16383)),
    )
    yield "WebP, animated", "webp", forged.extended_webp(16383, 16383, forged.WEBP, flags=2)
    yield "AVIF of 16000 x 16000", "avif", forged.avif((16000, 16000), (16000, 16000))
    yield "AVIF whose item is larger than its frame", "avif", forged.avif((16000, 16000))
    yield "AVIF whose frame is larger than its item", "avif", forged.avif(sequence=(16000, 16000))
    yield "AVIF, a grid", "avif", forged.avif((16000, 16000), kind=b"grid")
    yield "AVIF in 30,000 pieces", "avif", forged.avif(extents=30_000)
    yield "JPEG XL of 60000 x 60000", "jxl", forged.jxl(60000, 60000)
    flat = np.full((5000, 5000, 3), 100, np.uint8)
    yield "JPEG XL of a single colour", "jxl", bytes(imagecodecs.jpegxl_encode(flat, level=75, effort=1))
    yield "JPEG XL of 4,000 channels", "jxl", forged.jxl(2000, 2000, extra_channels=4000)
    yield (
        "JPEG XL, animated",
        "jxl",
        bytes(imagecodecs.jpegxl_encode(np.zeros((1000, 32, 32, 3), np.uint8), level=75, effort=1)),
    )
    yield "JPEG 2000 of 3,000 components", "jpeg2000", forged.j2k(1000, 1000, components=3000)
    yield "JPEG 2000 of 12000 x 12000", "jpeg2000", forged.j2k(12000, 12000)
    yield "JPEG 2000 of 65,025 tiles", "jpeg2000", forged.j2k(255, 255, tile=(1, 1))
    yield "JPEG 2000 of small precincts", "jpeg2000", forged.j2k(2048, 2048, block=0, precinct=0x11)
    yield "JPEG 2000 in a box", "jpeg2000", forged.jp2(12000, 12000)


def states() -> dict[str, tuple[str, bytes, list[bytes]]]:
    """Codec, shared state and payloads."""
    jpeg_state, jpeg_payloads = coded("jpeg:quality=50")
    foreground_state, _ = coded("foreground|jpeg:quality=50")
    long = bytes([0, 0, 7, 7]) + b"\xff" * 2**20
    inflating = zlib.compress(bytes(2**27), 1)
    edges = range(0, 2**15 - 2)
    runs = struct.pack(f"<H{len(edges)}HB", len(edges) // 2, *edges, 0) + bytes(len(edges) // 2)
    webp = forged.flat_webp(2048, 2048)
    return {
        "raw, state": ("raw", _HUGE, [b""]),
        "downscale, state": ("downscale|jpeg:quality=50", _HUGE + jpeg_state, jpeg_payloads[:1]),
        "downscale in downscale, state": (
            "downscale|downscale|jpeg:quality=50",
            struct.pack("<4H", 32, 32, 65535, 65535) + jpeg_state,
            jpeg_payloads,
        ),
        "cp, state": ("cp:rank=64", _HUGE, [bytes(64 * (2 * 65535 + 3) + 12 * 64)]),
        "cp, largest state": ("cp:rank=64", struct.pack("<HH", 1024, 1024), [bytes(64 * (2 * 1024 + 3) + 12 * 64)]),
        "foreground, state": ("foreground|jpeg:quality=50", _HUGE + foreground_state[4:], [bytes(40)]),
        "foreground, length": ("foreground|jpeg:quality=50", foreground_state, [long]),
        "adaptive, zlib": ("adaptive", inflating, [bytes(40)]),
        "shared header of runs": ("jpeg:quality=50", runs, [bytes(40)]),
        "batch of large images": ("webp:shared=no", b"", [webp] * 500),
        "batch of large images behind a factor": (
            "downscale|webp:shared=no",
            struct.pack("<HH", 2048, 2048),
            [forged.flat_webp(1024, 1024)] * 500,
        ),
    }


def neural(folder: Path) -> dict[str, tuple[str, bytes, list[bytes]]]:
    """The same for networks: small ones, and one with CompressAI's own streams."""
    spec = f"neural:checkpoint={model_file(folder)}"
    state, payloads = coded(spec)
    tables = struct.pack("<H", 65535) + zlib.compress(bytes(2**27), 1)
    hyperprior = f"neural:checkpoint={model_file(folder, 'hyperprior')}"
    hyperprior_state, hyperprior_payloads = coded(hyperprior)
    return own_strings(folder) | {
        "neural, state": (spec, _HUGE + state[4:], payloads),
        "neural, hyperprior's state": (hyperprior, _HUGE + hyperprior_state[4:], hyperprior_payloads),
        "neural, largest state": (spec, struct.pack("<HH", 1024, 1024) + state[4:], [sealed(bytes(4000))]),
        "neural, zlib tables": (spec, state[:14] + tables, payloads),
        "neural, one long stream": (spec, state, [*payloads * 200, sealed(bytes(10**7))]),
    }


def own_strings(folder: Path) -> dict[str, tuple[str, bytes, list[bytes]]]:
    """CompressAI's own streams with checksums that fit: its decoder aborts at irregular states, and reads on and on."""
    spec = f"neural:checkpoint={own_streams_model(folder)}"
    state, payloads = coded(spec, count=1)
    sizes, body, rng = payloads[0][4:8], payloads[0][8:], np.random.default_rng(0)
    forged_bodies = {f"random {number}": sizes + body[:4] + rng.bytes(len(body) - 4) for number in range(6)}
    forged_bodies |= {f"end {number}": sizes + body[:-20] + rng.bytes(20) for number in range(4)}
    forged_bodies |= {
        f"first length {length}": sizes + struct.pack("<I", length) + body[4:]
        for length in (0, 8, len(body), 2**32 - 1)
    }
    forged_bodies |= {
        "zeros": sizes + body[:4] + bytes(len(body) - 4),
        "ones": sizes + body[:4] + b"\xff" * (len(body) - 4),
        "nothing": sizes + body[:4],
        "60000 x 60000 latents": struct.pack("<HH", 60000, 60000) + body,
    }
    return {
        f"neural, own streams, {name}": (spec, state, [struct.pack("<I", zlib.crc32(one)) + one])
        for name, one in forged_bodies.items()
    }


def sealed(body: bytes) -> bytes:
    """A stream of rANS with a checksum that fits."""
    return bytes([zlib.crc32(body) % 128]) + body


def texts(folder: Path) -> dict[str, Bomb]:
    """Grids, specs and files that grow when they are read."""
    choices = "{" + ",".join(map(str, range(2, 17))) + "}"
    grid = f"downscale:factor={choices}|" * 6 + f"jpeg:quality={choices}"
    deep = "downscale|" * 3000 + "jpeg"
    background = "foreground:background=" * 3000 + "jpeg|jpeg"
    (folder / "long.json").write_bytes(b" " * 2**28)
    (folder / "deep.json").write_bytes(b'{"format": "recallrate-jpeg-tables", "version": 1, "luma": ' + b"[" * 990)
    (folder / "nested.json").write_bytes(
        b'{"format": "recallrate-jpeg-tables", "version": 1, "luma": ' + b"[" * 900 + b"]" * 900 + b"}"
    )
    with zipfile.ZipFile(folder / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", bytes(2**27), compresslevel=1)
    return {
        "grid of seven groups": partial(expand_grid, grid),
        "grid of seven groups, its paths": partial(grid_paths, grid),
        "grid of 20,000 groups": partial(expand_grid, "{,}" * 20_000),
        "grid of braces with wrappers": partial(expand_grid, "{" + deep + ",png}"),
        "grid of many settings": partial(expand_grid, "png;" * 16_000),
        "3,000 wrappers": partial(parse_codec, deep),
        "3,000 wrappers' paths": partial(grid_paths, deep),
        "3,000 backgrounds": partial(parse_codec, background),
        "number of 100,000 digits": partial(parse_codec, "jpeg:quality=" + "9" * 100_000),
        "number of 4,000 digits": partial(parse_codec, "jpeg:quality=" + "9" * 4000),
        **{
            f"tables, {name}": partial(parse_codec, f"learned-jpeg:tables={folder / name}.json")
            for name in ("long", "deep", "nested")
        },
        "model file": partial(parse_codec, f"neural:checkpoint={folder / 'bomb.npz'}"),
    }
