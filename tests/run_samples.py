"""Small synthetic results and run folders with known values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from toolkit.advice.request import AdviceRequest
from toolkit.foundation.files import write_json
from toolkit.jpeg_dl.config import make_jpeg_config
from toolkit.jpeg_dl.request import JPEGRequest
from toolkit.language.sentence import Sentence
from toolkit.pilots.config import PilotConfig, make_pilot_config
from toolkit.probe.request import ImagesRequest, ProbeRequest
from toolkit.runs.folder import RunFolder


def probe_setting(codec: str, stored: float, fmse: float) -> dict[str, Any]:
    """One row of a probe table."""
    return {
        "codec": codec,
        "file_bytes": stored + 600,
        "stored_bytes": stored,
        "shared_bytes": 600,
        "weights_bytes": 0,
        "bpp": 8 * stored / 1024,
        "ratio_raw": 3072 / stored,
        "ratio_original": 12288 / stored,
        "exemplars": 100,
        "exemplars_per_class": 10.0,
        "equivalent_exemplars_raw": 101.0,
        "equivalent_exemplars_original": 404.0,
        "psnr": 30.0,
        "ssim": 0.9,
        "fmse": fmse,
        "fmse_relative": fmse,
        "cosine_distance": 0.01,
        "cka": 0.9,
        "encode_us": 10.0,
        "decode_us": 10.0,
    }


SETTINGS = [
    probe_setting("raw", 3072, 0.0),
    probe_setting("jpeg:quality=50", 210, 0.002),
    probe_setting("jpeg:quality=10", 70, 0.012),
    probe_setting("webp:quality=50", 250, 0.004),
]


def finished_probe(runs_dir: Path, settings: list[dict[str, Any]] | None = None) -> RunFolder:
    """A probe of the demo set with a result."""
    request = ProbeRequest("demo", 32, "raw;jpeg:quality={50,10};webp:quality=50", "20img", images=100)
    run = RunFolder.create(runs_dir / request.run_name(), "probe", request.contents())
    write_json(run.result_path, probe_result(SETTINGS if settings is None else settings))
    return run


def probe_result(settings: list[dict[str, Any]]) -> dict[str, Any]:
    """The ``probe`` JSON with these rows."""
    return {
        "dataset": "demo",
        "size": 32,
        "images": 100,
        "classes": 10,
        "extractor": "stage0",
        "layer": None,
        "budget_bytes": 614804,
        "original_file_bytes": 12288.0,
        "seed": 0,
        "seconds": 6.0,
        "settings": settings,
    }


def finished_advice(runs_dir: Path, dataset: str = "demo") -> RunFolder:
    """Advice on the demo set with a result: aligned jpeg at quality 50, except by the rule ``best-quality``."""
    request = AdviceRequest(dataset, 32, "raw;jpeg:quality={50,10};webp:quality=50", "20img", images=100)
    run = RunFolder.create(runs_dir / request.run_name(), request.kind, request.contents())
    picks = {"predicted-gain": ("jpeg:quality=50", "both"), "best-quality": ("raw", "none")}
    curve = [
        {
            "budget_bytes": budget,
            "codec": "jpeg:quality=50",
            "align": "both",
            "exemplars_per_class": held,
            "expected_gain": gain,
            "raw_gain": raw,
        }
        for budget, held, gain, raw in (
            (307402, 50.0, 3.0, None),
            (614804, 100.0, 7.5, 0.0),
            (1229608, 160.0, 9.0, 6.0),
        )
    ]
    too_large = Sentence("limit.does_not_fit", classes=10, needed="90 kB", budget="80 kB")
    few, reason = Sentence("limit.few_candidates", candidates=80, dimensions=512), Sentence("reason.align_both")
    change = Sentence("change.none_at_budget", budget="300 KiB")
    result = {
        **probe_result(SETTINGS),
        "rules": [
            {
                "rule": rule,
                "codec": codec,
                "align": align,
                "score": 1.5,
                "seconds": 0.1,
                "used": "its table",
                "summary": "what it does",
                "judges_alignment": False,
                "scores": [],
            }
            for rule, (codec, align) in picks.items()
        ],
        "excluded": [{"codec": "webp:quality=50", "reason": str(too_large), "sentence": too_large.as_dict()}],
        "notes": [str(few)],
        "sentences": [few.as_dict()],
        "recommended": {
            "rule": "predicted-gain",
            "codec": "jpeg:quality=50",
            "align": "both",
            "exemplars": 1000,
            "exemplars_per_class": 100.0,
            "raw_exemplars_per_class": 20.0,
            "expected_gain": 7.5,
            "interval": 2.5,
            "inference_us": 20.0,
            "runner_up": {
                "codec": "jpeg:quality=10",
                "align": "both",
                "exemplars_per_class": 150.0,
                "expected_gain": 6.25,
            },
            "reasons": [str(reason)],
            "would_change": [str(change)],
            "sentences": {"reasons": [reason.as_dict()], "would_change": [change.as_dict()]},
        },
        "budgets": {
            "rule": "predicted-gain",
            "reference": "raw",
            "curve": curve,
            "within_points": 1.0,
            "ceiling": 9.5,
            "smallest": curve[2],
        },
    }
    write_json(run.result_path, result)
    return run


def pilot_config(**values: object) -> PilotConfig:
    """A pilot on the demo set, 5 + 5 classes, 10 steps."""
    defaults: dict[str, object] = {
        "dataset": "demo",
        "size": 32,
        "initial": 5,
        "increment": 5,
        "codec": "raw",
        "budget": "20img",
        "steps": 10,
    }
    return make_pilot_config(**(defaults | values))


def pilot_result(seed: int, last: float, **values: Any) -> dict[str, Any]:
    """An entry of ``runs``."""
    return {
        "seed": seed,
        "class_order": list(range(10)),
        "stage_classes": [5, 5],
        "tested_on": "original",
        "accuracy_matrix": [[0.6], [last, last]],
        "average_incremental_accuracy": (0.6 + last) / 2,
        "last_accuracy": last,
        "forgetting": 0.6 - last,
        "backward_transfer": last - 0.6,
        "accuracy_on_original": last,
        "accuracy_on_coded": last,
        "exemplars_per_class": 20.0,
        "memory_bytes": 614000,
        "budget_bytes": 614804,
        "network": "resnet8",
        "optimizer_steps": 20,
        "seconds": 4.0,
        "head": "linear",
        "heads": {"linear": {"last_accuracy": last}},
        "run_dir": f"pilot-{seed}",
    } | values


def pilot_folder(runs_dir: Path, config: PilotConfig, seed: int, last: float | None = None) -> RunFolder:
    """A pilot's folder, with a result if ``last`` accuracy is given."""
    request = {"seed": seed, "config": config.model_dump(mode="json")}
    run = RunFolder.create(runs_dir / config.run_name(seed), "pilot", request)
    if last is not None:
        write_json(run.result_path, pilot_result(seed, last, run_dir=run.name))
    return run


def finished_images(runs_dir: Path, dataset: str = "demo", name: str = "disc-rising") -> RunFolder:
    """Three measured images of the demo set: 7 changes most, 0 least."""
    request = ImagesRequest(dataset, 32, "jpeg:quality=10", images=100)
    run = request.folder(runs_dir)
    rows = [
        {
            "index": index,
            "class": name,
            "stored_bytes": 70 + index,
            "file_bytes": 700,
            "psnr": 30.0 - index,
            "ssim": 0.9,
            "fmse": fmse,
            "fmse_relative": fmse,
            "x": 0.0,
            "y": 1.0,
            "decoded_x": 0.5,
            "decoded_y": 0.5,
        }
        for index, fmse in ((0, 0.01), (7, 0.05), (3, 0.02))
    ]
    write_json(
        run.result_path,
        {
            "dataset": "demo",
            "size": 32,
            "codec": "jpeg:quality=10",
            "extractor": "stage0",
            "layer": None,
            "shared_bytes": 600,
            "seed": 0,
            "explained": [0.5, 0.2],
            "images": rows,
        },
    )
    return run


def finished_training(runs_dir: Path, dataset: str = "demo") -> RunFolder:
    """A training with the JPEG layer on the demo set: the layer gains ten points."""
    config = make_jpeg_config(dataset=dataset, size=32, variants=("plain", "jpeg"), steps=10)
    run = JPEGRequest(config, 0).folder(runs_dir)
    table = [[2.0] * 8] * 8
    layer = {
        "accuracy": 0.6,
        "soft_accuracy": 0.6,
        "hard_accuracy": 0.58,
        "bits_per_pixel": 1.5,
        "alpha": [5.0, 5.0],
        "tables": {"luma": table, "chroma": table},
        "initial_tables": {"luma": table, "chroma": table},
        "frequency_response": {when: {"luma": table, "chroma": table} for when in ("initial", "final")},
        "clip_rate": {when: {"luma": 0.1, "luma_dc": 0.9, "chroma": 0.0} for when in ("initial", "final")},
    }
    write_json(
        run.result_path,
        {
            "seed": 0,
            "tested_on": "test images",
            "test_images": 400,
            "test_image_bytes": 3072.0,
            "variants": {"plain": {"accuracy": 0.5}, "jpeg": layer},
            "rate_estimate": {"rank_correlation": 1.0, "correlation": 1.0, "scale": 1.0, "offset": 0.0, "pairs": 600},
            "optimizer_steps": 10,
            "run_dir": run.name,
        },
    )
    return run
