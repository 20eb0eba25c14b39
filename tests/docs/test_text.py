"""The README stays short, sentences stay readable, and rates are written with "per"."""

from __future__ import annotations

import re

import pytest
from doc_pages import PAGES, README, DocPage

MOST_BYTES = 9 * 1024
MOST_WORDS = 35
UNITS = "bits|bytes|images|exemplars|steps|optimiser steps|epochs|classes|runs|seconds"
OF = "pixel|image|exemplar|class|stage|second|run|codec|seed|setting|day|year|month"
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def test_the_readme_is_short() -> None:
    assert len(README.text.encode()) <= MOST_BYTES


@pytest.mark.parametrize(
    "command",
    [
        "pip install -c constraints.txt -e . && streamlit run app.py",
        'pip install -c constraints.txt -e ".[test]" && pytest',
    ],
)
def test_the_readme_has_each_command_on_its_own_line(command: str) -> None:
    assert command in README.text.splitlines()


@EACH_PAGE
def test_no_sentence_is_long(page: DocPage) -> None:
    long = [sentence for sentence in page.sentences() if len(sentence.split()) > MOST_WORDS]
    assert not long


@EACH_PAGE
def test_rates_are_written_with_per(page: DocPage) -> None:
    assert not re.findall(rf"\b(?:{UNITS}) an? (?:{OF})\b", page.outside_blocks)


def test_sentences_are_split_as_a_reader_would() -> None:
    page = DocPage("nowhere")
    page.__dict__["text"] = "# Title\nOne `a b c` two. Three\nfour (five).\n\n- Item. More.\n| a | b c. D |\n"
    found = ["Title", "One Code two.", "Three four (five).", "Item.", "More.", "a", "b c.", "D"]
    assert list(page.sentences()) == found
