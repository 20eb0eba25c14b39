"""Sentences about an ``advise`` JSON that the app and the command line share."""

from __future__ import annotations

from toolkit.advice.contents import RunnerUp
from toolkit.codecs.spec import short_spec
from toolkit.language.sentence import Sentence


def runner_up_sentence(second: RunnerUp) -> Sentence:
    """The second-best setting of an ``advise`` JSON in words; raw pixels have no gain over themselves."""
    named = {"setting": short_spec(second["codec"]), "align": second["align"]}
    if second["expected_gain"] is None or second["codec"] == "raw":
        return Sentence("advice.runner_up", **named)
    return Sentence("advice.runner_up_gain", **named, gain=second["expected_gain"])
