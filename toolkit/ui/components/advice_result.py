"""A finished advice: the recommendation, every rule's pick, budgets, and the rules' regret on known problems."""

from __future__ import annotations

from collections.abc import Iterable

import streamlit as st

from toolkit.advice.calibration import Calibration, calibration
from toolkit.advice.contents import AdviceResult
from toolkit.codecs.spec import short_spec
from toolkit.foundation.sizes import format_size
from toolkit.language.sentence import Sentence, SentenceContents
from toolkit.report.figures.probe import budget_figure
from toolkit.report.sentences import runner_up_sentence
from toolkit.ui.components.figures import draw_figure
from toolkit.ui.components.language import say
from toolkit.ui.components.outputs import downloads
from toolkit.ui.components.plain import code, join_marked, plain


def show_recommendation(result: AdviceResult) -> None:
    """The recommendation, its reasons, and what would change it.

    Args:
        result: the ``advise`` JSON.
    """
    recommended = result["recommended"]
    st.subheader(say("advice.recommendation"), anchor=False)
    columns = st.columns([2, 1, 1, 1])
    columns[0].metric(say("column.setting"), plain(short_spec(recommended["codec"])))
    columns[1].metric(say("column.align"), plain(recommended["align"]), help=say("help.align"))
    columns[2].metric(
        say("column.exemplars_per_class"),
        f"{recommended['exemplars_per_class']:.1f}",
        say(
            "advice.against_raw",
            count=f"{recommended['exemplars_per_class'] - recommended['raw_exemplars_per_class']:+.1f}",
        ),
        help=say("help.exemplars"),
    )
    gain, interval = recommended["expected_gain"], recommended["interval"]
    spread = "" if gain is None or interval is None else f" ± {interval:.1f}"
    columns[3].metric(
        say("advice.gain"), "-" if gain is None else f"{gain:+.1f}{spread}", help=say("help.expected_gain")
    )
    reasons = _in_words(recommended["sentences"]["reasons"])
    if (second := recommended["runner_up"]) is not None:
        reasons = [*reasons, runner_up_sentence(second).said(say)]
    st.markdown("\n".join(f"- {reason}" for reason in reasons))
    with st.expander(say("advice.would_change")):
        changes = _in_words(recommended["sentences"]["would_change"])
        st.markdown("\n".join(f"- {change}" for change in changes))
    for note in _in_words(result["sentences"]):
        st.info(note, icon=":material/info:")
    if result["excluded"]:
        reasons = _in_words(one["sentence"] for one in result["excluded"])
        codecs = [code(short_spec(one["codec"])) for one in result["excluded"]]
        lines = [f"- {codec}: {reason}" for codec, reason in zip(codecs, reasons, strict=True)]
        st.warning("\n".join([say("advice.excluded"), *lines]), icon=":material/block:")


def _in_words(sentences: Iterable[SentenceContents]) -> list[str]:
    """Sentences in the page's language."""
    return [Sentence.from_dict(sentence).said(say) for sentence in sentences]


def show_rules(name: str, result: AdviceResult) -> None:
    """Every rule's pick, the regret table in a popover, and accuracy against budget.

    Args:
        name: the name of the run.
        result: the ``advise`` JSON.
    """
    st.subheader(say("advice.rules"), anchor=False)
    known = calibration()
    measured = {row["rule"]: row["mean_regret"] for row in known.regret} if known.applies_to(result) else {}
    rows = [
        {
            "rule": row["rule"],
            "setting": short_spec(row["codec"]),
            "align": row["align"],
            "score": row["score"],
            "mean_regret": measured.get(row["rule"]),
            "seconds": row["seconds"],
            "chooses": row["summary"],
            "used": row["used"],
        }
        for row in result["rules"]
    ]
    number = st.column_config.NumberColumn
    st.dataframe(
        rows,
        hide_index=True,
        column_config={
            "rule": st.column_config.TextColumn(say("column.rule"), pinned=True),
            "setting": say("column.setting"),
            "align": st.column_config.TextColumn(say("column.align"), help=say("help.align")),
            "score": number(say("column.score"), format="%.4g", help=say("help.score")),
            "mean_regret": number(say("column.mean_regret"), format="%.1f", help=say("help.regret")),
            "seconds": number(say("column.seconds"), format="%.2f", help=say("help.rule_seconds")),
            "chooses": say("column.chooses"),
            "used": say("column.used"),
        },
        alt=say("advice.rules"),
    )
    with st.popover(say("advice.regret_table"), icon=":material/fact_check:"):
        _regret_table(known)
    _budgets(result)
    downloads(f"{name}-rules", {"rules": result["rules"], "recommended": result["recommended"]}, rows)


def _regret_table(known: Calibration) -> None:
    st.markdown(say("advice.regret_text", problems=len(known.problems), extractor=known.extractor))
    st.markdown("\n".join(f"- {plain(problem)}" for problem in known.problems))
    reached = [row["regret"] for row in known.within_reach if row["regret"] is not None]
    if reached:
        st.caption(say("advice.within_reach", regret=sum(reached) / len(reached)))
    in_sample = [code(row["rule"]) for row in known.regret if row["in_sample"]]
    if in_sample:
        st.caption(say("advice.in_sample", rules=join_marked(in_sample)))
    st.dataframe(
        [
            {
                "rule": row["rule"],
                "mean_regret": row["mean_regret"],
                "worst": row["worst_regret"],
                "behind_pilots": row["behind_pilots"],
                "spearman": row["spearman"],
                "time_share": row["time_share"],
            }
            for row in known.regret
        ],
        hide_index=True,
        width=760,
        column_config={
            "rule": st.column_config.TextColumn(say("column.rule"), pinned=True),
            **{
                name: st.column_config.NumberColumn(say(f"column.{name}"), format=format_)
                for name, format_ in (
                    ("mean_regret", "%.1f"),
                    ("worst", "%.1f"),
                    ("behind_pilots", "%.1f"),
                    ("spearman", "%.2f"),
                    ("time_share", "percent"),
                )
            },
        },
    )


def _budgets(result: AdviceResult) -> None:
    budgets = result["budgets"]
    st.subheader(say("advice.budgets"), anchor=False)
    st.plotly_chart(
        draw_figure(budget_figure, budgets["curve"], result["budget_bytes"], budgets["ceiling"]),
        key="budget_chart",
        alt=say("advice.budgets_alt"),
    )
    if (smallest := budgets["smallest"]) is not None:
        st.caption(
            say(
                "advice.smallest",
                points=f"{budgets['within_points']:g}",
                budget=format_size(smallest["budget_bytes"]),
                setting=short_spec(smallest["codec"]),
                align=smallest["align"],
                exemplars=f"{smallest['exemplars_per_class']:.1f}",
                reference=say("advice.raw_reference" if budgets["reference"] == "raw" else "advice.other_reference"),
                at=format_size(result["budget_bytes"]),
                rule=budgets["rule"],
            )
        )
    with st.expander(say("shell.as_table")):
        st.dataframe(
            budgets["curve"],
            hide_index=True,
            column_config={
                name: say(f"column.{name}")
                for name in ("budget_bytes", "codec", "align", "exemplars_per_class", "expected_gain", "raw_gain")
            },
        )
