"""The probe table: every setting of a codec grid coded, decoded and compared with the originals."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from toolkit.codecs.base import Codec
from toolkit.codecs.spec import parse_codec
from toolkit.data.dataset import ImageDataset
from toolkit.features import distortion
from toolkit.features.extractor import FeatureExtractor
from toolkit.foundation.errors import UsageError
from toolkit.foundation.parallel import ordered_map
from toolkit.foundation.progress import Progress, silent
from toolkit.memory.store import LABEL_BYTES
from toolkit.training.device import beside_workers

IMAGES = 1000
_CHUNK = 100
"""Images a work item; also the minibatch of the CKA estimate, so classes are mixed by shuffling first."""


@dataclass(frozen=True)
class _CodedChunk:
    setting: int
    chunk: int
    decoded: np.ndarray
    stored: list[int]
    files: list[int]
    encode_seconds: float
    decode_seconds: float


class _Tally:
    """Running sums of one setting."""

    def __init__(self) -> None:
        self.images = 0
        self.sums = dict.fromkeys(
            ("stored", "files", "encode", "decode", "psnr", "ssim", "fmse", "cosine", "square"), 0.0
        )
        self.cka = distortion.LinearCKA()

    def add(self, coded: _CodedChunk, original: torch.Tensor, before: torch.Tensor, after: torch.Tensor) -> None:
        """Take in a chunk: pixels uint8 (N, H, W, 3) and features (N, D) of the originals and of the decoded images."""
        decoded = torch.from_numpy(coded.decoded)
        self.images += len(decoded)
        values = {
            "stored": float(sum(coded.stored)),
            "files": float(sum(coded.files)),
            "encode": coded.encode_seconds,
            "decode": coded.decode_seconds,
            "psnr": float(distortion.psnr(original, decoded, "sum")),
            "ssim": float(distortion.ssim(original, decoded, "sum")),
            "fmse": float(distortion.fmse(before, after, "sum")),
            "cosine": float(distortion.cosine_distance(before, after, "sum")),
            "square": float(before.square().mean(dim=1).sum()),
        }
        for name, value in values.items():
            self.sums[name] += value
        if len(decoded) >= 4:
            self.cka.update(before, after)

    def mean(self, name: str) -> float:
        return self.sums[name] / self.images


def probe_codecs(
    dataset: ImageDataset,
    codecs: Sequence[str],
    *,
    budget: int,
    extractor: FeatureExtractor,
    images: int = IMAGES,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Measure every setting on training images; the ``probe`` JSON of the contract.

    Codec work runs in threads ahead of the network; the originals' features are computed once. Times an image are
    processor time on one thread.

    Args:
        dataset: only its training split is used.
        codecs: specs.
        budget: bytes, for the number of exemplars that fit.
        extractor: judges the decoded images.
        images: how many to use at most, stratified over the classes.
        seed: of the draw.
        progress: told about (images x settings) done.

    Raises:
        UsageError: no codecs or fewer than 4 images.
    """
    if not codecs:
        raise UsageError("no codecs to probe")
    if images < 4:
        raise UsageError(f"the probe needs at least 4 images, got {images}")
    started = time.perf_counter()
    chosen = np.random.default_rng(seed).permutation(dataset.stratified_train_indices(images, seed))
    pixels = np.ascontiguousarray(dataset.train.images[chosen])
    chunks = np.array_split(np.arange(len(pixels)), max(1, math.ceil(len(pixels) / _CHUNK)))
    network_seconds = 0.0
    features = []
    for chunk in chunks:
        clock = time.perf_counter()
        features.append(extractor(pixels[chunk]))
        network_seconds += time.perf_counter() - clock

    parsed = [parse_codec(spec) for spec in codecs]
    for codec in parsed:
        codec.fit(pixels[:1])
    jobs = [(setting, chunk) for setting in range(len(parsed)) for chunk in range(len(chunks))]
    tallies = [_Tally() for _ in parsed]

    def code(job: tuple[int, int]) -> _CodedChunk:
        return _code_chunk(parsed[job[0]], pixels[chunks[job[1]]], *job)

    with beside_workers():
        for done, coded in enumerate(ordered_map(code, jobs, group=1), start=1):
            clock = time.perf_counter()
            after = features[coded.chunk] if parsed[coded.setting].lossless else extractor(coded.decoded)
            original = torch.from_numpy(pixels[chunks[coded.chunk]])
            tallies[coded.setting].add(coded, original, features[coded.chunk], after)
            network_seconds += time.perf_counter() - clock
            progress(f"probing {parsed[coded.setting]}", done, len(jobs))

    file_bytes = float(dataset.train.file_bytes[chosen].mean())
    settings = [
        _setting(codec, tally, dataset, budget, file_bytes) for codec, tally in zip(parsed, tallies, strict=True)
    ]
    codec_seconds = sum(tally.sums["encode"] + tally.sums["decode"] for tally in tallies)
    return {
        "dataset": dataset.name,
        "size": dataset.size,
        "images": len(pixels),
        "classes": len(dataset.class_names),
        "extractor": extractor.name,
        "layer": extractor.layer,
        "budget_bytes": budget,
        "original_file_bytes": file_bytes,
        "seed": seed,
        "seconds": round(time.perf_counter() - started, 3),
        "codec_cpu_seconds": round(codec_seconds, 3),
        "network_seconds": round(network_seconds, 3),
        "settings": settings,
    }


def _code_chunk(codec: Codec, pixels: np.ndarray, setting: int, chunk: int) -> _CodedChunk:
    start = time.thread_time()
    payloads = codec.encode(pixels)
    middle = time.thread_time()
    decoded = codec.decode(payloads)
    end = time.thread_time()
    files = [len(codec.to_file(payload)) for payload in payloads]
    stored = [len(payload) for payload in payloads]
    return _CodedChunk(setting, chunk, decoded, stored, files, middle - start, end - middle)


def _setting(codec: Codec, tally: _Tally, dataset: ImageDataset, budget: int, original_bytes: float) -> dict[str, Any]:
    stored = tally.mean("stored")
    raw = dataset.raw_image_bytes
    exemplars = max(0, int((budget - codec.shared_bytes()) // (stored + LABEL_BYTES)))
    uncompressed = budget / raw
    return {
        "codec": str(codec),
        "file_bytes": round(tally.mean("files"), 2),
        "stored_bytes": round(stored, 2),
        "shared_bytes": codec.shared_bytes(),
        "weights_bytes": codec.weights_bytes(),
        "bpp": round(8 * stored / dataset.size**2, 4),
        "ratio_raw": round(raw / stored, 4),
        "ratio_original": round(original_bytes / stored, 4),
        "exemplars": exemplars,
        "exemplars_per_class": round(exemplars / len(dataset.class_names), 2),
        "equivalent_exemplars_raw": round(uncompressed * raw / stored, 1),
        "equivalent_exemplars_original": round(uncompressed * original_bytes / stored, 1),
        "psnr": round(tally.mean("psnr"), 3),
        "ssim": round(tally.mean("ssim"), 5),
        "fmse": tally.mean("fmse"),
        "fmse_relative": tally.sums["fmse"] / max(tally.sums["square"], 1e-30),
        "cosine_distance": max(0.0, tally.mean("cosine")),
        "cka": _finite(tally.cka.compute()),
        "encode_us": round(tally.mean("encode") * 1e6, 2),
        "decode_us": round(tally.mean("decode") * 1e6, 2),
    }


def _finite(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
