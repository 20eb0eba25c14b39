"""Train and measure all variants of a run: plain network, layer, controls."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import torch

from toolkit.codecs.jpeg_tables import integer_tables
from toolkit.data.catalog import load_dataset
from toolkit.data.dataset import ImageDataset
from toolkit.foundation.errors import UsageError
from toolkit.foundation.files import build_folder, read_json, write_json
from toolkit.foundation.progress import Progress, silent
from toolkit.foundation.seeds import derive
from toolkit.jpeg.layer import JPEGLayer
from toolkit.jpeg.tables import clip_rate, standard_tables
from toolkit.jpeg_dl.calibration import calibrate_rate
from toolkit.jpeg_dl.config import JPEGConfig
from toolkit.jpeg_dl.contents import Clipped, Planes, RateEstimate, TrainingResult, VariantRecord
from toolkit.jpeg_dl.rates import energy_passed, hard_rate, matching_quality
from toolkit.jpeg_dl.training import Variant, accuracy, load_layer_state, save_variant, train_variant
from toolkit.jpeg_dl.variants import TrainingData, build_layer, build_network, evenly_spread, initial_tables, layered
from toolkit.runs.folder import RunFolder
from toolkit.runs.reporting import RunReporter
from toolkit.training.device import resolve_device
from toolkit.training.network_spec import parse_network
from toolkit.training.networks import Classifier
from toolkit.training.start import open_network, require_size
from toolkit.training.weights import load_network

_CALIBRATION_QUALITIES = (10, 20, 35, 50, 75, 90)
_CALIBRATION_IMAGES = 100
_PLAIN_FILES = ("plain.pt", "plain.json")


def check_training(config: JPEGConfig, dataset: ImageDataset | None = None, progress: Progress = silent) -> None:
    """Check a configuration before anything is written.

    Raises:
        UsageError: the dataset, network or device is not available.
    """
    resolve_device(config.device)
    require_size(open_network(config.network), config.size)
    if dataset is None:
        load_dataset(config.dataset, config.size, progress=progress)


def train_variants(
    run: RunFolder, config: JPEGConfig, seed: int, reporter: RunReporter, dataset: ImageDataset | None = None
) -> TrainingResult:
    """Train every variant missing from the run folder; the run's ``result.json``.

    Args:
        run: the run folder, for networks, records and checkpoints.
        config, seed: the request.
        reporter: receives progress.
        dataset: the configured dataset if already open.
    """
    device = resolve_device(config.device)
    dataset = dataset or load_dataset(config.dataset, config.size, progress=reporter.show)
    data = TrainingData.of(dataset, config, reporter.show)
    trial = _Trial(run, config, seed, data, device, reporter)
    records = {name: trial.record(name) for name in config.variants}
    return {
        "seed": seed,
        "tested_on": "held-out training images" if config.held_out else "test images",
        "test_images": len(data.test_labels),
        "test_image_bytes": data.test_bytes,
        "variants": records,
        "rate_estimate": _calibration(data, records, config),
        "optimizer_steps": config.steps,
        "run_dir": run.name,
    }


def _calibration(data: TrainingData, records: Mapping[str, VariantRecord], config: JPEGConfig) -> RateEstimate:
    """Calibrate the analytic rate with standard and learned tables."""
    tables = [standard_tables(quality).numpy().astype(int) for quality in _CALIBRATION_QUALITIES]
    for record in records.values():
        if learned := record.get("tables"):
            tables.append(integer_tables(np.array([learned["luma"], learned["chroma"]])))
    chosen = evenly_spread(len(data.labels), _CALIBRATION_IMAGES)
    return calibrate_rate(data.images[chosen], tables, config.subsampling)


@dataclass
class _Trial:
    """One seed of a configuration; each variant's record is written to the run folder after training."""

    run: RunFolder
    config: JPEGConfig
    seed: int
    data: TrainingData
    device: torch.device
    reporter: RunReporter
    _steps: torch.Tensor | None = field(default=None, init=False)

    def record(self, name: str) -> VariantRecord:
        """The results of a variant, which is trained first if necessary."""
        path = self.run.path / f"{name}.json"
        if name == "plain":
            self._copy_plain()
        if not path.exists():
            self._train(name, path)
        if name == "plain":
            self._share_plain()
        return cast(VariantRecord, read_json(path))

    def _train(self, name: str, path: Path) -> None:
        variant = self._build(name)
        torch.manual_seed(derive(self.seed, 2))
        initial = None if variant.layer is None else variant.layer.tables().detach().cpu()
        train_variant(variant, self.config, self.data, self.seed, self.run.path, self.reporter)
        record = self._measure(variant, initial)
        save_variant(variant, parse_network(self.config.network).architecture, self.run.path)
        write_json(path, record)
        self.run.log("variant", name=name, accuracy=record["accuracy"])

    def _shared(self) -> Path:
        return self.run.path.parent / "plain-networks" / self.config.plain_name(self.seed)

    def _share_plain(self) -> None:
        """Store the plain network for other runs in the folder that would train the same one."""

        def fill(folder: Path) -> None:
            for name in _PLAIN_FILES:
                shutil.copyfile(self.run.path / name, folder / name)

        if not self._shared().exists():
            build_folder(self._shared(), fill)

    def _copy_plain(self) -> None:
        """Copy the plain network of another run, its record last, because the record marks it as complete."""
        if self._shared().exists():
            for name in _PLAIN_FILES:
                if not (self.run.path / name).exists():
                    shutil.copyfile(self._shared() / name, self.run.path / name)

    def _build(self, name: str) -> Variant:
        config = self.config
        network = build_network(config, self.data, self.seed)
        if name == "plain":
            model = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            return Variant(name, network, None, model)
        if config.start == "plain":
            network.load_state_dict(self._plain().state_dict())
        layer = build_layer(name, config, self._first_steps(name))
        return Variant(name, network, layer, layered(layer, network, self.device))

    def _plain(self) -> Classifier:
        return load_network(self.run.path / "plain.pt")

    def _first_steps(self, name: str) -> torch.Tensor:
        """Initial tables of the variant; ``standard`` gets the quality with the rate of the learned tables."""
        if name == "standard":
            target = read_json(self.run.path / "jpeg.json")["bits_per_pixel"]
            transform = build_layer("jpeg", self.config, standard_tables(75)).transform
            return standard_tables(matching_quality(self.data.sample_images(), target, transform))
        if self._steps is None:
            self._steps = initial_tables(self.config, self.data, self._plain())
        return self._steps

    def _measure(self, variant: Variant, initial: torch.Tensor | None) -> VariantRecord:
        """Test accuracy as trained; with a layer also soft and hard accuracy, tables and rates."""
        layer = variant.layer
        record: VariantRecord = {"accuracy": accuracy(variant.model, self.data, self.device)}
        if layer is None or initial is None:
            return record
        if layer.mode != "identity":
            soft, hard = self._soft_and_hard(variant, layer)
            # as trained, but without noise and sampling at test time
            as_trained = hard if layer.mode in ("hard", "ste") else soft
            record = {"accuracy": as_trained, "soft_accuracy": soft, "hard_accuracy": hard}
            self._add_tables(record, layer, initial)
        return record

    def _soft_and_hard(self, variant: Variant, layer: JPEGLayer) -> tuple[float, float]:
        """Test accuracy through the soft and through the hard quantiser."""
        trained_in = layer.mode
        found = []
        for mode in ("soft", "hard"):
            layer.mode = mode
            found.append(accuracy(variant.model, self.data, self.device))
        layer.mode = trained_in
        return found[0], found[1]

    def _add_tables(self, record: VariantRecord, layer: JPEGLayer, initial: torch.Tensor) -> None:
        """Add rate, tables and what the quantiser does to the test images to a record."""
        layer = layer.cpu()
        tables = layer.tables().detach()
        images = self.data.sample_images()
        record["bits_per_pixel"] = hard_rate(images, tables, layer.transform, bits=layer.bits)
        record["tables"] = _planes(tables)
        record["initial_tables"] = _planes(initial)
        record["frequency_response"] = {
            "initial": _planes(energy_passed(images, initial, layer.transform, bits=layer.bits)),
            "final": _planes(energy_passed(images, tables, layer.transform, bits=layer.bits)),
        }
        record["alpha"] = layer.alphas()[:, 0, 0].tolist()
        record["clip_rate"] = {
            "initial": _clipped(clip_rate([images], layer.transform, initial, bits=layer.bits)),
            "final": _clipped(clip_rate([images], layer.transform, tables, bits=layer.bits)),
        }


def _planes(tables: torch.Tensor) -> Planes:
    """Tables (2, 8, 8) of luma and chroma."""
    return {"luma": tables[0].tolist(), "chroma": tables[1].tolist()}


def _clipped(rate: torch.Tensor) -> Clipped:
    """Shares of clipped indices from those of each frequency, (2, 8, 8)."""
    return {"luma": float(rate[0].mean()), "luma_dc": float(rate[0, 0, 0]), "chroma": float(rate[1].mean())}


def load_trained(run: RunFolder, name: str) -> tuple[JPEGConfig, Classifier, JPEGLayer | None]:
    """A finished variant from its run folder: configuration, network, and the layer unless it is ``plain``.

    Raises:
        UsageError: the folder has no such variant, or weights of another network.
    """
    config = JPEGConfig.model_validate(run.config["config"])
    if not (run.path / f"{name}.json").exists():
        there = ", ".join(n for n in config.variants if (run.path / f"{n}.json").exists()) or "none"
        raise UsageError(f"{run.name} has no trained variant {name!r}: it has {there}")
    network = load_network(run.path / f"{name}.pt")
    if name == "plain":
        return config, network, None
    layer = build_layer(name, config, torch.ones(2, 8, 8))
    layer.load_state_dict(load_layer_state(run.path / f"{name}-layer.pt"))
    return config, network, layer
