"""The registry of rules that choose a codec, a rate and an alignment without running pilots.

Rules that cannot judge alignment give a setting the same score under each, and are then taken with ``both``, the
paper's pre-processing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from toolkit.probe import feature_rules, table_rules
from toolkit.probe.calibration import BLIND, GAIN, calibration
from toolkit.probe.evidence import Evidence
from toolkit.probe.parametric import PARAMETRIC
from toolkit.probe.quantities import tabulate
from toolkit.probe.rule import Rule

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
        Rule("fmse-at-equal-rate", "the codec with the least FMSE at equal bytes, at its knee", PER_SETTING,
             table_rules.at_equal_rate("fmse_relative", True)),
        Rule("psnr-at-equal-rate", "the codec with the highest PSNR at equal bytes, at its knee", PER_SETTING,
             table_rules.at_equal_rate("psnr", False)),
        Rule("ssim-at-equal-rate", "the codec with the highest SSIM at equal bytes, at its knee", PER_SETTING,
             table_rules.at_equal_rate("ssim", False)),
        Rule("fmse-knee", "where FMSE begins to rise steeply against the number of exemplars", PER_SETTING,
             table_rules.fmse_knee),
        Rule("dpp-volume", "the most exemplars that still span the originals' volume in feature space", FEATURES,
             _with_calibration("dpp-volume")),
        Rule("mmd", "the exemplars closest to their class in distribution", FEATURES, feature_rules.mmd),
        Rule("probe-accuracy", "accuracy of a ridge classifier fitted on the exemplars that fit", FEATURES,
             feature_rules.probe_accuracy("ridge"), judges_alignment=True),
        Rule("probe-accuracy-ncm", "accuracy of the nearest mean of the exemplars that fit", FEATURES,
             feature_rules.probe_accuracy("nearest-mean"), judges_alignment=True),
        Rule("last-stage", "accuracy of a ridge classifier on exemplars of old classes and all images of new ones",
             FEATURES, feature_rules.last_stage, judges_alignment=True),
        Rule(GAIN, "what pilots on other problems gained by numbers and lost by distortion and shift",
             STAGES, _with_calibration(GAIN), judges_alignment=True),
        Rule("most-exemplars", "as many exemplars as possible", PER_SETTING, table_rules.most_exemplars),
        Rule("best-quality", "the least distortion of pixels", PER_SETTING, table_rules.best_quality),
        Rule(BLIND, "any setting", "nothing", table_rules.at_random, judges_alignment=True),
    )
}  # fmt: skip
"""All rules by name."""
