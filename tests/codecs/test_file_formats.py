"""The standard codecs: exactness, agreement with Pillow, rate and quality, threads."""

from __future__ import annotations

import io
from collections.abc import Iterator

import imagecodecs
import numpy as np
import pytest
from codec_samples import flat, natural, noise, psnr
from PIL import Image, JpegImagePlugin

from toolkit.codecs.base import Codec
from toolkit.codecs.spec import parse_codec
from toolkit.foundation import threads
from toolkit.foundation.errors import UsageError, WorkError

LOSSLESS = ("raw", "png", "webp:lossless=yes", "jxl:lossless=yes")
LOSSY = (
    "webp:quality=50",
    "jpeg:quality=50",
    "jpeg:quality=50,subsampling=420",
    "avif:quality=40,speed=8",
    "jxl:quality=60,effort=3",
    "jxl:distance=2,effort=3",
    "jpeg2000:psnr=31",
)
FILES = (*LOSSLESS[1:], *LOSSY)
KINDS = {"natural": lambda size: natural(3, size), "noise": lambda size: noise(2, size), "flat": flat}


def ordinary(spec: str) -> Codec:
    """The same codec with headers not shared."""
    return parse_codec(spec + ("," if ":" in spec else ":") + "shared=no")


def pillow(file: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(file)) as image:
        return np.asarray(image.convert("RGB"))


def pillow_file(pixels: np.ndarray, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


@pytest.fixture
def restored_threads() -> Iterator[None]:
    before = threads._threads
    yield
    threads.set_threads(before)


@pytest.mark.parametrize("size", [8, 32, 33, 96])
@pytest.mark.parametrize("spec", [*LOSSLESS, *LOSSY])
def test_decoding_restores_the_shape_and_if_lossless_the_pixels(spec: str, size: int) -> None:
    codec = parse_codec(spec)
    assert codec.lossless == (spec in LOSSLESS)
    for draw in KINDS.values():
        images = draw(size)
        payloads = codec.encode(images)
        decoded = codec.decode(payloads)
        assert decoded.shape == images.shape
        assert decoded.dtype == np.uint8
        assert len(payloads) == len(images)
        assert not codec.lossless or np.array_equal(decoded, images)


@pytest.mark.parametrize("size", [8, 32, 33, 96])
@pytest.mark.parametrize("spec", FILES)
def test_sharing_the_header_changes_neither_files_nor_pixels(spec: str, size: int) -> None:
    shared, whole = parse_codec(spec), ordinary(spec)
    for draw in KINDS.values():
        images = draw(size)
        payloads, files = shared.encode(images), whole.encode(images)
        assert [shared.to_file(payload) for payload in payloads] == files
        assert [whole.to_file(file) for file in files] == files
        assert np.array_equal(shared.decode(payloads), whole.decode(files))


@pytest.mark.parametrize("size", [8, 33, 96])
@pytest.mark.parametrize("spec", [*LOSSLESS, *LOSSY])
def test_a_fresh_codec_decodes_with_the_stored_shared_state(spec: str, size: int) -> None:
    codec, images = parse_codec(spec), natural(4, size)
    payloads = codec.encode(images)
    fresh = parse_codec(str(codec))
    fresh.load_shared(codec.shared_state())
    assert np.array_equal(fresh.decode(payloads), codec.decode(payloads))
    assert fresh.shared_state() == codec.shared_state()
    assert fresh.shared_bytes() == len(codec.shared_state()) > 0
    assert fresh.encode(images) == payloads


@pytest.mark.parametrize("spec", [spec for spec in FILES if not spec.startswith("jxl")])
def test_exported_files_open_in_pillow_with_the_same_pixels(spec: str) -> None:
    for images in (natural(3, 33), noise(1, 96), flat(8)):
        codec = parse_codec(spec)
        payloads = codec.encode(images)
        for payload, pixels in zip(payloads, codec.decode(payloads), strict=True):
            assert np.array_equal(pillow(codec.to_file(payload)), pixels)


@pytest.mark.parametrize("spec", [spec for spec in FILES if spec.startswith("jxl")])
def test_exported_jpeg_xl_files_are_codestreams_that_decode_the_same(spec: str) -> None:
    codec = parse_codec(spec)
    payloads = codec.encode(natural(3, 33))
    for payload, pixels in zip(payloads, codec.decode(payloads), strict=True):
        file = codec.to_file(payload)
        assert file.startswith(b"\xff\x0a")
        assert np.array_equal(imagecodecs.jpegxl_decode(file), pixels)


@pytest.mark.parametrize(
    ("spec", "extension"),
    [
        ("raw", "rgb"),
        ("png", "png"),
        ("webp", "webp"),
        ("jpeg", "jpg"),
        ("avif", "avif"),
        ("jxl", "jxl"),
        ("jpeg2000", "j2k"),
    ],
)
def test_files_have_the_usual_extension_and_no_codec_needs_weights(spec: str, extension: str) -> None:
    assert parse_codec(spec).extension == extension
    assert parse_codec(spec).weights_bytes() == 0


def test_raw_stores_the_pixels_and_shares_only_their_shape() -> None:
    codec, images = parse_codec("raw"), noise(3, 33)
    assert codec.encode(images) == [image.tobytes() for image in images]
    assert codec.to_file(images[0].tobytes()) == images[0].tobytes()
    assert codec.shared_state() == bytes([33, 0, 33, 0])


def test_raw_restores_images_that_are_not_square() -> None:
    codec, images = parse_codec("raw"), noise(2, 40)[:, :, :24]
    assert np.array_equal(codec.decode(codec.encode(images)), images)


@pytest.mark.parametrize("quality", [1, 10, 50, 75, 95, 100])
@pytest.mark.parametrize("subsampling", ["420", "444"])
def test_jpeg_files_use_the_tables_and_pixels_of_pillows_own(quality: int, subsampling: str) -> None:
    codec = ordinary(f"jpeg:quality={quality},subsampling={subsampling}")
    for image in natural(3, 33):
        ours = codec.encode(image[None])[0]
        theirs = pillow_file(image, "JPEG", quality=quality, subsampling={"420": 2, "444": 0}[subsampling])
        with Image.open(io.BytesIO(ours)) as opened, Image.open(io.BytesIO(theirs)) as expected:
            assert opened.quantization == expected.quantization
            assert JpegImagePlugin.get_sampling(opened) == JpegImagePlugin.get_sampling(expected)
            assert np.array_equal(np.asarray(opened), np.asarray(expected))


@pytest.mark.parametrize(("size", "sampling"), [(8, 0), (95, 0), (96, 2), (97, 2)])
def test_automatic_chroma_subsampling_starts_at_96_pixels(size: int, sampling: int) -> None:
    images = natural(1, size)
    with Image.open(io.BytesIO(ordinary("jpeg:quality=75").encode(images)[0])) as opened:
        assert JpegImagePlugin.get_sampling(opened) == sampling
    explicit = {0: "444", 2: "420"}[sampling]
    same = ordinary(f"avif:quality=40,speed=10,subsampling={explicit}").encode(images)
    assert ordinary("avif:quality=40,speed=10").encode(images) == same


@pytest.mark.parametrize(("quality", "speed"), [(40, 6), (40, 10), (90, 8)])
@pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4"])
def test_avif_files_are_pillows_own_with_the_tune_stated(quality: int, speed: int, subsampling: str) -> None:
    image = natural(1, 33)[0]
    codec = ordinary(f"avif:quality={quality},speed={speed},subsampling={subsampling.replace(':', '')}")
    settings = {"quality": quality, "speed": speed, "subsampling": subsampling, "codec": "aom"}
    assert codec.encode(image[None]) == [pillow_file(image, "AVIF", **settings, advanced={"tune": "iq"})]
    assert codec.encode(image[None]) != [pillow_file(image, "AVIF", **settings, advanced={"tune": "ssim"})]


@pytest.mark.parametrize("method", [0, 4, 6])
def test_webp_pixels_are_those_of_pillows_own_file(method: int) -> None:
    image = natural(1, 33)[0]
    codec = ordinary(f"webp:quality=60,method={method}")
    theirs = pillow_file(image, "WEBP", quality=60, method=method)
    assert np.array_equal(codec.decode(codec.encode(image[None]))[0], pillow(theirs))


@pytest.mark.parametrize(
    ("spec", "rates"),
    [
        ("jpeg:quality={}", (10, 30, 50, 75, 95)),
        ("jpeg:quality={},subsampling=420", (10, 30, 50, 75, 95)),
        ("webp:quality={}", (10, 30, 50, 75, 95)),
        ("avif:quality={},speed=8", (10, 30, 50, 75, 95)),
        ("jxl:quality={},effort=3", (10, 30, 50, 75, 95)),
        ("jxl:distance={},effort=3", (10, 5, 2, 1, 0.5)),
        ("jpeg2000:psnr={}", (22, 26.5, 31, 35.5, 40)),
    ],
)
def test_a_higher_rate_costs_bytes_and_gives_psnr(spec: str, rates: tuple[float, ...]) -> None:
    images = natural(6, 48)
    quality, size = [], []
    for rate in rates:
        codec = parse_codec(spec.format(rate))
        payloads = codec.encode(images)
        quality.append(psnr(codec.decode(payloads), images).mean())
        size.append(sum(map(len, payloads)))
    assert np.all(np.diff(quality) > 0.3), quality
    assert np.all(np.diff(size) > 0), size


@pytest.mark.parametrize("size", [8, 9, 33, 64])
@pytest.mark.parametrize("target", [25, 31, 40])
def test_jpeg2000_meets_its_target_on_any_image(size: int, target: int) -> None:
    images = np.concatenate([flat(size), natural(6, size), noise(1, size)])
    codec = parse_codec(f"jpeg2000:psnr={target}")
    reached = psnr(codec.decode(codec.encode(images)), images)
    assert reached.min() >= target - 1.01
    assert reached[6:].max() <= target + 4


@pytest.mark.parametrize(
    "spec", ["png", "webp:quality=50", "jpeg:quality=50", "avif:quality=40,speed=10", "jxl:effort=3", "jpeg2000"]
)
def test_the_shared_header_depends_on_codec_and_size_alone(spec: str) -> None:
    one, other = parse_codec(spec), parse_codec(spec)
    one.fit(natural(5, 32))
    other.encode(noise(2, 32))
    assert one.shared_state() == other.shared_state()


@pytest.mark.parametrize("spec", ["raw", "jpeg:quality=50", "png:shared=no", "jxl:effort=3", "downscale|jpeg"])
def test_no_images_give_no_payloads(spec: str) -> None:
    codec, images = parse_codec(spec), natural(2, 32)
    codec.fit(images)
    assert codec.encode(images[:0]) == []
    with pytest.raises(WorkError, match="nothing to decode"):
        codec.decode([])


@pytest.mark.parametrize("spec", ["jpeg:quality=50", "webp:quality=50", "png"])
def test_a_header_learned_at_one_size_still_stores_another_exactly(spec: str) -> None:
    codec = parse_codec(spec)
    codec.fit(natural(1, 32))
    images = natural(3, 40)
    assert [codec.to_file(payload) for payload in codec.encode(images)] == ordinary(spec).encode(images)


@pytest.mark.parametrize("spec", ["raw", "downscale:factor=2|raw"])
def test_a_codec_that_shares_the_size_refuses_another_one(spec: str) -> None:
    codec = parse_codec(spec)
    payloads = codec.encode(natural(2, 32))
    with pytest.raises(UsageError, match=r"\(32, 32\).*\(40, 40\)"):
        codec.encode(natural(2, 40))
    assert codec.decode(payloads).shape == (2, 32, 32, 3)


@pytest.mark.parametrize("spec", [*LOSSLESS, *LOSSY, "downscale:factor=2|avif:quality=40,speed=10"])
def test_the_thread_count_changes_nothing(spec: str, restored_threads: None) -> None:
    images, results = natural(34, 128 if spec.startswith("jpeg:") else 64), []
    for count in (1, 2, 3):
        threads.set_threads(count)
        codec = parse_codec(spec)
        payloads = codec.encode(images)
        results.append((payloads, codec.decode(payloads)))
    for payloads, decoded in results[1:]:
        assert payloads == results[0][0]
        assert np.array_equal(decoded, results[0][1])
