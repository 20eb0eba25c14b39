"""The monitor of a deployed memory: bytes, feature distortion and features of new images against accepted ones."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from toolkit.codecs.base import Codec, image_size
from toolkit.data.images import Unreadable, decode_image
from toolkit.data.tree import FolderTree, printable_path, read_regular
from toolkit.features.extractor import FeatureExtractor
from toolkit.foundation.errors import UsageError
from toolkit.foundation.files import write_atomically
from toolkit.foundation.image_size import WrittenSize
from toolkit.foundation.progress import Progress, silent
from toolkit.production.charts import FALSE_ALARMS, KERNEL, LEAST, Charts, Embedding

SCORES = ("stored_bytes", "feature_distortion", "uncertainty")
CHARTS = (*SCORES, KERNEL)
MOST_BASELINE = 2000
"""Maximum number of baseline images; more take time and add little."""
_CHUNK = 50


@dataclass(frozen=True)
class Reading:
    """Scores and chart heights of one image.

    Attributes:
        image: its name.
        scores: by name in :data:`SCORES`: bytes, mean squared error of the features after the codec, and entropy of
            the prediction on the decoded image (high for new classes; Hendrycks and Gimpel, ICLR 2017).
        heights: of each of :data:`CHARTS` after this image, as a fraction of the threshold.
    """

    image: str
    scores: dict[str, float]
    heights: dict[str, float]

    @property
    def alarms(self) -> list[str]:
        """Charts above their thresholds."""
        return [name for name, height in self.heights.items() if height > 1]


class Monitor:
    """Control charts of a stream of images; see :class:`~toolkit.production.charts.Charts` for the statistics.

    Args:
        codec: codec of the memory, fitted.
        extractor: the bundle's network.
        charts: baseline, thresholds and averages.
        embedding: embedding of the features, for the kernel chart.
        false_alarms: expected alarms per image while nothing changes.
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
        """A monitor with accepted images as its baseline; the network must not have been trained on them.

        Args:
            codec: codec of the memory.
            extractor: the bundle's network.
            accepted: uint8 (N, H, W, 3); at most :data:`MOST_BASELINE` of them are used.
            false_alarms: expected alarms per image while nothing changes.
            seed: seed of all random draws.
            progress: called after each batch of measured images.

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
        """Add new images to the stream in the order of arrival.

        Args:
            images: uint8 (N, H, W, 3), at the memory's size, not yet compressed.
            names: of the images; by default their positions in the stream.
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
        """Scores float64 (N, 3) and embeddings float64 (N, D) of images, without adding them to the stream."""
        scores, features = _measure(self._codec, self._extractor, images)
        return scores, self._embedding(features)

    def save(self, path: Path) -> None:
        """Write baseline, thresholds and averages, but not codec and network."""
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
        """Load the file written by :meth:`save`; it contains arrays only, nothing is executed.

        Raises:
            UsageError: the file is not a monitor's baseline.
        """
        try:
            with np.load(path, allow_pickle=False) as found:
                arrays: dict[str, np.ndarray] = {name: found[name] for name in found.files}
            charts = Charts.from_arrays(arrays)
            embedding = Embedding(arrays["centre"], arrays["scale"], arrays["frequencies"])
            return cls(codec, extractor, charts, embedding, float(arrays["false_alarms"]))
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise UsageError(f"{path} does not hold a monitor's baseline") from error


def read_folder(
    folder: Path, size: WrittenSize
) -> tuple[list[str], Callable[[], Iterator[tuple[str, np.ndarray | str]]]]:
    """List the files of a folder and its subfolders by name, to be read one by one.

    Args:
        folder: folder of images.
        size: that images are scaled to, as in a dataset.

    Returns:
        Names, and a function that yields each name with its image, uint8 (H, W, 3), or the reason why it is
        unreadable.

    Raises:
        UsageError: not a folder, or an empty one.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    tree = FolderTree(folder)
    files = list(tree.files(()))
    if not files:
        raise UsageError(f"{folder} contains no files")

    def read() -> Iterator[tuple[str, np.ndarray | str]]:
        yield from tree.left_out.items()
        for parts in files:
            try:
                yield printable_path(parts), decode_image(read_regular(tree.path(parts)), size)
            except (Unreadable, OSError) as error:
                yield printable_path(parts), str(error)

    return [*tree.left_out, *map(printable_path, files)], read


def _measure(codec: Codec, extractor: FeatureExtractor, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The :data:`SCORES` of each image, float64 (N, 3), and its features after the codec, float64 (N, F)."""
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
