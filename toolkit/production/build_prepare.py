"""Prepare a sharded build: list the images, draw a sample, fit the codec and choose the network."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from toolkit.codecs.base import Codec, fitting_sample
from toolkit.codecs.original import give_originals
from toolkit.codecs.spec import parse_codec
from toolkit.data.dataset import ImageDataset, Split
from toolkit.data.grey import is_grey
from toolkit.data.images import Unreadable, content_digest
from toolkit.data.listing import ListedImages, Listing, list_training
from toolkit.features.extractor import FeatureExtractor, build_extractor
from toolkit.foundation.errors import UsageError
from toolkit.foundation.files import write_atomically, write_json
from toolkit.foundation.image_size import WrittenSize, parse_image_size
from toolkit.foundation.progress import Progress
from toolkit.foundation.threads import ordered_map
from toolkit.memory.budget import budget_bytes
from toolkit.memory.capacity import Capacity
from toolkit.memory.disk import smallest_bytes
from toolkit.production.build_tasks import BuildPlan
from toolkit.production.facts import BuildRequest
from toolkit.training.device import resolve_device
from toolkit.training.weights import save_network

SAMPLE_IMAGES = 8192
SAMPLE_BYTES = 256 * 1024**2
"""The sample is held in memory as raw pixels: 8192 images at 32 px, 1783 at 224 px."""
_PRICED = 256
"""Images of the sample that are encoded to estimate the payload size."""
_PER_EXEMPLAR = 16
_LEAST, _MOST = 128, 4096


def prepare(folder: Path, request: BuildRequest, progress: Progress) -> None:
    """List the images and write what every task needs to ``folder``: plan, codec state, network."""
    progress("listing images", 0, 1)
    size, seed = request["size"], request["seed"]
    listing = list_training(request["dataset"], size, folder / "listing")
    sample = _sample(listing, size, request["dataset"], progress)
    codec = parse_codec(request["codec"])
    give_originals([codec], sample.originals)
    codec.fit(fitting_sample(sample.train.images))
    allowed = budget_bytes(request["budget"], len(listing.class_names), sample.raw_image_bytes)
    candidates = _candidates(codec, sample.train.images, allowed, len(listing.class_names), request["shards"])
    name = None
    if request["selection"] == "herding":
        device = resolve_device(request["device"])
        judge = build_extractor(request["extractor"], sample, device=device, seed=seed, progress=progress)
        name = _keep_network(judge, folder / "network.pt")
    write_atomically(folder / "shared.bin", lambda file: file.write(codec.shared_state()))
    plan = BuildPlan(
        dataset=request["dataset"],
        size=size,
        codec=request["codec"],
        selection=request["selection"],
        seed=seed,
        shards=request["shards"],
        device=request["device"],
        extractor=name,
        budget_bytes=allowed,
        candidates=candidates,
        images=len(listing),
        class_names=list(listing.class_names),
        notes=list(listing.notes),
        left_out=list(listing.left_out),
    )
    write_json(folder / "plan.json", plan.model_dump())


def _keep_network(judge: FeatureExtractor, path: Path) -> str:
    """Write the network for the workers; return the extractor's name for the manifest, without paths."""
    save_network(judge.network.cpu(), judge.architecture, path)
    return "checkpoint" if judge.name.startswith("checkpoint:") else judge.name


def _sample(listing: Listing, size: WrittenSize, name: str, progress: Progress) -> ImageDataset:
    """Images evenly spaced in the listing, as a dataset without a test split."""
    count = min(len(listing), SAMPLE_IMAGES, max(2, SAMPLE_BYTES // (3 * parse_image_size(size).pixels)))
    indices = np.unique(np.linspace(0, len(listing) - 1, count).astype(np.int64))

    def read(index: int) -> np.ndarray | None:
        try:
            return listing.read(index, size)
        except Unreadable:
            return None

    images: list[np.ndarray] = []
    labels: list[int] = []
    places: list[int] = []
    for done, (index, image) in enumerate(zip(indices, ordered_map(read, indices), strict=True), 1):
        progress("sampling", done, len(indices))
        if image is not None:
            images.append(image)
            labels.append(int(listing.labels[index]))
            places.append(int(index))
    if not images:
        raise UsageError(f"{name}: none of {len(indices)} sampled training images can be read")
    pixels = np.stack(images)
    train = Split(pixels, np.array(labels, np.int64), np.zeros(len(labels), np.int64))
    signature = hashlib.sha256(pixels.data).hexdigest()[:32]
    return ImageDataset(
        name,
        size,
        listing.class_names,
        train,
        train,
        (),
        (),
        signature,
        ListedImages.of(listing, places, [content_digest(image) for image in pixels]),
        grey=all(map(is_grey, pixels)),
    )


def _candidates(codec: Codec, images: np.ndarray, budget: int, classes: int, shards: int) -> int:
    """Number of candidates per class to hold in memory: 16 per expected exemplar while that is small, at least 4.

    Raises:
        UsageError: the budget is below one exemplar per class even at the smallest payload size of the sample.
    """
    payloads = codec.encode(images[:: max(1, len(images) // _PRICED)])
    sizes = np.array([len(payload) for payload in payloads])

    def needed(size: int) -> int:
        return smallest_bytes([(size, 0)] * classes, codec.shared_bytes(), shards)

    if budget < needed(int(sizes.min())):
        raise UsageError(
            f"a budget of {budget} bytes cannot hold one exemplar of each of {classes} classes in {shards} shards: "
            f"about {needed(round(float(sizes.mean())))} bytes are needed"
        )
    exemplars = int(Capacity.of([sizes] * classes, codec.shared_bytes(), files=shards).exemplars(budget) / classes) + 1
    return max(_LEAST, min(_PER_EXEMPLAR * exemplars, _MOST), 4 * exemplars)
