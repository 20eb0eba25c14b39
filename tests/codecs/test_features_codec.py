"""``features``: quantised outputs of frozen layers, in payloads and in memories."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from codec_samples import natural

from toolkit.codecs.features import FeaturesCodec, give_layers, lloyd_levels
from toolkit.codecs.spec import expand_grid, parse_codec
from toolkit.foundation.errors import UsageError, WorkError
from toolkit.memory.export import export_files
from toolkit.memory.store import ExemplarMemory
from toolkit.memory.views import ExemplarDataset

SHAPE = (5, 3, 3)
IMAGES = natural(40, 16)


class Layers:
    """Blocks of pixels through fixed random weights; skewed, as after a ReLU."""

    digest = b"layers of a test"

    def __init__(self, shape: tuple[int, ...] = SHAPE) -> None:
        self.shape = shape
        self.weights = np.random.default_rng(3).normal(size=(16 * 16 * 3, int(np.prod(shape))))

    def outputs(self, images: np.ndarray) -> np.ndarray:
        flat = images.reshape(len(images), -1) / 255 - 0.5
        return np.maximum(0, flat @ self.weights).reshape(len(images), *self.shape).astype(np.float32)


def fitted(bits: int, shape: tuple[int, ...] = SHAPE) -> FeaturesCodec:
    codec = parse_codec(f"features:bits={bits}")
    assert isinstance(codec, FeaturesCodec)
    give_layers([codec], lambda: Layers(shape))
    codec.fit(IMAGES)
    return codec


@pytest.mark.parametrize("shape", [SHAPE, (7,)])
def test_error_falls_with_bits_and_payloads_have_them(shape: tuple[int, ...]) -> None:
    outputs = Layers(shape).outputs(IMAGES)
    errors = []
    for bits in (2, 4, 8, 16):
        codec = fitted(bits, shape)
        payloads = codec.encode(IMAGES)
        assert {len(payload) for payload in payloads} == {-(-int(np.prod(shape)) * bits // 8)}
        decoded = codec.decode(payloads, (16, 16))
        assert (decoded.shape, decoded.dtype) == (outputs.shape, np.float32)
        errors.append(float(np.square(decoded - outputs).mean() / outputs.var()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[3] < 1e-5  # half a unit in the eighth binary digit, squared
    # Max (1960): 0.118 with 4 levels and 0.0095 with 16 for a normal variable; these are near
    assert errors[0] < 0.2
    assert errors[1] < 0.02
    assert errors[2] < 5e-4


def test_sixteen_bits_are_the_bfloat16_numbers() -> None:
    codec = fitted(16)
    expected = torch.from_numpy(Layers().outputs(IMAGES)).to(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(codec.decode(codec.encode(IMAGES)), expected)


def test_levels_are_the_best_of_all_divisions_of_few_values() -> None:
    values = np.array([0.0, 0.1, 0.3, 2.0, 2.2, 9.0])
    best = min(
        sum(float(((part - part.mean()) ** 2).sum()) for part in np.split(values, ends))
        for ends in itertools.combinations(range(1, 6), 2)
    )
    levels = lloyd_levels(values, 3)
    found = float(np.abs(values[:, None] - levels).min(axis=1).__pow__(2).sum())
    assert found == pytest.approx(best)
    np.testing.assert_array_equal(lloyd_levels(np.full(9, 4.0), 4), np.full(4, 4.0))


def test_constant_channels_are_restored() -> None:
    class Constant(Layers):
        def outputs(self, images: np.ndarray) -> np.ndarray:
            return np.full((len(images), 3), 1.5, np.float32)

    codec = FeaturesCodec("4")
    codec.layers = Constant()
    codec.fit(IMAGES)
    np.testing.assert_array_equal(codec.decode(codec.encode(IMAGES)), np.full((40, 3), 1.5))


def test_decoding_needs_no_layers_and_encoding_needs_the_same() -> None:
    codec = fitted(4)
    payloads = codec.encode(IMAGES)
    other = FeaturesCodec("4")
    with pytest.raises(UsageError, match="its encoder needs the frozen layers of a network"):
        other.fit(IMAGES)
    other.load_shared(codec.shared_state())
    assert other.shared_bytes() == len(codec.shared_state())
    np.testing.assert_array_equal(other.decode(payloads), codec.decode(payloads))
    with pytest.raises(UsageError, match="needs the frozen layers"):
        other.encode(IMAGES)

    class Changed(Layers):
        digest = b"after an update!"

    other.layers = Changed()
    with pytest.raises(WorkError, match="the frozen layers of a network must not change while its features are kept"):
        other.encode(IMAGES)
    with pytest.raises(WorkError, match="must not change"):
        other.load_shared(codec.shared_state())


@pytest.mark.parametrize("bits", [4, 16])
def test_damage_is_one_line(bits: int) -> None:
    codec = fitted(bits)
    state, payload = codec.shared_state(), codec.encode(IMAGES[:1])[0]
    for damaged in (payload[:-1], payload + b"0", b""):
        with pytest.raises(WorkError, match="a stored exemplar is damaged"):
            codec.decode([damaged])
    fresh = FeaturesCodec(str(bits))
    for end in range(len(state)):
        with pytest.raises(WorkError):
            fresh.load_shared(state[:end])
    with pytest.raises(WorkError, match="damaged"):
        fresh.load_shared(state + b"00")
    huge = state[:21] + b"\xff" * 12 + state[33:]
    with pytest.raises(WorkError, match="damaged"):
        fresh.load_shared(huge)
    if bits == 4:
        with pytest.raises(WorkError, match="impossible"):
            fresh.load_shared(state[:-2] + np.float16(np.nan).tobytes())
        with pytest.raises(WorkError, match="impossible"):
            fresh.load_shared(state[:-2] + np.float16(-100).tobytes())


def test_specs() -> None:
    assert expand_grid("raw;features:bits={2,4}") == ["raw", "features:bits=2", "features:bits=4"]
    assert str(parse_codec("features")) == "features:bits=4"
    for wrong, reason in {
        "features:bits=3": "bits must be 2|4|8|16",
        "downscale:factor=2|features:bits=4": r"features cannot follow '\|': it stores no image",
    }.items():
        with pytest.raises(UsageError, match=reason):
            parse_codec(wrong)
    with pytest.raises(UsageError):
        parse_codec("foreground:background=features|jpeg:quality=50")


def test_a_memory_of_features_keeps_its_budget_forgets_and_exports(tmp_path: Path) -> None:
    codec = fitted(8)
    with ExemplarMemory(tmp_path / "memory.recall", 16384, codec) as memory:
        memory.add_images({0: IMAGES[:20], 1: IMAGES[20:]})
        assert memory.path.stat().st_size <= 16384
    with ExemplarMemory(tmp_path / "memory.recall") as memory:  # without any layers
        features, labels, damaged = memory.decode_all()
        assert not damaged
        np.testing.assert_array_equal(features, codec.decode(codec.encode(IMAGES)))
        assert labels.tolist() == [0] * 20 + [1] * 20
        assert memory.verify() == []
        written, _ = export_files(memory, tmp_path / "files")
        assert written == len(memory)
        np.testing.assert_array_equal(np.load(tmp_path / "files" / "0" / "000000.npy"), features[0])
        before = len(memory)
        memory.forget(image=memory.identities(1)[0])
        assert len(memory) == before - 1
        assert len(memory.decode_all()[0]) == before - 1


@pytest.mark.parametrize("value", [np.nan, np.inf, 70_000])
def test_values_that_cannot_be_described_are_refused(value: float) -> None:
    class Damaged(Layers):
        def outputs(self, images: np.ndarray) -> np.ndarray:
            found = super().outputs(images)
            found[0, 0] = value
            return found

    for bits in (4, 16):
        codec = fitted(bits)
        codec.layers = Damaged()
        for act in (codec.fit, codec.encode):
            with pytest.raises(WorkError, match="not finite or above 60000"):
                act(IMAGES)


def test_a_data_loader_reads_features(tmp_path: Path) -> None:
    for shape in (SHAPE, (7,)):
        codec = fitted(8, shape)
        with ExemplarMemory(tmp_path / f"{len(shape)}.recall", 16384, codec) as memory:
            memory.add_images({0: IMAGES[:20], 1: IMAGES[20:]})
            features, label = ExemplarDataset(memory)[21]
            np.testing.assert_array_equal(features.numpy(), memory.decode_all()[0][21])
            assert label == 1
