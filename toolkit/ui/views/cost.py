"""The Cost page: what a setting saves in a year, and what a point of accuracy may be worth before it does not pay."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import streamlit as st

from toolkit.codecs.spec import short_spec
from toolkit.foundation.errors import UsageError, one_line
from toolkit.foundation.files import default_runs_dir
from toolkit.foundation.sizes import format_size
from toolkit.pilots.plan import probes_of
from toolkit.pilots.results import comparisons
from toolkit.probe.calibration import GAIN
from toolkit.report.cost import Coding, Fleet, Prices, Year, sensitivity, yearly
from toolkit.report.figures import sensitivity_figure
from toolkit.runs.folder import RunFolder, list_runs
from toolkit.ui.components import words
from toolkit.ui.components.choice import choose
from toolkit.ui.components.datasets import chosen, open_dataset
from toolkit.ui.components.outputs import command, downloads, next_page

_BASES = {"original": "original files", "raw": "raw pixels"}


def page() -> None:
    """Draw the page."""
    st.title("Cost", anchor=False)
    st.markdown(
        "What a setting saves in a year on storage, transfer and processor time, against what a change of accuracy is "
        "worth. Prices and fleet are yours to fill in; sizes and times come from a probe, accuracy from pilots."
    )
    open_dataset()
    spec, size = chosen()
    runs = list_runs(default_runs_dir())
    probe = next((found for run in probes_of(runs, spec, size).values() if (found := run.result)), None)
    if probe is None:
        st.info("Sizes and coding times come from a probe, and there is none of this dataset yet.",
                icon=":material/arrow_forward:")  # fmt: skip
        next_page("probe", "Probe first: it is quick")
        return
    coding = _coding(probe, [run for run in runs if run.config["kind"] == "pilot"])
    try:
        fleet, prices = _fleet(), _prices()
        year = yearly(fleet, prices, coding)
    except UsageError as error:
        st.error(one_line(error), icon=":material/error:")
        return
    _show(year, fleet)
    rows = sensitivity(fleet, prices, coding)
    st.subheader("What it depends on", anchor=False)
    if rows:
        figure = sensitivity_figure(rows, year.saved)
        st.plotly_chart(figure, key="sensitivity", alt="Saved in a year, each input halved and doubled")
    with st.expander("Table and downloads"):
        st.dataframe(rows, hide_index=True)
        downloads("cost", year.as_dict(), rows)
    command(cost_command(fleet, prices, coding))


def _coding(probe: dict[str, Any], pilots: Sequence[RunFolder]) -> Coding:
    """The setting, what it stands against, and what it does to accuracy."""
    columns = st.columns([3, 3, 2, 2], vertical_alignment="bottom")
    rows = {row["codec"]: row for row in probe["settings"]}
    recommended = probe.get("recommended", {}).get("codec")
    first = list(rows).index(recommended) if recommended in rows else len(rows) - 1
    codec = columns[0].selectbox("Setting", list(rows), first, key="cost_setting", format_func=short_spec)
    basis = choose(columns[1], "Instead of", _BASES, "cost_basis", words.ORIGINAL_BASIS)
    at_inference = columns[2].checkbox(
        "Code incoming images", probe.get("recommended", {}).get("align") == "both", key="cost_inference",
        help=words.ALIGNMENT,
    )  # fmt: skip
    change, source = _accuracy_change(probe, pilots, codec, "both" if at_inference else "none")
    points = columns[3].number_input(
        "Accuracy, points", -100.0, 100.0, round(min(100.0, max(-100.0, change)), 2), 0.1,
        key=f"cost_points_{codec}_{at_inference}",
        help="Change of accuracy, positive if the setting is better than what it stands against.",
    )  # fmt: skip
    st.caption(source)
    row = rows[codec]
    before = probe["original_file_bytes"] if basis == "original" else 3 * probe["size"] ** 2
    return Coding(before, row["stored_bytes"], row["encode_us"], row["decode_us"], at_inference, points)


def _accuracy_change(
    probe: dict[str, Any], pilots: Sequence[RunFolder], codec: str, align: str
) -> tuple[float, str]:
    """Points over raw at the same budget, and where they come from: pilots, else advice, else nothing is known."""
    for comparison in comparisons(pilots, *chosen()):
        finished = comparison.pilots()
        for pilot in finished:
            same = [one for one in finished if one["codec"] == "raw" and one["method"] == pilot["method"]
                    and one["budget_bytes"] == pilot["budget_bytes"]]  # fmt: skip
            if same and (pilot["codec"], pilot["align"]) == (codec, align):
                gain = pilot["mean"]["last_accuracy"] - same[0]["mean"]["last_accuracy"]
                return 100 * gain, f"Measured by pilots: {comparison.label}, {len(pilot['runs'])} seed(s)."
    for rule in probe.get("rules", ()):
        for one in rule["scores"] if rule["rule"] == GAIN else ():
            if (one["codec"], one["align"]) == (codec, align):
                return one["score"], "Expected by the advice; a pilot of this setting would measure it."
    return 0.0, "Not known: there is neither a pilot of this setting nor advice."


def _fleet() -> Fleet:
    usual = Fleet()
    st.subheader("Your images", anchor=False)
    columns = iter(st.columns(5))

    def ask(label: str, first: float, step: float, key: str) -> float:
        return float(next(columns).number_input(label, 0.0, None, first, step, "%g", key=key))

    return Fleet(
        ask("Devices", usual.devices, 1.0, "cost_devices"),
        ask("Images kept a day, each", usual.images_a_day, 100.0, "cost_images"),
        ask("Kept for days", usual.retention_days, 30.0, "cost_days"),
        ask("Copies of each", usual.copies, 1.0, "cost_copies"),
        ask("Images classified a day, each", usual.inferences_a_day, 100.0, "cost_inferences"),
    )


def _prices() -> Prices:
    usual = Prices()
    st.subheader("Your prices", anchor=False)
    columns = st.columns(4)
    return Prices(
        columns[0].number_input("Storage, a GB and month", 0.0, None, usual.storage, 0.005, "%.4f", key="cost_storage"),
        columns[1].number_input("Transfer, a GB", 0.0, None, usual.transfer, 0.01, "%.4f", key="cost_transfer"),
        columns[2].number_input("An hour of a core", 0.0, None, usual.core_hour, 0.01, "%.4f", key="cost_core"),
        columns[3].number_input("One wrong answer", 0.0, None, usual.error, 0.001, "%.4f", key="cost_error"),
    )


def _show(year: Year, fleet: Fleet) -> None:
    st.subheader("In a year", anchor=False)
    columns = st.columns(4)
    columns[0].metric("Saved", f"{year.saved:,.2f}", border=True, help="Money, in the currency of your prices.")
    stored, sent = format_size(year.stored_before), format_size(year.sent_before)
    columns[1].metric(
        "In storage", format_size(year.stored_after), border=True,
        help=f"{fleet.images_kept:,.0f} images; without the setting {stored}.",
    )  # fmt: skip
    columns[2].metric(
        "Moved", format_size(year.sent_after), border=True, help=f"Without the setting {sent}."
    )  # fmt: skip
    columns[3].metric("Coding costs", f"{year.coding_cost:,.2f}", border=True, help="Processor time for the codec.")
    st.markdown("\n".join(f"- {sentence}" for sentence in explain(year)))


def explain(year: Year) -> list[str]:
    """The year in sentences."""
    sentences = [
        f"Storage saves {year.storage_saved:,.2f}, transfer {year.transfer_saved:,.2f}; coding costs "
        f"{year.coding_cost:,.2f}; the change of accuracy is worth {year.accuracy_value:,.2f}."
    ]
    if year.break_even_error is not None:
        sentences.append(f"It breaks even when one wrong answer costs {year.break_even_error:,.6g}.")
    if year.break_even_points is not None:
        sentences.append(
            f"At that price of an error the bytes saved are worth {year.break_even_points:,.3g} points of accuracy."
        )
    return sentences


def cost_command(fleet: Fleet, prices: Prices, coding: Coding) -> str:
    """The command line that does the same."""
    words_ = ["recallrate", "cost", "--before", f"{coding.before_bytes:g}", "--after", f"{coding.after_bytes:g}"]
    words_ += ["--at-inference"] * coding.at_inference
    for part, names in (
        (coding, ("encode_us", "decode_us", "accuracy_change")),
        (fleet, ("devices", "images_a_day", "retention_days", "copies", "inferences_a_day")),
        (prices, ("storage", "transfer", "core_hour", "error")),
    ):
        words_ += [word for name in names for word in (f"--{name.replace('_', '-')}", f"{getattr(part, name):g}")]
    return shlex.join(words_)
