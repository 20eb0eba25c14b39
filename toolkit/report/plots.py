"""The report's figures as SVG, with the same numbers as the app's. The output is deterministic byte for byte."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import matplotlib
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from toolkit.codecs.spec import codec_family
from toolkit.language.catalogue import Language
from toolkit.pilots.contents import PilotSummary
from toolkit.pilots.results import stands_for_raw, storage_of
from toolkit.report.figures.style import RULE, SERIES_COLOURS, family_colours
from toolkit.report.fonts import REGULAR

_MARKERS = {"none": "o", "train": "s", "both": "D"}
_INK, _GRID = "#14201b", "#dfe6e2"
_TEXT = font_manager.FontProperties(fname=REGULAR, size=8)


def tradeoff_svg(pilots: Sequence[PilotSummary], chosen: int, say: Language) -> bytes:
    """Last accuracy against bytes per exemplar with 95 % bars: one colour per codec, one shape per alignment.

    Args:
        pilots: ``pilot`` JSONs of one budget.
        chosen: index of the recommended one.
        say: the report's language.
    """
    families = [codec_family(pilot["codec"]) for pilot in pilots]
    colours = family_colours(families)
    with _canvas(6.6, 3.3) as (figure, axes):
        for n, (pilot, family) in enumerate(zip(pilots, families, strict=True)):
            x, y = storage_of(pilot, "exemplar_bytes"), pilot["mean"]["last_accuracy"]
            seeds = [run["last_accuracy"] for run in pilot["runs"]]
            half = pilot["ci95"]["last_accuracy"] or 0.0 if len(seeds) > 2 else 0.0
            if len(seeds) == 2:  # an interval from two seeds is six times as long as they are apart
                axes.plot([x, x], seeds, "_", color=colours[family], ms=7, alpha=0.6)
            axes.errorbar(
                x,
                y,
                yerr=half or None,
                fmt=_MARKERS[pilot["align"]],
                color=colours[family],
                ms=6,
                lw=1.1,
                capsize=2.5,
                label=family if family not in families[:n] else None,
            )
            if n == chosen:
                axes.plot(x, y, "o", ms=14, mfc="none", mec=_INK, mew=1.4)
            if stands_for_raw(pilot, pilots):
                axes.axhline(y, color=RULE, lw=1, ls=":", zorder=0)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
        axes.set_xlabel(say("storage.exemplar_bytes"), fontproperties=_TEXT)
        axes.set_ylabel(say("metric.last_accuracy"), fontproperties=_TEXT)
        axes.legend(frameon=False, prop=_TEXT, ncols=4, loc="lower left", bbox_to_anchor=(0, 1.0), handletextpad=0.2)
        return _svg(figure)


def stages_svg(series: Mapping[str, Sequence[float]], say: Language) -> bytes:
    """Accuracy over all classes seen so far, after each stage: one line per setting.

    Args:
        series: fractions after stage 1, 2, ..., by name in the legend.
        say: the report's language.
    """
    with _canvas(6.6, 2.7) as (figure, axes):
        for colour, (name, values) in zip(SERIES_COLOURS, series.items(), strict=False):
            axes.plot(range(1, len(values) + 1), values, "-o", color=colour, ms=4.5, lw=1.6, label=name)
        axes.set_xticks(range(1, max(map(len, series.values())) + 1))
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
        axes.set_xlabel(say("figure.stages_done"), fontproperties=_TEXT)
        axes.set_ylabel(say("curve.all_classes"), fontproperties=_TEXT)
        axes.legend(frameon=False, prop=_TEXT, ncols=3, loc="lower left", bbox_to_anchor=(0, 1.0))
        return _svg(figure)


@contextmanager
def _canvas(width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    """A figure in the report's font with plain axes; glyphs become outlines."""
    with matplotlib.rc_context(
        {
            "svg.hashsalt": "recallrate",
            "svg.fonttype": "path",
            "axes.unicode_minus": False,
            "text.parse_math": False,
        }  # names may hold dollars
    ):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(RULE)
        axes.grid(axis="y", color=_GRID, lw=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(colors=_INK, labelsize=8)
        yield figure, axes


def _svg(figure: Figure) -> bytes:
    for axes in figure.axes:
        for label in (*axes.get_xticklabels(which="both"), *axes.get_yticklabels()):
            label.set_fontproperties(_TEXT)
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()
