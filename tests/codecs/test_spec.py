"""The codec spec grammar: forms, canonical text, grids, refusals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.codecs.base import Codec
from toolkit.codecs.kind import CodecKind
from toolkit.codecs.registry import CODECS
from toolkit.codecs.spec import expand_grid, parse_codec
from toolkit.foundation.errors import UsageError
from toolkit.foundation.parameters import Parameter

STANDARD = ("raw", "png", "webp", "jpeg", "avif", "jxl", "jpeg2000")


def _values(parameter: Parameter) -> st.SearchStrategy:
    if parameter.kind is bool:
        return st.booleans()
    if parameter.choices:
        return st.sampled_from(parameter.choices)
    if parameter.kind is int:
        return st.integers(int(parameter.low), int(parameter.high))
    return st.floats(parameter.low, parameter.high)


def _text(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


@st.composite
def settings_of(draw: st.DrawFn, kind: CodecKind) -> dict[str, object]:
    """Some of a codec's keys in any order, each with any accepted value."""
    keys = draw(st.lists(st.sampled_from(list(kind.parameters)), unique=True)) if kind.parameters else []
    return {key: draw(_values(kind.parameters[key])) for key in keys}


def _write(name: str, values: dict[str, object]) -> str:
    return name + (":" + ",".join(f"{key}={_text(value)}" for key, value in values.items()) if values else "")


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("raw", "raw"),
        ("png", "png"),
        ("png:shared=no", "png:shared=no"),
        ("jpeg", "jpeg:quality=75"),
        ("jpeg:quality=50", "jpeg:quality=50"),
        ("jpeg:quality=50,shared=yes", "jpeg:quality=50"),
        ("jpeg:subsampling=444,quality=50", "jpeg:quality=50,subsampling=444"),
        (" jpeg: quality = 50 , subsampling=420 ", "jpeg:quality=50,subsampling=420"),
        ("jpeg:quality=50,entropy=context", "jpeg:quality=50"),
        ("jpeg:quality=50,entropy=huffman", "jpeg:quality=50,entropy=huffman"),
        ("jpeg:quality=50,entropy=context,shared=no", "jpeg:quality=50,shared=no"),
        ("original:transcode=jxl,entropy=huffman", "original:transcode=jxl"),
        ("original:shared=no,transcode=jxl", "original:shared=no"),
        ("webp:quality=60,method=4", "webp:quality=60"),
        ("webp:quality=60,method=6", "webp:quality=60,method=6"),
        ("webp:lossless=yes,quality=60,method=6", "webp:lossless=yes"),
        ("avif:quality=40,speed=8", "avif:quality=40,speed=8"),
        ("jxl:quality=60.0", "jxl:quality=60"),
        ("jxl:distance=1.5,effort=3", "jxl:distance=1.5,effort=3"),
        ("jpeg2000", "jpeg2000:psnr=31"),
        ("jpeg2000:psnr=31.5", "jpeg2000:psnr=31.5"),
        ("downscale:factor=2|jpeg:quality=50", "downscale:factor=2|jpeg:quality=50"),
        ("downscale|raw", "downscale:factor=2|raw"),
        (" downscale:factor=2 | downscale:factor=3 | png ", "downscale:factor=2|downscale:factor=3|png"),
    ],
)
def test_a_spec_has_one_canonical_text(written: str, canonical: str) -> None:
    assert str(parse_codec(written)) == canonical
    assert str(parse_codec(canonical)) == canonical


@pytest.mark.parametrize("name", STANDARD)
def test_every_standard_codec_follows_the_protocol(name: str) -> None:
    assert isinstance(parse_codec(name), Codec)
    assert isinstance(parse_codec(f"downscale:factor=2|{name}"), Codec)


@given(st.data())
def test_canonical_text_keeps_every_value_of_every_codec(data: st.DataObject) -> None:
    kind = CODECS[data.draw(st.sampled_from(STANDARD))]
    values = data.draw(settings_of(kind))
    canonical = str(parse_codec(_write(kind.name, values)))
    assert str(parse_codec(canonical)) == canonical

    name, _, arguments = canonical.partition(":")
    kept = dict(item.split("=") for item in arguments.split(",") if item)
    lossless = {"quality", "method", "distance"}
    replaced = lossless if values.get("lossless") else {"quality"} if "distance" in values else set()
    if values.get("shared") is False or values.get("transcode") == "jxl":
        replaced |= {"entropy"}  # ordinary files have Huffman codes, JPEG XL its own
    if values.get("shared") is False:
        replaced |= {"transcode"}
    assert name == kind.name
    for key, parameter in kind.parameters.items():
        value = values.get(key, parameter.default)
        if key in kept:
            assert (float(kept[key]) if parameter.kind in (int, float) else kept[key]) == (
                value if parameter.kind in (int, float) else _text(value)
            )
        else:
            assert value == parameter.default or key in replaced


@given(st.data())
def test_wrapper_chains_of_any_depth_parse_back(data: st.DataObject) -> None:
    kinds = CODECS
    factors = data.draw(st.lists(_values(kinds["downscale"].parameters["factor"]), max_size=4))
    inner = kinds[data.draw(st.sampled_from(STANDARD))]
    wrappers = [f"downscale:factor={factor}" for factor in factors]
    chain = str(parse_codec("|".join([*wrappers, _write(inner.name, data.draw(settings_of(inner)))])))
    assert chain.split("|")[:-1] == wrappers
    assert str(parse_codec(chain)) == chain


@pytest.mark.parametrize(
    ("grid", "specs"),
    [
        ("png", ["png"]),
        (
            "jpeg:quality={10,30,50,75};webp:quality={30,60};avif:quality={30,50}",
            [f"jpeg:quality={q}" for q in (10, 30, 50, 75)]
            + [f"webp:quality={q}" for q in (30, 60)]
            + [f"avif:quality={q}" for q in (30, 50)],
        ),
        (
            "jpeg:quality={10,90},subsampling={420,444}",
            [f"jpeg:quality={q},subsampling={s}" for q in (10, 90) for s in (420, 444)],
        ),
        ("jpeg:quality={ 10 , 20 } ; raw ;", ["jpeg:quality=10", "jpeg:quality=20", "raw"]),
        ("{jpeg,webp}:quality=50", ["jpeg:quality=50", "webp:quality=50"]),
        (
            "downscale:factor={2,4}|jpeg:quality={10,20}",
            [f"downscale:factor={f}|jpeg:quality={q}" for f in (2, 4) for q in (10, 20)],
        ),
        ("jpeg:quality={75,75};jpeg;jpeg:quality=75,shared=yes;png;png", ["jpeg:quality=75", "png"]),
    ],
)
def test_a_grid_expands_in_the_order_written_without_duplicates(grid: str, specs: list[str]) -> None:
    assert expand_grid(grid) == specs


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("jpg:quality=50", [*STANDARD, "downscale", "'jpg'"]),
        ("", [*STANDARD]),
        ("jpeg|", [*STANDARD]),
        ("|jpeg", [*STANDARD]),
        ("jpeg:qualty=50", ["'qualty'", "quality, subsampling, entropy, shared"]),
        ("raw:quality=50", ["'quality'", "none"]),
        ("jpeg:quality=0", ["1..100", "'0'"]),
        ("jpeg:quality=101", ["1..100", "'101'"]),
        ("jpeg:quality=50.5", ["1..100"]),
        ("jpeg:quality=", ["1..100"]),
        ("jpeg:quality", ["quality needs a value", "1..100"]),
        ("jpeg:quality=fifty", ["1..100", "'fifty'"]),
        ("jpeg:quality=10,quality=20", ["quality is given twice", "1..100"]),
        ("jpeg:subsampling=422", ["auto|420|444", "'422'"]),
        ("jpeg:shared=true", ["yes|no", "'true'"]),
        ("jxl:distance=nan", ["0..15", "'nan'"]),
        ("jxl:distance=inf", ["0..15"]),
        ("jxl:quality=-1", ["1..100"]),
        ("avif:speed=11", ["0..10"]),
        ("webp:method=7", ["0..6"]),
        ("jpeg2000:psnr=61", ["15..60"]),
        ("downscale:factor=1|png", ["2..16"]),
        ("downscale:factor=2", ["wraps another codec", "downscale:factor=2|"]),
        ("png|jpeg:quality=50", ["png", "downscale"]),
    ],
)
def test_a_bad_spec_is_refused_with_what_is_accepted(spec: str, told: list[str]) -> None:
    with pytest.raises(UsageError) as refusal:
        parse_codec(spec)
    for words in told:
        assert words in str(refusal.value)


@pytest.mark.parametrize("grid", ["jpeg:quality={10,30", "jpeg:quality=10,30}", "jpeg:quality={{10,30}}", "png;}{"])
def test_unbalanced_braces_are_refused_with_an_example(grid: str) -> None:
    with pytest.raises(UsageError, match=r"unbalanced braces.*jpeg:quality=\{10,50\}"):
        expand_grid(grid)


@pytest.mark.parametrize("grid", ["", " ", ";", " ; ;"])
def test_an_empty_grid_is_refused_with_an_example(grid: str) -> None:
    with pytest.raises(UsageError, match=r"empty.*jpeg:quality="):
        expand_grid(grid)


@pytest.mark.parametrize("grid", ["jpeg:quality={}", "jpeg:quality={10,0}", "png;gif"])
def test_one_bad_setting_refuses_the_whole_grid(grid: str) -> None:
    with pytest.raises(UsageError, match=r"1\.\.100|choose one of"):
        expand_grid(grid)
