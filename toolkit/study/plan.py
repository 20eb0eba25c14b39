"""The plan of a study: what all its pilots share, who may start, how many run. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from toolkit.advice.request import AdviceRequest
from toolkit.codecs.spec import expand_grid
from toolkit.data.alignment import parse_aligns
from toolkit.foundation.errors import UsageError
from toolkit.foundation.validation import validated
from toolkit.pilots.config import PilotConfig
from toolkit.pilots.request import PilotRequest
from toolkit.probe.presets import PRESETS
from toolkit.runs.folder import RunFolder
from toolkit.study.line_up import Arm
from toolkit.study.preference import ACCURACY, EASE, parse_preference
from toolkit.study.race import EFFORTS

MOST_SETTINGS = 60

Start = Callable[[Sequence[RunFolder], Path], None]
"""Queues runs and waits until all have ended."""


@dataclass(frozen=True)
class StudyChoices:
    """How a study is carried out, besides its pilots."""

    codecs: Annotated[str, Field(description="settings that may start; the quick preset by default")] = PRESETS["quick"]
    aligns: Annotated[str, Field(description="alignments that may start")] = "none,train,both"
    effort: Annotated[
        str, Field(description="; ".join(f"{name}: {', '.join(map(str, arms))}" for name, arms in EFFORTS.items()))
    ] = "quick"
    eps: Annotated[float, Field(ge=0, le=100, description="points of accuracy that do not matter")] = 2.0
    hours: Annotated[
        float | None, Field(gt=0, description="begin no further round after this time; no limit by default")
    ] = None
    prefer: Annotated[
        str,
        Field(description=f"what decides between arms that cannot be told apart: {ACCURACY}, or some of {EASE}"),
    ] = EASE
    images: Annotated[
        int | None,
        Field(
            ge=4, description="maximum number of images that the probe measures; 200 by default, more for many classes"
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.effort not in EFFORTS:
            raise UsageError(f"effort must be one of {', '.join(EFFORTS)}, got {self.effort!r}")
        if not 0 <= self.eps <= 100:
            raise UsageError(f"eps must be 0 to 100 points, got {self.eps}")
        if self.hours is not None and not self.hours > 0:
            raise UsageError(f"hours must be more than 0, got {self.hours}")
        if (count := len(expand_grid(self.codecs))) > MOST_SETTINGS:
            raise UsageError(f"a study takes at most {MOST_SETTINGS} settings, got {count}: a race has few pilots")
        parse_aligns(self.aligns)
        parse_preference(self.prefer)


@dataclass(frozen=True)
class StudyPlan:
    """Everything that determines a study.

    Attributes:
        config: what all pilots share; its codec and alignment are those of raw pixels.
        choices: the rest.
    """

    config: PilotConfig
    choices: StudyChoices

    @property
    def rounds(self) -> tuple[int, ...]:
        """Contenders in each round."""
        return EFFORTS[self.choices.effort]

    @property
    def test_seed(self) -> int:
        """The seed of the pilots on test images, which has no part in the race."""
        return len(self.rounds)

    def advice(self) -> AdviceRequest:
        """The probe and the advice that say who starts.

        Raises:
            UsageError: settings or device are wrong.
        """
        config = self.config
        return AdviceRequest(
            config.dataset,
            config.size,
            ";".join(expand_grid(self.choices.codecs)),  # equal grids share a probe
            config.budget,
            initial=config.initial,
            increment=config.increment,
            aligns=self.choices.aligns,
            images=self.choices.images,
            device=config.device,
        )

    def pilot(self, arm: Arm, seed: int, held_out: bool = True) -> PilotRequest:
        """The pilot of an arm.

        Raises:
            UsageError: no pilot can have its setting.
        """
        changes = {"codec": arm.codec, "align": arm.align, "held_out": held_out}
        return PilotRequest(validated(PilotConfig, self.config.model_dump() | changes), seed)
