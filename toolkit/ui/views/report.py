"""The Report page: choose finished pilots, preview the report, and download it as PDF, CSV or JSON."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import streamlit as st

from toolkit.foundation.errors import UsageError, WorkError, one_line
from toolkit.foundation.files import default_runs_dir
from toolkit.jobs.kinds import probes_of
from toolkit.jobs.listing import list_runs
from toolkit.language.catalogue import LANGUAGES, language
from toolkit.pilots.config import PilotConfig
from toolkit.pilots.results import comparisons, result_rows, setting_name
from toolkit.report.contents import LONGEST_TITLE, write_report
from toolkit.report.cost import Fleet, Prices
from toolkit.report.facts import Study, gather_study
from toolkit.report.pdf import pages_of, pdf_of
from toolkit.report.tables import csv_text, json_text
from toolkit.runs.folder import RunFolder
from toolkit.ui.components.choice import choose
from toolkit.ui.components.datasets import chosen, open_dataset
from toolkit.ui.components.formats import count
from toolkit.ui.components.language import current, say
from toolkit.ui.components.outputs import command, next_page
from toolkit.ui.components.plain import plain
from toolkit.ui.priority import out_of_turn

_PREVIEW_PPI = 110.0


def page() -> None:
    """Draw the page."""
    st.title(say("shell.report"), anchor=False)
    st.markdown(say("report_page.intro"))
    open_dataset()
    spec, size = chosen()
    runs = list_runs(default_runs_dir())
    found = [
        one
        for one in comparisons([run for run in runs if run.name.startswith("pilot-")], spec, size)
        if any(run.result is not None for run, _, _ in one.runs)
    ]
    if not found:
        st.info(say("tradeoff.none_yet"), icon=":material/arrow_forward:")
        next_page("pilot", say("tradeoff.pilot_first"))
        return
    advice = [run for run in probes_of(runs, spec, size).values() if run.result is not None]
    members = _members([(run, config) for comparison in found for run, config, _ in comparison.runs])
    title, author, code, fleet, prices = _form()
    try:
        study = gather_study([*members, *advice])
        made = write_report(study, language(code), title=title, author=author, fleet=fleet, prices=prices)
        with st.spinner(say("report_page.setting")), out_of_turn():
            key = (made.title, made.byline, made.footer, code, str(made.blocks))
            pdf, pages = _paper(key, made)
    except (UsageError, WorkError) as error:
        st.error(plain(one_line(error)), icon=":material/error:")
        return
    _download_buttons(study, pdf)
    _preview(pages)
    command(*_command_lines(study, [*members, *advice], title, author, code, fleet, prices))


def _members(pilots: Sequence[tuple[RunFolder, PilotConfig]]) -> list[RunFolder]:
    """The pilots in the report; initially all finished ones."""
    settings: dict[str, list[RunFolder]] = {}
    for run, config in pilots:
        name = f"{setting_name(config.codec, config.align)}, {config.method}, {config.budget}"
        settings.setdefault(name, []).append(run)
    kept = st.pills(
        say("report_page.settings"),
        list(settings),
        selection_mode="multi",
        default=list(settings),
        key=f"report_settings_{len(settings)}",
        format_func=plain,
        help=say("report_page.settings_help"),
    )
    return [run for name in kept for run in settings[name]]


def _form() -> tuple[str, str, str, Fleet, Prices]:
    """Title, author, language, and the assumptions of the Cost page."""
    columns = st.columns([3, 2, 2], vertical_alignment="bottom")
    title = columns[0].text_input(
        say("report_page.title"),
        key="report_title",
        persist_state="session",
        max_chars=LONGEST_TITLE,
        placeholder=say("report_page.title_hint"),
    )
    author = columns[1].text_input(
        say("report_page.author"), key="report_author", persist_state="session", max_chars=LONGEST_TITLE
    )
    codes = dict(sorted(LANGUAGES.items(), key=lambda item: item[0] != current().code))
    code = choose(columns[2].container(), say("report_page.language"), codes, "report_language")
    st.caption(say("report_page.cost_note"))
    return title, author, code, Fleet(**_entered(Fleet())), Prices(**_entered(Prices()))


def _entered(usual: Fleet | Prices) -> dict[str, float]:
    """Amounts entered on the Cost page, if it has been opened; else those in ``usual``."""
    return {name: st.session_state.get(f"cost_{name}", value) for name, value in vars(usual).items()}


@st.cache_data(max_entries=8, show_spinner=False)
def _paper(key: tuple[str, ...], _report: Any) -> tuple[bytes, list[bytes]]:
    """PDF and page images, cached by ``key``."""
    return pdf_of(_report), pages_of(_report, _PREVIEW_PPI)


def _download_buttons(study: Study, pdf: bytes) -> None:
    rows = result_rows(study.pilots)
    with st.container(horizontal=True):
        st.download_button(
            say("report_page.download"),
            pdf,
            "report.pdf",
            "application/pdf",
            type="primary",
            on_click="ignore",
            icon=":material/picture_as_pdf:",
        )
        st.download_button(
            "CSV", csv_text(rows), "report.csv", "text/csv", on_click="ignore", icon=":material/download:"
        )
        st.download_button(
            "JSON",
            json_text(study.as_dict()),
            "report.json",
            "application/json",
            on_click="ignore",
            icon=":material/download:",
        )


def _preview(pages: Sequence[bytes]) -> None:
    st.subheader(say("report_page.preview"), anchor=False)
    st.caption(count(len(pages), "page"))
    for number, picture in enumerate(pages, 1):
        with st.container(border=True):
            st.image(picture, width="stretch", alt=say("report_page.page_alt", number=number, total=len(pages)))


def _command_lines(
    study: Study, runs: Sequence[RunFolder], title: str, author: str, code: str, fleet: Fleet, prices: Prices
) -> list[str]:
    """The command for this report, preceded by one that writes the cost assumptions if they are not the defaults."""
    words = ["recallrate", "report", *(run.name for run in runs), "-o", "report.pdf", "--lang", code]
    for option, text in (("--title", title), ("--author", author)):
        words += [option, text] if text else []
    if (fleet, prices) == (Fleet(), Prices()):
        return [shlex.join(words)]
    raw, after = study.raw_image_bytes, study.exemplar_bytes
    cost = ["recallrate", "cost", "--before", f"{raw}", "--after", f"{after:g}", "--json", "cost.json"]
    for name, value in {**vars(fleet), **vars(prices)}.items():
        cost += [f"--{name.replace('_', '-')}", f"{value:g}"]
    return [shlex.join(cost), shlex.join([*words, "--cost", "cost.json"])]
