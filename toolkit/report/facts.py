"""The facts of a report: the finished pilots among the given runs, and the recommended one of them.

:mod:`toolkit.report.contents` puts them into words. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from toolkit.advice.contents import AdviceResult, is_advice
from toolkit.codecs.base import image_size
from toolkit.codecs.features import refuse_features
from toolkit.codecs.guide import needs_network
from toolkit.codecs.original import give_originals
from toolkit.codecs.psnr import psnr_of
from toolkit.codecs.spec import codec_family, is_lossless, parse_codec
from toolkit.data.catalog import absolute_spec, load_dataset
from toolkit.data.dataset import ImageDataset, SourceImages
from toolkit.foundation.errors import UsageError, WorkError, one_line
from toolkit.foundation.image_size import WrittenSize, parse_image_size
from toolkit.jobs.kinds import sorted_out
from toolkit.language.sentence import Sentence
from toolkit.pilots.contents import PilotSummary
from toolkit.pilots.request import PilotRequest
from toolkit.pilots.results import (
    Comparison,
    comparisons,
    keeps_exemplars,
    lossless_references,
    peers_of,
    raw_reference,
    storage_of,
    with_frozen,
)
from toolkit.probe.contents import ProbeResult, Setting
from toolkit.probe.request import ProbeRequest
from toolkit.report.gain import GainContents, gain_over
from toolkit.report.verdict import findings, lossless_that_fit
from toolkit.runs.contents import Result
from toolkit.runs.folder import DAMAGED, RunFolder
from toolkit.runs.request import Request
from toolkit.study.contents import StudyResult
from toolkit.study.request import StudyRequest

EXAMPLES = 6
CODED = 100
"""Number of images that give the thresholds for operation."""


class ReferenceGain(GainContents):
    """The recommended setting's gain over a lossless reference other than raw pixels."""

    codec: str


class RecommendedSetting(TypedDict):
    """The recommended setting; ``by_advice`` as in :class:`Study`."""

    codec: str
    align: str
    by_advice: bool


class UnfinishedRun(TypedDict):
    """A run that the report leaves out."""

    run: str
    state: str


class StudyContents(TypedDict):
    """The ``report`` JSON; ``protocol`` holds the fields that all pilots share."""

    dataset: str
    size: WrittenSize
    protocol: Mapping[str, object]
    recommended: RecommendedSetting
    gain_over_raw: GainContents | None
    gains_over_lossless: list[ReferenceGain]
    findings: list[str]
    pilots: list[PilotSummary]
    unfinished: list[UnfinishedRun]
    apart: list[str]


@dataclass(frozen=True)
class Examples:
    """Images before and after the recommended setting and its neighbours.

    Attributes:
        originals: uint8 (N, H, W, 3).
        coded: decoded images, mean bytes and mean PSNR (None if lossless) by codec, fewest bytes first.
        image_bytes, image_psnr: for more images at the recommended setting, float64 (M,).
        notes: notes from opening the dataset.
    """

    originals: np.ndarray
    coded: dict[str, tuple[np.ndarray, float, float | None]]
    image_bytes: np.ndarray
    image_psnr: np.ndarray
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """All facts of a report.

    Attributes:
        dataset, size: shared by all runs.
        comparison: the largest group of comparable pilots.
        pilots: their ``pilot`` JSONs.
        chosen: index of the recommended one.
        advice: the newest ``advise`` JSON among the runs.
        probe: the newest ``probe`` or ``advise`` JSON among the runs.
        by_advice: whether advice chose the setting, from training images alone; otherwise it holds
            every image without loss, or has the best result.
        race: the ``study`` JSON, if these are the pilots of a study, whose decision is then the recommended setting.
        unfinished: name and state of runs left out, including damaged ones.
        apart: labels of groups of finished pilots that are not comparable (other stages, steps, ...).
    """

    dataset: str
    size: WrittenSize
    comparison: Comparison
    pilots: list[PilotSummary]
    chosen: int
    advice: AdviceResult | None
    probe: ProbeResult | None
    by_advice: bool
    unfinished: tuple[tuple[str, str], ...]
    apart: tuple[str, ...]
    race: StudyResult | None = None

    @property
    def pilot(self) -> PilotSummary:
        """The recommended pilot."""
        return self.pilots[self.chosen]

    @property
    def peers(self) -> list[PilotSummary]:
        """Pilots with the budget and method of the recommended one, which is included: equal bytes, equal steps."""
        return peers_of(self.pilot, self.pilots)

    @property
    def raw(self) -> PilotSummary | None:
        """Raw pixels at the same budget with the same method."""
        return raw_reference(self.peers)

    @property
    def lossless(self) -> list[PilotSummary]:
        """The other lossless references at the same budget with the same method, without the recommended setting."""
        return [one for one in lossless_references(self.peers) if one is not self.pilot]

    @property
    def runner_up(self) -> PilotSummary | None:
        """The best other setting at the same budget with the same method."""
        others = [one for one in self.peers if one is not self.pilot]
        return max(others, key=lambda one: one["mean"]["last_accuracy"], default=None)

    @property
    def fits(self) -> bool:
        """Whether the setting was chosen because it holds every image without loss."""
        return (
            self.race is None and not self.by_advice and any(one is self.pilot for one in lossless_that_fit(self.peers))
        )

    @property
    def findings(self) -> list[Sentence]:
        """Whether to compress and to keep exemplars at all."""
        return list(findings(self.pilot, self.pilots))

    @property
    def same_seeds(self) -> bool:
        """Whether all pilots have the same seeds."""
        return len({tuple(run["seed"] for run in one["runs"]) for one in self.pilots}) == 1

    @property
    def raw_image_bytes(self) -> int:
        """Bytes of one image as raw pixels; three per pixel if the pilots do not say otherwise."""
        return self.pilot["runs"][0].get("raw_image_bytes", 3 * parse_image_size(self.size).pixels)

    @property
    def exemplar_bytes(self) -> float:
        """Bytes per exemplar at the recommended setting, including labels and shared data."""
        return storage_of(self.pilot, "exemplar_bytes")

    def as_dict(self) -> StudyContents:
        """The facts as JSON."""
        gain = None if self.raw is None else gain_over(self.pilot, self.raw)
        return {
            "dataset": self.dataset,
            "size": self.size,
            "protocol": self.comparison.common,
            "recommended": {"codec": self.pilot["codec"], "align": self.pilot["align"], "by_advice": self.by_advice},
            "gain_over_raw": None if gain is None else gain.as_dict(),
            "gains_over_lossless": [
                {"codec": one["codec"], **gain_over(self.pilot, one).as_dict()} for one in self.lossless
            ],
            "findings": [str(one) for one in self.findings],
            "pilots": self.pilots,
            "unfinished": [{"run": name, "state": state} for name, state in self.unfinished],
            "apart": list(self.apart),
        }

    def probed(self) -> Setting | None:
        """The probe's row for the recommended setting."""
        rows = self.probe["settings"] if self.probe is not None else ()
        return next((row for row in rows if row["codec"] == self.pilot["codec"]), None)

    def neighbours(self) -> list[str]:
        """The recommended codec and its neighbours among piloted settings of its family, fewest bytes first."""
        codec = self.pilot["codec"]
        family = {
            one["codec"]: storage_of(one, "exemplar_bytes")
            for one in self.peers
            if codec_family(one["codec"]) == codec_family(codec)
        }
        ordered = sorted(family, key=family.__getitem__)
        place = ordered.index(codec)
        return ordered[max(0, place - 1) : place + 2]


def gather_study(runs: Sequence[RunFolder]) -> Study:
    """Gather runs into a study.

    Args:
        runs: pilots, and perhaps probes and advice, of one dataset at one size; or one finished study, which stands
            for its probe and its pilots.

    Raises:
        UsageError: no runs, or runs of different datasets or sizes.
        WorkError: no pilot among them has finished.
    """
    race = _race(runs)
    runs = _runs_of(*race) if race else runs
    runs = sorted({run.name: run for run in runs}.values(), key=lambda run: run.name)  # names tell seeds apart
    if not runs:
        raise UsageError("a report needs at least one run: name run folders, or a folder of them")
    whole, damaged = sorted_out(runs)
    pilots = [run for run, request in whole if isinstance(request, PilotRequest)]
    tables = [(request, run) for run, request in whole if isinstance(request, ProbeRequest)]
    tables.sort(key=lambda one: one[1].result_path.stat().st_mtime if one[1].result_path.exists() else 0.0)
    subjects = {_subject(request) for _, request in whole} - {None}
    if len(subjects) > 1:
        listed = ", ".join(sorted(f"{one[0]} at {one[1]} px" for one in subjects if one is not None))
        raise UsageError(f"a report covers one dataset at one size, but these runs are of {listed}")
    finished = [run for run in pilots if run.result is not None]
    if not finished:
        states = ", ".join([*(f"{run.name} is {run.status()}" for run in pilots), *damaged.values()][:3])
        states = states or "none was given"
        raise WorkError(f"a report needs a finished pilot: {states}")
    ((dataset, size),) = (one for one in subjects if one is not None)
    groups = with_frozen(comparisons(finished, dataset, size))
    comparison = max(groups, key=lambda group: (race is not None and group.common["held_out"], len(group.runs)))
    results = comparison.pilots()
    done = [result for request, run in tables if (result := request.result_in(run)) is not None]
    advice = next((one for one in reversed(done) if is_advice(one)), None)
    chosen, by_advice = _choose(results, advice) if race is None else (_decided(results, race[1]), False)
    return Study(
        dataset,
        size,
        comparison,
        results,
        chosen,
        advice,
        next(iter(reversed(done)), None),
        by_advice,
        tuple((run.name, run.status()) for run in pilots if run.result is None)
        + tuple((name, DAMAGED) for name in damaged),
        () if race else tuple(group.label for group in groups if group is not comparison),
        None if race is None else race[1],
    )


def _race(runs: Sequence[RunFolder]) -> tuple[RunFolder, StudyResult] | None:
    """The study and its result, if it is the only run given; beside other runs studies say nothing of their own.

    Raises:
        WorkError: it has not finished.
    """
    whole, _ = sorted_out(runs)
    if len(runs) != 1 or not whole:
        return None
    ((run, request),) = whole
    if not isinstance(request, StudyRequest):
        return None
    if (result := request.result_in(run)) is None:
        raise WorkError(f"{run.name} has not finished: it is {run.status()}")
    return run, result


def _runs_of(study: RunFolder, result: StudyResult) -> list[RunFolder]:
    """The folders of a study's probe and of its pilots on held-out images."""
    names = [result["advice"], *(name for one in result["rounds"] for name in one["pilots"])]
    return [RunFolder(study.path.parent / name) for name in names]


def _decided(pilots: Sequence[PilotSummary], result: StudyResult) -> int:
    """The pilot of a study's decision.

    Raises:
        WorkError: its runs are gone.
    """
    decision = result["decision"]
    for n, pilot in enumerate(pilots):
        if (pilot["codec"], pilot["align"]) == (decision["codec"], decision["align"]):
            return n
    raise WorkError(f"the pilots of the study's decision, {decision['codec']}, are gone")


def _subject(request: Request[Result]) -> tuple[str, WrittenSize] | None:
    """The dataset, its path absolute, and the size of a pilot or a probe; None for other runs."""
    if isinstance(request, PilotRequest):
        return request.config.dataset, request.config.size
    return (absolute_spec(request.dataset), request.size) if isinstance(request, ProbeRequest) else None


def _choose(pilots: Sequence[PilotSummary], advice: AdviceResult | None) -> tuple[int, bool]:
    """The advised setting if it was piloted at the advice's budget, else the best at the most piloted budget.

    If all images fit without loss, the smallest setting without loss is taken: nothing is gained by compression.
    Methods without exemplars are bounds or alternatives, not choices. If several methods were piloted with the advised
    setting, the most piloted one is taken.

    Raises:
        WorkError: no pilot kept exemplars.
    """
    able = [n for n, pilot in enumerate(pilots) if keeps_exemplars(pilot)]
    if not able:
        raise WorkError("a report needs a finished pilot with exemplars, but the methods of these keep none")
    if advice is not None:
        wanted = (advice["recommended"]["codec"], advice["recommended"]["align"], advice["budget_bytes"])
        methods = [pilots[n]["method"] for n in able]
        settings = [(pilot["codec"], pilot["align"], pilot["budget_bytes"]) for pilot in pilots]
        fitting = [n for n in able if settings[n] == wanted]
        if fitting:
            return max(fitting, key=lambda n: methods.count(pilots[n]["method"])), True
    budgets = [pilots[n]["budget_bytes"] for n in able]
    budget = max(set(budgets), key=lambda one: (budgets.count(one), one))
    there = [n for n in able if pilots[n]["budget_bytes"] == budget]
    best = max(there, key=lambda n: pilots[n]["mean"]["last_accuracy"])
    exact = lossless_that_fit([pilots[n] for n in there if pilots[n]["method"] == pilots[best]["method"]])
    return (pilots.index(exact[0]) if exact else best), False


def show_examples(study: Study) -> Examples | str:
    """A few training images at the recommended setting and its neighbours, or the reason why there are none.

    A dataset always gives the same images: one from each of several evenly spaced classes.
    """
    try:
        dataset = load_dataset(study.dataset, study.size)
        return _examples(study, dataset)
    except (UsageError, WorkError, OSError) as error:
        return one_line(error)


def _examples(study: Study, dataset: ImageDataset) -> Examples:
    some = dataset.stratified_train_indices(CODED, 0)
    labels = dataset.train.labels[some]
    classes = np.unique(labels)[np.linspace(0, len(np.unique(labels)) - 1, EXAMPLES).round().astype(int)]
    shown = [int(some[np.flatnonzero(labels == label)[0]]) for label in dict.fromkeys(classes.tolist())]
    originals = np.asarray(dataset.train.images[shown])
    coded = {}
    for codec in study.neighbours():
        decoded, sizes = _through(codec, originals, dataset.originals)
        lossless = is_lossless(codec)
        coded[codec] = (decoded, float(sizes.mean()), None if lossless else float(psnr_of(originals, decoded).mean()))
    images = np.asarray(dataset.train.images[some])
    decoded, sizes = _through(study.pilot["codec"], images, dataset.originals)
    return Examples(originals, coded, sizes.astype(np.float64), psnr_of(images, decoded), dataset.notes)


def _through(codec: str, images: np.ndarray, originals: SourceImages | None) -> tuple[np.ndarray, np.ndarray]:
    """Decoded images, and the bytes of each payload."""
    made = parse_codec(codec)
    refuse_features(made, "example images of a report")
    if needs_network(made):  # the app makes reports too, and runs no network
        raise UsageError(f"a report has no example images of {codec}, because encoding them needs a network")
    give_originals([made], originals)
    made.fit(images)
    payloads = made.encode(images)
    return made.decode(payloads, image_size(images)), np.array([len(payload) for payload in payloads])
