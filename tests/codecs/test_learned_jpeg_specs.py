"""Specs of the learned-jpeg codec, and caches and memories whose tables have changed or are missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from codec_samples import natural
from learned_jpeg_samples import ODD, Build, standard, with_everything

from toolkit.codecs.base import Codec
from toolkit.codecs.cache import coded_images
from toolkit.codecs.jpeg_tables import QuantisationTables, write_tables
from toolkit.codecs.kind import CodecKind
from toolkit.codecs.spec import code_alike, expand_grid, parse_codec, short_spec
from toolkit.foundation.errors import UsageError, WorkError
from toolkit.memory.store import ExemplarMemory

# -- the spec ----------------------------------------------------------------------------------------------------


def test_the_canonical_spec_is_absolute_and_names_the_content(
    tmp_path: Path, spec: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec()
    monkeypatch.chdir(tmp_path)
    canonical = f"learned-jpeg:tables={tmp_path}/tables.json,digest={ODD.digest}"
    assert str(parse_codec("learned-jpeg:tables=tables.json")) == canonical
    assert str(parse_codec(f" learned-jpeg: shared=yes, tables = {tmp_path}/tables.json ")) == canonical
    written = f"learned-jpeg:shared=no,rounding=nearest,subsampling=420,digest={ODD.digest},tables=./tables.json"
    assert str(parse_codec(written)) == f"{canonical},subsampling=420,shared=no"
    monkeypatch.chdir("/")
    assert str(parse_codec(canonical)) == canonical
    assert parse_codec(canonical).encode(natural(1, 16))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert str(parse_codec("learned-jpeg:tables=~/tables.json")) == canonical


@pytest.mark.parametrize("path", [r"C:\models\tables.json", "/models/../tables.json"])
def test_an_absolute_path_of_any_system_is_unchanged(path: str) -> None:
    canonical = f"learned-jpeg:tables={path},digest=0123abcd"
    assert str(parse_codec(canonical)) == canonical


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("", "learned-jpeg needs tables=FILE: write one with recallrate jpeg export RUN -o tables.json"),
        ("digest=0123abcd", "learned-jpeg needs tables=FILE"),
        ("tables=", "learned-jpeg: tables must be a path without any of , | ; { }, got ''"),
        ("tables", "tables needs a value (a path"),
        (
            "tables=a,b.json",
            "has no key 'b.json': its keys are tables, digest, subsampling, rounding, entropy, shared; a path "
            "cannot contain a comma",
        ),
        ("tables={a}.json", "tables must be a path without any of , | ; { }, got '"),
        ("tables=a\tb", "tables must be a path"),
        ("tables=/none/t.json", "learned-jpeg: cannot read the quantisation tables /none/t.json: No such file"),
        ("tables=/none/tables.json,digest=0123ABCD", "digest must be 8 hexadecimal digits, got '0123ABCD'"),
        ("tables=/none/tables.json,digest=", "digest must be 8 hexadecimal digits, got ''"),
        ("tables=/none/tables.json,rounding=up", "rounding must be nearest|deadzone|sample, got 'up'"),
        ("tables=/none/tables.json,subsampling=422", "subsampling must be auto|420|444, got '422'"),
        ("tables=/none/tables.json,quality=50", "no key 'quality': its keys are tables"),
        ("tables=/none|tables.json", "unknown codec"),
    ],
)
def test_a_bad_spec_is_refused_in_a_line(options: str, told: str) -> None:
    with pytest.raises(UsageError) as refusal:
        parse_codec(f"learned-jpeg:{options}")
    assert told in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_relative_path_in_a_folder_that_no_spec_can_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a,b").mkdir()
    write_tables(tmp_path / "a,b" / "tables.json", ODD)
    monkeypatch.chdir(tmp_path / "a,b")
    with pytest.raises(UsageError, match=r"without any of , \| ; \{ \}, got '.*a,b/tables\.json'"):
        parse_codec("learned-jpeg:tables=tables.json")


def test_a_wrong_table_file_is_refused_with_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "tables.json").write_text('{"format": "recallrate-jpeg-tables", "version": 1, "luma": [[0]]}')
    with pytest.raises(UsageError, match=r"learned-jpeg: .*tables\.json: luma must be an 8 x 8 table"):
        parse_codec(f"learned-jpeg:tables={tmp_path}/tables.json")


@pytest.mark.parametrize(("rounding", "needed"), [("deadzone", "dead_zone"), ("sample", "alpha")])
def test_a_rounding_without_its_numbers_is_refused(spec: Build, rounding: str, needed: str) -> None:
    told = rf"rounding={rounding} needs {needed} in the tables, but .*tables\.json has none"
    with pytest.raises(UsageError, match=told):
        parse_codec(spec(options=f"rounding={rounding}"))
    codec = parse_codec(spec(options=f"digest={ODD.digest},rounding={rounding}"))
    with pytest.raises(UsageError, match=f"needs {needed}"):
        codec.encode(natural(1, 16))


def test_a_grid_takes_several_files_and_refuses_those_it_could_not_encode_with(tmp_path: Path, spec: Build) -> None:
    fine = QuantisationTables(*standard(80))
    spec(name="coarse")
    spec(fine, name="fine")
    grid = f"learned-jpeg:tables={{{tmp_path}/coarse.json, {tmp_path}/fine.json}},subsampling={{420,444}};png"
    settings = expand_grid(grid)
    assert settings == [
        f"learned-jpeg:tables={tmp_path}/{name}.json,digest={digest},subsampling={chroma}"
        for name, digest in (("coarse", ODD.digest), ("fine", fine.digest))
        for chroma in ("420", "444")
    ] + ["png"]
    assert expand_grid(";".join(settings)) == settings

    coarse = tmp_path / "coarse.json"
    write_tables(coarse, fine)
    with pytest.raises(UsageError, match=rf"contains other tables \({fine.digest}\) than digest={ODD.digest}"):
        expand_grid(settings[0])
    coarse.unlink()
    for refused in (settings[0], f"downscale:factor=2|{settings[0]}", f"learned-jpeg:tables={coarse}"):
        with pytest.raises(UsageError, match=r"cannot read the quantisation tables .*coarse\.json"):
            expand_grid(refused)


def test_a_wrapped_codec_parses_back(spec: Build) -> None:
    codec, images = parse_codec(f"downscale:factor=2|{spec(options='')}"), natural(3, 32)
    assert isinstance(codec, Codec)
    payloads = codec.encode(images)
    fresh = parse_codec(str(codec))
    fresh.load_shared(codec.shared_state())
    np.testing.assert_array_equal(fresh.decode(payloads), codec.decode(payloads))


def test_specs_code_alike_wherever_their_files_are() -> None:
    one = "downscale:factor=2|learned-jpeg:tables=/a/t.json,digest=0123abcd,rounding=sample"
    assert code_alike(one, one.replace("/a/t.json", "/b/s.json"))
    assert not code_alike(one, one.replace("0123abcd", "0123abce"))
    assert not code_alike(one, one.replace(",rounding=sample", ""))
    assert not code_alike(one, one.replace("factor=2", "factor=3"))
    assert not code_alike("jpeg:quality=50", "jpeg:quality=51")


@pytest.mark.parametrize(
    ("spec", "short"),
    [
        ("learned-jpeg:tables=/a b/c=d/t.json,digest=0123abcd", "learned-jpeg:tables=t.json,digest=0123abcd"),
        (r"downscale:factor=2|learned-jpeg:tables=C:\a\t.json", "downscale:factor=2|learned-jpeg:tables=t.json"),
        ("downscale:factor=2|jpeg:quality=50", "downscale:factor=2|jpeg:quality=50"),
    ],
)
def test_a_short_spec_has_only_the_names_of_files(spec: str, short: str) -> None:
    assert short_spec(spec) == short


# -- which tables ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", ["rounding=deadzone,shared=no", "rounding=deadzone", "shared=no", ""])
def test_cached_images_follow_the_tables_and_not_the_file_name(spec: Build, options: str) -> None:
    images = natural(4, 32)
    results = []
    for quality, dead_zone in ((50, 0.6), (50, 1.5), (20, 0.6), (50, 0.6)):
        codec = parse_codec(spec(with_everything(quality, dead_zone), options))
        coded = coded_images(codec, images, "learned-jpeg test")
        np.testing.assert_array_equal(coded.decoded, codec.decode(codec.encode(images)))
        results.append(np.asarray(coded.decoded))
    np.testing.assert_array_equal(results[3], results[0])
    assert not np.array_equal(results[2], results[0])
    assert np.array_equal(results[1], results[0]) == ("deadzone" not in options)


def test_changed_tables_are_not_used_for_encoding(spec: Build) -> None:
    canonical = str(parse_codec(spec()))
    spec(QuantisationTables(*standard(50)))
    with pytest.raises(UsageError, match=r"contains other tables .*remove digest"):
        parse_codec(canonical).encode(natural(1, 16))


@pytest.mark.parametrize("options", ["", "shared=no", "rounding=sample"])
def test_a_memory_is_read_without_the_tables(tmp_path: Path, spec: Build, options: str) -> None:
    tables, path = with_everything(60), tmp_path / "m.recall"
    with ExemplarMemory(path, 40_000, spec(tables, options)) as memory:
        memory.add_images({0: natural(6, 32), 1: natural(6, 32, seed=8)})
        images, labels, _ = memory.decode_all()
        summary = memory.summary()
        assert summary["codec"] == str(memory.codec).replace(f"{tmp_path}/", "")
    elsewhere = tmp_path / "elsewhere" / "other-name.json"
    elsewhere.parent.mkdir()
    (tmp_path / "tables.json").rename(elsewhere)

    with ExemplarMemory(path) as memory:
        again, again_labels, damaged = memory.decode_all()
        np.testing.assert_array_equal(again, images)
        np.testing.assert_array_equal(again_labels, labels)
        assert damaged == memory.verify() == []
        assert memory.codec.to_file(memory.payload(0, 0)).startswith(b"\xff\xd8")
        assert memory.summary() == summary
        assert str(tmp_path).encode() not in path.read_bytes()  # no paths are kept
        with pytest.raises(UsageError, match=r"can only decode here: cannot read the quantisation .*tables\.json"):
            memory.add_images({2: natural(6, 32, seed=9)})
        assert memory.class_counts == {0: 6, 1: 6}

    moved = f"learned-jpeg:tables={elsewhere}" + (f",{options}" if options else "")
    with ExemplarMemory(path, codec=moved) as memory:
        memory.add_images({2: natural(6, 32, seed=9)})
        np.testing.assert_array_equal(memory.decode_all()[0][:12], images)
        assert memory.class_counts == {0: 6, 1: 6, 2: 6}
    with ExemplarMemory(path) as memory:
        assert len(memory) == 18
        assert memory.verify() == []


def test_a_memory_refuses_other_tables(tmp_path: Path, spec: Build) -> None:
    path = tmp_path / "m.recall"
    ExemplarMemory(path, 40_000, spec()).close()
    other = QuantisationTables(*standard(50))
    with pytest.raises(UsageError, match=rf"made with .*digest={ODD.digest}.*, not with .*digest={other.digest}"):
        ExemplarMemory(path, codec=spec(other))


def test_damaged_payloads_of_a_codec_without_its_tables_are_work_errors(tmp_path: Path, spec: Build) -> None:
    codec = parse_codec(spec(options=""))
    payloads = codec.encode(natural(2, 32))
    fresh = parse_codec(str(codec))
    (tmp_path / "tables.json").unlink()
    with pytest.raises(WorkError, match="fit or load it before decoding"):
        fresh.decode(payloads)
    fresh.load_shared(codec.shared_state())
    for damaged in (b"", b"\xff", b"\xff\xd8"):
        with pytest.raises(WorkError):
            fresh.decode([damaged])


def test_the_codec_is_registered() -> None:
    from toolkit.codecs.registry import CODECS

    kind = CODECS["learned-jpeg"]
    assert isinstance(kind, CodecKind)
    assert {key: parameter.accepted() for key, parameter in kind.parameters.items()} == {
        "tables": "a path without any of , | ; { }",
        "digest": "8 hexadecimal digits",
        "subsampling": "auto|420|444",
        "rounding": "nearest|deadzone|sample",
        "entropy": "context|huffman",
        "shared": "yes|no",
    }
