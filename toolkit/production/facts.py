"""Facts and results of production as they are stored and printed: bundles, monitor reports, built memories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NotRequired, TypedDict

from toolkit.data.summary import FoundFacts
from toolkit.foundation.image_size import WrittenSize
from toolkit.memory.facts import FileMemoryFacts, ShardedMemoryFacts


class BundleResult(TypedDict):
    """The part of a pilot's result that a bundle keeps; accuracies and forgetting in [0, 1]."""

    seed: int
    last_accuracy: float
    average_incremental_accuracy: float
    forgetting: float
    accuracy_on_original: float
    accuracy_on_coded: float
    memory_bytes: int


class MonitorBaseline(TypedDict):
    """Baseline of a monitor: number and origin of its images, and expected false alarms per image."""

    images: int
    of: str
    false_alarms: float


class BundleFacts(TypedDict):
    """Contents of ``bundle.json``, except for its own checksum.

    ``class_order`` is the label of each network output; ``config`` is the pilot's configuration without dataset and
    codec; ``result`` is None once the network has been trained further; ``files`` maps names to SHA-256 and is added
    when the files have been written.
    """

    format: int
    codec: str
    align: str
    size: WrittenSize
    budget_bytes: int
    class_names: list[str]
    class_order: list[int]
    network: str
    run: str
    dataset: str
    config: Mapping[str, object]
    result: BundleResult | None
    baseline: MonitorBaseline
    versions: dict[str, str]
    files: NotRequired[dict[str, str]]


class ReadingRow(TypedDict):
    """Scores of one image, and the height of each chart after it as a fraction of its threshold."""

    image: str
    stored_bytes: float
    feature_distortion: float
    uncertainty: float
    stored_bytes_height: float
    feature_distortion_height: float
    uncertainty_height: float
    features_height: float


class MonitorCall(TypedDict):
    """The ``monitor`` JSON.

    ``images`` counts this call and ``seen`` the whole stream; ``alarms`` maps each chart above its threshold to the
    first image that raised it; ``heights`` are those after the last image; ``unreadable`` maps files to reasons.
    """

    bundle: str
    folder: str
    time: float
    images: int
    seen: int
    false_alarms: float
    alarm: bool
    alarms: dict[str, str]
    heights: dict[str, float]
    unreadable: dict[str, str]


class MonitorReport(MonitorCall):
    """A call with the readings of its images, which the CSV holds."""

    readings: list[ReadingRow]


class HistoryEntry(MonitorCall):
    """A stored report: ``course`` has ``seen`` and each chart's height at up to 50 images instead of all readings."""

    course: dict[str, list[float]]


class BuildFacts(FileMemoryFacts, FoundFacts):
    """A memory's summary after a build, and what was found in the images."""


class ShardedBuildFacts(ShardedMemoryFacts, FoundFacts):
    """The same for a sharded memory."""


class BuildRequest(TypedDict):
    """``request.json`` of a sharded build: everything that decides which exemplars are kept."""

    dataset: str
    size: WrittenSize
    codec: str
    budget: str
    selection: str
    extractor: str
    seed: int
    shards: int
    device: str
