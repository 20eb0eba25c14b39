"""The table of rules that choose codec, rate and alignment without pilots. Imports no torch, for the app's sake.

A rule is a function and one row here, and can be used at once, whether or not a study has measured its regret. Rules
that do not judge alignment give a setting the same score under every alignment; their picks use ``both``, the paper's
pre-processing.
"""

from __future__ import annotations

from toolkit.advice.calibration import GAIN, RANDOM, calibration
from toolkit.advice.rules.base import Rule
from toolkit.foundation.errors import UsageError

PER_SETTING = "the probe's table"
FEATURES = "features of the decoded exemplars that fit"
STAGES = "the probe's table, the stages, and features of all candidates"

RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule(
            "fmse-at-equal-rate",
            "the codec with the least FMSE at equal bytes, at its knee",
            PER_SETTING,
            "toolkit.advice.rules.from_table:fmse_at_equal_rate",
        ),
        Rule(
            "psnr-at-equal-rate",
            "the codec with the highest PSNR at equal bytes, at its knee",
            PER_SETTING,
            "toolkit.advice.rules.from_table:psnr_at_equal_rate",
        ),
        Rule(
            "ssim-at-equal-rate",
            "the codec with the highest SSIM at equal bytes, at its knee",
            PER_SETTING,
            "toolkit.advice.rules.from_table:ssim_at_equal_rate",
        ),
        Rule(
            "fmse-knee",
            "where FMSE begins to rise steeply against the number of exemplars",
            PER_SETTING,
            "toolkit.advice.rules.from_table:fmse_knee",
        ),
        Rule(
            "dpp-volume",
            "the most exemplars that still span the originals' volume in feature space",
            FEATURES,
            "toolkit.advice.rules.fitted:calibrated_volume",
        ),
        Rule(
            "mmd",
            "the exemplars closest to their class in distribution",
            FEATURES,
            "toolkit.advice.rules.from_features:mmd",
        ),
        Rule(
            "probe-accuracy",
            "accuracy of a ridge classifier fitted on the exemplars that fit",
            FEATURES,
            "toolkit.advice.rules.from_features:ridge_accuracy",
            judges_alignment=True,
        ),
        Rule(
            "probe-accuracy-ncm",
            "accuracy of the nearest mean of the exemplars that fit",
            FEATURES,
            "toolkit.advice.rules.from_features:nearest_mean_accuracy",
            judges_alignment=True,
        ),
        Rule(
            "last-stage",
            "accuracy of a ridge classifier on exemplars of old classes and all images of new ones",
            FEATURES,
            "toolkit.advice.rules.from_features:last_stage",
            judges_alignment=True,
        ),
        Rule(
            GAIN,
            "what pilots on other problems gained by numbers and lost by distortion and shift",
            STAGES,
            "toolkit.advice.rules.fitted:calibrated_gain",
            judges_alignment=True,
        ),
        Rule(
            "most-exemplars",
            "as many exemplars as possible",
            PER_SETTING,
            "toolkit.advice.rules.from_table:most_exemplars",
        ),
        Rule(
            "best-quality",
            "the least distortion of pixels",
            PER_SETTING,
            "toolkit.advice.rules.from_table:best_quality",
        ),
        Rule(RANDOM, "any setting", "nothing", "toolkit.advice.rules.from_table:at_random", judges_alignment=True),
    )
}
"""All rules by name."""


def rule_names() -> list[str]:
    """Names of all rules: those of the regret study by increasing regret, then the others."""
    measured = [row["rule"] for row in calibration().regret if row["rule"] in RULES]
    return list(dict.fromkeys([*measured, *RULES]))


def require_rule(name: str) -> None:
    """Refuse an unknown rule.

    Raises:
        UsageError: no such rule.
    """
    if name not in RULES:
        raise UsageError(f"unknown rule {name!r}: choose one of {', '.join(rule_names())}")
