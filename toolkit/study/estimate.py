"""How long a study takes, before it starts. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from toolkit.codecs.spec import expand_grid, is_raw, stores_exactly
from toolkit.data.alignment import parse_aligns
from toolkit.data.catalog import load_dataset
from toolkit.foundation.image_size import parse_image_size
from toolkit.pilots.estimate import estimate_runs, rough_seconds_per_step
from toolkit.probe.presets import with_original
from toolkit.runs.folder import RunFolder
from toolkit.study.line_up import Arm, codes_nothing
from toolkit.study.request import StudyRequest

_PROBE_START = 15.0
_PROBE_SECONDS = 0.03
"""Seconds of a probe for each image of 224 x 224 pixels and setting, on two cores, to a factor of two."""


@dataclass(frozen=True)
class StudyEstimate:
    """What a study takes at most: pilots that exist are not carried out again.

    Attributes:
        pilots: their number.
        seconds: of one machine with one pilot at a time.
        memory_bytes: maximum size of the pilots' memories.
    """

    pilots: int
    seconds: float
    memory_bytes: int

    def as_dict(self) -> dict[str, float]:
        """The estimate as JSON."""
        return asdict(self)


def estimate_study(request: StudyRequest, finished: Sequence[RunFolder] = ()) -> StudyEstimate:
    """Estimate a study.

    Args:
        request: the study.
        finished: folders of pilots to learn the pace from.

    Raises:
        UsageError: the dataset, the network or the budget is wrong.
    """
    config, plan = request.config, request.plan
    dataset = load_dataset(config.dataset, config.size)
    asked = expand_grid(request.choices.codecs)
    codecs = with_original(asked if "raw" in asked else ["raw", *asked], dataset.has_files)
    exact = [codec for codec in codecs if stores_exactly(codec)]
    originals = any(codes_nothing(codec) and not is_raw(codec) for codec in exact)
    kept = 1 + originals + any(not codes_nothing(codec) for codec in exact)
    lossy = [codec for codec in codecs if codec not in exact]
    arms = len(lossy) * len(parse_aligns(request.choices.aligns))
    count = sum(min(contenders, arms) + kept for contenders in plan.rounds) + bool(arms) + kept
    # the first with every setting, since activations are computed once for each
    pilots = [plan.pilot(Arm(codec, "none"), seed) for codec in exact for seed in range(len(plan.rounds))]
    pilots += [plan.pilot(Arm(codec, "both"), 0) for codec in lossy[: plan.rounds[0]]]
    made = estimate_runs(pilots, finished, unknown_pace=rough_seconds_per_step).values()
    each = sum(one.seconds for one in made) / max(1, len(made))
    measured = request.plan.advice().sample_size * len(codecs) * parse_image_size(config.size).pixels / 224**2
    return StudyEstimate(
        count,
        _PROBE_START + _PROBE_SECONDS * measured + count * each,
        count * max((one.memory_bytes for one in made), default=0),
    )
