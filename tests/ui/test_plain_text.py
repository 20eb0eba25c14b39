"""Every page and figure shows any name as plain text."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from drawn_pages import (
    cost_page,
    data_page,
    drawn,
    images_page,
    jpeg_page,
    monitor_page,
    pilot_page,
    probe_page,
    report_page,
    study_page,
    tradeoff_page,
)
from google.protobuf.message import Message
from hostile_names import NAMES, hostile_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from run_samples import finished_advice, finished_images, finished_training, pilot_config, pilot_folder, probe_setting
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Block, Node

from toolkit.foundation.files import write_json
from toolkit.foundation.printing import visible
from toolkit.language.catalogue import LANGUAGES, language
from toolkit.report.figures.data import class_histogram, feature_figure
from toolkit.report.figures.jpeg import response_figure
from toolkit.report.figures.pilots import loss_figure, stage_figure
from toolkit.report.figures.style import as_text
from toolkit.ui.components.language import say
from toolkit.ui.components.plain import Marked, code, join_marked, plain

JOINER = "\u2060"
EMOJI = re.compile(r":(?!material/|streamlit:)[\w+-][\w_+-]*:")
"""The patterns of Streamlit's page."""
READER = MarkdownIt("commonmark").enable(["strikethrough", "table"])


def read(markdown: str) -> list[tuple[str, str]]:
    """Parsed Markdown: kinds of blocks and spans with their text."""
    found = []
    for block in READER.parse(markdown):
        for span in block.children or ():
            found.append((span.type.replace("text_special", "text"), span.content))
        if block.type not in ("paragraph_open", "paragraph_close", "inline"):
            found.append((block.type, block.content))
    return found


def shown(markdown: str) -> str:
    found = read(markdown)
    assert {kind for kind, _ in found} <= {"text"}, found
    return "".join(content for _, content in found).replace(JOINER, "")


def line(text: str) -> str:
    return visible(" ".join(text.split()))


@pytest.mark.parametrize("name", [*NAMES, "- x", "+", "1) x", "=", "---", "    indented", "a\n\n# b", "| a |\n|---|"])
def test_a_name_is_one_line_of_text(name: str) -> None:
    assert shown(plain(name)) == line(name)
    assert shown(f"- {plain(name)}".removeprefix("- ")) == line(name)
    ((kind, content),) = read(code(name))
    assert (kind, content.replace(JOINER, "")) == ("code_inline", line(name))


@given(st.text(alphabet=st.sampled_from("ab 1.-+*_`~[]()<>#$|:&;!=\\/@\n\t"), min_size=1, max_size=12))
@settings(max_examples=300, deadline=None)
def test_any_sequence_of_signs_is_text(name: str) -> None:
    assert shown(plain(name)) == line(name)
    if line(name):
        ((kind, content),) = read(code(name))
        assert (kind, content.replace(JOINER, "").strip()) == ("code_inline", line(name).strip())


def test_text_that_streamlit_replaces_is_separated() -> None:
    for name in (":cat:", "a:cat:b", ":cat", ":+1:", ":material/home:", ":material_home:", ":streamlit:"):
        text = plain(name)
        assert not EMOJI.search(text), name
        assert ":material/" not in text
        assert not re.search(r":material_\w+:|:streamlit:", "".join(content for _, content in read(text)))
    assert not EMOJI.search(f"{plain(':cat')}: 3 of 4")
    for arrow in ("<->", "->", "<-", "--", ">=", "<=", "~="):
        text = "".join(content for _, content in read(plain(f"a {arrow} b")))
        assert f" {arrow} " not in text
    for address in ("http://x.example", "https://x.example", "www.x.example", "a@x.example"):
        text = "".join(content for _, content in read(plain(address)))
        assert not re.search(r"https?://|www\.|@x", text), address


def test_ordinary_names_are_unchanged() -> None:
    for name in ("disc-rising", "jpeg:quality=50", "webp:quality=75,lossless=yes", "-0.5", "1,234", "2 h", "a: b"):
        assert plain(name) == name


def test_marked_text_is_not_escaped_again() -> None:
    assert plain(plain("*a*")) == plain("*a*") == r"\*a\*"
    assert join_marked([code("a"), code("b")]) == "`a`, `b`"
    assert isinstance(say("shell.data"), Marked)
    assert say("access.outside", path="*a*", roots=code("/b")) == (
        r"\*a\* is outside the folders that this server may open: `/b`"
    )


@pytest.mark.parametrize("code_", LANGUAGES)
def test_no_catalogue_text_contains_emoji_markup(code_: str) -> None:
    assert [key for key, text in language(code_).texts.items() if EMOJI.search(text)] == []


MARKDOWN = {"body", "label", "help", "text", "caption", "delta", "title", "content", "proto_label"}
"""Fields of Streamlit's messages that a page shows as Markdown."""
PLAIN_KINDS = {"code", "text", "iframe", "plotly_chart", "bidi_component", "arrow_data_frame"}
"""Elements that show plain text, and figures, which have their own test."""


def markdown_of(message: Message) -> Iterator[tuple[str, str]]:
    """Every Markdown text of a message with its field; options of select boxes are plain text."""
    for descriptor, value in message.ListFields():
        values = value if descriptor.is_repeated else [value]
        for one in values:
            if isinstance(one, str):
                if descriptor.name in MARKDOWN:
                    yield descriptor.name, one
            elif isinstance(one, Message):
                yield from markdown_of(one)


def nodes(node: Node) -> Iterator[Node]:
    yield node
    if isinstance(node, Block):
        for child in node.children.values():
            yield from nodes(child)


def texts(app: AppTest) -> list[str]:
    found = []
    for node in nodes(app._tree):
        message = getattr(node, "proto", None)
        if isinstance(message, Message) and node.type not in PLAIN_KINDS:
            found += [text for _, text in markdown_of(message)]
    return found


def unmarked(text: str, names: list[str]) -> list[str]:
    """Names that a Markdown text renders as anything but text."""
    safe = text
    for name in sorted(names, key=len, reverse=True):
        for marked in (plain(name), plain(f"a {name}").removeprefix("a "), code(name)):
            safe = safe.replace(marked, "")
    return [name for name in names if name in safe and plain(name) != name]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(hostile_dataset(tmp_path_factory.mktemp("hostile")).resolve())


@pytest.fixture
def filled(runs_dir: Path, dataset: str) -> Path:
    """Results of all kinds on the hostile dataset, with hostile text in every free-text field."""
    advice = finished_advice(runs_dir, dataset)
    result = json.loads(advice.result_path.read_text())
    said = [{"key": "doubt.unmeasured_rule", "values": {"rule": name}} for name in NAMES]
    result |= {"dataset": dataset, "extractor": NAMES[3] + NAMES[6], "sentences": said}
    result["recommended"]["sentences"] = {"reasons": said, "would_change": said}
    result["excluded"] = [
        {"codec": "webp:quality=50", "reason": name, "sentence": one} for one, name in zip(said, NAMES, strict=True)
    ]
    result["settings"].append(probe_setting("png", 900, 0.0))
    write_json(advice.result_path, result)
    finished_images(runs_dir, dataset, NAMES[0])
    finished_training(runs_dir, dataset)
    for seed in (0, 1):
        for codec, align, last in (("raw", "none", 0.4), ("jpeg:quality=50", "both", 0.5)):
            run = pilot_folder(runs_dir, pilot_config(dataset=dataset, codec=codec, align=align), seed, last)
            run.note(" ".join(NAMES))
    failed = pilot_folder(runs_dir, pilot_config(dataset=dataset, codec="png"), 0)
    failed.log("failed", reason=" ".join(NAMES))
    return runs_dir


PAGES = [
    study_page,
    data_page,
    probe_page,
    images_page,
    pilot_page,
    tradeoff_page,
    jpeg_page,
    cost_page,
    report_page,
    monitor_page,
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.__name__)
def test_every_page_shows_names_as_text(page: Callable[[], None], filled: Path, dataset: str) -> None:
    state: dict[str, Any] = {"dataset": dataset, "size": 32}
    if page is monitor_page:
        state["bundle"] = dataset
    if page is probe_page:
        state["grid"] = f"raw;learned-jpeg:tables={dataset}/t.json"
    app = drawn(page, **state)
    found = texts(app)
    words = [*NAMES, dataset, str(Path(dataset).name)]
    assert [(unmarked(text, words), text) for text in found if unmarked(text, words)] == []
    if page in (data_page, probe_page, images_page, pilot_page):
        marked = {plain(name) for name in NAMES}
        assert any(one in text for text in found for one in marked), "nothing hostile was on the page"


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from strings(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from strings(one)


def test_figures_show_names_as_text() -> None:
    rows = [{"class": name, "train": 1, "test": 1} for name in NAMES]
    places = [
        {"index": n, "class": name, "fmse_relative": 0.1, "x": 0.0, "y": 0.0, "decoded_x": 0.0, "decoded_y": 0.0}
        for n, name in enumerate(NAMES)
    ]
    series = {name: [0.5, 0.4] for name in NAMES}
    figures = [
        class_histogram(rows),
        feature_figure({"images": places, "explained": [0.5, 0.2]}),
        stage_figure(series),
        loss_figure({name: [(1, 0.5)] for name in NAMES}),
        response_figure({name: [[1.0] * 8] * 8 for name in NAMES}),
    ]
    for figure in figures:
        found = list(strings(json.loads(figure.to_json())))
        for name in NAMES:
            assert html.unescape(as_text(name)) == name
            assert any(as_text(name) in text for text in found), name
            if as_text(name) != name:
                assert not [text for text in found if name in text], name


def test_no_figure_text_contains_plotly_markup() -> None:
    assert not re.search(r"[<>$]|%\{|&(?!#\d+;)", as_text("<b>%{x}</b> &lt; $x^2$ %{customdata[0]:.1f}"))
