"""Findings that make a comparison of codecs pointless: all images fit, or no exemplar is needed. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from toolkit.codecs.features import stores_features
from toolkit.codecs.spec import parse_codec, short_spec, stores_exactly
from toolkit.foundation.sizes import format_size
from toolkit.language.sentence import Sentence
from toolkit.learning.catalog import parse_method
from toolkit.pilots.contents import PilotSummary
from toolkit.pilots.results import keeps_exemplars, peers_of, storage_of
from toolkit.report.gain import gain_over

_SPARE, _FILLED = 3, 0.97
"""A memory that is full has no room for three more exemplars of mean size and takes 0.99 of its budget or more; with
less, every image is in it."""


def keeps_statistics(pilot: PilotSummary) -> bool:
    """Whether a pilot's method keeps statistics of all images instead of exemplars."""
    return parse_method(pilot["method"])[0].frozen and not keeps_exemplars(pilot)


def lossless_that_fit(pilots: Sequence[PilotSummary]) -> list[PilotSummary]:
    """Lossless pilots whose memory has room for more, so that it holds every image; the smallest exemplars first."""
    exact = [pilot for pilot in pilots if stores_exactly(pilot["codec"]) and pilot["mean"]["exemplars_per_class"]]

    def has_room(pilot: PilotSummary) -> bool:
        more = _SPARE * storage_of(pilot, "exemplar_bytes")
        return pilot["mean"]["memory_bytes"] + more < _FILLED * pilot["budget_bytes"]

    return sorted(filter(has_room, exact), key=lambda one: storage_of(one, "exemplar_bytes"))


def best_statistics(pilots: Sequence[PilotSummary], most_bytes: float) -> PilotSummary | None:
    """The most accurate pilot that keeps at most so many bytes of statistics instead of exemplars."""
    able = [one for one in pilots if keeps_statistics(one) and one["mean"]["memory_bytes"] <= most_bytes]
    return max(able, key=lambda one: one["mean"]["last_accuracy"], default=None)


def findings(chosen: PilotSummary, pilots: Sequence[PilotSummary]) -> Iterator[Sentence]:
    """Sentences on whether to compress, whether to keep exemplars at all, and what stored features give up.

    Args:
        chosen: the recommended pilot.
        pilots: all comparable ones.
    """
    peers = peers_of(chosen, pilots)
    fitting = lossless_that_fit(peers)
    if fitting:
        yield Sentence(
            "verdict.everything_fits",
            setting=short_spec(fitting[0]["codec"]),
            fit=fitting[0]["mean"]["exemplars_per_class"],
            budget=format_size(chosen["budget_bytes"]),
        )
    other = best_statistics(pilots, chosen["mean"]["memory_bytes"])
    if other is not None:
        gain = gain_over(chosen, other)
        key = "verdict.exemplars_pay" if gain.certain and gain.points > 0 else "verdict.store_nothing"
        if gain.half is None:  # too few seeds for an interval
            key = "verdict.statistics_unsure"
        yield Sentence(
            key,
            method=other["method"],
            kept=format_size(other["mean"]["memory_bytes"]),
            accuracy=100 * other["mean"]["last_accuracy"],
            setting=short_spec(chosen["codec"]),
            used=format_size(chosen["mean"]["memory_bytes"]),
            gain=gain.points,
        )
    if stores_features(parse_codec(chosen["codec"])):
        yield Sentence("verdict.features", setting=short_spec(chosen["codec"]))
        images = [one for one in peers if not stores_features(parse_codec(one["codec"]))]
        if images:
            best = max(images, key=lambda one: one["mean"]["last_accuracy"])
            yield Sentence(
                "verdict.features_instead", setting=short_spec(best["codec"]), gain=gain_over(chosen, best).points
            )
