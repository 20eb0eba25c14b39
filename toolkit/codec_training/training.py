"""Train neural codecs on a dataset, one per rate, into a folder of model files; interrupted trainings resume."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from toolkit.codec_training.config import CodecTraining
from toolkit.codec_training.facts import (
    CodecFacts,
    CodecMeasurement,
    CodecTrainingResult,
    TrainedCodec,
    TrainedObjective,
)
from toolkit.codec_training.objective import (
    RateDistortion,
    TurnBatches,
    expected_weight,
    layered_features,
    weight_ratio,
)
from toolkit.codecs.base import image_size
from toolkit.codecs.neural.model_file import (
    Architecture,
    ModelManifest,
    read_model_manifest,
    read_model_state,
    write_model,
)
from toolkit.codecs.neural.networks import build, keep_decoder, load_state, prepare_tables, start_from_components
from toolkit.codecs.spec import parse_codec
from toolkit.data.catalog import load_dataset
from toolkit.data.dataset import ImageDataset, validation_view
from toolkit.features import distortion
from toolkit.features.extractor import FeatureExtractor, build_extractor
from toolkit.foundation.errors import UsageError
from toolkit.foundation.files import make_folder, read_json, write_json
from toolkit.foundation.progress import Progress, silent
from toolkit.foundation.seeds import derive
from toolkit.runs.environment import require_one_rank
from toolkit.training.checkpoint import resume_training, save_training
from toolkit.training.device import resolve_device
from toolkit.training.loop import Recipe, train

_EXTRACTOR_STEPS = 600
"""The longer a network is trained, the better its features show coding losses."""
_CHECKPOINT_EVERY = 500
_CHECKPOINT = "checkpoint.pt"
_RECORD = "training.json"
_ENTROPY_LR = 1e-3
_WARMUP = 100
_CLIP_NORM = 1.0
"""As in CompressAI: without it an occasional batch destabilises the entropy model, and lambda with it."""


def train_codecs(config: CodecTraining, folder: Path, progress: Progress = silent) -> CodecTrainingResult:
    """Train (or resume, or just read) one codec per rate; the ``neural train`` JSON.

    Args:
        config: what to train.
        folder: output folder for the model files, ``training.json`` and, during training, a checkpoint.
        progress: called after each step.

    Raises:
        UsageError: the folder contains another training, or a choice is not available.
        WorkError: training failed, or a file cannot be written.
    """
    require_one_rank()
    device = resolve_device(config.device)
    adapted = _adapted(config)
    if config.adapts is not None and Path(config.adapts).resolve() == (folder / config.file_name(0)).resolve():
        raise UsageError(f"{config.adapts} would be overwritten by the adapted codec: choose another folder")
    make_folder(folder)
    record = _resume(config, folder)
    views = [validation_view(load_dataset(config.dataset, size, progress=progress)) for size in config.sizes]
    extractors = _extractors(config, views, device, progress)
    for number, rate in enumerate(config.rates[len(record["codecs"]) :], len(record["codecs"])):
        path = folder / config.file_name(rate)
        state, weight = (
            _begin_from([] if config.afresh else record["codecs"], folder, rate, config.feature_weight)
            if adapted is None
            else (adapted[1], float(adapted[0].trained["lambda"]))
        )
        trial = _Trial(config, rate, number, folder, views, extractors, device, adapted and adapted[0], state, weight)
        trained = trial.run(progress)
        manifest = trial.save(path)
        codec: TrainedCodec = {**trained, **_facts(path, manifest, rate, views, extractors, progress)}
        record["codecs"].append(codec)
        write_json(folder / _RECORD, record)
        (folder / _CHECKPOINT).unlink(missing_ok=True)
    return record


def _extractors(
    config: CodecTraining, views: list[ImageDataset], device: torch.device, progress: Progress
) -> dict[int, FeatureExtractor]:
    """Feature extractors by image side; empty without a feature weight.

    Each size has its own, because a network trained on another image size uses other details.
    """
    extractors = {}
    for view in views if config.feature_weight else ():
        extractors[view.sides.height] = extractor = build_extractor(
            config.extractor, view, device=device, seed=config.seed, steps=_EXTRACTOR_STEPS, progress=progress
        )
        extractor.network.requires_grad_(False)
    return extractors


def _begin_from(
    codecs: list[TrainedCodec], folder: Path, rate: float, feature_weight: float
) -> tuple[dict[str, np.ndarray] | None, float]:
    """Initial arrays and lambda, from the trained codec with the nearest rate if there is one."""
    nearest = min(codecs, key=lambda one: abs(one["rate"] - rate), default=None)
    if nearest is None:
        return None, expected_weight(rate, feature_weight)
    return read_model_state(folder / nearest["file"]), nearest["lambda"] * weight_ratio(rate - nearest["rate"])


def _groups(network: torch.nn.Module, lr: float) -> list[dict[str, Any]]:
    """Parameter groups for Adam: the transforms with ``lr``, and the densities with at least ``_ENTROPY_LR``.

    Densities that lag behind the latents overestimate the bits, and lambda falls until distortion no longer matters.
    """
    densities = {id(one) for one in network.entropy_bottleneck.parameters()}  # type: ignore[union-attr]
    trained = [one for one in network.parameters() if one.requires_grad]
    groups = (
        {"params": [one for one in trained if id(one) not in densities], "lr": lr},
        {"params": [one for one in trained if id(one) in densities], "lr": max(lr, _ENTROPY_LR)},
    )
    return [group for group in groups if group["params"]]


class _Trial:
    """One codec under training."""

    def __init__(
        self,
        config: CodecTraining,
        rate: float,
        number: int,
        folder: Path,
        views: list[ImageDataset],
        extractors: dict[int, FeatureExtractor],
        device: torch.device,
        adapted: ModelManifest | None,
        state: dict[str, np.ndarray] | None,
        weight: float,
    ) -> None:
        self.config, self.rate, self.number, self.device, self.adapted = config, rate, number, device, adapted
        self.state = state
        self.checkpoint = folder / _CHECKPOINT
        self.views = views
        new: Architecture = {
            "name": config.architecture,
            "channels": config.channels,
            "latent": config.latent,
            "stages": config.stages,
        }
        self.architecture = adapted.architecture if adapted else new
        features = {side: layered_features(extractor.network) for side, extractor in extractors.items()}
        torch.manual_seed(derive(config.seed, 0, number))
        self.objective = RateDistortion(
            build(self.architecture),
            None if adapted else rate,
            features,
            config.feature_weight,
            weight,
            unsteered=config.steps // 20 if state is None else 0,
        )

    def run(self, progress: Progress) -> TrainedObjective:
        """Train from ``state`` (None: from principal components), or from the checkpoint if there is one."""
        config, device, objective = self.config, self.device, self.objective
        if self.state is not None:
            load_state(objective.network, self.state)
        else:
            start_from_components(objective.network, [view.train.images for view in self.views], self.rate)
        if self.adapted is not None:
            objective.network.requires_grad_(False)
            for part in ("g_a", "h_a"):
                if hasattr(objective.network, part):
                    getattr(objective.network, part).requires_grad_(True)
        objective.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        adam = torch.optim.Adam(_groups(objective.network, config.lr))
        images = [torch.from_numpy(np.array(view.train.images)).to(device) for view in self.views]
        batches = TurnBatches(images, config.batch_size, derive(config.seed, 1, self.number))
        start, sgd = resume_training(self.checkpoint, objective, [adam], device, number=self.number)
        clock = time.perf_counter()
        what = f"training {config.file_name(self.rate)}"

        def after_step(step: int, value: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
            progress(what, step, config.steps)
            if step % _CHECKPOINT_EVERY == 0 and step < config.steps and bool(torch.isfinite(value)):
                save_training(self.checkpoint, step, objective, optimizer, [adam], device, number=self.number)

        recipe = Recipe(
            config.steps,
            lr=1.0,
            warmup=min(_WARMUP, config.steps // 10),
            clip_norm=_CLIP_NORM,
            mixed_precision=config.mixed_precision,
        )
        train(
            objective,
            batches,
            recipe,
            device=device,
            loss=objective.loss,
            start=start,
            optimizer_state=sgd,
            auxiliary=[adam],
            after_step=after_step,
        )
        return {
            "lambda": math.exp(float(objective.log_weight)),
            "estimated_bpp": float(objective.bits),
            "seconds": round(time.perf_counter() - clock, 1),
        }

    def save(self, path: Path) -> ModelManifest:
        """Write the trained network as a model file; an adapted one keeps its decoder bit for bit."""
        network = self.objective.network.cpu().eval()
        if self.adapted is not None:
            assert self.state is not None
            arrays = keep_decoder(network, self.state)
        else:
            arrays = prepare_tables(network, [view.train.images for view in self.views])
        trained = {
            **self.config.model_dump(mode="json", exclude={"dataset", "adapts", "device"}),
            "dataset": self.views[0].name,
            "rate": self.rate,
            "lambda": math.exp(float(self.objective.log_weight)),
            "adapted_from": None if self.adapted is None else self.adapted.trained,
        }
        return write_model(path, self.architecture, arrays, trained)


def _adapted(config: CodecTraining) -> tuple[ModelManifest, dict[str, np.ndarray]] | None:
    if config.adapts is None:
        return None
    return _adaptable(config.adapts), read_model_state(config.adapts)


def adapted_feature_weight(path: str | Path) -> float:
    """The feature weight used to train a model file; its lambda is valid for this weight only."""
    return float(_adaptable(path).trained.get("feature_weight", 0.0))


def adapted_rate(path: str | Path, wanted: str) -> float:
    """The rate of a model file to be adapted.

    Raises:
        UsageError: another rate is requested, or the file is not a model file.
    """
    if wanted:
        raise UsageError("an adapted codec keeps the lambda of its own rate: remove --bpp")
    return float(_adaptable(path).trained.get("rate", 1.0))


def _adaptable(path: str | Path) -> ModelManifest:
    manifest = read_model_manifest(path)
    if manifest is None:
        raise UsageError(f"{path} cannot be adapted: it was not written by recallrate neural train")
    return manifest


def _resume(config: CodecTraining, folder: Path) -> CodecTrainingResult:
    """The record of the folder so far; a new one if there is none."""
    path = folder / _RECORD
    wanted = config.model_dump(mode="json")
    if not path.exists():
        new: CodecTrainingResult = {"config": wanted, "codecs": []}
        write_json(path, new)
        return new
    record = read_json(path)
    found = record.get("config", {})
    changed = [f"{key}={found.get(key)}" for key in wanted if found.get(key) != wanted[key]]
    if changed:
        raise UsageError(f"{folder} contains another training ({', '.join(changed)}): choose another folder")
    return cast("CodecTrainingResult", record)


def _facts(
    path: Path,
    manifest: ModelManifest,
    rate: float,
    views: list[ImageDataset],
    extractors: dict[int, FeatureExtractor],
    progress: Progress,
) -> CodecFacts:
    spec = f"neural:checkpoint={path}"
    return {
        "file": path.name,
        "rate": rate,
        "decoder": manifest.decoder,
        "file_bytes": path.stat().st_size,
        "weights_bytes": manifest.weights_bytes,
        "measured": [_measured(spec, view, extractors.get(view.sides.height), progress) for view in views],
    }


def _measured(
    spec: str, view: ImageDataset, extractor: FeatureExtractor | None, progress: Progress
) -> CodecMeasurement:
    """Measure the codec on the held-out images with real streams."""
    codec = parse_codec(spec)
    images = np.ascontiguousarray(view.test.images)
    progress(f"measuring {Path(spec).name}", 0, len(images))
    payloads = codec.encode(images)
    decoded = codec.decode(payloads, image_size(images))
    before, after = torch.from_numpy(images), torch.from_numpy(decoded)
    facts: CodecMeasurement = {
        "size": view.sides.height,
        "images": len(images),
        "shared_bytes": codec.shared_bytes(),
        "bpp": 8 * float(np.mean([len(one) for one in payloads])) / view.sides.pixels,
        "psnr": float(distortion.psnr(after, before, "mean")),
    }
    if extractor is not None:
        original, coded = extractor(images), extractor(decoded)
        facts["fmse_relative"] = float(distortion.fmse(original, coded, "mean") / original.square().mean())
    return facts
