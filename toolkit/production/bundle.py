"""A bundle: memory, network, codec, preprocessing rule and monitor baseline in one checksummed folder.

``bundle.json`` lists the other files with their SHA-256 and has a checksum of its own, so any changed byte is detected.
It is not a signature: anyone who can write to the folder can update the checksums. Loading reads plain data only,
executes nothing and needs no internet connection.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from toolkit.codecs.base import Codec
from toolkit.codecs.features import refuse_features
from toolkit.codecs.guide import refuse_guide
from toolkit.codecs.original import refuse_originals
from toolkit.codecs.spec import parse_codec, path_values, short_spec
from toolkit.data.catalog import load_dataset, short_name
from toolkit.data.images import decode_image, framed, framed_array, to_rgb
from toolkit.features.extractor import FeatureExtractor
from toolkit.foundation.errors import UsageError
from toolkit.foundation.files import build_folder, sha256_of
from toolkit.foundation.image_size import parse_image_size
from toolkit.foundation.progress import Progress, silent
from toolkit.learning.catalog import parse_method
from toolkit.memory.store import ExemplarMemory
from toolkit.pilots.contents import PilotResult
from toolkit.pilots.request import PilotRequest
from toolkit.production.card import model_card
from toolkit.production.charts import FALSE_ALARMS
from toolkit.production.facts import BundleFacts, BundleResult
from toolkit.production.manifest import (
    CARD,
    CODEC_FILES,
    FORMAT,
    MEMORY,
    MONITOR,
    NETWORK,
    STATE,
    read_bundle_manifest,
    reseal,
    write_manifest,
)
from toolkit.production.monitor import Monitor, read_folder
from toolkit.runs.folder import RunFolder
from toolkit.training.networks import Classifier
from toolkit.training.weights import load_network, save_network


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle.

    Attributes:
        path: its folder.
        facts: contents of ``bundle.json``.
    """

    path: Path
    facts: BundleFacts

    @cached_property
    def codec(self) -> Codec:
        """The memory's codec with its shared state."""
        return self.memory.codec

    @cached_property
    def memory(self) -> ExemplarMemory:
        """The exemplars. After changing them, :meth:`seal` the bundle."""
        return ExemplarMemory(self.path / MEMORY, codec=self._spec())

    def _spec(self) -> str | None:
        """The codec spec with the paths of its files in this bundle; None if the memory's own spec is enough."""
        spec, files = str(self.facts["codec"]), 0
        for key, name in CODEC_FILES.items():
            if (self.path / name).exists():
                place = f"{key}={self.path / name}".replace("\\", r"\\")
                spec, found = re.subn(rf"\b{key}=[^,|]*", place, spec, count=1)
                files += found
        return spec if files else None

    def network(self) -> Classifier:
        """The pilot's final classifier, in evaluation mode; output n is class ``class_order[n]``."""
        return load_network(self.path / NETWORK)

    @cached_property
    def monitor(self) -> Monitor:
        """Control charts of new images, continuing from the last :meth:`keep_monitor`."""
        kept = self.path / STATE / MONITOR
        extractor = FeatureExtractor(f"checkpoint:{self.path / NETWORK}", self.network(), torch.device("cpu"))
        return Monitor.load(kept if kept.exists() else self.path / MONITOR, self.codec, extractor)

    def keep_monitor(self) -> None:
        """Save the state of the monitor for the next session."""
        self.monitor.save(self.path / STATE / MONITOR)

    def preprocess(self, image: Image.Image | np.ndarray | bytes, *, training: bool = False) -> np.ndarray:
        """Prepare an image for the network: scale, crop, and compress and decode if the alignment requires it.

        Args:
            image: a Pillow image, the bytes of an image file, or uint8 (H, W), (H, W, 1) or (H, W, 3).
            training: for training (coded with ``train`` and ``both``) rather than inference (coded with ``both``).

        Returns:
            uint8 (H, W, 3).

        Raises:
            UsageError: an array of another shape or dtype.
            Unreadable: bytes that are not an image.
        """
        size = self.facts["size"]
        if isinstance(image, bytes):
            pixels = decode_image(image, size)
        elif isinstance(image, Image.Image):
            pixels = framed(to_rgb(image), size)
        elif image.dtype == np.uint8 and image.ndim in (2, 3) and (image.ndim == 2 or image.shape[2] in (1, 3)):
            pixels = framed_array(image, size)
        else:
            raise UsageError(f"an image must be uint8 (H, W) or (H, W, 3), got {image.dtype} {image.shape}")
        if self.facts["align"] not in (("train", "both") if training else ("both",)):
            return pixels
        return self.codec.decode(self.codec.encode(np.ascontiguousarray(pixels)[None]))[0]

    def seal(self, network: Classifier | None = None, accepted: np.ndarray | None = None) -> None:
        """Recompute the checksums after an intended change.

        Args:
            network: a further trained network; its monitor gets a new baseline and restarts.
            accepted: uint8 (N, H, W, 3), images for that baseline; not used in training.

        Raises:
            UsageError: a network without accepted images, or too few of them.
        """
        if network is not None:
            if accepted is None:
                raise UsageError("a further trained network needs accepted images for its monitor")
            extractor = FeatureExtractor("bundle", network.eval(), torch.device("cpu"))
            rate = self.facts["baseline"]["false_alarms"]
            monitor = Monitor.of(self.codec, extractor, accepted, false_alarms=rate)
            save_network(network, self.facts["network"], self.path / NETWORK)
            monitor.save(self.path / MONITOR)
            (self.path / STATE / MONITOR).unlink(missing_ok=True)
            images = len(monitor.charts.baseline[0])
            self.facts["result"] = None
            self.facts["baseline"] = {"images": images, "of": "given images", "false_alarms": rate}
        (self.path / CARD).write_text(model_card(self.facts))
        reseal(self.path, self.facts)


def load_bundle(path: str | Path) -> Bundle:
    """Check every file of a bundle and open it.

    Raises:
        UsageError: not a bundle, a newer format, or a file that has been changed.
    """
    return Bundle(Path(path), read_bundle_manifest(Path(path)))


def export_bundle(
    run: RunFolder,
    output: Path,
    *,
    accepted: Path | None = None,
    false_alarms: float = FALSE_ALARMS,
    progress: Progress = silent,
) -> Bundle:
    """Export a finished pilot as a bundle.

    Args:
        run: the pilot.
        output: folder to create.
        accepted: folder of accepted images for the monitor's baseline; by default the dataset's test images, since the
            network fits its training images better than any new ones.
        false_alarms: expected false alarms of the monitor per image.
        progress: called after each batch of measured images.

    Raises:
        UsageError: not a finished pilot, a method that keeps no exemplars or changes the network's structure, too few
            accepted images, or an output that exists.
        WorkError: the folder cannot be written, or the run is damaged.
    """
    if run.config["kind"] != "pilot":
        raise UsageError(f"{run.name} is not a finished pilot")
    request = PilotRequest.of(run)
    config, result = request.config, request.result_in(run)
    if result is None:
        raise UsageError(f"{run.name} is not a finished pilot")
    if not parse_method(config.method)[0].exemplars:
        raise UsageError(f"{run.name}: {config.method} keeps no exemplars, so there is no memory to export")
    if config.held_out:
        raise UsageError(f"{run.name} held out a fifth of the training images for a choice: repeat it without held_out")
    if output.exists():
        raise UsageError(f"{output} already exists")
    for refuse in (refuse_guide, refuse_originals, refuse_features):
        refuse(parse_codec(config.codec), "a bundle")
    network = load_network(run.path / NETWORK)
    extractor = FeatureExtractor(f"checkpoint:{NETWORK}", network, torch.device("cpu"))
    dataset = load_dataset(config.dataset, config.size, progress=progress)
    if accepted is None:
        images = np.asarray(dataset.test.images)
    else:
        found = [image for _, image in read_folder(accepted, config.size)[1]() if not isinstance(image, str)]
        images = np.stack(found) if found else np.zeros((0, *parse_image_size(config.size), 3), np.uint8)
    monitor = Monitor.of(
        parse_codec(config.codec), extractor, images, false_alarms=false_alarms, seed=result["seed"], progress=progress
    )
    baseline = "the test images" if accepted is None else "given images"
    facts: BundleFacts = {
        "format": FORMAT,
        "codec": short_spec(config.codec),
        "align": config.align,
        "size": config.size,
        "budget_bytes": result["budget_bytes"],
        "class_names": list(dataset.class_names),
        "class_order": result["class_order"],
        "network": result["network"],
        "run": run.name,
        "dataset": short_name(config.dataset),
        "config": config.model_dump(mode="json", exclude={"dataset", "codec"}),
        "result": _kept(result),
        "baseline": {"images": len(monitor.charts.baseline[0]), "of": baseline, "false_alarms": false_alarms},
        "versions": _versions(run),
    }

    def fill(folder: Path) -> None:
        shutil.copyfile(run.path / MEMORY, folder / MEMORY)
        shutil.copyfile(run.path / NETWORK, folder / NETWORK)
        for key, file in path_values(config.codec).items():
            shutil.copyfile(file, folder / CODEC_FILES[key])
        monitor.save(folder / MONITOR)
        (folder / CARD).write_text(model_card(facts))
        facts["files"] = {path.name: sha256_of(path) for path in sorted(folder.iterdir())}
        write_manifest(folder, facts)

    build_folder(output, fill, f"the bundle {output}")
    return load_bundle(output)


def _kept(result: PilotResult) -> BundleResult:
    return {
        "seed": result["seed"],
        "last_accuracy": result["last_accuracy"],
        "average_incremental_accuracy": result["average_incremental_accuracy"],
        "forgetting": result["forgetting"],
        "accuracy_on_original": result["accuracy_on_original"],
        "accuracy_on_coded": result["accuracy_on_coded"],
        "memory_bytes": result["memory_bytes"],
    }


def _versions(run: RunFolder) -> dict[str, str]:
    libraries = (run.environment or {}).get("libraries")
    return libraries if isinstance(libraries, dict) else {}
