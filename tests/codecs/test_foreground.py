"""The class-activation box by one codec, the rest by another."""

from __future__ import annotations

import numpy as np
import pytest
from codec_samples import flat, natural, noise, psnr
from guide_samples import HandMadeGuide

from toolkit.codecs.base import Codec
from toolkit.codecs.cache import coded_images
from toolkit.codecs.foreground import blended
from toolkit.codecs.guide import give_guide, guide_digest, needs_guide, refuse_guide
from toolkit.codecs.spec import codec_family, expand_grid, parse_codec
from toolkit.foundation.errors import UsageError, WorkError

USUAL = "foreground:background=jpeg:quality=10|jpeg:quality=60"
SPECS = (
    USUAL,
    "foreground:background=cim|jpeg:quality=60",
    "foreground:background=webp:quality=5|png",
    "foreground:background=jpeg:quality=10,box=random|webp:quality=60",
    "foreground:background=jpeg2000|avif:quality=60,speed=10",
    "foreground:background=jxl:quality=10|jpeg2000:psnr=35",
    "foreground:background=png:shared=no|jpeg:quality=60,shared=no",
)


def seeing(spec: str, box: tuple[int, int, int, int] = (4, 6, 20, 30)) -> Codec:
    codec = parse_codec(spec)
    give_guide([codec], lambda: HandMadeGuide(box))
    return codec


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 41), (300, 40)])
@pytest.mark.parametrize("box", ["inside", "corner", "whole", "stripe"])
def test_a_fresh_codec_decodes_the_same_pixels_from_the_shared_state(
    spec: str, height: int, width: int, box: str
) -> None:
    places = {
        "inside": (5, 3, 17, 28),
        "corner": (0, 0, 9, 11),
        "whole": (0, 0, height, width),
        "stripe": (0, 7, height, 22),
    }
    images = natural(2, max(height, width))[:, :height, :width]
    codec = seeing(spec, places[box])
    payloads = codec.encode(images)
    fresh = parse_codec(str(codec))
    fresh.load_shared(codec.shared_state())
    decoded = fresh.decode(payloads)
    assert decoded.shape == images.shape
    assert np.array_equal(decoded, codec.decode(payloads))
    assert codec.shared_bytes() == len(codec.shared_state())
    assert all(len(codec.to_file(payload)) > 0 for payload in payloads)


def test_the_box_is_exact_where_its_codec_is_and_the_rest_is_the_backgrounds() -> None:
    images = natural(3, 32)
    codec = seeing("foreground:background=jpeg:quality=5|png", (4, 6, 20, 30))
    decoded = codec.decode(codec.encode(images))
    assert np.array_equal(decoded[:, 4:20, 6:30], images[:, 4:20, 6:30])
    outside = np.ones((32, 32), bool)
    outside[4:20, 6:30] = False
    filled = np.stack([blended(image, (4, 6, 20, 30)) for image in images])
    lesser = parse_codec("jpeg:quality=5")
    assert np.array_equal(decoded[:, outside], lesser.decode(lesser.encode(filled))[:, outside])
    assert (decoded[:, outside] != images[:, outside]).mean() > 0.5


def test_cim_keeps_every_second_pixel_of_the_whole_image() -> None:
    images = natural(2, 33)
    codec = seeing("foreground:background=cim|png", (8, 8, 20, 20))
    expected = images[:, np.arange(33) // 2 * 2][:, :, np.arange(33) // 2 * 2]
    expected[:, 8:20, 8:20] = images[:, 8:20, 8:20]
    assert np.array_equal(codec.decode(codec.encode(images)), expected)


def test_a_payload_contains_its_box_both_lengths_and_nothing_else() -> None:
    images = natural(1, 32)
    codec = seeing(USUAL)
    payload = codec.encode(images)[0]
    assert list(payload[:4]) == [4, 6, 15, 23]
    assert not (payload[4] & 128 and payload[5] & 128)
    crop = (payload[4] & 127) + (128 * payload[5] if payload[4] & 128 else 0)
    at = 6 if payload[4] & 128 else 5
    assert payload[at] == len(payload) - at - 1 - crop
    inner = parse_codec("jpeg:quality=60")
    inner.fit(images)
    assert payload[at + 1 : at + 1 + crop] == inner.encode(np.ascontiguousarray(images[:, 4:20, 6:30]))[0]


def test_a_box_that_is_the_whole_image_costs_six_bytes_more_than_the_inner_codec() -> None:
    images = natural(3, 32)
    inner = parse_codec("jpeg:quality=60")
    alone = [len(payload) for payload in inner.encode(images)]
    assert [len(payload) for payload in seeing(USUAL, (0, 0, 32, 32)).encode(images)] == [
        size + 4 + (2 if size > 127 else 1) + 1 for size in alone
    ]


def test_shared_bytes_are_both_codecs_headers_and_eight_bytes() -> None:
    images = natural(1, 32)
    codec, inner, background = seeing(USUAL), parse_codec("jpeg:quality=60"), parse_codec("jpeg:quality=10")
    for one in (codec, inner, background):
        one.fit(images)
    assert codec.shared_bytes() == inner.shared_bytes() + background.shared_bytes() + 8
    assert codec.weights_bytes() == 0


def test_a_small_box_grows_to_a_block_around_its_centre() -> None:
    images = natural(1, 32)
    for box, stored in (
        ((10, 10, 11, 12), [7, 7, 7, 7]),
        ((0, 31, 1, 32), [0, 24, 7, 7]),
        ((0, 0, 32, 1), [0, 0, 31, 7]),
    ):
        assert list(seeing(USUAL, box).encode(images)[0][:4]) == stored


def test_a_random_box_has_the_same_size_inside_the_image_and_is_reproducible() -> None:
    images = noise(60, 32)
    codec = seeing("foreground:box=random|jpeg", (4, 6, 20, 30))
    payloads = codec.encode(images)
    assert payloads == codec.encode(images)
    assert payloads[7:9] == codec.encode(images[7:9]), "the place depends on the image, not on its batch"
    places = np.array([list(payload[:4]) for payload in payloads])
    assert (places[:, 2:] == [15, 23]).all()
    assert set(places[:, 0]) == set(range(17))
    assert places[:, 1].max() == 8


def test_the_blended_box_is_between_the_pixels_around_it_and_costs_little() -> None:
    images = natural(8, 64)
    for image in images:
        filled = blended(image, (16, 8, 48, 64))
        assert np.array_equal(filled[:16], image[:16])
        around = np.concatenate([image[15, 8:], image[48, 8:], image[16:48, 7]])
        assert filled[16:48, 8:].min() >= around.min()
        assert filled[16:48, 8:].max() <= around.max()
    coded = parse_codec("jpeg:quality=30")
    before = sum(map(len, coded.encode(images)))
    after = sum(map(len, coded.encode(np.stack([blended(image, (16, 8, 48, 64)) for image in images]))))
    assert after < 0.85 * before


def test_constant_images_stay_as_they_are() -> None:
    codec = seeing("foreground:background=png|png", (3, 3, 18, 21))
    assert np.array_equal(codec.decode(codec.encode(flat(32))), flat(32))
    lossy = seeing(USUAL, (3, 3, 18, 21))
    assert psnr(lossy.decode(lossy.encode(flat(32))), flat(32)).min() > 30


@pytest.mark.parametrize("box", [(4, 6, 20, 30), (0, 0, 32, 32)])
@pytest.mark.parametrize("spec", SPECS)
def test_every_truncated_payload_is_refused(spec: str, box: tuple[int, int, int, int]) -> None:
    codec = seeing(spec, box)
    payload = codec.encode(natural(1, 32))[0]
    for length in range(len(payload)):
        with pytest.raises(WorkError):
            codec.decode([payload[:length]])
    with pytest.raises(WorkError, match="expected"):
        codec.decode([payload + b"\0"])


@pytest.mark.parametrize("spec", SPECS)
def test_hundreds_of_damaged_payloads_give_pixels_or_a_work_error(spec: str) -> None:
    codec = seeing(spec)
    payloads, rng = codec.encode(natural(4, 32)), np.random.default_rng(1)
    refused = 0
    for number in range(300):
        damaged = bytearray(payloads[number % 4])
        at = int(rng.integers(len(damaged))) if number % 2 else int(rng.integers(8))
        damaged[at] ^= int(rng.integers(1, 256))
        try:
            assert codec.decode([bytes(damaged)]).shape == (1, 32, 32, 3)
        except WorkError:
            refused += 1
    assert refused > 50


@pytest.mark.parametrize("cut", [0, 1, 7, 8, 20, 140, 260])
def test_a_truncated_shared_state_is_refused_at_once_or_when_decoding(cut: int) -> None:
    codec, fresh = seeing(USUAL), parse_codec(USUAL)
    payloads = codec.encode(natural(1, 32))

    def use() -> None:
        fresh.load_shared(codec.shared_state()[:cut])
        fresh.decode(payloads)

    with pytest.raises(WorkError):
        use()


def test_decoding_before_anything_is_shared_is_refused() -> None:
    payloads = seeing(USUAL).encode(natural(1, 32))
    with pytest.raises(WorkError, match="fit or load"):
        parse_codec(USUAL).decode(payloads)
    with pytest.raises(WorkError, match="nothing to decode"):
        parse_codec(USUAL).decode([])


@pytest.mark.parametrize("spec", [USUAL, "adaptive", f"downscale:factor=2|{USUAL}", "downscale|adaptive:slope=0.001"])
def test_encoding_without_a_network_is_refused_in_one_line(spec: str) -> None:
    codec = parse_codec(spec)
    assert needs_guide(codec)
    with pytest.raises(UsageError, match="needs a feature network, which is not available") as refusal:
        codec.encode(natural(1, 64))
    assert "\n" not in str(refusal.value)
    with pytest.raises(UsageError, match="a cupboard cannot use"):
        refuse_guide(codec, "a cupboard")


def test_only_guided_codecs_get_a_guide_which_is_made_only_for_them() -> None:
    codecs = [parse_codec(spec) for spec in ("jpeg", "downscale|adaptive", USUAL)]
    made: list[HandMadeGuide] = []

    def make() -> HandMadeGuide:
        made.append(HandMadeGuide())
        return made[-1]

    give_guide(codecs[:1], make)
    assert made == []
    give_guide(codecs, make)
    assert len(made) == 1
    assert [guide_digest(codec) for codec in codecs] == ["", "by hand", "by hand"]
    codecs[2].encode(natural(2, 32))
    assert made[0].thresholds == [0.6]
    assert not needs_guide(codecs[0])


def test_two_guides_do_not_share_cached_images() -> None:
    images = natural(3, 32)
    one, other = seeing(USUAL, (0, 0, 16, 16)), seeing(USUAL, (8, 8, 32, 32))
    other.guide.digest = "another"  # type: ignore[attr-defined]
    before, after = coded_images(one, images, "guides"), coded_images(other, images, "guides")
    assert before.payload(0)[:4] != after.payload(0)[:4]
    assert coded_images(one, images, "guides").payload(2) == before.payload(2)


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("foreground|jpeg", "foreground:background=jpeg:quality=10|jpeg:quality=75"),
        ("foreground:background=webp|jpeg", "foreground:background=webp:quality=75|jpeg:quality=75"),
        (" foreground: background = cim , threshold = 0.50 |png", "foreground:threshold=0.5,background=cim|png"),
        ("foreground:box=random|webp:quality=3", "foreground:background=jpeg:quality=10,box=random|webp:quality=3"),
        (f"downscale|{USUAL}", f"downscale:factor=2|{USUAL}"),
    ],
)
def test_a_spec_has_one_canonical_text(written: str, canonical: str) -> None:
    assert str(parse_codec(written)) == canonical
    assert str(parse_codec(canonical)) == canonical
    assert isinstance(parse_codec(written), Codec)


def test_grids_expand_inside_and_outside_the_wrapper() -> None:
    grid = "foreground:background=jpeg:quality={5,10}|jpeg:quality={50,75};foreground:box={cam,random}|png"
    assert expand_grid(grid) == [
        *(f"foreground:background=jpeg:quality={b}|jpeg:quality={q}" for b in (5, 10) for q in (50, 75)),
        "foreground:background=jpeg:quality=10|png",
        "foreground:background=jpeg:quality=10,box=random|png",
    ]
    assert codec_family(USUAL) == "foreground | jpeg"


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("foreground", "wraps another codec"),
        ("foreground:treshold=0.5|jpeg", "threshold, background, box"),
        ("foreground:threshold=1|jpeg", r"0\.05\.\.0\.95"),
        ("foreground:box=left|jpeg", "cam|random"),
        ("foreground:background=|jpeg", "cim or a codec without commas"),
        ("foreground:background=gif|jpeg", "unknown codec 'gif'"),
        ("foreground:background=jpeg:quality=0|jpeg", r"1\.\.100"),
        ("foreground:background=jpeg:speed=3|jpeg", "'speed'"),
        ("foreground:background=jxl:effort=3|jpeg", "without commas"),
        ("foreground:background=jpeg:quality=10,subsampling=420|jpeg", "'subsampling'"),
        ("foreground:background=raw|jpeg", "codec of image files"),
        ("foreground:background=cp|jpeg", "codec of image files"),
        ("foreground:background=adaptive|jpeg", "codec of image files"),
        ("foreground:background=downscale|jpeg", "codec of image files"),
        ("foreground:background=learned-jpeg:tables=/etc/hostname|jpeg", "codec of image files"),
        ("foreground|raw", "crops differ in size"),
        ("foreground|cp", "crops differ in size"),
        ("foreground|adaptive", "crops differ in size"),
        ("foreground|downscale|jpeg", "crops differ in size"),
        (f"foreground|{USUAL}", "crops differ in size"),
        ("foreground:background={jpeg|png", "unbalanced|accept|unknown|must be"),
    ],
)
def test_a_bad_spec_is_refused_in_one_line(spec: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as refusal:
        parse_codec(spec)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (natural(1, 15), "at least 16 pixels"),
        (natural(2, 32)[:, :12], "at least 16 pixels"),
        (natural(2, 32)[..., :1], r"uint8 \(N, H, W, 3\)"),
        (natural(2, 32)[..., [0, 1, 2, 0]], r"uint8 \(N, H, W, 3\)"),
        (natural(2, 32).astype(np.float32), "float32"),
        (natural(1, 32)[0], r"uint8 \(N, H, W, 3\)"),
    ],
)
@pytest.mark.parametrize("spec", [USUAL, "foreground:background=cim|png"])
def test_invalid_images_are_refused_with_the_reason(spec: str, images: np.ndarray, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        seeing(spec).encode(images)


def test_images_of_another_size_are_refused() -> None:
    codec = seeing(USUAL)
    codec.encode(natural(1, 32))
    with pytest.raises(UsageError, match="all images must have"):
        codec.encode(natural(1, 40))
