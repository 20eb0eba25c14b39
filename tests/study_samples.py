"""Studies without trainings: their runs get results with known accuracies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from run_samples import finished_advice, pilot_result, probe_setting

from toolkit.advice.request import AdviceRequest
from toolkit.foundation.files import read_json, write_json
from toolkit.pilots.request import PilotRequest
from toolkit.runs.folder import RunFolder
from toolkit.study.plan import StudyChoices
from toolkit.study.request import StudyRequest, make_study

GRID = "raw;png;jpeg:quality={10,50,90};webp:quality=50"
EXEMPLARS = {"raw": 40, "png": 80}
"""Of 1,600 training images; 400 with any other setting."""
IMAGES = 320
Accuracy = Callable[[str, str, int], float | None]
"""Last accuracy of a codec, alignment and seed; None for a pilot that fails."""


def a_study(codecs: str = GRID, budget: str = "4img", **choices: Any) -> StudyRequest:
    """A study of the demo set at 32 px."""
    return make_study("demo", 32, budget, choices=StudyChoices(codecs=codecs, **choices), steps=10)


def usual_accuracy(codec: str, align: str, seed: int) -> float:
    """JPEG at quality 90 with everything coded is the best by 5 points; seed 1 is 10 points harder for all."""
    best = {"raw": 0.3, "png": 0.35, "jpeg:quality=50": 0.45, "jpeg:quality=90": 0.5}
    return best.get(codec, 0.4) - 0.1 * (seed == 1) - 0.2 * (align == "none" and codec not in ("raw", "png"))


class Starter:
    """Carries out runs by writing their results.

    Attributes:
        started: the names of the runs that were asked for, in order.
    """

    def __init__(
        self, accuracy: Accuracy = usual_accuracy, exemplars: dict[str, int] | None = None, excluded: Sequence[str] = ()
    ) -> None:
        self.accuracy = accuracy
        self.exemplars = EXEMPLARS if exemplars is None else exemplars
        self.excluded = excluded
        self.started: list[str] = []
        self.die_after: int | None = None

    def __call__(self, runs: Sequence[RunFolder], runs_dir: Path) -> None:
        for run in runs:
            if self.die_after is not None and len(self.started) >= self.die_after:
                raise KeyboardInterrupt
            if run.result is not None:
                continue
            self.started.append(run.name)
            if run.config["kind"] == "advise":
                write_json(run.result_path, self.advice(AdviceRequest.of(run), runs_dir))
            else:
                self.pilot(PilotRequest.of(run), run)

    def pilot(self, request: PilotRequest, run: RunFolder) -> None:
        """Write the result of a pilot: its first images are right."""
        config = request.config
        last = self.accuracy(config.codec, config.align, request.seed)
        if last is None:
            run.log("failed", reason="the loss is not finite")
            return
        images = IMAGES if config.held_out else 400
        right = np.arange(images) < round(last * images)
        held = self.exemplars.get(config.codec, 400)
        write_json(
            run.result_path,
            pilot_result(
                request.seed,
                last,
                test_images=images,
                correct=np.packbits(right).tobytes().hex(),
                exemplars_per_class=held / 10,
                memory_bytes=100_000,
                budget_bytes=122_880,
            ),
        )

    def advice(self, request: AdviceRequest, runs_dir: Path) -> dict[str, Any]:
        """The ``advise`` JSON; ``probe-accuracy`` likes a setting the better the later it stands in the grid."""
        result = read_json(finished_advice(runs_dir / "template").result_path)
        codecs = [codec for codec in request.codecs.split(";") if codec not in self.excluded]
        result["settings"] = [
            {**probe_setting(codec, 3072 / (1 + n), 0.001), "exemplars": self.exemplars.get(codec, 400)}
            for n, codec in enumerate(codecs)
        ]
        scores = [
            {"codec": codec, "align": align, "score": n + 0.1 * (align == "both")}
            for n, codec in enumerate(codecs)
            for align in (("none",) if codec in ("raw", "png") or "lossless" in codec else ("none", "train", "both"))
        ]
        rule = {**result["rules"][0], "rule": "probe-accuracy", "scores": scores}
        reason = result["excluded"][0]
        return {**result, "rules": [rule], "excluded": [{**reason, "codec": codec} for codec in self.excluded]}
