"""The registry of rules that choose a codec, a rate and an alignment without running pilots.

Rules that cannot judge alignment give a setting the same score under each, and are then taken with ``both``, the
paper's pre-processing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from toolkit.advice.calibration import GAIN, RANDOM, calibration
from toolkit.advice.evidence import Evidence
from toolkit.advice.rules import from_features, from_table
from toolkit.advice.rules.base import Rule
from toolkit.advice.rules.fitted import PARAMETRIC
from toolkit.advice.rules.quantities import tabulate

PER_SETTING = "the probe's table"
FEATURES = "features of the decoded exemplars that fit"
STAGES = "the probe's table, the stages, and features of all candidates"


def _with_calibration(name: str) -> Callable[[Evidence], np.ndarray]:
    """The score of a parametric rule with the parameters of the package's calibration."""
    parametric = PARAMETRIC[name]

    def score(evidence: Evidence) -> np.ndarray:
        return parametric.combine(tabulate(evidence, parametric.quantities), calibration().parameters[name])

    return score


RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule(
            "fmse-at-equal-rate",
            "the codec with the least FMSE at equal bytes, at its knee",
            PER_SETTING,
            from_table.at_equal_rate("fmse_relative", True),
        ),
        Rule(
            "psnr-at-equal-rate",
            "the codec with the highest PSNR at equal bytes, at its knee",
            PER_SETTING,
            from_table.at_equal_rate("psnr", False),
        ),
        Rule(
            "ssim-at-equal-rate",
            "the codec with the highest SSIM at equal bytes, at its knee",
            PER_SETTING,
            from_table.at_equal_rate("ssim", False),
        ),
        Rule(
            "fmse-knee",
            "where FMSE begins to rise steeply against the number of exemplars",
            PER_SETTING,
            from_table.fmse_knee,
        ),
        Rule(
            "dpp-volume",
            "the most exemplars that still span the originals' volume in feature space",
            FEATURES,
            _with_calibration("dpp-volume"),
        ),
        Rule("mmd", "the exemplars closest to their class in distribution", FEATURES, from_features.mmd),
        Rule(
            "probe-accuracy",
            "accuracy of a ridge classifier fitted on the exemplars that fit",
            FEATURES,
            from_features.probe_accuracy("ridge"),
            judges_alignment=True,
        ),
        Rule(
            "probe-accuracy-ncm",
            "accuracy of the nearest mean of the exemplars that fit",
            FEATURES,
            from_features.probe_accuracy("nearest-mean"),
            judges_alignment=True,
        ),
        Rule(
            "last-stage",
            "accuracy of a ridge classifier on exemplars of old classes and all images of new ones",
            FEATURES,
            from_features.last_stage,
            judges_alignment=True,
        ),
        Rule(
            GAIN,
            "what pilots on other problems gained by numbers and lost by distortion and shift",
            STAGES,
            _with_calibration(GAIN),
            judges_alignment=True,
        ),
        Rule("most-exemplars", "as many exemplars as possible", PER_SETTING, from_table.most_exemplars),
        Rule("best-quality", "the least distortion of pixels", PER_SETTING, from_table.best_quality),
        Rule(RANDOM, "any setting", "nothing", from_table.at_random, judges_alignment=True),
    )
}
"""All rules by name."""
