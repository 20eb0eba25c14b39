"""JSON and YAML within limits, whatever they contain."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.foundation.documents import (
    DEEPEST,
    MOST_NODES,
    Unfit,
    compose_yaml,
    is_beginning,
    parse_json,
    read_file,
    read_tail,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES, st.booleans())
def test_json_round_trips(value: Any, ascii_only: bool) -> None:
    assert parse_json(json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")) == value


@given(st.binary(max_size=80) | st.text('[]{}",:\\ 01eE-.ndulrtNaI', max_size=80))
def test_any_bytes_give_a_value_or_unfit(content: bytes | str) -> None:
    try:
        text = content.decode("utf-8-sig") if isinstance(content, bytes) else content
        expected = repr(json.loads(text))
    except ValueError:
        with pytest.raises(Unfit):
            parse_json(content)
    else:
        assert repr(parse_json(content, nonfinite="kept")) == expected


def test_nesting_is_counted_outside_strings() -> None:
    assert parse_json("[" * DEEPEST + "]" * DEEPEST)
    with pytest.raises(Unfit, match=f"nested deeper than {DEEPEST} levels"):
        parse_json("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1))
    with pytest.raises(Unfit, match="nested deeper"):
        parse_json('{"a":' * 200_000)
    brackets = "[{" * 500 + '"\\'
    assert parse_json(json.dumps([brackets])) == [brackets]


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_nonfinite_numbers_are_refused_read_as_none_or_kept(word: str) -> None:
    with pytest.raises(Unfit, match="is not a finite number"):
        parse_json(f'{{"a": [{word}]}}')
    assert parse_json(f'{{"a": [{word}]}}', nonfinite="none") == {"a": [None]}
    assert not math.isfinite(parse_json(word, nonfinite="kept"))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\xff\xfe{", "not UTF-8 text"),
        (b"1" * 5000, "not valid JSON"),
        (b"", "not valid JSON"),
        (b'{"a": 1} x', "not valid JSON"),
    ],
)
def test_invalid_json_is_reported_in_one_line(content: bytes, told: str) -> None:
    with pytest.raises(Unfit, match=told) as caught:
        parse_json(content)
    assert "\n" not in str(caught.value)


def test_lone_surrogates_are_refused_only_for_printable_text() -> None:
    assert parse_json(rb'"\ud800"') == "\ud800"
    with pytest.raises(Unfit, match="not UTF-8 text"):
        parse_json(rb'"\ud800"', printable=True)
    assert parse_json(rb'"\ud83d\ude00 \ud55c"', printable=True) == "\U0001f600 \ud55c"


@settings(max_examples=40)
@given(st.dictionaries(st.text(), VALUES, min_size=1, max_size=3), st.integers(1))
def test_truncated_json_is_a_beginning_and_json_with_trailing_text_is_not(value: Any, cut: int) -> None:
    text = json.dumps(value)
    assert is_beginning(text[: 1 + cut % (len(text) - 1)])
    assert not is_beginning(text + "x")
    assert not is_beginning(f"x{text}")


def test_only_regular_files_up_to_a_size_are_read_without_blocking(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    assert read_file(tmp_path / "file", 5) == read_file(tmp_path / "link", 5) == b"12345"
    for name, follow, most, told in (
        ("file", True, 4, "more than 4 bytes"),
        ("link", False, 5, "a link"),
        ("pipe", True, 5, "not a regular file"),
    ):
        with pytest.raises(Unfit, match=told):
            read_file(tmp_path / name, most, follow=follow)
    with pytest.raises(IsADirectoryError):
        read_file(tmp_path)
    with pytest.raises(Unfit, match="not a regular file"):
        read_file(Path("/dev/zero"))
    assert read_tail(tmp_path / "file", 3) == b"345"
    assert read_tail(tmp_path / "pipe", 3) == read_tail(tmp_path / "none", 3) == read_tail(tmp_path, 3) == b""


def bomb(levels: int, times: int) -> bytes:
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * times)}]" for n in range(1, levels))]
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"[" * 100_000, "nested deeper"),
        (b"- " * 100_000, "nested deeper"),
        (bomb(9, 9), f"more than {MOST_NODES:,} values"),
        (bomb(DEEPEST + 9, 1), "nested deeper"),
        (b"a: &a [1, *a]", "contains itself"),
        (b"a: &a {b: {c: *a}}", "contains itself"),
    ],
)
def test_yaml_that_expands_too_far_is_refused_with_its_line(content: bytes, told: str) -> None:
    with pytest.raises(yaml.MarkedYAMLError, match=told) as caught:
        compose_yaml(content)
    assert caught.value.problem_mark is not None


def test_ordinary_aliases_and_nesting_are_read() -> None:
    node = compose_yaml(b"a: &a [1, {b: 2}]\nc: [*a, *a]\nd: " + b"[" * 40 + b"]" * 40)
    assert node is not None
    assert yaml.SafeLoader("").construct_document(node)["c"] == [[1, {"b": 2}]] * 2
    assert compose_yaml(b"") is None
    for content, told in ((b"\xff", "not a UTF-8 text file"), (b"#" * 2**19, "more than")):
        with pytest.raises(Unfit, match=told):
            compose_yaml(content)
