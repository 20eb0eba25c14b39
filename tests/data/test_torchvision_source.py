"""torchvision's datasets, replaced by fakes that keep their data where the real ones do."""

from __future__ import annotations

import socket
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torchvision
from data_samples import encoded, files_under, noise
from PIL import Image

from toolkit.data import torchvision_source
from toolkit.data.catalog import load_dataset
from toolkit.foundation.errors import UsageError, WorkError


class _LikeCifar:
    """Everything in one array, as in CIFAR10; available only after a download."""

    classes = ("plane", "car", "bird")
    downloads: list[str]

    def __init__(self, root: str, train: bool = True, download: bool = False) -> None:
        if download:
            (Path(root) / f"here-{train}").touch()
            self.downloads.append(root)
        if not (Path(root) / f"here-{train}").exists():
            raise RuntimeError("Dataset not found or corrupted. You can use download=True to download it")
        count = 12 if train else 6
        self.data = np.stack([noise(index + 100 * train, 32, 32) for index in range(count)])
        self.targets = [index % 3 for index in range(count)]

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.fromarray(self.data[index]), self.targets[index]


class _LikeFiles:
    """Paths and labels, under the attribute names of each of torchvision's file datasets."""

    def __init__(self, root: str, images: str, labels: str, paired: bool, damaged: int | None = None) -> None:
        paths = []
        for index in range(10):
            paths.append(Path(root) / f"{index}.png")
            paths[-1].write_bytes(b"?" if index == damaged else encoded(noise(index, 20 + index, 30)))
        self.own_labels = [index % 2 for index in range(10)]
        setattr(self, images, list(zip(map(str, paths), self.own_labels, strict=True)) if paired else paths)
        if labels:
            setattr(self, labels, self.own_labels)
        self.paths = paths

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.open(self.paths[index]), self.own_labels[index]


@pytest.fixture
def like_cifar(monkeypatch: pytest.MonkeyPatch) -> type[_LikeCifar]:
    monkeypatch.setattr(_LikeCifar, "downloads", [], raising=False)
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", _LikeCifar)
    return _LikeCifar


def test_an_array_dataset_is_downloaded_once_and_then_cached(
    like_cifar: type[_LikeCifar], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = load_dataset("torchvision:CIFAR10", 32)
    assert dataset.class_names == ("plane", "car", "bird")
    assert like_cifar.downloads == [str(cache / "torchvision" / "CIFAR10")] * 2
    np.testing.assert_array_equal(dataset.train.images, [noise(index + 100, 32, 32) for index in range(12)])
    np.testing.assert_array_equal(dataset.test.images, [noise(index, 32, 32) for index in range(6)])
    assert dataset.train.labels.tolist() == [0, 1, 2] * 4
    assert set(dataset.train.file_bytes) == {32 * 32 * 3}
    load_dataset("torchvision:CIFAR10", 16)
    assert len(like_cifar.downloads) == 2
    monkeypatch.delattr(torchvision.datasets, "CIFAR10")
    np.testing.assert_array_equal(load_dataset("torchvision:CIFAR10", 32).train.images, dataset.train.images)


@pytest.mark.parametrize(
    ("name", "images", "labels", "paired"),
    [
        ("Flowers102", "_image_files", "_labels", False),
        ("OxfordIIITPet", "_images", "_labels", False),
        ("Food101", "_image_files", "_labels", False),
        ("FGVCAircraft", "_image_files", "_labels", False),
        ("StanfordCars", "_samples", "", True),
        ("EuroSAT", "samples", "targets", True),
    ],
)
def test_file_datasets_give_labels_and_file_sizes(
    name: str, images: str, labels: str, paired: bool, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def factory(root: str, download: bool = False, **chosen: Any) -> _LikeFiles:
        return _LikeFiles(root, images, labels, paired)

    monkeypatch.setattr(torchvision.datasets, name, factory)
    dataset = load_dataset(f"torchvision:{name}", 16)
    assert dataset.class_names == ("0", "1")
    held_out = name == "EuroSAT"
    assert [len(dataset.train), len(dataset.test)] == ([8, 2] if held_out else [10, 10])
    assert any("no test split" in note for note in dataset.notes) == held_out
    sizes = {len(encoded(noise(index, 20 + index, 30))) for index in range(10)}
    assert set(dataset.train.file_bytes) | set(dataset.test.file_bytes) == sizes


def test_a_damaged_download_is_quarantined_by_image(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def factory(root: str, download: bool = False, **chosen: Any) -> _LikeFiles:
        return _LikeFiles(root, "_image_files", "_labels", paired=False, damaged=4)

    monkeypatch.setattr(torchvision.datasets, "Food101", factory)
    dataset = load_dataset("torchvision:Food101", 16)
    assert [item.file for item in dataset.quarantine] == ["train[4]", "test[4]"]
    assert len(dataset.train) == 9


@pytest.mark.parametrize("name", ["CIFAR10", "Flowers102", "EuroSAT"])
def test_offline_is_one_clear_line(name: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **options: object) -> None:
        raise URLError(socket.gaierror(-3, "Temporary failure\nin name resolution"))

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    refusal = rf"^torchvision:{name} could not be downloaded \(.*\); connect to the internet, or put"
    with pytest.raises(WorkError, match=refusal) as caught:
        load_dataset(f"torchvision:{name}", 32)
    assert "\n" not in str(caught.value)
    assert not (cache / "datasets").exists()


def test_the_offered_datasets_exist_and_others_are_refused(cache: Path) -> None:
    assert all(hasattr(torchvision.datasets, name) for name in torchvision_source.SPLITS)
    for name in ("ImageNet", "", "cifar10", "os"):
        with pytest.raises(UsageError, match=rf"torchvision:{name} is not known; choose one of CIFAR10, CIFAR100"):
            load_dataset(f"torchvision:{name}", 32)
    assert not files_under(cache)
