"""Quality chosen for each image by its features."""

from __future__ import annotations

import io
import itertools
from functools import cache

import numpy as np
import pytest
from codec_samples import flat, natural, noise
from guide_samples import HandMadeGuide
from PIL import Image

from toolkit.codecs.adaptive import LADDERS, price_of_value
from toolkit.codecs.base import Codec
from toolkit.codecs.guide import give_guide
from toolkit.codecs.spec import expand_grid, parse_codec
from toolkit.foundation.errors import UsageError, WorkError


class SharpGuide(HandMadeGuide):
    """Features that differ by tenths, as a network's do."""

    factor = 20

    def features(self, images: np.ndarray) -> np.ndarray:
        return self.factor * super().features(images)


def seeing(spec: str, guide: type[HandMadeGuide] = HandMadeGuide) -> Codec:
    codec = parse_codec(spec)
    give_guide([codec], guide)
    return codec


@cache
def curves(family: str) -> tuple[np.ndarray, np.ndarray]:
    """Of :data:`IMAGES` payload bytes and feature distortion, both (N, settings), each setting coded by itself."""
    sizes, distortion, guide = [], [], HandMadeGuide()
    for quality in LADDERS[family]:
        codec = parse_codec(f"{family}:quality={quality}")
        payloads = codec.encode(IMAGES)
        sizes.append([len(payload) for payload in payloads])
        difference = guide.features(codec.decode(payloads)).astype(float) - guide.features(IMAGES)
        distortion.append(np.square(difference).mean(axis=1))
    return np.array(sizes).T, np.array(distortion).T


IMAGES = np.concatenate([natural(12, 32), noise(3, 32), flat(32)])


@pytest.mark.parametrize("family", ["jpeg", "webp", "avif"])
@pytest.mark.parametrize("fmse", [0.0001, 0.0005, 0.005])
def test_every_image_gets_the_smallest_sufficient_setting(family: str, fmse: float) -> None:
    _, distortion = curves(family)
    good = distortion <= fmse
    expected = np.where(good.any(axis=1), good.argmax(axis=1), len(LADDERS[family]) - 1)
    payloads = seeing(f"adaptive:family={family},fmse={fmse}").encode(IMAGES)
    assert [payload[0] for payload in payloads] == expected.tolist()


def test_the_thresholds_above_are_between_the_best_and_the_worst_setting() -> None:
    places = [payload[0] for payload in seeing("adaptive:fmse=0.0001").encode(IMAGES)]
    assert len(set(places)) >= 4


@pytest.mark.parametrize("slope", [1e-7, 1e-6, 1e-5])
def test_a_slope_minimises_distortion_plus_price(slope: float) -> None:
    sizes, distortion = curves("jpeg")
    expected = np.argmin(distortion + slope * (sizes + 1), axis=1)
    payloads = seeing(f"adaptive:slope={slope}").encode(IMAGES)
    assert [payload[0] for payload in payloads] == expected.tolist()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("value", [0.3, 1.0, 3.0])
def test_the_price_of_a_value_is_the_best_ratio_per_byte(seed: int, value: float) -> None:
    rng = np.random.default_rng(seed)
    sizes = np.sort(rng.integers(20, 300, (5, 3)), axis=1)
    distortion = -np.sort(-rng.uniform(0, 1, (5, 3)), axis=1)
    bought = [
        (value - distortion[range(5), choice]).sum() / sizes[range(5), choice].sum()
        for choice in itertools.product(range(3), repeat=5)
    ]
    assert price_of_value(sizes, distortion, value) == pytest.approx(max(*bought, 0), rel=1e-9)


def test_exemplars_worth_less_than_their_distortion_have_no_price() -> None:
    assert price_of_value(np.array([[10, 20]]), np.array([[0.9, 0.5]]), 0.4) == 0


def test_a_value_sets_the_price_when_fitted_and_the_price_is_shared() -> None:
    codec, alike = seeing("adaptive:value=0.3", SharpGuide), IMAGES[:12]
    codec.fit(alike)
    sizes, distortion = (curve[:12] for curve in curves("jpeg"))
    distortion = distortion * SharpGuide.factor**2
    price = price_of_value(sizes + 1, distortion, 0.3)
    expected = np.argmin(distortion + price * (sizes + 1), axis=1)
    payloads = codec.encode(alike)
    assert [payload[0] for payload in payloads] == expected.tolist()
    assert len(set(expected.tolist())) > 1  # otherwise nothing was chosen
    assert seeing("adaptive:value=0.3", SharpGuide).encode(alike) == payloads  # fitted on what it first encodes
    elsewhere = seeing("adaptive:value=0.3", SharpGuide)
    elsewhere.load_shared(codec.shared_state())
    assert elsewhere.encode(alike[:3]) == payloads[:3]  # not fitted again, although these are other images
    assert codec.shared_bytes() == len(codec.shared_state())


def test_the_more_an_exemplar_is_worth_the_more_are_kept() -> None:
    size = [
        sum(map(len, seeing(f"adaptive:value={value}", SharpGuide).encode(IMAGES[:12]))) for value in (0.1, 0.3, 1, 10)
    ]
    assert size == sorted(size, reverse=True)
    assert len(set(size)) >= 3


@pytest.mark.parametrize("family", ["jpeg", "webp", "avif"])
def test_decoding_needs_no_network_and_equals_that_of_the_setting(family: str) -> None:
    images = natural(9, 33)[:, :, :32][:, :32]
    codec = seeing(f"adaptive:family={family},fmse=0.0002")
    payloads = codec.encode(images)
    fresh = parse_codec(str(codec))
    fresh.load_shared(codec.shared_state())
    decoded = fresh.decode(payloads)
    assert np.array_equal(decoded, codec.decode(payloads))
    for payload, image, seen in zip(payloads, images, decoded, strict=True):
        plain = parse_codec(f"{family}:quality={LADDERS[family][payload[0]]}")
        assert payload[1:] == plain.encode(image[None])[0]
        assert np.array_equal(seen, plain.decode([payload[1:]])[0])


def test_the_file_opens_in_other_programs() -> None:
    codec = seeing("adaptive")
    payload = codec.encode(natural(1, 32))[0]
    with Image.open(io.BytesIO(codec.to_file(payload))) as file:
        assert (file.format, file.size) == ("JPEG", (32, 32))
    assert codec.extension == "jpg"


def test_all_headers_are_charged_and_cost_hardly_more_than_separate_ones() -> None:
    codec = seeing("adaptive")
    codec.fit(natural(1, 32))
    separate = [setting.shared_bytes() for setting in codec.settings]
    assert codec.shared_bytes() == len(codec.shared_state())
    assert sum(separate) / 2 < codec.shared_bytes() < sum(separate) + 4 * len(separate)


def test_damage_is_a_work_error_or_pixels() -> None:
    codec = seeing("adaptive")
    payloads = codec.encode(natural(2, 32))
    for damaged in (b"", bytes([8]) + payloads[0][1:], b"\xff", payloads[0][:1]):
        with pytest.raises(WorkError):
            codec.decode([payloads[0], damaged])
    with pytest.raises(WorkError, match="nothing to decode"):
        codec.decode([])
    with pytest.raises(WorkError, match="fit or load"):
        parse_codec("adaptive").decode(payloads)
    priced = seeing("adaptive:value=1")
    priced.fit(natural(2, 32))
    for spec, state in (("adaptive", codec.shared_state()), ("adaptive:value=1", priced.shared_state())):
        other = priced.shared_state() if spec == "adaptive" else codec.shared_state()
        for cut in (b"", state[:1], state[:-1], state[:400], state + b"\0", bytes(200), other):
            with pytest.raises(WorkError):
                parse_codec(spec).load_shared(cut)


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("adaptive", "adaptive:family=jpeg,fmse=0.05"),
        ("adaptive:fmse=0.1,family=avif", "adaptive:family=avif,fmse=0.1"),
        ("adaptive:slope=0.00001", "adaptive:family=jpeg,slope=1e-05"),
        ("adaptive:value=1", "adaptive:family=jpeg,value=1"),
        ("downscale|adaptive:family=webp", "downscale:factor=2|adaptive:family=webp,fmse=0.05"),
    ],
)
def test_a_spec_has_one_canonical_text(written: str, canonical: str) -> None:
    assert str(parse_codec(written)) == canonical
    assert str(parse_codec(canonical)) == canonical
    assert isinstance(parse_codec(written), Codec)


def test_grids_expand() -> None:
    assert expand_grid("adaptive:family={jpeg,webp},fmse={0.05,0.1}") == [
        f"adaptive:family={family},fmse={fmse}" for family in ("jpeg", "webp") for fmse in (0.05, 0.1)
    ]


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("adaptive:fmse=0.05,slope=0.001", "only one of fmse"),
        ("adaptive:value=1,slope=0.001", "only one of fmse"),
        ("adaptive:value=0", r"0\.01\.\.10"),
        ("adaptive:fmse=0", r"0\.0001\.\.1"),
        ("adaptive:slope=2", r"\.\.1"),
        ("adaptive:family=png", r"jpeg\|webp\|avif"),
        ("adaptive:quality=50", "family, fmse, slope, value"),
        ("adaptive|jpeg", "only a wrapper"),
    ],
)
def test_a_bad_spec_is_refused(spec: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        parse_codec(spec)


def test_images_of_other_channels_are_refused() -> None:
    with pytest.raises(UsageError, match=r"uint8 \(N, H, W, 3\)"):
        seeing("adaptive").encode(natural(2, 32)[..., :1])
