"""The monitor of a deployed memory: what each new image costs, loses and looks like, charted against accepted ones."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from toolkit.codecs.base import Codec, image_size
from toolkit.data.images import Unreadable, decode_image
from toolkit.data.tree import FolderTree, printable_path, read_regular
from toolkit.features.extractor import FeatureExtractor
from toolkit.foundation.errors import UsageError
from toolkit.foundation.files import write_atomically
from toolkit.foundation.progress import Progress, silent
from toolkit.production.charts import FALSE_ALARMS, KERNEL, LEAST, Charts, Embedding

SCORES = ("stored_bytes", "feature_distortion", "uncertainty")
CHARTS = (*SCORES, KERNEL)
MOST_BASELINE = 2000
"""Images; more take time and say little more."""
_CHUNK = 50


@dataclass(frozen=True)
class Reading:
    """One image's.

    Attributes:
        image: its name.
        scores: its :data:`SCORES`: bytes, mean squared error of its features through the codec, and the entropy of
            what the network then makes of it (new classes leave it undecided; Hendrycks and Gimpel, ICLR 2017).
        heights: of each of :data:`CHARTS` after it, as a share of the threshold.
    """

    image: str
    scores: dict[str, float]
    heights: dict[str, float]

    @property
    def alarms(self) -> list[str]:
        """The charts above their thresholds."""
        return [name for name, height in self.heights.items() if height > 1]


class Monitor:
    """Charts of a stream of images; see :class:`~toolkit.production.charts.Charts` for the statistics.

    Args:
        codec: of the memory, fitted.
        extractor: its network.
        charts: baseline, thresholds and averages.
        embedding: of features, for the kernel's chart.
        false_alarms: expected an image while nothing changes.
    """

    def __init__(
        self,
        codec: Codec,
        extractor: FeatureExtractor,
        charts: Charts,
        embedding: Embedding,
        false_alarms: float = FALSE_ALARMS,
    ) -> None:
        self._codec = codec
        self._extractor = extractor
        self.charts = charts
        self._embedding = embedding
        self.false_alarms = false_alarms

    @classmethod
    def of(
        cls,
        codec: Codec,
        extractor: FeatureExtractor,
        accepted: np.ndarray,
        *,
        false_alarms: float = FALSE_ALARMS,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Monitor:
        """A monitor whose baseline are images that were accepted and that the network was not trained on.

        Args:
            codec: of the memory.
            extractor: its network.
            accepted: uint8 (N, H, W, 3); at most :data:`MOST_BASELINE` of them are used.
            false_alarms: expected an image while nothing changes.
            seed: of what is drawn.
            progress: told about images measured.

        Raises:
            UsageError: too few images.
        """
        rng = np.random.default_rng(seed)
        accepted = np.asarray(accepted[np.sort(rng.permutation(len(accepted))[:MOST_BASELINE])])
        if len(accepted) < LEAST:  # before anything is measured
            raise UsageError(f"a baseline needs at least {LEAST} accepted images, got {len(accepted)}")
        codec.fit(accepted[:1])
        measured = []
        for start in range(0, len(accepted), _CHUNK):
            measured.append(_measure(codec, extractor, accepted[start : start + _CHUNK]))
            progress("measuring accepted images", min(start + _CHUNK, len(accepted)), len(accepted))
        scores = np.concatenate([part for part, _ in measured])
        features = np.concatenate([part for _, part in measured])
        embedding = Embedding.of(features, seed)
        charts = Charts.of(SCORES, scores, embedding(features), false_alarms=false_alarms, seed=seed)
        return cls(codec, extractor, charts, embedding, false_alarms)

    def observe(self, images: np.ndarray, names: Sequence[str] | None = None) -> list[Reading]:
        """Take new images in, in the order in which they came.

        Args:
            images: uint8 (N, H, W, 3), at the memory's size and as they came: not yet coded.
            names: of the images, by default their numbers in the stream.
        """
        readings = []
        for start in range(0, len(images), _CHUNK):
            measured, embedded = self.measure(images[start : start + _CHUNK])
            for n, scores in enumerate(measured):
                name = str(self.charts.seen) if names is None else names[start + n]
                heights = self.charts.take(scores, embedded[n])
                readings.append(Reading(name, dict(zip(SCORES, scores.tolist(), strict=True)), heights))
        return readings

    def measure(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the charts take of images, without taking it: scores float64 (N, 3) and embeddings float64 (N, D)."""
        scores, features = _measure(self._codec, self._extractor, images)
        return scores, self._embedding(features)

    def save(self, path: Path) -> None:
        """Write baseline, thresholds and averages; codec and network are somebody else's to keep."""
        arrays = {
            **self.charts.arrays(),
            "centre": self._embedding.centre,
            "scale": self._embedding.scale,
            "frequencies": self._embedding.frequencies,
            "false_alarms": np.array(self.false_alarms),
        }
        stream = io.BytesIO()
        np.savez_compressed(stream, **arrays)
        write_atomically(path, lambda file: file.write(stream.getvalue()))

    @classmethod
    def load(cls, path: Path, codec: Codec, extractor: FeatureExtractor) -> Monitor:
        """What :meth:`save` wrote; arrays only, nothing in the file is executed.

        Raises:
            UsageError: it is no such file.
        """
        try:
            with np.load(path, allow_pickle=False) as found:
                arrays: Mapping[str, Any] = {name: found[name] for name in found.files}
            charts = Charts.from_arrays(arrays)
            embedding = Embedding(arrays["centre"], arrays["scale"], arrays["frequencies"])
            return cls(codec, extractor, charts, embedding, float(arrays["false_alarms"]))
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise UsageError(f"{path} does not hold a monitor's baseline") from error


def read_folder(folder: Path, size: int) -> tuple[list[str], Callable[[], Iterator[tuple[str, np.ndarray | str]]]]:
    """The files in a folder and below it, by name, and a way to read them one after the other.

    Args:
        folder: of images.
        size: side in pixels that they are scaled to, as a dataset's are.

    Returns:
        Names, and a function that gives each name with its image, uint8 (size, size, 3), or why it has none.

    Raises:
        UsageError: no such folder, or no files in it.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    tree = FolderTree(folder)
    files = list(tree.files(()))
    if not files:
        raise UsageError(f"{folder} has no files to look at")

    def read() -> Iterator[tuple[str, np.ndarray | str]]:
        yield from tree.left_out.items()
        for parts in files:
            try:
                yield printable_path(parts), decode_image(read_regular(tree.path(parts)), size)
            except (Unreadable, OSError) as error:
                yield printable_path(parts), str(error)

    return [*tree.left_out, *map(printable_path, files)], read


def _measure(codec: Codec, extractor: FeatureExtractor, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each image's :data:`SCORES`, float64 (N, 3), and its features once decoded, float64 (N, F)."""
    images = np.ascontiguousarray(images)
    payloads = codec.encode(images)
    before = extractor(images)
    after = before if codec.lossless else extractor(codec.decode(payloads, image_size(images)))
    distortion = torch.square(after - before).mean(dim=1)
    with torch.inference_mode():
        chances = torch.softmax(extractor.network.head(after.to(extractor.device)).double(), dim=1)
    uncertainty = torch.special.entr(chances).sum(dim=1).cpu()
    stored = torch.tensor([len(payload) for payload in payloads])
    return torch.stack([stored.double(), distortion.double(), uncertainty], dim=1).numpy(), after.double().numpy()
