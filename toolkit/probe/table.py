"""The probe table: images coded and decoded with every setting of a codec grid and compared with the originals."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from toolkit.codecs.base import Codec, image_size, stored_pixels
from toolkit.codecs.encoders import encoder_versions
from toolkit.codecs.features import give_layers, stores_features
from toolkit.codecs.guide import Guide, give_guide
from toolkit.codecs.original import give_originals
from toolkit.codecs.spec import parse_codec
from toolkit.data.dataset import ImageDataset
from toolkit.features import distortion
from toolkit.features.extractor import FeatureExtractor, frozen_layers
from toolkit.features.guide import NetworkGuide
from toolkit.foundation.errors import UsageError, WorkError
from toolkit.foundation.progress import OnRow, Progress, ignore_row, silent
from toolkit.foundation.threads import ordered_map, thread_count
from toolkit.memory.capacity import Capacity
from toolkit.memory.selection import herding_order
from toolkit.probe.contents import ProbeResult, Setting
from toolkit.probe.presets import MOST_IMAGES
from toolkit.training.device import beside_workers

LEAST_IMAGES = 4
"""Minimum for the unbiased CKA."""
COMPARED_PIXELS = 50 * 224**2
"""PSNR and SSIM are measured on the first images with this many pixels together: 50 at 224 px, 600 at 64 px."""
_CHUNK = 100
"""Images per work item; also the minibatch of the CKA estimate, so images are shuffled first to mix the classes."""


@dataclass(frozen=True)
class _CodedChunk:
    setting: int
    chunk: int
    decoded: np.ndarray
    stored: list[int]
    files: list[int]
    pixels: int
    encode_seconds: float
    decode_seconds: float


class Tally:
    """Running sums of one setting.

    Attributes:
        stored: payload bytes of every image so far.
        compared: number of images that the distortion of features was measured on.
        seen: number of images that PSNR and SSIM were measured on; 0 if the codec gives no images.
        decoded: number of images decoded.
        changes, powers: squared change of the features of each compared image, and their square, float32 (N,).
    """

    def __init__(self) -> None:
        self.stored: list[int] = []
        self.compared = 0
        self.seen = 0
        self.decoded = 0
        self.changes: list[torch.Tensor] = []
        self.powers: list[torch.Tensor] = []
        self.sums = dict.fromkeys(("files", "pixels", "encode", "decode", "psnr", "ssim", "cosine"), 0.0)
        self.cka = distortion.LinearCKA()

    def count(self, coded: _CodedChunk) -> None:
        """Add bytes and times of a chunk."""
        self.stored += coded.stored
        self.decoded += len(coded.decoded)
        self.sums["files"] += sum(coded.files)
        self.sums["pixels"] += coded.pixels
        self.sums["encode"] += coded.encode_seconds
        self.sums["decode"] += coded.decode_seconds

    def compare(self, before: torch.Tensor, after: torch.Tensor) -> None:
        """Add distortions of features (N, D) of original and decoded images."""
        self.compared += len(before)
        self.changes.append(distortion.fmse(before, after, "none"))
        self.powers.append(before.square().mean(dim=1))
        self.sums["cosine"] += float(distortion.cosine_distance(before, after, "sum"))
        if len(before) >= LEAST_IMAGES:
            self.cka.update(before, after)

    def compare_pixels(self, original: torch.Tensor, decoded: torch.Tensor) -> None:
        """Add distortions of pixels uint8 (N, H, W, 3), up to :data:`COMPARED_PIXELS` in all."""
        pixels = original[0, ..., 0].numel()
        left = max(0, max(1, COMPARED_PIXELS // pixels) - self.seen)
        if left:
            self.seen += len(original[:left])
            self.sums["psnr"] += float(distortion.psnr(original[:left], decoded[:left], "sum"))
            self.sums["ssim"] += float(distortion.ssim(original[:left], decoded[:left], "sum"))

    def mean(self, name: str) -> float:
        """A sum divided by the number of its images."""
        if name in ("files", "pixels", "encode"):
            return self.sums[name] / len(self.stored)
        return self.sums[name] / {"decode": self.decoded, "cosine": self.compared}.get(name, self.seen)

    def fmse(self) -> float:
        """Mean squared change of the features."""
        return float(torch.cat(self.changes).mean())

    def relative_fmse(self, images: int) -> tuple[float, float]:
        """Change of the features relative to their square, and the half width of its 95 % interval.

        Args:
            images: number of images in the dataset; if all are compared, the interval is 0.
        """
        changes, powers = torch.cat(self.changes).double(), torch.cat(self.powers).double()
        mean = float(powers.mean()) or 1e-30
        ratio, count = float(changes.mean()) / mean, len(changes)
        spread = float((changes - ratio * powers).std()) if count > 1 else 0.0
        return ratio, 1.96 * spread / mean * math.sqrt(max(0.0, 1 / count - 1 / max(images, count)))

    def mean_of_pixels(self, name: str, digits: int) -> float | None:
        """The rounded mean of ``psnr`` or ``ssim``; None without decoded images."""
        return round(self.mean(name), digits) if self.seen else None


@dataclass(frozen=True)
class Coded:
    """The images coded with one setting.

    Attributes:
        codec: fitted.
        tally: sums over the images.
        row: of the probe table.
        features: float32 (N, D) of the decoded images, for a lossless codec those of the originals; None if not kept.
    """

    codec: Codec
    tally: Tally
    row: Setting
    features: torch.Tensor | None


@dataclass(frozen=True)
class Measurement:
    """Images coded with every setting.

    Attributes:
        originals: float32 (N, D), features of the original images.
        settings: in the order of the codecs.
        network_seconds: time spent on features and distortions.
    """

    originals: torch.Tensor
    settings: list[Coded]
    network_seconds: float


@dataclass(frozen=True)
class Sample:
    """The images that a probe measures, and what else a row of its table needs.

    Attributes:
        dataset: of the images.
        labels: int64 (N,), of the measured images.
        file_bytes: mean size of their original files.
        class_sizes: number of training images of each class, measured or not.
        budget: bytes on disk, for the number of exemplars that fit.
    """

    dataset: ImageDataset
    labels: np.ndarray
    file_bytes: float
    class_sizes: Sequence[int]
    budget: int

    def row(self, codec: Codec, tally: Tally, features: torch.Tensor) -> Setting:
        """One setting's row of the table, from sums over the images and float32 (N, D) features of the decoded ones."""
        stored = sum(tally.stored) / len(tally.stored)
        raw = self.dataset.raw_image_bytes
        exemplars = int(self._capacity(codec, tally, features).exemplars(self.budget))
        uncompressed = self.budget / raw
        relative, half = tally.relative_fmse(sum(self.class_sizes))
        return {
            "codec": str(codec),
            "file_bytes": round(tally.mean("files"), 2),
            "stored_bytes": round(stored, 2),
            "shared_bytes": codec.shared_bytes(),
            "weights_bytes": codec.weights_bytes(),
            "pixels": None if stores_features(codec) else round(tally.mean("pixels"), 1),
            "bpp": round(8 * stored / tally.mean("pixels"), 4),
            "ratio_raw": round(raw / stored, 4),
            "ratio_original": round(self.file_bytes / stored, 4),
            "exemplars": exemplars,
            "exemplars_per_class": round(exemplars / len(self.dataset.class_names), 2),
            "equivalent_exemplars_raw": round(uncompressed * raw / stored, 1),
            "equivalent_exemplars_original": round(uncompressed * self.file_bytes / stored, 1),
            "psnr": tally.mean_of_pixels("psnr", 3),
            "ssim": tally.mean_of_pixels("ssim", 5),
            "fmse": tally.fmse(),
            "fmse_relative": relative,
            "fmse_relative_ci95": half,
            "cosine_distance": max(0.0, tally.mean("cosine")),
            "cka": _finite(tally.cka.compute()),
            "encode_us": round(tally.mean("encode") * 1e6, 2),
            "decode_us": round(tally.mean("decode") * 1e6, 2),
        }

    def table(self, measured: Measurement, extractor: FeatureExtractor, seed: int, seconds: float) -> ProbeResult:
        """The ``probe`` JSON.

        Args:
            measured: the images coded with every setting.
            extractor: that compared them.
            seed: of the sample.
            seconds: that the measurement took.
        """
        codec_seconds = sum(coded.tally.sums["encode"] + coded.tally.sums["decode"] for coded in measured.settings)
        return {
            "dataset": self.dataset.name,
            "size": self.dataset.size,
            "images": len(measured.originals),
            "classes": len(self.dataset.class_names),
            "extractor": extractor.name,
            "layer": extractor.layer,
            "budget_bytes": self.budget,
            "original_file_bytes": self.file_bytes,
            "seed": seed,
            "seconds": round(seconds, 3),
            "codec_cpu_seconds": round(codec_seconds, 3),
            "network_seconds": round(measured.network_seconds, 3),
            "encoder": encoder_versions(),
            "settings": [coded.row for coded in measured.settings],
        }

    def _capacity(self, codec: Codec, tally: Tally, features: torch.Tensor) -> Capacity:
        """Exemplars in the order of a build, so that the promise is exact if all training images are measured."""
        sizes, known = np.array(tally.stored), features.numpy()
        classes = []
        for label, images in enumerate(self.class_sizes):
            members = np.flatnonzero(self.labels == label)
            if images:
                classes.append((sizes[members[herding_order(known[members])]] if len(members) else sizes, images))
        return Capacity.of([own for own, _ in classes], codec.shared_bytes(), [images for _, images in classes])


def probe_codecs(
    dataset: ImageDataset,
    codecs: Sequence[str],
    *,
    budget: int,
    extractor: FeatureExtractor,
    guide_extractor: FeatureExtractor | None = None,
    images: int = MOST_IMAGES,
    seed: int = 0,
    progress: Progress = silent,
    on_row: OnRow = ignore_row,
) -> ProbeResult:
    """Measure every setting on training images; the ``probe`` JSON.

    Args:
        dataset: only its training split is used.
        codecs: specs.
        budget: bytes, for the number of exemplars that fit.
        extractor: compares the decoded images with the originals.
        guide_extractor: guides encoders that need a network; ``extractor`` by default.
        images: maximum number of images, stratified over the classes.
        seed: seed of the sample.
        progress: receives the number of (chunk of images, setting) pairs done.
        on_row: receives each setting's row when it is finished.

    Raises:
        UsageError: no codecs or fewer than 4 images.
    """
    if images < LEAST_IMAGES:
        raise UsageError(f"the probe needs at least {LEAST_IMAGES} images, got {images}")
    started = time.perf_counter()
    chosen = np.random.default_rng(seed).permutation(dataset.stratified_train_indices(images, seed))
    file_bytes, labels = float(dataset.train.file_bytes[chosen].mean()), dataset.train.labels[chosen]
    sample = Sample(dataset, labels, file_bytes, dataset.train_class_sizes(), budget)
    measured = measure(
        np.asarray(dataset.train.images[chosen]),
        sample,
        codecs,
        extractor,
        make_guide=lambda: NetworkGuide(guide_extractor or extractor, dataset.train.images, dataset.train.labels),
        progress=progress,
        on_row=on_row,
    )
    return sample.table(measured, extractor, seed, time.perf_counter() - started)


def measure(
    pixels: np.ndarray,
    sample: Sample,
    codecs: Sequence[str],
    extractor: FeatureExtractor,
    *,
    make_guide: Callable[[], Guide],
    keep_features: bool = False,
    compared: int | None = None,
    progress: Progress = silent,
    on_row: OnRow = ignore_row,
) -> Measurement:
    """Code and decode images with every setting and compare them with the originals.

    Codecs run in threads ahead of the network; the originals' features are computed once. Times per image are processor
    time on one thread; stored features take that of a pass through the extractor as well.

    Args:
        pixels: uint8 (N, H, W, 3) in random order, at least 4.
        sample: these images.
        codecs: specs.
        extractor: compares the decoded images with the originals.
        make_guide: creates the guide for encoders that need a network; called if any does.
        keep_features: whether to keep the features of the decoded images.
        compared: number of images whose distortion is measured, rounded up to hundreds; None means all.
        progress: receives the number of (chunk of images, setting) pairs done.
        on_row: receives each setting's row when it is finished.

    Raises:
        UsageError: no codecs.
        WorkError: the extractor returns features that are not finite.
    """
    if not codecs:
        raise UsageError("no codecs to probe")
    pixels = np.ascontiguousarray(pixels)
    chunks = np.array_split(np.arange(len(pixels)), max(1, math.ceil(len(pixels) / _CHUNK)))
    clock = time.perf_counter()
    originals = [_finite_features(extractor, pixels[chunk], "the originals") for chunk in chunks]
    network_seconds = time.perf_counter() - clock
    parsed = [parse_codec(spec) for spec in codecs]
    give_guide(parsed, make_guide)
    give_originals(parsed, sample.dataset.originals)
    layers = give_layers(parsed, lambda: frozen_layers(extractor, progress))
    for codec in parsed:
        codec.fit(pixels)
    each = network_seconds / len(pixels) * thread_count()
    if layers is not None:
        for chunk in chunks:  # cached, so that the time of a setting does not depend on their order
            layers.outputs(pixels[chunk])
    jobs = [(setting, chunk) for setting in range(len(parsed)) for chunk in range(len(chunks))]
    tallies = [Tally() for _ in parsed]
    settings: list[Coded] = []
    decoded_features: list[torch.Tensor] = []

    def code(job: tuple[int, int]) -> _CodedChunk:
        return _code_chunk(parsed[job[0]], pixels[chunks[job[1]]], *job)

    with beside_workers():
        for done, coded in enumerate(ordered_map(code, jobs, group=1, ahead=2), start=1):
            clock = time.perf_counter()
            codec, before = parsed[coded.setting], originals[coded.chunk]
            if codec.lossless:
                after = before
            elif stores_features(codec):
                after = torch.from_numpy(coded.decoded)
            else:
                after = _finite_features(extractor, coded.decoded, f"images of {codec}")
            tally = tallies[coded.setting]
            tally.count(coded)
            if stores_features(codec):  # whose encoder may have found the network's outputs in the cache
                tally.sums["encode"] += each * len(chunks[coded.chunk])
            if compared is None or chunks[coded.chunk][0] < compared:
                tally.compare(before, after)
                if len(coded.decoded) and not stores_features(codec):
                    tally.compare_pixels(*map(torch.from_numpy, (pixels[chunks[coded.chunk]], coded.decoded)))
            decoded_features.append(after)
            network_seconds += time.perf_counter() - clock
            progress(f"probing {codec}", done, len(jobs))
            if coded.chunk == len(chunks) - 1:
                features = torch.cat(decoded_features)
                row = sample.row(codec, tally, features)
                settings.append(Coded(codec, tally, row, features if keep_features else None))
                decoded_features.clear()
                on_row(row)
    return Measurement(torch.cat(originals), settings, network_seconds)


def _finite_features(extractor: FeatureExtractor, pixels: np.ndarray, what: str) -> torch.Tensor:
    features = extractor(pixels)
    if not bool(torch.isfinite(features).all()):
        raise WorkError(f"extractor {extractor.name} returned features of {what} that are not finite: use another")
    return features


def _code_chunk(codec: Codec, pixels: np.ndarray, setting: int, chunk: int) -> _CodedChunk:
    start = time.thread_time()
    payloads = codec.encode(pixels)
    middle = time.thread_time()
    known = codec.lossless and chunk > 0  # the first chunk shows that nothing changes, and how long it takes
    decoded = pixels[:0] if known else codec.decode(payloads, image_size(pixels))
    end = time.thread_time()
    files = [len(codec.to_file(payload)) for payload in payloads]
    stored = [len(payload) for payload in payloads]
    kept = sum(stored_pixels(codec, payload, pixels[0, ..., 0].size) for payload in payloads)
    return _CodedChunk(setting, chunk, decoded, stored, files, kept, middle - start, end - middle)


def _finite(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
