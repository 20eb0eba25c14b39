"""Images as they are: oblong crops, whole images in the memory, random crops of them, grey and 16-bit sources."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from toolkit.cli import run as run_cli
from toolkit.codecs.spec import parse_codec
from toolkit.data.catalog import load_dataset
from toolkit.data.images import framed_array
from toolkit.foundation.errors import UsageError
from toolkit.memory.store import ExemplarMemory
from toolkit.pilots import pools
from toolkit.pilots.checks import check_pilot
from toolkit.pilots.config import PilotConfig, make_pilot_config
from toolkit.pilots.foreground import run_pilot
from toolkit.production.build import build_memory
from toolkit.training.augment import random_crops

CLASSES, PER_CLASS = 4, 12


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """PNG files of 40 x 60 pixels: each class has its own colour, at the left end and nowhere else."""
    random = np.random.default_rng(0)
    for label in range(CLASSES):
        (tmp_path / "photographs" / f"c{label}").mkdir(parents=True)
        for place in range(PER_CLASS):
            pixels = random.integers(90, 130, (40, 60, 3), np.uint8)
            pixels[:, :8] = [(250, 20, 20), (20, 250, 20), (20, 20, 250), (250, 250, 20)][label]
            Image.fromarray(pixels).save(tmp_path / "photographs" / f"c{label}" / f"{place}.png")
    return tmp_path / "photographs"


def config(folder: Path, **changes: object) -> PilotConfig:
    usual: dict[str, object] = {
        "dataset": str(folder),
        "size": 24,
        "initial": 2,
        "increment": 2,
        "codec": "store:side=40|png",
        "budget": "20img",
        "steps": 8,
        "batch_size": 8,
        "network": "resnet8",
    }
    return make_pilot_config(**{**usual, **changes})


def memory_in(runs_dir: Path) -> Path:
    (found,) = runs_dir.glob("*/memory.recall")
    return found


def test_an_oblong_crop_sees_what_a_square_one_cuts_off(folder: Path, tmp_path: Path) -> None:
    oblong = config(folder, size="24x36", codec="raw", steps=40, augment="resized-crop", align="none")
    assert (oblong.size, make_pilot_config(**{**oblong.model_dump(), "size": "24x24"}).size) == ("24x36", 24)
    found = run_pilot(oblong, 0, tmp_path / "oblong")
    assert found["raw_image_bytes"] == 3 * 24 * 36
    assert found["last_accuracy"] > 0.5
    with ExemplarMemory(memory_in(tmp_path / "oblong")) as memory:
        assert memory.size == (24, 36)
    square = run_pilot(config(folder, codec="raw", steps=40), 0, tmp_path / "square")
    assert square["last_accuracy"] < found["last_accuracy"]  # at the size of a square crop, the colours are cut off


def test_what_is_stored_whole_and_exactly_trains_like_the_crop(folder: Path, tmp_path: Path) -> None:
    results = [
        run_pilot(config(folder, codec=codec, align="both"), 0, tmp_path / str(place))
        for place, codec in enumerate(("png", "store:side=40|png"))
    ]
    assert results[0]["accuracy_matrix"] == results[1]["accuracy_matrix"]
    with ExemplarMemory(memory_in(tmp_path / "1")) as memory:
        stored = memory.codec.decode_whole([memory.payload(0, 0)])  # type: ignore[attr-defined]
    assert stored[0].shape == (40, 60, 3)


def test_batches_have_random_crops_of_the_whole_images(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cropped: list[tuple[int, ...]] = []

    def recorded(images, *rest):  # type: ignore[no-untyped-def]
        cropped.extend(tuple(image.shape) for image in images)
        return random_crops(images, *rest)

    monkeypatch.setattr("toolkit.training.batches.random_crops", recorded)
    chosen = config(folder, augment="resized-crop", align="train")
    held = run_pilot(chosen, 0, tmp_path / "held")
    assert set(cropped) == {(40, 60, 3)}
    assert len(cropped) == 2 * 8 * 8
    monkeypatch.setattr(pools, "DECODED_SHARE", 0.0)
    streamed = run_pilot(chosen, 0, tmp_path / "streamed")
    assert (held["exemplars_decoded"], streamed["exemplars_decoded"]) == ("once a stage", "for each batch")
    assert streamed["accuracy_matrix"] == held["accuracy_matrix"]
    uncoded = run_pilot(config(folder, augment="resized-crop"), 0, tmp_path / "uncoded")  # the sources themselves
    assert uncoded["accuracy_matrix"] == held["accuracy_matrix"]


def test_less_than_the_crop_is_refused_everywhere(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="its side must be at least 48 for images of 40x48 pixels"):
        config(folder, size="40x48")
    shared = [str(folder), "--size", "48", "--store", "40"]
    for command in (
        ["probe", *shared, "--codecs", "png"],
        ["advise", *shared, "--codecs", "png"],
        ["images", *shared, "--codec", "png"],
        ["pilot", *shared, "--codec", "png"],
        ["memory", "build", *shared, "--codec", "png", "--budget", "4img", "-o", str(folder.parent / "m.recall")],
    ):
        assert run_cli(command) == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert said[-1].endswith("its side must be at least 48 for images of 48 pixels"), command
        assert len(said) == 1


def test_an_oblong_for_a_square_network_is_one_line(folder: Path) -> None:
    vit = config(folder, size="224x160", codec="raw", network="timm:vit_tiny_patch16_224,pretrained=no", tune="all")
    with pytest.raises(UsageError, match="does not take images of 224x160 pixels") as error:
        check_pilot(vit)
    assert "\n" not in str(error.value)


def test_grey_images_of_16_bits_stay_grey_and_train_the_pretrained_network(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    levels = {}
    for label in range(2):
        (tmp_path / "scans" / f"c{label}").mkdir(parents=True)
        for place in range(6):
            wide = random.integers(0, 2**16, (8, 10)).repeat(16, axis=0).repeat(16, axis=1).astype(np.uint16)
            wide[label * 64 : label * 64 + 60] //= 8
            Image.fromarray(wide).save(tmp_path / "scans" / f"c{label}" / f"{place}.png")
            levels[label, place] = np.rint(wide / 65535 * 255).astype(np.uint8)
    dataset = load_dataset(str(tmp_path / "scans"), "96x128")
    assert (dataset.grey, dataset.raw_image_bytes) == (True, 96 * 128)
    expected = {framed_array(one, "96x128").tobytes() for one in levels.values()}
    assert {np.asarray(image).tobytes() for image in dataset.train.images} <= expected
    wholes = {np.repeat(one[..., None], 3, axis=2).tobytes() for one in levels.values()}
    for spec in ("raw", "store:side=128|raw", "store:side=128|jpeg:quality=90"):
        path = tmp_path / f"{len(spec)}.recall"
        build_memory(str(tmp_path / "scans"), path, codec=spec, budget="1MB", size="96x128")
        with ExemplarMemory(path) as memory:
            payload = memory.payload(0, 0)
            assert memory.decode(0).shape[1:] == (96, 128, 3)
            if spec == "raw":
                assert len(payload) == 96 * 128
            elif spec.endswith("raw"):
                assert len(payload) == 4 + 128 * 160
                stored = memory.codec.decode_whole([payload])[0]  # type: ignore[attr-defined]
                assert stored.tobytes() in wholes
    usual = {"initial": 1, "increment": 1, "budget": "4img", "steps": 5}
    chosen = make_pilot_config(dataset=str(tmp_path / "scans"), size="96x128", codec="store:side=128|png", **usual)
    assert (chosen.network, chosen.tune) == ("timm:tf_efficientnet_lite0", "head")
    result = run_pilot(chosen, 0, tmp_path / "run")
    assert result["raw_image_bytes"] == 96 * 128
    assert parse_codec(chosen.codec).extension == "png"
