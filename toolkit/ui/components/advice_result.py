"""What the rules advise: the recommendation, every rule's pick, budgets, and how far off the rules were elsewhere."""

from __future__ import annotations

from typing import Any

import streamlit as st

from toolkit.codecs.spec import short_spec
from toolkit.foundation.sizes import format_size
from toolkit.probe.calibration import calibration
from toolkit.report.figures import budget_figure
from toolkit.ui.components import words
from toolkit.ui.components.outputs import downloads


def show_recommendation(result: dict[str, Any]) -> None:
    """The answer first: what to do, why, and what would change it.

    Args:
        result: the ``advise`` JSON.
    """
    recommended = result["recommended"]
    st.subheader("Recommendation", anchor=False)
    columns = st.columns([2, 1, 1, 1])
    columns[0].metric("Setting", short_spec(recommended["codec"]))
    columns[1].metric("Alignment", recommended["align"], help=words.ALIGNMENT)
    columns[2].metric(
        "Exemplars a class", f"{recommended['exemplars_per_class']:.1f}",
        f"{recommended['exemplars_per_class'] - recommended['raw_exemplars_per_class']:+.1f} against raw",
        help=words.EXEMPLARS,
    )  # fmt: skip
    gain, interval = recommended["expected_gain"], recommended["interval"]
    spread = "" if gain is None or interval is None else f" ± {interval:.1f}"
    columns[3].metric(
        "Expected gain, points", "-" if gain is None else f"{gain:+.1f}{spread}", help=words.EXPECTED_GAIN
    )  # fmt: skip
    st.markdown("\n".join(f"- {reason}" for reason in recommended["reasons"]))
    with st.expander("What would change this"):
        st.markdown("\n".join(f"- {change}" for change in recommended["would_change"]))
    for note in result["notes"]:
        st.info(note, icon=":material/info:")
    if result["excluded"]:
        left_out = ", ".join(f"`{short_spec(one['codec'])}`" for one in result["excluded"])
        st.warning(f"The budget cannot hold an exemplar of every class with {left_out}.", icon=":material/block:")


def show_rules(name: str, result: dict[str, Any]) -> None:
    """Every rule's pick, the regret table one click away, and accuracy against the budget.

    Args:
        name: of the run.
        result: the ``advise`` JSON.
    """
    st.subheader("What every rule picks", anchor=False)
    known = calibration()
    measured = {row["rule"]: row for row in known.regret}
    rows = [
        {
            "rule": row["rule"],
            "setting": short_spec(row["codec"]),
            "align": row["align"],
            "score": row["score"],
            "mean_regret": measured.get(row["rule"], {}).get("mean_regret"),
            "seconds": row["seconds"],
            "chooses": row["summary"],
        }
        for row in result["rules"]
    ]
    number = st.column_config.NumberColumn
    st.dataframe(
        rows,
        hide_index=True,
        column_config={
            "rule": st.column_config.TextColumn(pinned=True),
            "score": number(format="%.4g", help="On the rule's own scale; higher is better."),
            "mean_regret": number("regret, points", format="%.1f", help=words.REGRET),
            "seconds": number(format="%.2f", help="What the rule took beyond the probe."),
        },
    )
    with st.popover("Regret table", icon=":material/fact_check:"):
        _regret_table(known.regret, known.problems, known.extractor)
    _budgets(result)
    downloads(f"{name}-rules", {"rules": result["rules"], "recommended": result["recommended"]}, rows)


def _regret_table(regret: list[dict[str, Any]], problems: list[str], extractor: str) -> None:
    st.markdown(
        f"Points of last accuracy that each rule's pick lacked to the best choice of exhaustive pilots, on "
        f"{len(problems)} problem(s), features of {extractor}:"
    )
    st.markdown("\n".join(f"- {problem}" for problem in problems))
    in_sample = [f"`{row['rule']}`" for row in regret if row["in_sample"]]
    if in_sample:
        st.caption(f"{', '.join(in_sample)}: fitted on the pilots they are judged by here, for want of others.")
    st.dataframe(
        [
            {
                "rule": row["rule"],
                "mean regret": row["mean_regret"],
                "worst": row["worst_regret"],
                "rank correlation": row["spearman"],
                "share of the pilots' time": row["time_share"],
            }
            for row in regret
        ],
        hide_index=True,
        width=760,
        column_config={
            "mean regret": st.column_config.NumberColumn(format="%.1f"),
            "worst": st.column_config.NumberColumn(format="%.1f"),
            "rank correlation": st.column_config.NumberColumn(format="%.2f"),
            "share of the pilots' time": st.column_config.NumberColumn(format="percent"),
        },
    )


def _budgets(result: dict[str, Any]) -> None:
    budgets = result["budgets"]
    st.subheader("Accuracy against the budget", anchor=False)
    st.plotly_chart(
        budget_figure(budgets["curve"], result["budget_bytes"], budgets["ceiling"]),
        key="budget_chart",
        alt="Expected gain against the budget, for the best choice and for raw pixels",
    )
    smallest = budgets["smallest"]
    reference = "raw pixels" if budgets["reference"] == "raw" else "the recommended setting"
    st.caption(
        f"Within {budgets['within_points']:g} points of keeping every training image raw from "
        f"**{format_size(smallest['budget_bytes'])}** on: {short_spec(smallest['codec'])}, align {smallest['align']}, "
        f"{smallest['exemplars_per_class']:.1f} exemplars a class. Gains are expected points of last accuracy over "
        f"{reference} at {format_size(result['budget_bytes'])}."
    )
