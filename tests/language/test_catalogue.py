"""The two catalogues have the same keys, and every used text exists."""

from __future__ import annotations

import ast
import json
import re
import string
from pathlib import Path

import pytest

import toolkit
from toolkit.foundation.errors import UsageError
from toolkit.language.catalogue import ENGLISH, LANGUAGES, language
from toolkit.language.sentence import Sentence

ROOT = Path(toolkit.__file__).parent
ROOMS = ("ui", "report")
UNTRANSLATED = {"CSV", "JSON", "PSNR", "SSIM", "FMSE", "Recall Rate", "± 95 %", "raw"}
"""Texts that are the same in every language."""
_NOT_SHOWN = ("html", "code", "get_option", "set_option", "form")


def places(text: str) -> list[str]:
    return sorted(name for _, name, _, _ in string.Formatter().parse(text) if name is not None)


def calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]


SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("code", LANGUAGES)
def test_all_catalogues_have_the_same_keys_and_placeholders(code: str) -> None:
    texts = language(code).texts
    assert texts.keys() == ENGLISH.texts.keys()
    for key, text in texts.items():
        assert text.strip(), key
        assert places(text) == places(ENGLISH.texts[key]), key


def test_japanese_is_japanese() -> None:
    """Kana or kanji in every text except names, numbers and units."""
    plain = {key for key, text in language("ja").texts.items() if not re.search(r"[぀-ヿ一-鿿]", text)}
    assert plain <= {
        "metric.psnr",
        "metric.ssim",
        "column.psnr",
        "column.ssim",
        "column.bpp",
        "runs.doing",
        "report.examples_psnr",
    }


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_used_text_exists_with_its_values(path: Path) -> None:
    for call in calls(path):
        if getattr(call.func, "id", "") != "say" or not call.args:
            continue
        first = call.args[0]
        choices = [first.body, first.orelse] if isinstance(first, ast.IfExp) else [first]
        given = sorted(str(keyword.arg) for keyword in call.keywords)
        for choice in choices:
            if isinstance(choice, ast.Constant):
                assert choice.value in ENGLISH.texts, choice.value
                if "None" not in given:  # no ** in the call
                    assert places(ENGLISH.texts[choice.value]) == given, choice.value
            elif isinstance(choice, ast.JoinedStr) and isinstance(choice.values[0], ast.Constant):
                beginning = str(choice.values[0].value)
                assert any(key.startswith(beginning) for key in ENGLISH.texts), beginning


@pytest.mark.parametrize("path", sorted((ROOT / "advice").rglob("*.py")), ids=lambda path: path.name)
def test_every_sentence_exists_with_its_values(path: Path) -> None:
    for call in calls(path):
        if getattr(call.func, "id", "") != "Sentence" or not isinstance(call.args[0], ast.Constant):
            continue
        given = sorted(str(keyword.arg) for keyword in call.keywords)
        assert places(ENGLISH.texts[str(call.args[0].value)]) == given, call.args[0].value


def test_a_sentence_is_data_and_can_be_shown_in_any_language() -> None:
    sentence = Sentence("limit.uneven_classes", least=3, most=40)
    again = Sentence.from_dict(json.loads(json.dumps(sentence.as_dict())))
    assert str(again).startswith("classes have 3 to 40 images")
    assert "3～40 枚" in again.said(language("ja"))


@pytest.mark.parametrize("path", sorted((ROOT / "ui").rglob("*.py")), ids=lambda path: path.name)
def test_pages_take_all_text_from_the_catalogues(path: Path) -> None:
    """All text given to Streamlit's functions comes from ``say``; keys, formats and icons are not text."""
    shown = {"label", "help", "alt", "placeholder", "caption"}
    for call in calls(path):
        function = call.func
        if not isinstance(function, ast.Attribute) or ast.unparse(function.value) not in ("st", "st.column_config"):
            continue
        texts = [*call.args[:1], *(keyword.value for keyword in call.keywords if keyword.arg in shown)]
        for text in texts:
            if function.attr in _NOT_SHOWN or not isinstance(text, ast.Constant):
                continue
            said = text.value
            assert not isinstance(said, str) or said in UNTRANSLATED or not re.search("[A-Za-z]{2}", said), said


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(UsageError, match="one of en, ja, got 'fr'"):
        language("fr")


def test_values_are_filled_in() -> None:
    assert ENGLISH("runs.done_of", done=2, total=3) == "2 of 3 runs done"
    with pytest.raises(KeyError):
        ENGLISH("runs.done_of", done=2)
