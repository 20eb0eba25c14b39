"""Costs of hostile streams, states and grids, and refusal of claimed sizes before allocation."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import forged_files as forged
import numpy as np
import pytest
from bombs import coded, sealed
from codec_samples import natural
from hostile import SPECS
from neural_samples import model_file

from toolkit.codecs.base import MAX_BATCH_PIXELS, MAX_PIXELS
from toolkit.codecs.cp import MAX_CP_PIXELS
from toolkit.codecs.neural.codec import MAX_NEURAL_PIXELS
from toolkit.codecs.spec import MAX_SETTINGS, MAX_SPEC, MAX_WRAPPERS, expand_grid, grid_paths, parse_codec
from toolkit.codecs.varint import write_varint
from toolkit.foundation.errors import UsageError, WorkError
from toolkit.pilots.plan import MAX_RUNS, plan

STREAMS = 6000


@pytest.mark.slow
def test_hostile_streams_and_bombs_take_little_memory_and_end_in_pixels_or_one_line() -> None:
    """In a process of its own, which a decoder that aborts would end."""
    script = Path(__file__).with_name("hostile.py")
    done = subprocess.run([sys.executable, str(script), str(STREAMS)], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert told["unexpected"] == []
    assert told["peak_mb_above_the_start"] <= 300, told
    assert sum(told["outcomes"]["streams"].values()) == STREAMS
    assert told["outcomes"]["bombs"]["refused"] >= 95


@pytest.mark.parametrize("spec", SPECS)
def test_another_size_than_the_known_one_is_refused(spec: str) -> None:
    state, payloads = coded(spec)
    codec = parse_codec(spec)
    codec.load_shared(state)
    assert codec.decode(payloads, (32, 32)).shape == (4, 32, 32, 3)
    assert np.array_equal(codec.decode(payloads, (32, 32)), codec.decode(payloads))
    for size in ((32, 33), (33, 32), (64, 64), (16, 16), (18000, 18000)):
        with pytest.raises(WorkError, match=rf"32 x 32 pixels, expected {size[1]} x {size[0]}"):
            codec.decode(payloads, size)


def test_an_inner_codec_must_have_the_reduced_size() -> None:
    codec = parse_codec("downscale:factor=3|jpeg:quality=50,shared=no")
    payloads = codec.encode(natural(2, 32))
    assert codec.decode(payloads, (32, 32)).shape == (2, 32, 32, 3)
    with pytest.raises(WorkError, match="32 x 32 pixels, expected 11 x 11"):
        codec.decode([forged.JPEG])


def test_a_part_of_another_size_is_refused_in_a_foreground() -> None:
    state, payloads = coded("foreground|jpeg:quality=50")
    crops = parse_codec("foreground|jpeg:quality=50")
    crops.load_shared(state)
    box, (crop, rest) = payloads[0][:4], crops._split(payloads[0])[1:]  # type: ignore[attr-defined]
    whole = crops.inner.encode(natural(1, 32))[0]  # type: ignore[attr-defined]
    with pytest.raises(WorkError, match="expected"):
        crops.decode([box + write_varint(len(whole)) + write_varint(len(rest)) + whole + rest])
    assert crops.decode([box + write_varint(len(crop)) + write_varint(len(rest)) + crop + rest]).shape == (1, 32, 32, 3)


@pytest.mark.parametrize(
    ("spec", "largest"),
    [
        ("raw", MAX_PIXELS),
        ("downscale|raw", MAX_PIXELS),
        ("cp:rank=6", MAX_CP_PIXELS),
        ("foreground|jpeg:quality=50", MAX_PIXELS),
        ("neural:model=small,quality=1", MAX_NEURAL_PIXELS),
    ],
)
def test_a_state_with_too_many_pixels_to_decode_is_refused(spec: str, largest: int) -> None:
    state, _ = coded(spec)
    side = int(largest**0.5)
    parse_codec(spec).load_shared(struct.pack("<HH", side, side) + state[4:])
    for shape in ((side, side + 1), (65535, 65535), (0, 32), (32, 0)):
        with pytest.raises(WorkError, match="damaged"):
            parse_codec(spec).load_shared(struct.pack("<HH", *shape) + state[4:])


@pytest.mark.parametrize("spec", ["raw", "png", "jpeg", "cp", "downscale|png", "neural:model=small,quality=1"])
def test_images_too_large_to_decode_are_not_encoded(spec: str) -> None:
    with pytest.raises(UsageError, match="at most"):
        parse_codec(spec).encode(np.zeros((1, 2048, 2049, 3), np.uint8))


def test_the_largest_image_can_be_decoded_but_not_a_larger_one() -> None:
    codec = parse_codec("webp:shared=no")
    assert codec.decode([forged.flat_webp(2048, 2048)]).shape == (1, 2048, 2048, 3)
    for size in (None, (2049, 2048)):
        with pytest.raises(WorkError, match="2048 x 2049 pixels, expected 1 to 4194304"):
            codec.decode([forged.flat_webp(2049, 2048)], size)


def test_a_batch_of_unknown_size_is_bounded_in_all() -> None:
    codec = parse_codec("webp:shared=no")
    file = forged.flat_webp(1024, 1024)
    with pytest.raises(WorkError, match=f"65 exemplars claim .*at most {MAX_BATCH_PIXELS}"):
        codec.decode([file] * 65)


def test_running_out_of_memory_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = parse_codec("jpeg:quality=50")
    payloads = codec.encode(natural(2, 32))
    for error in (MemoryError("Unable to allocate 12.0 GiB"), MemoryError(), RecursionError()):

        def fail(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(np, "empty", fail)
            with pytest.raises(WorkError, match=r"^jpeg:quality=50: there is not enough memory to decode: .+$"):
                codec.decode(payloads)


def test_entropy_tables_of_another_model_are_refused(tmp_path: Path) -> None:
    spec = f"neural:checkpoint={model_file(tmp_path)}"
    other = parse_codec(f"neural:checkpoint={model_file(tmp_path, seed=1, latent=4)}")
    state, payloads = coded(spec)
    other.encode(natural(1, 32))
    codec = parse_codec(spec)
    codec.load_shared(state[:14] + other.shared_state()[14:])
    with pytest.raises(WorkError, match="entropy tables have 4 rows"):
        codec.decode(payloads)


def test_a_stream_longer_than_any_encoder_writes_is_damaged(tmp_path: Path) -> None:
    state, payloads = coded(f"neural:checkpoint={model_file(tmp_path)}")
    codec = parse_codec(f"neural:checkpoint={tmp_path / 'factorized-0.npz'}")
    codec.load_shared(state)
    with pytest.raises(WorkError, match="1 of 5 streams are damaged"):
        codec.decode([*payloads, sealed(bytes(10**6))])


def test_a_grid_is_counted_before_it_is_expanded() -> None:
    qualities = ",".join(map(str, range(1, 101)))
    assert len(expand_grid(f"jpeg:quality={{{qualities}}},subsampling={{auto,420,444}};png")) == 301
    for grid in (f"jpeg:quality={{{qualities}}};" * 11, "{1,2}" * 7000, f"jpeg:quality={{{qualities}}}" + "{1,2}" * 10):
        for read in (expand_grid, grid_paths):
            with pytest.raises(UsageError, match=f"at most {MAX_SETTINGS} settings, got (1100|102400|more than)"):
                read(grid)
    with pytest.raises(UsageError, match=r"at most 65536 characters, got 90000"):
        expand_grid("jpeg;" * 18_000)


@pytest.mark.parametrize("grid", ["downscale|" * 9 + "jpeg", "{" + "downscale|" * 9 + ",raw|}jpeg", "|" * 9])
def test_wrappers_are_counted_before_they_are_made(grid: str) -> None:
    with pytest.raises(UsageError, match=f"at most {MAX_WRAPPERS} wrappers, got 9"):
        expand_grid(grid)
    with pytest.raises(UsageError, match=f"at most {MAX_WRAPPERS} wrappers, got 9"):
        grid_paths(grid)


def test_as_many_wrappers_as_leave_pixels_are_accepted() -> None:
    spec = "downscale:factor=2|" * MAX_WRAPPERS + "raw"
    assert str(parse_codec(spec)) == spec


@pytest.mark.parametrize("spec", ["jpeg:quality=" + "9" * 3000, "jpeg:" + "q" * 3000 + "=1", "j" * 3000])
def test_messages_quote_only_part_of_a_long_spec(spec: str) -> None:
    with pytest.raises(UsageError) as refusal:
        parse_codec(spec)
    assert len(str(refusal.value)) < 400
    assert "..." in str(refusal.value)


def test_a_spec_longer_than_any_path_is_refused() -> None:
    with pytest.raises(UsageError, match=f"at most {MAX_SPEC} characters, got 100008"):
        parse_codec("jpeg:q=" + "9" * 100_001)


def test_runs_are_counted_before_they_are_planned() -> None:
    with pytest.raises(UsageError, match=f"at most {MAX_RUNS} runs can be planned at once, got {10**9}"):
        plan(["raw"], ["none"], ["20img"] * 10**4, range(10**5), dataset="demo")


@pytest.mark.parametrize("name", ["long", "deep", "nested"])
def test_a_table_file_that_grows_when_it_is_read_is_refused(tmp_path: Path, name: str) -> None:
    head = b'{"format": "recallrate-jpeg-tables", "version": 1, "luma": '
    content = {"long": b" " * 2**21, "deep": head + b"[" * 10**5, "nested": head + b"[" * 900 + b"]" * 900 + b"}"}
    (tmp_path / "tables.json").write_bytes(content[name])
    with pytest.raises(UsageError) as refusal:
        parse_codec(f"learned-jpeg:tables={tmp_path / 'tables.json'}")
    assert "\n" not in str(refusal.value)
    assert name != "long" or "more than 1,048,576 bytes" in str(refusal.value)


@pytest.mark.parametrize(("channels", "stages"), [(513, 3), (16, 6), (16, 1), (2**20, 3)])
def test_a_model_file_that_asks_for_a_larger_network_than_training_makes_is_refused(channels: int, stages: int) -> None:
    from toolkit.codecs.neural.networks import build

    with pytest.raises(UsageError, match="neural codec"):
        build({"name": "factorized", "channels": channels, "latent": 8, "stages": stages})
