"""Bundles continue from the end of the pilot, and only unchanged bundles are opened."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import toolkit
from toolkit.cli import run as recallrate
from toolkit.codec_training.config import make_codec_config as make_training
from toolkit.codec_training.training import train_codecs
from toolkit.codecs.jpeg_tables import QuantisationTables, standard_steps, write_tables
from toolkit.data.catalog import load_dataset
from toolkit.foundation.errors import UsageError
from toolkit.pilots.config import make_pilot_config
from toolkit.pilots.foreground import run_pilot
from toolkit.production.bundle import Bundle, export_bundle, load_bundle
from toolkit.production.history import history
from toolkit.production.manifest import MANIFEST, read_bundle_manifest, write_manifest
from toolkit.production.watch import prometheus_text, watch_folder
from toolkit.runs.folder import RunFolder

CLASS_NAMES = load_dataset("demo", 32).class_names
EXAMPLE = Path(toolkit.__file__).parents[1] / "assets" / "continue_training.py"


def piloted(runs_dir: Path, **values: object) -> RunFolder:
    defaults: dict[str, object] = {
        "dataset": "demo",
        "size": 32,
        "initial": 5,
        "increment": 5,
        "codec": "jpeg:quality=50",
        "budget": "10img",
        "align": "both",
        "steps": 8,
        "batch_size": 32,
        "network": "resnet8",
    }
    result = run_pilot(make_pilot_config(**(defaults | values)), 0, runs_dir)
    return RunFolder(runs_dir / result["run_dir"])


@pytest.fixture(scope="module")
def pilot(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return piloted(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def exported(pilot: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_bundle(pilot, tmp_path_factory.mktemp("bundle") / "made").path


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "bundle"))


@pytest.fixture
def bundle(folder: Path) -> Iterator[Bundle]:
    opened = load_bundle(folder)
    yield opened
    opened.memory.close()


def test_memory_and_facts_come_from_the_pilot(bundle: Bundle, pilot: RunFolder) -> None:
    result = pilot.result or {}
    assert bundle.memory.nbytes == result["memory_bytes"]
    assert bundle.facts["class_order"] == result["class_order"]
    assert bundle.facts["class_names"] == list(CLASS_NAMES)
    assert (bundle.facts["codec"], bundle.facts["align"], bundle.facts["size"]) == ("jpeg:quality=50", "both", 32)
    card = (bundle.path / "model_card.md").read_text()
    assert f"{result['last_accuracy']:.1%}" in card
    assert f"{result['memory_bytes']:,} of {result['budget_bytes']:,} bytes" in card


def test_the_network_reaches_the_accuracy_of_the_pilot(bundle: Bundle, pilot: RunFolder) -> None:
    dataset = load_dataset("demo", 32)
    images = np.stack([bundle.preprocess(image) for image in dataset.test.images])
    outputs = toolkit.predict(bundle.network(), torch.from_numpy(images), device=torch.device("cpu")).argmax(1).numpy()
    predicted = np.array(bundle.facts["class_order"])[outputs]
    accuracy = np.mean([np.mean(predicted[dataset.test.labels == label] == label) for label in range(10)])
    assert accuracy == pytest.approx((pilot.result or {})["last_accuracy"], abs=0.011)  # bfloat16 in the pilot


def test_preprocessing_follows_the_alignment(pilot: RunFolder, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    coded = {}
    for align in ("none", "train", "both"):
        bundle = export_bundle(piloted(tmp_path / "runs", align=align, steps=1), tmp_path / align)
        for training in (False, True):
            seen = bundle.preprocess(image, training=training)
            coded[align, training] = not np.array_equal(seen, image)
        bundle.memory.close()
    assert coded == {
        ("none", False): False,
        ("none", True): False,
        ("train", False): False,
        ("train", True): True,
        ("both", False): True,
        ("both", True): True,
    }


def test_images_of_any_kind_are_prepared_like_those_of_the_dataset(bundle: Bundle) -> None:
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (50, 90, 3), dtype=np.uint8))
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    seen = bundle.preprocess(picture)
    assert seen.shape == (32, 32, 3)
    assert np.array_equal(seen, bundle.preprocess(np.asarray(picture)))
    assert np.array_equal(seen, bundle.preprocess(stream.getvalue()))
    assert bundle.preprocess(np.zeros((40, 40), np.uint8)).shape == (32, 32, 3)
    with pytest.raises(UsageError, match=r"uint8 \(H, W\)"):
        bundle.preprocess(np.zeros((40, 40, 3)))


@pytest.mark.parametrize("name", ["bundle.json", "memory.recall", "network.pt", "monitor.npz", "model_card.md"])
def test_one_changed_byte_anywhere_is_refused(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(UsageError, match=r"refused|damaged|not a bundle"):
        load_bundle(folder)


def test_a_missing_file_or_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "network.pt").unlink()
    with pytest.raises(UsageError, match=r"network\.pt is missing"):
        load_bundle(folder)
    with pytest.raises(UsageError, match="is not a bundle"):
        load_bundle(tmp_path / "nothing")


@pytest.mark.parametrize("files", [None, {}, {"../../etc/hostname": "0"}])
def test_a_manifest_that_lists_other_files_is_refused(folder: Path, files: dict[str, str] | None) -> None:
    facts = read_bundle_manifest(folder)
    write_manifest(
        folder,
        {**facts, "files": files}
        if files != {"../../etc/hostname": "0"}
        else {**facts, "files": facts["files"] | files},
    )
    with pytest.raises(UsageError, match="does not list the files of a bundle"):
        load_bundle(folder)


def test_an_unlisted_file_and_a_link_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "tables.json").write_text("{}")
    with pytest.raises(UsageError, match=r"tables\.json is missing or has been changed"):
        load_bundle(folder)
    (folder / "tables.json").unlink()
    shutil.move(folder / "model_card.md", tmp_path / "card")
    (folder / "model_card.md").symlink_to(tmp_path / "card")
    with pytest.raises(UsageError, match=r"model_card\.md is missing or has been changed"):
        load_bundle(folder)


def test_a_bundle_still_opens_after_forgetting(folder: Path) -> None:
    assert recallrate(["memory", "forget", str(folder / "memory.recall"), "--class", "0"]) == 0
    bundle = load_bundle(folder)
    assert 0 not in bundle.memory.class_counts
    bundle.memory.close()


def test_a_bundle_still_opens_with_another_budget(folder: Path) -> None:
    sealed = json.loads((folder / MANIFEST).read_text())
    path = folder / "memory.recall"
    budget = path.stat().st_size * 2 // 3
    assert recallrate(["memory", "resize", str(path), "--budget", str(budget)]) == 0
    bundle = load_bundle(folder)
    assert bundle.memory.budget == budget >= path.stat().st_size
    assert bundle.memory.verify() == []
    bundle.memory.close()
    before = (folder / MANIFEST).read_bytes()
    assert json.loads(before)["files"]["memory.recall"] != sealed["files"]["memory.recall"]
    assert recallrate(["memory", "resize", str(path), "--budget", "8000"]) == 2
    assert (folder / MANIFEST).read_bytes() == before
    load_bundle(folder).memory.close()


def test_a_further_trained_network_gets_a_new_baseline(folder: Path) -> None:
    bundle = load_bundle(folder)
    network = bundle.network()
    with torch.no_grad():
        network.head.weight.mul_(3)
    with pytest.raises(UsageError, match="needs accepted images"):
        bundle.seal(network)
    images = np.asarray(load_dataset("demo", 32).test.images[:100])
    bundle.monitor.observe(images[:5])
    bundle.keep_monitor()
    bundle.seal(network, images)
    bundle.memory.close()
    again = load_bundle(folder)
    assert torch.equal(again.network().head.weight, network.head.weight)
    assert (again.monitor.charts.seen, len(again.monitor.charts.baseline[0])) == (0, 100)
    assert "trained further since" in (folder / "model_card.md").read_text()
    again.memory.close()


def test_a_newer_bundle_is_refused(folder: Path) -> None:
    facts = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**facts, "format": 2}))
    with pytest.raises(UsageError, match="newer version"):
        load_bundle(folder)


def test_a_changed_memory_is_refused_until_the_bundle_is_sealed(folder: Path) -> None:
    bundle = load_bundle(folder)
    label = bundle.facts["class_order"][0]
    bundle.memory.forget(label)
    bundle.memory.close()
    with pytest.raises(UsageError, match="has been changed"):
        load_bundle(folder)
    bundle.seal()
    assert label not in load_bundle(folder).memory.class_counts


def test_loading_needs_no_network_and_executes_nothing(folder: Path) -> None:
    """In a fresh process in which sockets and unpickling of anything but tensors fail."""
    script = """
import socket, sys
def refuse(*given, **named): raise AssertionError("network")
socket.socket.connect = socket.create_connection = refuse
import toolkit
bundle = toolkit.load_bundle(sys.argv[1])
print(len(bundle.memory), bundle.network().head.out_features, bundle.monitor.charts.seen)
"""
    done = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1:] == ["10", "0"]


@pytest.mark.slow
def test_the_example_learns_new_classes_as_a_pilot_would(tmp_path: Path) -> None:
    """Five classes in a pilot and five more by the example, against a pilot on all ten: within a few test images."""
    dataset = load_dataset("demo", 32)
    whole, first = tmp_path / "whole", tmp_path / "first"
    for label, name in enumerate(CLASS_NAMES):
        for split, part in (("train", dataset.train), ("test", dataset.test)):
            for n, image in enumerate(part.images[part.labels == label][:60]):
                for root in (whole, first) if label < 5 else (whole,):
                    (root / split / f"{label}-{name}").mkdir(parents=True, exist_ok=True)
                    Image.fromarray(image).save(root / split / f"{label}-{name}" / f"{n:03}.png")
    shared: dict[str, object] = {"budget": "60000", "steps": 60, "batch_size": 32}
    both = piloted(tmp_path / "runs", dataset=str(whole), class_order=tuple(range(10)), **shared)
    begun = piloted(tmp_path / "runs", dataset=str(first), class_order=tuple(range(5)), **shared)
    bundle = export_bundle(begun, tmp_path / "bundle", accepted=first / "train")
    bundle.memory.close()
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), str(tmp_path / "bundle"), str(whole), "--steps", "60", "--batch-size", "32"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    accuracy = float(done.stdout.split()[-1])
    assert accuracy == pytest.approx((both.result or {})["last_accuracy"], abs=0.1)
    again = load_bundle(tmp_path / "bundle")
    assert sorted(again.memory.class_counts) == list(range(10))
    assert again.memory.nbytes <= 60000


def test_learned_tables_are_copied_to_the_bundle(tmp_path: Path) -> None:
    tables = tmp_path / "tables.json"
    write_tables(tables, QuantisationTables(*standard_steps(40)))
    run = piloted(tmp_path / "runs", codec=f"learned-jpeg:tables={tables}", steps=1)
    bundle = export_bundle(run, tmp_path / "bundle")
    bundle.memory.close()
    tables.unlink()
    again = load_bundle(tmp_path / "bundle")
    image = load_dataset("demo", 32).test.images[0]
    assert np.array_equal(again.preprocess(image), bundle.preprocess(image))


def test_the_model_of_a_neural_codec_is_copied_to_the_bundle(tmp_path: Path) -> None:
    train_codecs(
        make_training(dataset="demo", sizes=(32,), rates=(1.0,), steps=1, channels=16, latent=8, device="cpu"),
        tmp_path / "codecs",
    )
    run = piloted(tmp_path / "runs", codec=f"neural:checkpoint={tmp_path / 'codecs' / 'neural-1bpp.npz'}", steps=1)
    bundle = export_bundle(run, tmp_path / "bundle")
    image = load_dataset("demo", 32).test.images[0]
    seen = bundle.preprocess(image)
    bundle.memory.close()
    (tmp_path / "codecs" / "neural-1bpp.npz").unlink()
    again = load_bundle(tmp_path / "bundle")
    assert np.array_equal(again.preprocess(image), seen)
    assert len(again.memory.decode(0)) > 0


@pytest.mark.parametrize(
    ("values", "message"),
    [({"method": "finetune"}, "keeps no exemplars"), ({"method": "der"}, "method der changed the network")],
)
def test_pilots_without_exemplars_or_a_plain_network_are_refused(
    tmp_path: Path, values: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        export_bundle(piloted(tmp_path / "runs", steps=1, **values), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_an_existing_output_and_an_unfinished_run_are_refused(pilot: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="already exists"):
        export_bundle(pilot, tmp_path)
    run = RunFolder.create(tmp_path / "pilot-x", "pilot", pilot.config)
    with pytest.raises(UsageError, match="not a finished pilot"):
        export_bundle(run, tmp_path / "bundle")


# -- the monitor on a folder ---------------------------------------------------------------------------------------


def pictures(root: Path, images: np.ndarray) -> Path:
    root.mkdir()
    for n, image in enumerate(images):
        Image.fromarray(image).save(root / f"{n:04}.png")
    return root


@pytest.fixture(scope="module")
def accepted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Test images, class by class in turn, as a camera would see them."""
    dataset = load_dataset("demo", 32)
    order = np.random.default_rng(0).permutation(len(dataset.test.labels))
    return pictures(tmp_path_factory.mktemp("accepted") / "images", dataset.test.images[order])


def test_accepted_images_raise_no_alarm_and_the_stream_continues(folder: Path, accepted: Path) -> None:
    first = watch_folder(folder, accepted)
    assert not first["alarm"]
    second = watch_folder(folder, accepted)
    assert second["seen"] == 2 * first["images"]
    assert watch_folder(folder, accepted, fresh=True)["seen"] == first["images"]
    assert [one["seen"] for one in history(folder)] == [first["seen"], second["seen"], first["seen"]]


def test_other_images_raise_an_alarm(folder: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (80, 32, 32, 3), dtype=np.uint8)
    report = watch_folder(folder, pictures(tmp_path / "noise", noise))
    assert report["alarm"]
    assert "stored_bytes" in report["alarms"]
    text = prometheus_text(report)
    assert 'recallrate_monitor_alarm{chart="stored_bytes"} 1' in text
    assert "recallrate_monitor_images_total 80" in text


def test_the_command_exits_with_3_on_an_alarm(
    folder: Path, accepted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert recallrate(["monitor", str(folder), str(accepted), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["alarm"] is False
    noise = np.random.default_rng(0).integers(0, 256, (80, 32, 32, 3), dtype=np.uint8)
    assert recallrate(["monitor", str(folder), str(pictures(tmp_path / "noise", noise)), "--json", "-"]) == 3
    assert json.loads(capsys.readouterr().out)["alarm"] is True


def test_folders_without_images_are_refused_and_broken_files_named(
    folder: Path, accepted: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"no picture")
    refusals = {"none": "is not a folder", "empty": "contains no files", "broken": "no readable images"}
    for name, message in refusals.items():
        with pytest.raises(UsageError, match=message):
            watch_folder(folder, tmp_path / name)
    mixed = Path(shutil.copytree(accepted, tmp_path / "mixed"))
    (mixed / "0000.png").write_bytes(b"")
    assert watch_folder(folder, mixed)["unreadable"] == {"0000.png": "empty file"}
