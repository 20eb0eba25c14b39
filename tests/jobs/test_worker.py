"""Runs other than pilots in a worker: requests and trainings with the JPEG layer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from toolkit.codecs.spec import parse_codec
from toolkit.jobs.worker import work_on
from toolkit.jpeg_dl.config import make_jpeg_config
from toolkit.jpeg_dl.request import ExportRequest, JPEGRequest
from toolkit.probe.request import ImagesRequest


def test_a_worker_measures_images(tmp_path: Path) -> None:
    run = ImagesRequest("demo", 16, "jpeg:quality=30", extractor="random", images=20).folder(tmp_path)
    assert work_on(run) == 0
    assert run.result is not None
    assert len(run.result["images"]) == 20
    assert run.status() == "done"
    environment = json.loads((run.path / "environment.json").read_text())
    assert "recallrate images demo" in json.dumps(environment)


def test_a_worker_trains_and_exports_tables(tmp_path: Path) -> None:
    config = make_jpeg_config(
        dataset="demo", size=16, network="resnet8", steps=1, batch_size=8, init="quality=50", variants=("plain", "jpeg")
    )
    training = JPEGRequest(config, 0).folder(tmp_path / "runs")
    assert work_on(training) == 0
    assert training.result is not None
    response = training.result["variants"]["jpeg"]["frequency_response"]["final"]["luma"]
    assert len(response) == len(response[0]) == 8
    path = tmp_path / "tables" / "learned.json"
    export = ExportRequest(str(training.path), "jpeg", str(path)).folder(tmp_path / "runs")
    assert work_on(export) == 0
    codec = parse_codec(f"learned-jpeg:tables={path}")
    image = np.full((1, 16, 16, 3), 128, np.uint8)
    codec.fit(image)
    np.testing.assert_allclose(codec.decode(codec.encode(image)), image, atol=3)


def test_an_impossible_request_records_its_reason(tmp_path: Path) -> None:
    run = ImagesRequest("demo", 16, "jpeg:quality=30", extractor="nothing").folder(tmp_path)
    assert work_on(run) == 1
    assert "unknown extractor 'nothing'" in str(run.error())
    assert run.status() == "failed"
