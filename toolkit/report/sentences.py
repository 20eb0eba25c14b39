"""What the page and the command line say alike of an ``advise`` JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from toolkit.codecs.spec import short_spec
from toolkit.language.sentence import Sentence


def runner_up_sentence(second: Mapping[str, Any]) -> Sentence:
    """The second best setting of an ``advise`` JSON in words; of raw pixels there is no gain over them to say."""
    named = {"setting": short_spec(second["codec"]), "align": second["align"]}
    if second["expected_gain"] is None or second["codec"] == "raw":
        return Sentence("advice.runner_up", **named)
    return Sentence("advice.runner_up_gain", **named, gain=second["expected_gain"])
