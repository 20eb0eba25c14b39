"""The request for advice, and the function that carries it out."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from toolkit.advice.calibration import WITHIN
from toolkit.advice.contents import AdviceResult
from toolkit.advice.rules.registry import require_rule
from toolkit.codecs.spec import expand_grid, parse_codec
from toolkit.codecs.store import require_larger_stores
from toolkit.data.alignment import ALIGNS, parse_aligns
from toolkit.foundation.errors import UsageError
from toolkit.foundation.progress import OnRow, Progress, ignore_row, silent
from toolkit.probe.presets import images_for, with_original
from toolkit.probe.request import ProbeRequest, dataset_of, extractor_of
from toolkit.runs.choices import Extractor

VIEW_BYTES = 1024**3
"""Maximum bytes of pixels that advice reads from a dataset."""


@dataclass(frozen=True)
class AdviceRequest(ProbeRequest):
    """Everything that determines advice; see ``recallrate advise --help``."""

    kind: ClassVar[str] = "advise"
    results: ClassVar[Any] = AdviceResult

    images: Annotated[
        int | None,
        Field(
            ge=4,
            description="maximum number of training images, a fifth of them held out for evaluation; by default twice "
            "as many as a probe measures",
        ),
    ] = None
    extractor: Extractor = "auto"
    _: KW_ONLY
    initial: Annotated[int | None, Field(description="classes in the first stage; a fifth of all by default")] = None
    increment: Annotated[
        int | None, Field(description="classes in each later stage; as many as in the first by default")
    ] = None
    aligns: Annotated[str, Field(description="alignments to consider")] = ",".join(ALIGNS)
    rule: Annotated[
        str | None,
        Field(description="rule that recommends, one of those in `recallrate regret`; the best by default"),
    ] = None
    within: Annotated[float, Field(ge=0, description="accuracy points that the smallest budget may lose")] = WITHIN

    @property
    def sample_size(self) -> int:
        return 2 * images_for(self.size) if self.images is None else self.images

    def run(self, progress: Progress = silent, on_row: OnRow = ignore_row) -> AdviceResult:
        return run_advice(self, progress, on_row)


def run_advice(request: AdviceRequest, progress: Progress = silent, on_row: OnRow = ignore_row) -> AdviceResult:
    """The ``advise`` JSON for a request.

    Raises:
        UsageError: any part of the request is wrong.
        WorkError: the work failed.
    """
    codecs, aligns = expand_grid(request.codecs), parse_aligns(request.aligns)
    require_larger_stores(map(parse_codec, codecs), request.size)
    if not 0 <= request.within < math.inf:
        raise UsageError(f"within must be a finite number of points >= 0, got {request.within}")
    if request.rule is not None:
        require_rule(request.rule)

    from toolkit.advice.gather import gather
    from toolkit.advice.recommend import advise
    from toolkit.data.dataset import validation_view
    from toolkit.memory.budget import budget_bytes

    dataset = dataset_of(request, progress)
    budget = budget_bytes(request.budget, len(dataset.class_names), dataset.raw_image_bytes)
    view = validation_view(dataset, VIEW_BYTES)
    extractor = extractor_of(request, view, progress)
    table, evidence = gather(
        view,
        with_original(codecs, dataset.has_files),
        budget=budget,
        extractor=extractor,
        images=request.sample_size,
        initial=request.initial,
        increment=request.increment,
        class_sizes=dataset.train_class_sizes(),
        aligns=aligns,
        seed=request.seed,
        progress=progress,
        on_row=on_row,
    )
    return advise(table, evidence, rule=request.rule, within=request.within, progress=progress)
