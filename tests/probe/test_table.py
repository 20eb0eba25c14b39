"""The probe table against quantities computed one image at a time."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from toolkit.codecs.original import give_originals
from toolkit.codecs.spec import parse_codec
from toolkit.data.catalog import load_dataset
from toolkit.features.extractor import build_extractor
from toolkit.foundation.errors import UsageError
from toolkit.memory.disk import uniform_bytes
from toolkit.memory.store import ExemplarMemory
from toolkit.probe.presets import images_for, usual_budget
from toolkit.probe.request import ProbeRequest
from toolkit.probe.table import probe_codecs
from toolkit.production.build import build_memory

CODECS = ["raw", "png", "jpeg:quality=30", "jpeg:quality=80", "downscale:factor=2|webp:quality=50"]
KEYS = {
    "codec",
    "file_bytes",
    "stored_bytes",
    "shared_bytes",
    "weights_bytes",
    "bpp",
    "ratio_raw",
    "ratio_original",
    "exemplars",
    "exemplars_per_class",
    "psnr",
    "ssim",
    "fmse",
    "fmse_relative",
    "cosine_distance",
    "cka",
    "encode_us",
    "decode_us",
}
BUDGET = 150_000


class Flat:
    """Equal features of all images."""

    name, layer = "flat", None

    def __call__(self, pixels: np.ndarray) -> torch.Tensor:
        return torch.ones(len(pixels), 4)


@pytest.fixture(scope="module")
def demo():  # type: ignore[no-untyped-def]
    return load_dataset("demo", 24)


@pytest.fixture(scope="module")
def extractor(demo):  # type: ignore[no-untyped-def]
    return build_extractor("stage0", demo, device=torch.device("cpu"), steps=20)


@pytest.fixture(scope="module")
def table(demo, extractor) -> dict[str, Any]:  # type: ignore[no-untyped-def]
    return probe_codecs(demo, CODECS, budget=BUDGET, extractor=extractor, images=130)


def test_the_table_has_the_documented_keys_and_is_json(table: dict[str, Any]) -> None:
    assert {"dataset", "size", "images", "extractor", "budget_bytes", "seconds", "settings"} <= set(table)
    assert [setting["codec"] for setting in table["settings"]] == CODECS
    assert all(set(setting) >= KEYS for setting in table["settings"])
    json.dumps(table, allow_nan=False)


def test_images_are_stratified_and_drawn_from_the_training_split(demo) -> None:  # type: ignore[no-untyped-def]
    chosen = demo.stratified_train_indices(130, 0)
    assert len(set(chosen.tolist())) == 130
    assert np.bincount(demo.train.labels[chosen]).tolist() == [13] * 10


def test_bytes_and_pixel_errors_agree_with_coding_the_images_one_by_one(demo, table: dict[str, Any]) -> None:  # type: ignore[no-untyped-def]
    chosen = demo.stratified_train_indices(130, 0)
    pixels = np.asarray(demo.train.images[chosen])
    for setting in table["settings"]:
        codec = parse_codec(setting["codec"])
        payloads = [codec.encode(image[None])[0] for image in pixels]
        decoded = np.concatenate([codec.decode([payload]) for payload in payloads])
        assert setting["stored_bytes"] == pytest.approx(np.mean([len(p) for p in payloads]), abs=0.01)
        assert setting["file_bytes"] == pytest.approx(np.mean([len(codec.to_file(p)) for p in payloads]), abs=0.01)
        assert setting["shared_bytes"] == len(codec.shared_state())
        error = np.square(decoded.astype(float) - pixels).mean(axis=(1, 2, 3))
        with np.errstate(divide="ignore"):
            decibels = np.minimum(10 * np.log10(255**2 / error), 100)
        assert setting["psnr"] == pytest.approx(decibels.mean(), abs=0.01)
        assert setting["bpp"] == pytest.approx(8 * setting["stored_bytes"] / 24**2, abs=1e-3)
        assert setting["ratio_raw"] == pytest.approx(3 * 24 * 24 / setting["stored_bytes"], rel=1e-3)


def test_feature_errors_agree_with_a_single_pass_over_all_images(demo, extractor, table: dict[str, Any]) -> None:  # type: ignore[no-untyped-def]
    pixels = np.asarray(demo.train.images[demo.stratified_train_indices(130, 0)])
    codec = parse_codec("jpeg:quality=30")
    before, after = extractor(pixels), extractor(codec.decode(codec.encode(pixels)))
    setting = table["settings"][2]
    assert setting["fmse"] == pytest.approx(float((before - after).square().mean()), rel=1e-3)
    relative = float((before - after).square().sum() / before.square().sum())
    assert setting["fmse_relative"] == pytest.approx(relative, rel=1e-3)


def test_lossless_settings_have_no_distortion(table: dict[str, Any]) -> None:
    for setting in table["settings"][:2]:
        assert (setting["psnr"], setting["ssim"], setting["fmse"]) == (100.0, 1.0, 0.0)
        assert setting["cka"] == pytest.approx(1.0)


def test_higher_quality_distorts_less_and_costs_more(table: dict[str, Any]) -> None:
    low, high = table["settings"][2], table["settings"][3]
    assert low["stored_bytes"] < high["stored_bytes"]
    assert low["fmse_relative"] > high["fmse_relative"]
    assert low["cka"] < high["cka"]


def test_exemplars_that_fit_agree_with_a_memory(demo, table: dict[str, Any], tmp_path) -> None:  # type: ignore[no-untyped-def]
    setting = table["settings"][3]
    with ExemplarMemory(tmp_path / "m.recall", BUDGET, setting["codec"]) as memory:
        memory.add_images({label: demo.train.images[demo.train.labels == label] for label in range(10)})
        assert len(memory) == pytest.approx(setting["exemplars"], rel=0.03)
    with ExemplarMemory(tmp_path / "raw.recall", BUDGET, "raw") as memory:
        memory.add_images({label: demo.train.images[demo.train.labels == label] for label in range(10)})
        assert len(memory) <= table["settings"][0]["exemplars"] < len(memory) + 10  # parts of an exemplar per class


EXACT = ["raw", "png", "jxl:lossless=yes", "jpeg:quality=50", "webp:quality=60", "jpeg2000:psnr=30"]
SHARES = [(32, 0.4), *(pytest.param(size, 0.3, marks=pytest.mark.slow) for size in (64, 128, 224))]
"""Image size, and share of the images that the budget holds."""


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four classes of 30, 60, 60 and 90 images, from flat ones to noisy ones: their order of selection matters."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("scenes")
    for split, share in (("train", 1), ("test", 30)):
        for label, count in enumerate((30, 60, 60, 90)):
            (folder / split / f"c{label}").mkdir(parents=True)
            for number in range(count // share):
                flat = rng.integers(40, 200, 3) + rng.normal(0, 20, (4, 4, 3))
                grain = rng.normal(0, rng.uniform(0, 30), (56, 56, 3))
                pixels = np.repeat(np.repeat(flat, 14, axis=0), 14, axis=1) + grain
                image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
                image.save(folder / split / f"c{label}" / f"{number}.jpg", quality=90)
    return folder


@pytest.mark.parametrize(("size", "share"), SHARES)
@pytest.mark.parametrize("codec", [*EXACT, "original"])
def test_a_build_keeps_as_many_exemplars_as_a_probe_of_all_images_says(
    scenes: Path, tmp_path: Path, codec: str, size: int, share: float
) -> None:
    promised, built = _promised_and_built(scenes, tmp_path, codec, size, share)
    assert promised == pytest.approx(built, abs=max(1, 0.01 * built))
    assert 0.5 * share < built / 240 < 2 * share


@pytest.mark.parametrize("share", [0.1, 2.0])
def test_the_promise_holds_for_small_budgets_and_for_all_images(scenes: Path, tmp_path: Path, share: float) -> None:
    promised, built = _promised_and_built(scenes, tmp_path, "jpeg:quality=50", 32, share)
    assert promised == pytest.approx(built, abs=1)
    assert built == 240 or share < 1


def _promised_and_built(folder: Path, tmp_path: Path, codec: str, size: int, share: float) -> tuple[int, int]:
    """Exemplars by the probe's table and in a built memory, at a budget for about a share of the images."""
    dataset, parsed = load_dataset(str(folder), size), parse_codec(codec)
    give_originals([parsed], dataset.originals)
    images = np.asarray(dataset.train.images)
    mean = np.mean([len(payload) for payload in parsed.encode(images)])
    budget = uniform_bytes(round(mean), share * 60, 4, parsed.shared_bytes())
    extractor = build_extractor("random", dataset, device=torch.device("cpu"))
    row = probe_codecs(dataset, [codec], budget=budget, extractor=extractor, images=len(images))["settings"][0]
    built = build_memory(
        str(folder), tmp_path / "m.recall", codec=codec, budget=str(budget), size=size, extractor="random"
    )
    assert built["memory_bytes"] == (tmp_path / "m.recall").stat().st_size <= budget
    return row["exemplars"], built["exemplars"]


def test_equivalent_exemplars_on_both_bases(demo, table: dict[str, Any]) -> None:  # type: ignore[no-untyped-def]
    uncompressed = BUDGET / (3 * 24 * 24)
    for setting in table["settings"]:
        assert setting["equivalent_exemplars_raw"] == pytest.approx(uncompressed * setting["ratio_raw"], rel=1e-3)
        ratio = table["original_file_bytes"] / setting["stored_bytes"]
        assert setting["ratio_original"] == pytest.approx(ratio, rel=1e-3)
        assert setting["equivalent_exemplars_original"] == pytest.approx(uncompressed * ratio, rel=1e-3)


def test_codecs_with_a_network_use_the_probes_extractor(demo, extractor) -> None:  # type: ignore[no-untyped-def]
    codecs = ["foreground:background=jpeg:quality=10|jpeg:quality=90", "adaptive:family=jpeg,fmse=0.01", "cp:rank=4"]
    plain = ["jpeg:quality=90", "jpeg:quality=10"]
    rows = probe_codecs(demo, [*codecs, *plain], budget=BUDGET, extractor=extractor, images=130)
    found = {row["codec"]: row for row in rows["settings"]}
    assert list(found)[:3] == codecs
    better, lesser = found["jpeg:quality=90"], found["jpeg:quality=10"]
    assert lesser["psnr"] < found[codecs[0]]["psnr"] < better["psnr"]
    assert found[codecs[1]]["fmse_relative"] <= 0.01 or found[codecs[1]]["psnr"] == better["psnr"]
    assert found[codecs[2]]["stored_bytes"] == 4 * (24 + 24 + 3) + 12 * 4
    assert all(row["weights_bytes"] == 0 for row in rows["settings"])


def test_progress_ends_at_the_total(demo, extractor) -> None:  # type: ignore[no-untyped-def]
    told: list[tuple[int, int]] = []
    probe_codecs(
        demo, ["png"], budget=1000, extractor=extractor, images=20, progress=lambda w, d, t: told.append((d, t))
    )
    assert told[-1][0] == told[-1][1]


@pytest.mark.parametrize(("codecs", "images"), [([], 100), (["png"], 3)])
def test_an_empty_grid_is_refused(demo, extractor, codecs: list[str], images: int) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError):
        probe_codecs(demo, codecs, budget=1000, extractor=extractor, images=images)


def test_cka_is_defined_for_constant_features(demo, extractor, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    table = probe_codecs(demo, ["jpeg:quality=5"], budget=9999, extractor=Flat(), images=40)  # type: ignore[arg-type]
    assert table["settings"][0]["cka"] is None
    assert math.isfinite(table["settings"][0]["fmse_relative"])


def test_source_files_are_a_reference_of_every_probe_that_has_them(scenes: Path) -> None:
    for dataset, expected in (
        (str(scenes), ["raw", "original", "jpeg:quality=50", "png"]),
        ("demo", ["raw", "jpeg:quality=50", "png"]),
    ):
        request = ProbeRequest(dataset, 24, "raw;jpeg:quality=50;png", "4img", "random", images=20)
        assert [row["codec"] for row in request.run()["settings"]] == expected
    request = ProbeRequest(str(scenes), 24, "jpeg:quality=50;original:entropy=huffman", "4img", "random", images=20)
    assert [row["codec"] for row in request.run()["settings"]] == ["jpeg:quality=50", "original:entropy=huffman"]


def test_pixels_are_compared_on_the_first_images_and_features_on_all(
    demo, extractor, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("toolkit.probe.table.COMPARED_PIXELS", 60 * demo.size**2)
    found = probe_codecs(demo, ["raw", "jpeg:quality=30"], budget=BUDGET, extractor=extractor, images=250, seed=3)
    chosen = np.random.default_rng(3).permutation(demo.stratified_train_indices(250, 3))
    pixels = np.asarray(demo.train.images[chosen])
    codec = parse_codec("jpeg:quality=30")
    decoded = codec.decode(codec.encode(pixels))
    error = np.square(decoded.astype(float) - pixels).mean(axis=(1, 2, 3))
    raw, lossy = found["settings"]
    assert lossy["psnr"] == pytest.approx((10 * np.log10(255**2 / error))[:60].mean(), abs=0.01)
    assert (raw["psnr"], raw["ssim"], raw["cka"]) == (100.0, 1.0, pytest.approx(1.0))
    before, after = extractor(pixels), extractor(decoded)
    changes, powers = (before - after).square().mean(dim=1).numpy(), before.square().mean(dim=1).numpy()
    assert lossy["fmse_relative"] == pytest.approx(changes.sum() / powers.sum(), rel=1e-3)
    # the half width is that of resampled ratios
    random = np.random.default_rng(0)
    picks = random.integers(0, 250, (4000, 250))
    ratios = changes[picks].sum(axis=1) / powers[picks].sum(axis=1)
    left = 1 - 250 / len(demo.train.labels)
    assert lossy["fmse_relative_ci95"] == pytest.approx(1.96 * ratios.std() * left**0.5, rel=0.1)
    assert raw["fmse_relative_ci95"] == 0


def test_fewer_large_images_are_measured_by_default() -> None:
    assert [images_for(size) for size in (32, 96, 128, 224, 512)] == [1000, 1000, 562, 200, 200]
    assert ProbeRequest("demo", 128, "raw", "20img").sample_size == 562
    assert ProbeRequest("demo", 128, "raw", "20img", images=5).sample_size == 5


def test_the_usual_budget_falls_with_the_size() -> None:
    assert [usual_budget(size) for size in (32, 64, "64x200", 96, "96x128", 224)] == ["20img"] * 3 + ["1img"] * 3
