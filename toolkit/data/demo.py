"""The embedded demo set: procedural, deterministic, offline, generated in a second or two.

Ten classes = five shapes (disc, square, triangle, ring, cross) x two fine textures (diagonal stripes in either
direction) on backgrounds with the 1/f spectrum of natural images. Position, scale, rotation, colour and contrast vary
from image to image. The shapes have low spatial frequencies and survive almost any codec; the stripes are faint and a
few pixels wide, so heavy quantisation erases them and halves the number of distinguishable classes, while light
compression preserves them.
"""

from __future__ import annotations

import numpy as np
import scipy.fft

from toolkit.data.sources import Source, array_entries
from toolkit.foundation.threads import ordered_map

SIZE = 64
TRAIN_PER_CLASS = 160
TEST_PER_CLASS = 40
SEED = 2403
VERSION = "demo-2"
SHAPES = ("disc", "square", "triangle", "ring", "cross")
TEXTURES = ("rising", "falling")
STRIPE_PERIOD = 5.5
STRIPE_AMPLITUDE = (14.0, 26.0)
GROUND_CONTRAST = (26.0, 20.0)
FILL_CONTRAST = (16.0, 12.0)
SHAPE_CONTRAST = 44.0
"""Minimum difference in grey levels between a shape and its background, so that no codec hides the shapes."""
_BATCH = 50


def open_demo() -> Source:
    """The demo set as a source; its images have no files, so their file sizes are those of the raw pixels."""
    class_names = tuple(f"{shape}-{texture}" for shape in SHAPES for texture in TEXTURES)
    entries = []
    for seed, (split, count) in enumerate((("train", TRAIN_PER_CLASS), ("test", TEST_PER_CLASS))):
        labels = np.repeat(np.arange(len(class_names)), count)
        entries += array_entries(split, draw(labels, SEED + seed), labels)
    return Source(class_names, tuple(entries), VERSION, ("procedural images without files: sizes are of raw pixels",))


def draw(labels: np.ndarray, seed: int) -> np.ndarray:
    """Images for ``labels`` (0..9): uint8 of shape (N, 64, 64, 3), determined by the labels and the seed."""
    batches = [labels[start : start + _BATCH] for start in range(0, len(labels), _BATCH)]
    seeded = [(batch, np.random.default_rng([seed, number])) for number, batch in enumerate(batches)]
    return np.concatenate(list(ordered_map(lambda job: _draw_batch(*job), seeded, group=1)))


def _draw_batch(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    count = len(labels)
    y, x = np.meshgrid(*(np.linspace(-1, 1, SIZE, dtype=np.float32),) * 2, indexing="ij")
    centre = _uniform(rng, -0.35, 0.35, (2, count, 1, 1))
    angle = _uniform(rng, -0.3, 0.3, (count, 1, 1))
    radius = _uniform(rng, 0.4, 0.62, (count, 1, 1))
    dx, dy = x - centre[0], y - centre[1]
    u = (np.cos(angle) * dx + np.sin(angle) * dy) / radius
    v = (np.cos(angle) * dy - np.sin(angle) * dx) / radius
    inside = np.clip(_inside(u, v, labels // 2) * radius * (SIZE / 2) + 0.5, 0, 1)[:, None]

    ground, colour = _uniform(rng, 70, 185, (2, count, 3, 1, 1))
    apart = np.copysign(np.float32(SHAPE_CONTRAST / 2), (colour - ground).mean(axis=1, keepdims=True))
    pixels = _natural_field(count, rng)[:, None] * _field_contrast(GROUND_CONTRAST, count, rng) + (ground - apart)
    fill = _natural_field(count, rng)[:, None] * _field_contrast(FILL_CONTRAST, count, rng) + (colour + apart)
    fill += _stripes(labels % 2, rng)[:, None]
    fill -= pixels
    fill *= inside
    pixels += fill
    pixels += 4 * rng.standard_normal((count, 1, SIZE, SIZE), dtype=np.float32)
    return np.ascontiguousarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1))


def _uniform(rng: np.random.Generator, low: float, high: float, shape: tuple[int, ...]) -> np.ndarray:
    return rng.uniform(low, high, shape).astype(np.float32)


def _inside(u: np.ndarray, v: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """Signed distance-like field, positive inside each image's shape; u, v of shape (N, 64, 64)."""
    reach = np.hypot(u, v)
    fields = (
        lambda i: 1 - reach[i],
        lambda i: 0.85 - np.maximum(np.abs(u[i]), np.abs(v[i])),
        lambda i: np.minimum(0.6 - v[i], 0.5 * (v[i] + 1) - np.abs(u[i]) * 0.87),
        lambda i: 0.28 - np.abs(reach[i] - 0.78),
        lambda i: np.maximum(
            np.minimum(0.3 - np.abs(u[i]), 1 - np.abs(v[i])), np.minimum(0.3 - np.abs(v[i]), 1 - np.abs(u[i]))
        ),
    )
    field = np.empty_like(u)
    for shape, distance in enumerate(fields):
        members = np.flatnonzero(shapes == shape)
        field[members] = distance(members)
    return field


def _natural_field(count: int, rng: np.random.Generator) -> np.ndarray:
    """Random fields with a 1/f amplitude spectrum and unit variance; float32 (N, 64, 64)."""
    frequency = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None, :])
    weight = 1 / np.maximum(frequency, 1 / SIZE)
    weight[0, 0] = 0
    weight = weight.astype(np.float32)
    noise = rng.standard_normal((count, *weight.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    field = scipy.fft.irfft2(noise * weight, s=(SIZE, SIZE))
    return field / field.std(axis=(1, 2), keepdims=True)


def _field_contrast(contrast: tuple[float, float], count: int, rng: np.random.Generator) -> np.ndarray:
    """Per-image contrast of a field in R, G and B: a shared part and one per channel; (N, 3, 1, 1)."""
    shared, own = contrast
    return _uniform(rng, 0.5, 1.0, (count, 1, 1, 1)) * shared + _uniform(rng, -own / 2, own / 2, (count, 3, 1, 1))


def _stripes(leaning: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Diagonal stripes in one direction or the other, float32 (N, 64, 64), in grey levels."""
    count = len(leaning)
    angle = np.float32(np.pi / 4) + _uniform(rng, -0.25, 0.25, (count, 1, 1))
    angle = np.where(leaning[:, None, None] == 0, angle, np.float32(np.pi) - angle)
    frequency = 2 * np.pi / (STRIPE_PERIOD * _uniform(rng, 0.9, 1.15, (count, 1, 1)))
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    along = (np.cos(angle) * frequency) * x + (np.sin(angle) * frequency) * y
    wave = np.sin(along + _uniform(rng, 0, 2 * np.pi, (count, 1, 1)))
    return wave * _uniform(rng, *STRIPE_AMPLITUDE, (count, 1, 1))
