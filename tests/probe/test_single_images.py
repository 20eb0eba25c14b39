"""Single images through a codec."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from toolkit.codecs.spec import parse_codec
from toolkit.data.catalog import load_dataset
from toolkit.features.extractor import build_extractor
from toolkit.foundation.errors import UsageError
from toolkit.probe.images import measure_images
from toolkit.probe.inspection import decode_images, inspect_image
from toolkit.probe.request import ImagesRequest, ProbeRequest

DATASET = load_dataset("demo", 16)
EXTRACTOR = build_extractor("random", DATASET, device=torch.device("cpu"))


def test_each_row_agrees_with_the_codec_and_independent_measures() -> None:
    result = measure_images(DATASET, "jpeg:quality=30", EXTRACTOR, images=40)
    rows = result["images"]
    assert len(rows) == 40
    assert {row["class"] for row in rows} == set(DATASET.class_names)
    codec = parse_codec("jpeg:quality=30")
    for row in rows[::13]:
        image = np.asarray(DATASET.train.images[row["index"]])
        codec.fit(image[None])
        (payload,) = codec.encode(image[None])
        decoded = codec.decode([payload])[0]
        assert row["stored_bytes"] == len(payload)
        assert row["file_bytes"] == len(codec.to_file(payload))
        error = np.mean((image - decoded.astype(float)) ** 2)
        assert row["psnr"] == pytest.approx(10 * np.log10(255**2 / error), abs=1e-3)
        difference = EXTRACTOR(image[None]) - EXTRACTOR(decoded[None])
        assert row["fmse"] == pytest.approx(float(difference.square().mean()), rel=1e-3)


def test_coordinates_are_principal_components_of_the_originals() -> None:
    result = measure_images(DATASET, "jpeg:quality=10", EXTRACTOR, images=60)
    rows = result["images"]
    features = EXTRACTOR(np.asarray(DATASET.train.images[[row["index"] for row in rows]])).double().numpy()
    values = np.linalg.eigvalsh(np.cov(features.T))[::-1]
    assert np.var([row["x"] for row in rows], ddof=1) == pytest.approx(values[0], rel=1e-3)
    assert np.var([row["y"] for row in rows], ddof=1) == pytest.approx(values[1], rel=1e-3)
    assert result["explained"] == pytest.approx((values[:2] / values.sum()).tolist(), rel=1e-3)


def test_a_lossless_codec_moves_no_point() -> None:
    rows = measure_images(DATASET, "png", EXTRACTOR, images=20)["images"]
    assert all(row["psnr"] is None and row["fmse"] == 0 and row["x"] == row["decoded_x"] for row in rows)


@pytest.mark.parametrize("spec", ["foreground|jpeg:quality=60", "adaptive:fmse=0.01", "neural:model=small,quality=2"])
def test_pages_show_images_that_only_a_network_can_code(spec: str) -> None:
    result = measure_images(DATASET, spec, EXTRACTOR, images=12)
    codec, rows = result["codec"], result["images"][3:7]
    originals = np.asarray(DATASET.train.images[[row["index"] for row in rows]])
    decoded = decode_images(codec, originals, rows)
    for row, original, image in zip(rows, originals, decoded, strict=True):
        error = np.mean((original - image.astype(float)) ** 2)
        assert row["psnr"] == pytest.approx(10 * np.log10(255**2 / error), abs=1e-3)
        seen = inspect_image(codec, original, 8, row)
        assert np.array_equal(seen.decoded, image)
        assert (seen.stored_bytes, seen.file_bytes) == (row["stored_bytes"], row["file_bytes"])
    with pytest.raises(UsageError, match="which pages do not run"):
        inspect_image(codec, originals[0])
    assert json.loads(json.dumps(result)) == result


def test_codecs_without_a_network_store_no_images() -> None:
    result = measure_images(DATASET, "jpeg:quality=30", EXTRACTOR, images=4)
    assert "decoded" not in result["images"][0]
    row = result["images"][0]
    image = np.asarray(DATASET.train.images[[row["index"]]])
    assert np.array_equal(decode_images("png", image, [row]), image)


def test_one_image_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 2 images are required, got 1"):
        measure_images(DATASET, "png", EXTRACTOR, images=1)


def test_equivalent_requests_share_a_name_and_the_command_reproduces_them() -> None:
    request = ImagesRequest("demo", 16, "jpeg:quality=30,shared=yes", images=40, extractor="random")
    assert request.run_name() == ImagesRequest("demo", 16, "jpeg:quality=30", images=40, extractor="random").run_name()
    assert request.run_name() != ImagesRequest("demo", 16, "jpeg:quality=31", images=40, extractor="random").run_name()
    assert request.command() == (
        "recallrate images demo --size 16 --codec jpeg:quality=30,shared=yes --images 40 --extractor random"
    )


def test_names_of_earlier_probes_are_unchanged() -> None:
    """Old run folders must be found again: this name was created before request classes existed."""
    request = ProbeRequest("demo", 32, "raw;jpeg:quality={50,10};webp:quality=50", "20img", images=100)
    assert request.run_name() == "probe-demo-d85d1abb"


def test_a_request_writes_its_size_in_one_way() -> None:
    request = ProbeRequest("demo", "32x32", "raw", "20img")
    assert request.size == 32
    assert request.run_name() == ProbeRequest("demo", 32, "raw", "20img").run_name()
    assert ProbeRequest.from_contents(ProbeRequest("demo", " 24X32", "raw", "20img").contents()).size == "24x32"
    with pytest.raises(UsageError, match="HEIGHTxWIDTH"):
        ProbeRequest("demo", "big", "raw", "20img")
