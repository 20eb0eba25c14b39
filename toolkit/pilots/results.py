"""Results of finished pilots: means and intervals over seeds, and groups of comparable pilots. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.codecs.spec import codec_family, is_lossless, is_raw, short_spec, stores_exactly
from toolkit.data.catalog import absolute_spec
from toolkit.foundation.errors import WorkError
from toolkit.foundation.image_size import WrittenSize
from toolkit.learning.catalog import parse_method
from toolkit.learning.metrics import accuracy_after, forgetting, mean_and_ci95
from toolkit.pilots.config import PilotConfig
from toolkit.pilots.contents import PilotResult, PilotSummary
from toolkit.pilots.request import PilotRequest, pilot_command
from toolkit.runs.folder import RunFolder

METRICS = (
    "average_incremental_accuracy",
    "last_accuracy",
    "forgetting",
    "backward_transfer",
    "accuracy_on_original",
    "accuracy_on_coded",
    "exemplars_per_class",
    "memory_bytes",
)
"""Metrics that are averaged over seeds."""

SHOWN = (
    "last_accuracy",
    "average_incremental_accuracy",
    "forgetting",
    "accuracy_on_original",
    "accuracy_on_coded",
    "exemplars_per_class",
    "memory_bytes",
    "seconds",
)
"""Numbers of a run's result that tables show."""

MEASURED = ("seconds", "peak_memory_bytes", "exemplars_decoded")
"""Time, memory, and how free memory was used."""

VARIED = ("codec", "align", "budget", "method")
"""Fields in which pilots of one comparison may differ; all other fields are equal."""


def aggregate_pilots(config: PilotConfig, runs: Sequence[PilotResult]) -> PilotSummary:
    """The ``pilot`` JSON: every run, their means, and 95 % intervals as half-widths (null for a single seed)."""
    spread = {name: mean_and_ci95([metric_of(run, name) for run in runs]) for name in METRICS}
    return {
        "config": config.model_dump(mode="json"),
        "codec": config.codec,
        "method": config.method,
        "align": config.align,
        "budget_bytes": runs[0]["budget_bytes"],
        "runs": list(runs),
        "mean": {name: mean for name, (mean, _) in spread.items()},
        "ci95": {name: half for name, (_, half) in spread.items()},
    }


def metric_of(run: PilotResult, name: str) -> float:
    """A number of a run's result, such as one of :data:`METRICS`, by its name."""
    values: Mapping[str, Any] = run
    return float(values[name])


def keeps_exemplars(pilot: PilotSummary) -> bool:
    """Whether a pilot's method learns from exemplars; the bounds and methods that keep statistics do not."""
    return parse_method(pilot["method"])[0].exemplars


def peers_of(pilot: PilotSummary, pilots: Sequence[PilotSummary]) -> list[PilotSummary]:
    """Pilots with the budget and method of one, which is included: equal bytes, equal steps."""
    mine = pilot["budget_bytes"], pilot["method"]
    return [one for one in pilots if (one["budget_bytes"], one["method"]) == mine]


def storage_of(pilot: PilotSummary, storage: str) -> float:
    """Value of a pilot on a storage axis.

    Args:
        pilot: a ``pilot`` JSON.
        storage: ``memory_bytes``, ``exemplars_per_class``, or ``exemplar_bytes``, the memory's bytes per exemplar.
    """
    mean = pilot["mean"]
    if storage != "exemplar_bytes":
        return float(mean[storage])
    exemplars = mean["exemplars_per_class"] * sum(pilot["runs"][0]["stage_classes"])
    return float(mean["memory_bytes"] / exemplars) if exemplars else float("nan")


def images_right(run: PilotResult) -> np.ndarray | None:
    """The test images that a run classifies correctly after its last stage, bool (N,); None for results without them.

    Runs of one dataset and ``held_out`` have the images in the same order, whatever their seeds.
    """
    if "correct" not in run:
        return None
    packed = np.frombuffer(bytes.fromhex(run["correct"]), np.uint8)
    return np.unpackbits(packed, count=run["test_images"]).astype(bool)


def stage_values(run: PilotResult, curve: str = "all_classes") -> list[float]:
    """Accuracy or forgetting of a run after each stage.

    Args:
        run: an entry of a ``pilot`` JSON's ``runs``.
        curve: accuracy on ``all_classes`` seen so far or on the ``first_classes`` only, or ``forgetting``.
    """
    matrix, classes = run["accuracy_matrix"], run["stage_classes"]
    stages = range(len(matrix))
    if curve == "first_classes":
        return [matrix[stage][0] for stage in stages]
    if curve == "forgetting":
        return [forgetting(matrix[: stage + 1], classes[: stage + 1]) for stage in stages]
    return [accuracy_after(matrix, classes, stage) for stage in stages]


def reproducible(result: Mapping[str, object]) -> dict[str, object]:
    """The reproducible part of a run's result: the same run on the same machine repeats it to the last bit.

    Timings, memory use and paths are left out.
    """
    return {name: value for name, value in result.items() if name not in (*MEASURED, "run_dir")}


@dataclass(frozen=True)
class Comparison:
    """Pilots that differ only in codec, alignment, budget, method and seed.

    Attributes:
        key: identifies their common fields.
        common: the common fields of their configurations.
        runs: (folder, configuration, seed) of each, newest first.
    """

    key: str
    common: Mapping[str, Any]
    runs: tuple[tuple[RunFolder, PilotConfig, int], ...]

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits of the key, for page addresses."""
        return hashlib.sha256(self.key.encode()).hexdigest()[:8]

    @property
    def label(self) -> str:
        """The common configuration in words, from :func:`describe`."""
        return describe(self.common)

    def encoders(self) -> list[str]:
        """Versions of the encoding libraries of the runs, where known; bytes at one setting differ between versions."""
        known = [(run.environment or {}).get("libraries", {}) for run, _, _ in self.runs]
        names = ("imagecodecs", "pillow")
        return sorted({", ".join(f"{name} {one[name]}" for name in names) for one in known if {*names} <= one.keys()})

    def commands(self, runs_dir: Path | None = None) -> list[str]:
        """The command lines that run, resume or just show these runs, one per configuration."""
        seeds: dict[str, tuple[PilotConfig, list[int]]] = {}
        for _, config, seed in reversed(self.runs):
            seeds.setdefault(config.digest(), (config, []))[1].append(seed)
        return [pilot_command(config, sorted(numbers), runs_dir) for config, numbers in seeds.values()]

    def pilots(self) -> list[PilotSummary]:
        """The ``pilot`` JSON of every configuration with a finished run, seeds in order."""
        finished: dict[str, list[tuple[int, PilotConfig, PilotResult]]] = {}
        for run, config, seed in self.runs:
            if (result := PilotRequest(config, seed).result_in(run)) is not None:
                finished.setdefault(config.digest(), []).append((seed, config, result))
        groups = [sorted(group, key=lambda item: item[0]) for group in finished.values()]
        groups.sort(key=lambda group: (group[0][1].codec, group[0][1].align, group[0][2]["budget_bytes"]))
        return [aggregate_pilots(group[0][1], [result for _, _, result in group]) for group in groups]


def lossless_references(pilots: Sequence[PilotSummary]) -> list[PilotSummary]:
    """Lossless pilots other than raw that stand as references: ``original``, and the best codec of pixels.

    The one with the most exemplars per class comes first.
    """
    stored = sorted(pilots, key=lambda pilot: -pilot["mean"]["exemplars_per_class"])
    families: dict[bool, PilotSummary] = {}
    for pilot in stored:
        if not is_raw(pilot["codec"]) and stores_exactly(pilot["codec"]):
            families.setdefault(codec_family(pilot["codec"]) == "original", pilot)
    return list(families.values())


def raw_reference(pilots: Sequence[PilotSummary]) -> PilotSummary | None:
    """The pilot of raw pixels that others are compared with: of crops before whole images, without alignment first."""
    raw = [pilot for pilot in pilots if is_raw(pilot["codec"])]
    return min(raw, key=lambda pilot: (pilot["codec"] != "raw", pilot["align"] != "none"), default=None)


def stands_for_raw(pilot: PilotSummary, pilots: Sequence[PilotSummary]) -> bool:
    """Whether others at a pilot's budget, with its method, are compared with it."""
    return is_raw(pilot["codec"]) and pilot is raw_reference(peers_of(pilot, pilots))


def setting_name(codec: str, align: str) -> str:
    """``jpeg:quality=50, align both``; a lossless codec has no alignment."""
    return short_spec(codec) if is_lossless(codec) else f"{short_spec(codec)}, align {align}"


def accuracy_so_far(run: RunFolder, config: PilotConfig, classes: int) -> list[float]:
    """Accuracy over all classes seen, after each completed stage of an unfinished run.

    Args:
        run: the run folder.
        config: its configuration.
        classes: number of classes in the dataset.
    """
    images = "coded" if config.align == "both" else "original"
    rows = {event["stage"]: event["accuracy"].get(images, ()) for event in run.events() if event["event"] == "stage"}
    sizes = [config.initial]
    while sum(sizes) < classes:
        sizes.append(min(config.increment, classes - sum(sizes)))
    whole = [stage for stage in range(len(sizes)) if len(rows.get(stage, ())) == stage + 1]
    return [float(np.average(rows[stage], weights=sizes[: stage + 1])) for stage in whole]


def losses_so_far(run: RunFolder) -> list[tuple[int, float]]:
    """Training steps done and the loss at each, of a running run."""
    return [
        (event["done"], loss)
        for event in run.events()
        if event["event"] == "progress" and (loss := event.get("loss")) is not None
    ]


def differences(rows: Sequence[Mapping[str, object]]) -> dict[str, list[object]]:
    """The fields in which rows differ, with the values of all rows; None for a field that a row lacks."""
    names = dict.fromkeys(name for row in rows for name in row)
    values = {name: [row.get(name) for row in rows] for name in names}
    return {name: found for name, found in values.items() if any(value != found[0] for value in found)}


_DESCRIBED = (
    "network",
    "tune",
    "views",
    "extractor",
    "selection",
    "batch_size",
    "augment",
    "optimizer",
    "lr",
    "schedule",
    "memory_share",
    "class_order",
    "device",
)


def network_of(result: PilotResult) -> str:
    """The network of a pilot and where its weights started: ``resnet8 (weights: random)``."""
    return f"{result['network']} (weights: {result.get('weights', 'not recorded')})"


def describe(shared: Mapping[str, Any]) -> str:
    """``4 + 4 classes, 200 steps per stage``, followed by other fields that differ from their defaults."""
    length = f"{shared['steps']} steps" if shared["epochs"] is None else f"{shared['epochs']:g} epochs"
    words = [f"{shared['initial']} + {shared['increment']} classes", f"{length} per stage"]
    fields = PilotConfig.model_fields
    for name in _DESCRIBED:
        if shared[name] != fields[name].default:
            words.append(f"{name.replace('_', ' ')} {shared[name]}")
    if shared["held_out"]:
        words.append("tested on held-out training images")
    return ", ".join(words)


def comparisons(runs: Sequence[RunFolder], dataset: str, size: WrittenSize) -> list[Comparison]:
    """Group the pilots of one dataset and size into comparisons, the one with the newest run first.

    Args:
        runs: pilot run folders, newest first; damaged ones are skipped.
        dataset, size: of the pilots.
    """
    found: dict[str, tuple[Mapping[str, Any], list[tuple[RunFolder, PilotConfig, int]]]] = {}
    for run in runs:
        try:
            request = PilotRequest.of(run)
        except WorkError:  # the list of runs shows the reason
            continue
        config = request.config
        if config.dataset != absolute_spec(dataset) or config.size != size:
            continue
        common = config.model_dump(mode="json", exclude=set(VARIED))
        key = json.dumps(common, sort_keys=True)
        found.setdefault(key, (common, []))[1].append((run, config, request.seed))
    return [Comparison(key, common, tuple(members)) for key, (common, members) in found.items()]


_SCENE = ("initial", "increment", "class_order", "selection", "device", "views", "held_out")
"""Fields that matter to a method which trains no network, besides the extractor."""


def with_frozen(groups: Sequence[Comparison]) -> list[Comparison]:
    """Comparisons in which methods on frozen features stand beside the pilots that train on the same weights.

    Such a method trains no network, so fields such as the number of steps do not matter to it. It joins every
    comparison of pilots that start from its extractor's weights with the same stages, and keeps its own if there is
    none.

    Args:
        groups: from :func:`comparisons`.
    """
    frozen = [group for group in groups if all(parse_method(one.method)[0].frozen for _, one, _ in group.runs)]
    trained = [group for group in groups if group not in frozen]
    joined: list[Comparison] = []
    alone = list(frozen)
    for group in trained:
        runs = list(group.runs)
        known = {_setting(config, seed) for _, config, seed in runs}
        for other in frozen:
            if _scene(other, "extractor") == _scene(group, "network"):
                alone = [one for one in alone if one is not other]
                for run, config, seed in other.runs:
                    if _setting(config, seed) not in known:  # the newest of runs that differ in what does not matter
                        known.add(_setting(config, seed))
                        runs.append((run, config, seed))
        joined.append(Comparison(group.key, group.common, tuple(runs)))
    return [*joined, *alone]


def _scene(group: Comparison, weights: str) -> list[object]:
    """What must be equal for comparison, with the field that names the weights."""
    return [group.common[name] for name in (*_SCENE, weights)]


def _setting(config: PilotConfig, seed: int) -> tuple[object, ...]:
    return (*(getattr(config, name) for name in VARIED), seed)


def result_rows(pilots: Sequence[PilotSummary]) -> list[dict[str, object]]:
    """One flat row per configuration: varied fields, seeds, then mean and 95 % half-width of each metric."""
    rows = []
    for pilot in pilots:
        row: dict[str, object] = {
            "codec": pilot["codec"],
            "align": pilot["align"],
            "method": pilot["method"],
            "budget_bytes": pilot["budget_bytes"],
            "seeds": len(pilot["runs"]),
        }
        for name in METRICS:
            row[name] = pilot["mean"][name]
            row[f"{name}_ci95"] = pilot["ci95"][name]
        rows.append(row)
    return rows
