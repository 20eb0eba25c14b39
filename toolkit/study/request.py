"""A study as a request: what all its pilots share, who may start, how many run. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import math
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Self

from pydantic import TypeAdapter

from toolkit.codecs.spec import expand_grid, parse_codec
from toolkit.codecs.store import require_larger_stores
from toolkit.data.catalog import load_dataset, short_name, usual_size
from toolkit.data.scenario import default_initial
from toolkit.foundation.errors import UsageError
from toolkit.foundation.image_size import WrittenSize, parse_image_size
from toolkit.foundation.progress import Progress, silent
from toolkit.foundation.validation import described_fields, validated
from toolkit.learning.catalog import parse_method
from toolkit.memory.allocation import BudgetTooSmall
from toolkit.pilots.config import PilotConfig, make_pilot_config
from toolkit.runs.folder import RunFolder
from toolkit.runs.reporting import RunReporter
from toolkit.runs.request import Request, readable
from toolkit.study.contents import StudyResult
from toolkit.study.line_up import Arm
from toolkit.study.plan import Start, StudyChoices, StudyPlan
from toolkit.training.network_spec import PRETRAINED

PRETRAINED_FROM = 64
"""Shorter side in pixels from which pilots of a study train a head on the pretrained network by default: a pilot that
trains a small network from random weights takes minutes, this one seconds."""
PROBED = 200
"""Number of images that a study measures by default, more if there are many classes: they only say who starts."""
PILOT_FIELDS = ("initial", "increment", "method", "network", "tune", "extractor", "steps")
"""Fields of pilots that are options of a study."""


@dataclass(frozen=True)
class StudyRequest(Request[StudyResult]):
    """Everything that determines a study; see ``recallrate study --help``.

    Attributes:
        config: what all pilots share; its codec and alignment are those of raw pixels.
        choices: the rest.
    """

    kind: ClassVar[str] = "study"
    waits: ClassVar[bool] = True
    results: ClassVar[Any] = StudyResult

    config: PilotConfig
    choices: StudyChoices

    @classmethod
    def from_contents(cls, contents: Mapping[str, Any]) -> Self:
        if contents.get("config") is None or contents.get("choices") is None:
            raise UsageError("config and choices are required")
        choices = TypeAdapter(StudyChoices).validate_python(contents["choices"])
        return cls(validated(PilotConfig, contents["config"]), choices)

    @property
    def plan(self) -> StudyPlan:
        """The request without its run."""
        return StudyPlan(self.config, self.choices)

    def contents(self) -> dict[str, object]:
        return {"config": self.config.model_dump(mode="json"), "choices": asdict(self.choices)}

    def run_name(self) -> str:
        settled = replace(self.choices, codecs=";".join(expand_grid(self.choices.codecs)))
        text = json.dumps([self.config.digest(), asdict(settled)], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        return f"study-{readable(short_name(self.config.dataset), 60)}-{digest}"

    def command(self) -> str:
        words = ["recallrate", "study", self.config.dataset]
        for name in ("size", "budget", *PILOT_FIELDS):
            words += [f"--{name}", str(getattr(self.config, name))]
        if self.config.device != "auto":
            words += ["--device", self.config.device]
        for field in described_fields(StudyChoices).values():
            if (value := getattr(self.choices, field.name)) != field.default:
                words += [f"--{field.option}", str(value)]
        known = {"dataset", "codec", "align", "held_out", "size", "budget", "device", *PILOT_FIELDS}
        given = self.config.model_dump(include={"dataset", "size", "budget", *PILOT_FIELDS})
        usual = make_pilot_config(**given, codec="raw")
        for name in PilotConfig.model_fields:
            if name not in known and (value := getattr(self.config, name)) != getattr(usual, name):
                words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
        return shlex.join(words)

    def require_sense(self) -> None:
        """Refuse choices that no pilot can have; without torch, which no page loads.

        Raises:
            UsageError: any part of the request is wrong.
        """
        codecs = expand_grid(self.choices.codecs)
        require_larger_stores(map(parse_codec, codecs), self.config.size)
        if not parse_method(self.config.method)[0].exemplars:
            raise UsageError(f"a study compares settings of exemplars, but {self.config.method} keeps none")
        for codec in codecs:
            self.plan.pilot(Arm(codec, "none"), 0)

    def check(self) -> None:
        """See :meth:`~toolkit.runs.request.Request.check`: :meth:`require_sense`, and the pilot of raw pixels.

        Raises:
            UsageError: any part of the request is wrong.
        """
        self.require_sense()
        with suppress(BudgetTooSmall):  # for raw pixels; the probe leaves out what does not fit
            self.plan.pilot(Arm("raw", "none"), 0).check()

    def work(self, run: RunFolder, reporter: RunReporter, start: Start | None = None) -> StudyResult:
        """See :meth:`~toolkit.runs.request.Request.work`.

        Args:
            run: the study's folder; its pilots are in the folder that contains it.
            reporter: receives the progress.
            start: queues the pilots of a round and waits for them; by default in the folder's own queue.
        """
        from toolkit.study.conduct import conduct

        return conduct(self.plan, run, reporter, start)


def study_budget(size: WrittenSize) -> str:
    """The budget of a first study, small enough that settings differ: one raw image per class where pilots start from
    the pretrained network, else four."""
    return "1img" if parse_image_size(size).shorter >= PRETRAINED_FROM else "4img"


def make_study(
    dataset: str,
    size: WrittenSize | None = None,
    budget: str = "",
    *,
    choices: StudyChoices | None = None,
    progress: Progress = silent,
    **pilot: object,
) -> StudyRequest:
    """A study with its defaults written out.

    Args:
        dataset: a dataset's spec.
        size: of the images; by default their shorter side, 224 pixels at most.
        budget: as in a pilot; by default that of :func:`study_budget`.
        choices: how it is carried out.
        progress: receives the progress of opening the dataset.
        pilot: further fields of the pilots, see :class:`~toolkit.pilots.config.PilotConfig`.

    Raises:
        UsageError: a value is wrong, or the dataset cannot be used.
        WorkError: the dataset cannot be read.
    """
    size = usual_size(dataset) if size is None else size
    opened = load_dataset(dataset, size, progress=progress)
    frozen = parse_method(str(pilot.get("method", "replay")))[0].frozen
    if not frozen and "network" not in pilot and parse_image_size(size).shorter >= PRETRAINED_FROM:
        pilot["network"] = PRETRAINED
    first = pilot.pop("initial", None) or default_initial(len(opened.class_names))
    config = make_pilot_config(
        **{
            "dataset": dataset,
            "size": size,
            "budget": budget or study_budget(size),
            "initial": first,
            "increment": pilot.pop("increment", None) or first,
            **pilot,
            "codec": "raw",
            "align": "none",
            "held_out": True,
        }
    )
    chosen = choices or StudyChoices()
    if chosen.images is None:
        chosen = replace(chosen, images=max(PROBED, math.ceil(2.5 * len(opened.class_names))))
    request = StudyRequest(config, chosen)
    request.require_sense()
    return request
