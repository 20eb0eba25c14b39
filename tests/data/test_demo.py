"""The demo set: the same pixels every time, natural statistics, and harmed by heavy compression only."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from toolkit.codecs.spec import parse_codec
from toolkit.data import demo
from toolkit.data.catalog import load_dataset
from toolkit.data.dataset import ImageDataset
from toolkit.foundation import threads


def _digest(pixels: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels)).hexdigest()


def test_two_draws_on_different_threads_have_the_same_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.repeat(np.arange(10), 16)
    digests = []
    for workers in (1, 4):
        monkeypatch.setattr(threads, "_threads", workers)
        digests.append(_digest(demo.draw(labels, 7)))
    assert digests[0] == digests[1]
    assert _digest(demo.draw(labels, 8)) != digests[0]


def test_the_cached_demo_equals_the_drawn_one() -> None:
    dataset = load_dataset("demo", 64)
    assert _digest(dataset.test.images) == _digest(demo.draw(dataset.test.labels, demo.SEED + 1))


def test_ten_balanced_classes_of_64_pixel_images() -> None:
    dataset = load_dataset("demo", 64)
    assert len(set(dataset.class_names)) == 10
    assert dataset.class_names[:2] == ("disc-rising", "disc-falling")
    assert dataset.train.images.shape == (1600, 64, 64, 3)
    assert np.bincount(dataset.train.labels).tolist() == [160] * 10
    assert np.bincount(dataset.test.labels).tolist() == [40] * 10
    assert set(dataset.train.file_bytes) == {64 * 64 * 3}
    assert not any("pixels of a training image" in note for note in dataset.notes)
    clipped = np.isin(dataset.train.images, (0, 255)).mean()
    assert clipped < 0.02


def _spectral_slope(images: np.ndarray) -> float:
    """Exponent of the radially averaged power spectrum over frequency, least squares in logarithms."""
    grey = images[..., 1].astype(float)
    size = grey.shape[1]
    power = (np.abs(np.fft.fft2(grey - grey.mean((1, 2), keepdims=True))) ** 2).mean(axis=0)
    cycles = np.fft.fftfreq(size, 1 / size)
    ring = np.rint(np.hypot(cycles[:, None], cycles)).astype(int).ravel()
    radial = np.bincount(ring, power.ravel()) / np.bincount(ring)
    at = np.arange(2, size // 2 - 2)
    return np.polyfit(np.log(at), np.log(radial[at]), 1)[0]


@pytest.mark.parametrize("size", [64, 32])
def test_the_power_spectrum_falls_like_that_of_natural_images(size: int) -> None:
    # Field (1987) and van der Schaaf & van Hateren (1996) find exponents between -1.6 and -2.9.
    assert -2.9 < _spectral_slope(load_dataset("demo", size).train.images[::4]) < -1.6


def test_the_power_spectrum_is_close_to_that_of_photographs(real_data: Path) -> None:
    photographs = load_dataset(str(real_data / "tiny-imagenet-20"), 32).train.images[::4]
    assert _spectral_slope(load_dataset("demo", 32).train.images[::4]) == pytest.approx(
        _spectral_slope(photographs), abs=0.6
    )


def test_backgrounds_alone_have_a_natural_spectrum() -> None:
    # No shape reaches the top row. One row of a field with power 1/f**2 has power 1/f: one dimension is summed out.
    rows = load_dataset("demo", 64).train.images[:, 0, :, 1].astype(float)
    power = (np.abs(np.fft.rfft(rows - rows.mean(axis=1, keepdims=True))) ** 2).mean(axis=0)
    at = np.arange(2, 28)
    assert -1.4 < np.polyfit(np.log(at), np.log(power[at]), 1)[0] < -0.6


def test_stripes_lean_the_way_the_class_name_says() -> None:
    dataset = load_dataset("demo", 64)
    grey = dataset.test.images.astype(float).mean(axis=3)
    window = np.hanning(64)[:, None] * np.hanning(64)
    power = np.abs(np.fft.fft2((grey - grey.mean((1, 2), keepdims=True)) * window)) ** 2
    band = slice(6, 12)  # cycles an image on either axis: a period of 5.5 pixels at 45 degrees has 8.2
    same_sign = power[:, band, band].sum(axis=(1, 2))  # crests x + y = const: rising, as y points down
    opposite = power[:, -11:-5, band].sum(axis=(1, 2))
    rising = np.array([dataset.class_names[label].endswith("rising") for label in dataset.test.labels])
    assert np.mean((same_sign > opposite) == rising) > 0.95


def _features(images: np.ndarray, keep: int = 12) -> np.ndarray:
    """Windowed Fourier magnitudes up to ``keep`` cycles per image of the grey and the main colour axis."""
    centred = images.reshape(len(images), -1, 3).astype(np.float32)
    centred -= centred.mean(axis=1, keepdims=True)
    _, axes = np.linalg.eigh(np.einsum("npi,npj->nij", centred, centred))
    size = images.shape[1]
    window = np.hanning(size)[:, None] * np.hanning(size)
    found = []
    for plane in (np.einsum("npi,ni->np", centred, axes[:, :, 2]), centred.mean(axis=2)):
        spectrum = np.fft.fftshift(np.abs(np.fft.rfft2(plane.reshape(-1, size, size) * window)), axes=1)
        kept = spectrum[:, size // 2 - keep : size // 2 + keep + 1, : keep + 1].reshape(len(images), -1)
        found.append(np.sqrt(kept / np.sqrt((kept**2).mean(axis=1, keepdims=True))))
    return np.concatenate(found, axis=1)


def _kernel_ridge_accuracy(dataset: ImageDataset, train: np.ndarray, test: np.ndarray) -> float:
    """Accuracy of kernel ridge regression (Gaussian kernel as wide as the number of features) on :func:`_features`."""
    known, asked = _features(train), _features(test)
    mean, spread = known.mean(axis=0), known.std(axis=0) + 1e-6
    known, asked = (known - mean) / spread, (asked - mean) / spread

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
        return np.exp(-squared / (2 * a.shape[1]))

    targets = 2 * np.eye(10)[dataset.train.labels] - 1
    weights = np.linalg.solve(kernel(known, known) + 0.01 * np.eye(len(known)), targets)
    return float(np.mean((kernel(asked, known) @ weights).argmax(axis=1) == dataset.test.labels))


@pytest.mark.parametrize("size", [pytest.param(64, marks=pytest.mark.slow), 32])
def test_heavy_compression_costs_accuracy_and_light_compression_does_not(size: int) -> None:
    dataset = load_dataset("demo", size)
    train, test = np.asarray(dataset.train.images), np.asarray(dataset.test.images)
    raw = _kernel_ridge_accuracy(dataset, train, test)
    coded = {}
    for quality in (90, 5):
        codec = parse_codec(f"jpeg:quality={quality}")
        decoded = [codec.decode(codec.encode(images)) for images in (train, test)]
        coded[quality] = _kernel_ridge_accuracy(dataset, *decoded)
    assert raw > 0.85
    assert coded[90] > raw - 0.03
    assert coded[5] < raw - 0.15
