"""Training of neural codecs: the objective by hand, target rates, interruptions, frozen decoders."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from toolkit.codec_training import training
from toolkit.codec_training.config import CodecTraining, make_codec_config, parse_numbers
from toolkit.codec_training.objective import RateDistortion, TurnBatches
from toolkit.codec_training.training import adapted_rate, train_codecs
from toolkit.codecs.neural.model_file import read_model_manifest, read_model_state
from toolkit.codecs.neural.networks import build, start_from_components
from toolkit.codecs.spec import parse_codec
from toolkit.data.catalog import load_dataset
from toolkit.features.extractor import build_extractor
from toolkit.foundation.errors import UsageError
from toolkit.training.batches import Batch


def config(**changes: Any) -> CodecTraining:
    small = {
        "dataset": "demo",
        "sizes": (16,),
        "rates": (1.0,),
        "steps": 6,
        "channels": 16,
        "latent": 8,
        "batch_size": 8,
        "device": "cpu",
    }
    return make_codec_config(**(small | changes))


def batch(count: int = 3) -> Batch:
    images = torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return Batch(images, torch.zeros(count, dtype=torch.int64))


@pytest.mark.parametrize("name", ["factorized", "hyperprior"])
def test_the_objective_is_rate_plus_weighted_distortion(name: str) -> None:
    torch.manual_seed(0)
    network = build({"name": name, "channels": 16, "latent": 8, "stages": 3}).eval()
    given = batch()
    weights = torch.linspace(-1, 1, 3 * 16 * 16).reshape(-1, 1)

    def features(images: torch.Tensor) -> list[torch.Tensor]:
        return [images.flatten(1) @ weights, images.square()]

    objective = RateDistortion(network, 1.0, {16: features}, 0.3, weight=7.0).eval()
    images = given.images.float() / 255
    out = network(images)  # CompressAI's own forward pass: in evaluation mode both round and draw nothing
    bits = sum(-math.log2(value) for part in out["likelihoods"].values() for value in part.flatten().tolist())
    squared = float((out["x_hat"] - images).square().mean() / images.var())
    pairs = zip(features(255 * images), features(255 * out["x_hat"].clamp(0, 1)), strict=True)
    relative = [float((before - after).square().mean() / before.square().mean()) for before, after in pairs]
    expected = bits / (3 * 16 * 16) + 7.0 * (squared + 0.3 * sum(relative) / 2)
    expected += float(network.entropy_bottleneck.loss())
    assert float(objective.loss(objective, given)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", ["factorized", "hyperprior"])
def test_the_decoder_gets_the_same_latents_in_training_and_at_inference(name: str) -> None:
    torch.manual_seed(0)
    network = build({"name": name, "channels": 16, "latent": 8, "stages": 3})
    images = batch().images.float() / 255
    objective = RateDistortion(network, 1.0).train()
    decoded, noisy_bits, bits = objective._coded(images)
    decoded.square().mean().backward()
    assert float(network.g_a.linear.weight.grad.abs().sum()) > 0, "rounding lets the gradient through"
    out = network.eval()(images)
    assert torch.allclose(decoded, out["x_hat"], atol=1e-5), "CompressAI rounds in evaluation mode"
    own = sum(float(-one.log2().sum()) for one in out["likelihoods"].values()) / (3 * 16 * 16)
    assert float(bits) == pytest.approx(own, rel=1e-4)
    assert float(noisy_bits) != pytest.approx(own, rel=1e-4), "the rate that is trained has noise"


def test_training_starts_from_principal_components_at_the_target_rate() -> None:
    """With as many latents as a block has numbers the transform is orthogonal, and nothing is lost but by rounding."""
    images = load_dataset("demo", 16).train.images[:200]
    network = build({"name": "factorized", "channels": 16, "latent": 192, "stages": 3}).eval()
    start_from_components(network, [images], 0.8)
    x = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        latents = network.g_a(x)
        assert torch.allclose(network.g_s(latents), x, atol=1e-4)
    bits = 0.0
    for channel in torch.round(latents).transpose(0, 1).flatten(1).numpy():
        shares = np.bincount((channel - channel.min()).astype(int)) / len(channel)
        bits -= float((shares[shares > 0] * np.log2(shares[shares > 0])).sum())
    assert bits / 64 == pytest.approx(0.8, rel=0.05)
    spread = latents.transpose(0, 1).flatten(1).std(dim=1)
    assert bool((spread[:-1] >= spread[1:] - 1e-3).all()), "the components come by the variance they hold"


def test_lambda_rises_below_the_target_rate_and_falls_above_it() -> None:
    torch.manual_seed(0)
    network = build({"name": "factorized", "channels": 16, "latent": 8, "stages": 3})
    low, high = RateDistortion(network, 0.06, weight=5.0).train(), RateDistortion(network, 12.0, weight=5.0).train()
    for objective in (low, high):
        objective.loss(objective, batch())
    assert float(low.log_weight) < math.log(5) < float(high.log_weight)
    kept = RateDistortion(network, None, weight=5.0).train()
    kept.loss(kept, batch())
    assert float(kept.log_weight) == pytest.approx(math.log(5))


def test_sizes_alternate_with_the_same_number_of_pixels() -> None:
    pools = [torch.zeros(20, 16, 16, 3, dtype=torch.uint8), torch.zeros(20, 32, 32, 3, dtype=torch.uint8)]
    batches = TurnBatches(pools, 12, seed=0)
    assert [tuple(batches(step).images.shape) for step in range(3)] == [
        (12, 3, 16, 16),
        (3, 3, 32, 32),
        (12, 3, 16, 16),
    ]
    pools = [torch.arange(20, dtype=torch.uint8).reshape(20, 1, 1, 1).expand(20, 16, 16, 3)]
    batches = TurnBatches(pools, 5, seed=0)
    seen = torch.cat([batches(step).images[:, 0, 0, 0] for step in range(4)])
    assert sorted(seen.tolist()) == list(range(20)), "every image once before any comes again"


def test_training_improves_decoded_images(tmp_path: Path) -> None:
    images = load_dataset("demo", 16).test.images[:64]

    def psnr(folder: Path) -> float:
        codec = parse_codec(f"neural:checkpoint={folder / 'neural-1bpp.npz'}")
        error = codec.decode(codec.encode(images)).astype(float) - images
        return 10 * math.log10(255**2 / float(np.square(error).mean()))

    train_codecs(config(steps=1), tmp_path / "short")
    train_codecs(config(steps=80, lr=3e-3), tmp_path / "long")
    assert psnr(tmp_path / "long") > psnr(tmp_path / "short") + 3


@pytest.mark.parametrize("name", ["factorized", "hyperprior"])
def test_an_interrupted_training_gives_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    wanted = config(architecture=name, rates=(1.0, 0.5), steps=5)
    whole = train_codecs(wanted, tmp_path / "whole")
    monkeypatch.setattr(training, "_CHECKPOINT_EVERY", 2)

    class Interrupted(Exception):
        pass

    for stop_at in ((1, 3), (2, 4), (2, 5)):

        def stop(what: str, done: int, total: int, at: tuple[int, int] = stop_at) -> None:
            number = 1 if "neural-1bpp" in what else 2
            if what.startswith("training") and (number, done) == at:
                raise Interrupted

        with pytest.raises(Interrupted):
            train_codecs(wanted, tmp_path / "parts", stop)
    parts = train_codecs(wanted, tmp_path / "parts")
    for file in ("neural-1bpp.npz", "neural-0.5bpp.npz"):
        assert (tmp_path / "parts" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    assert [codec["measured"] for codec in parts["codecs"]] == [codec["measured"] for codec in whole["codecs"]]
    assert not (tmp_path / "parts" / "checkpoint.pt").exists()


@pytest.mark.parametrize("name", ["factorized", "hyperprior"])
def test_an_adapted_codec_decodes_earlier_streams(tmp_path: Path, name: str) -> None:
    train_codecs(config(architecture=name), tmp_path / "first")
    first = tmp_path / "first" / "neural-1bpp.npz"
    assert adapted_rate(first, "") == 1.0
    train_codecs(config(adapts=str(first), seed=4, steps=4), tmp_path / "second")
    second = tmp_path / "second" / "neural-1bpp.npz"
    images = load_dataset("demo", 16).train.images[:12]
    before, after = (parse_codec(f"neural:checkpoint={path}") for path in (first, second))
    payloads = before.encode(images)
    after.load_shared(before.shared_state())
    assert np.array_equal(after.decode(payloads), before.decode(payloads))
    assert read_model_manifest(first).decoder == read_model_manifest(second).decoder  # type: ignore[union-attr]
    changed = [
        n for n, array in read_model_state(first).items() if not np.array_equal(array, read_model_state(second)[n])
    ]
    assert changed
    assert all(one.startswith(("g_a.", "h_a.")) for one in changed)
    assert after.encode(images) != payloads


def test_an_adapted_codec_does_not_overwrite_its_original_file(tmp_path: Path) -> None:
    train_codecs(config(steps=2), tmp_path)
    file = tmp_path / "neural-1bpp.npz"
    before = file.read_bytes()
    with pytest.raises(UsageError, match="would be overwritten"):
        train_codecs(config(adapts=str(file)), tmp_path)
    assert file.read_bytes() == before


def test_the_feature_term_uses_the_extractor(tmp_path: Path) -> None:
    plain = train_codecs(config(steps=3), tmp_path / "plain")
    seen = train_codecs(config(steps=3, feature_weight=2.0, extractor="random"), tmp_path / "seen")
    assert "fmse_relative" not in plain["codecs"][0]["measured"][0]
    assert seen["codecs"][0]["measured"][0]["fmse_relative"] > 0
    assert plain["codecs"][0]["decoder"] != seen["codecs"][0]["decoder"]


def test_each_size_has_its_own_extractor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    looked: list[tuple[int, int]] = []
    numbers = itertools.count()
    features = training.layered_features

    def build_for(spec: str, view: Any, **values: Any) -> Any:
        made.append(view.size)
        return build_extractor(spec, view, **values)

    def look(network: Any) -> Any:
        number = next(numbers)

        def through(images: torch.Tensor) -> list[torch.Tensor]:
            looked.append((number, images.shape[-1]))
            return features(network)(images)

        return through

    monkeypatch.setattr(training, "build_extractor", build_for)
    monkeypatch.setattr(training, "layered_features", look)
    result = train_codecs(config(sizes=(16, 24), steps=4, feature_weight=2.0, extractor="random"), tmp_path / "t")
    assert made == [16, 24]
    assert set(looked) == {(0, 16), (1, 24)}, "the steps take turns, and each looks through its size's"
    assert all(one["fmse_relative"] > 0 for one in result["codecs"][0]["measured"])


def test_measured_bytes_are_those_of_real_streams(tmp_path: Path) -> None:
    result = train_codecs(config(), tmp_path / "t")
    measured = result["codecs"][0]["measured"][0]
    from toolkit.data.dataset import validation_view

    images = np.ascontiguousarray(validation_view(load_dataset("demo", 16)).test.images)
    payloads = parse_codec(f"neural:checkpoint={tmp_path / 't' / 'neural-1bpp.npz'}").encode(images)
    assert measured["bpp"] == pytest.approx(8 * sum(map(len, payloads)) / len(images) / 256)
    assert measured["images"] == len(images)


def test_another_training_in_the_folder_is_refused_with_the_differences(tmp_path: Path) -> None:
    train_codecs(config(steps=2), tmp_path / "t")
    with pytest.raises(UsageError, match=r"contains another training \(steps=2\)"):
        train_codecs(config(steps=3), tmp_path / "t")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rates": (0.01,)}, "rates"),
        ({"rates": ()}, "rates"),
        ({"rates": (1.0, 1.0)}, "must be distinct"),
        ({"rates": (math.nan,)}, r"^rates.0: [^;]*finite number, got nan$"),
        ({"batch_size": 10**8}, "batch_size"),
        ({"sizes": (8,)}, "sizes"),
        ({"architecture": "vae"}, "architecture"),
        ({"steps": 0}, "steps"),
        ({"extractor": "vgg"}, r"^configuration: unknown extractor 'vgg': choose [^{]*$"),
        ({"adapts": "x.npz", "rates": (1.0, 2.0)}, "its own rate"),
        ({"adapts": "x.npz", "rates": (1.0,), "afresh": True}, "own weights"),
    ],
)
def test_wrong_choices_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        config(**changes)


def test_only_model_files_can_be_adapted(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "other.pt")
    for refused in (
        lambda: adapted_rate(tmp_path / "other.pt", ""),
        lambda: adapted_rate(tmp_path / "other.pt", "1"),
        lambda: train_codecs(config(adapts=str(tmp_path / "other.pt")), tmp_path / "t"),
    ):
        with pytest.raises(UsageError):
            refused()
    with pytest.raises(UsageError, match="numbers separated by commas"):
        parse_numbers("1;2", float, "--bpp")


def test_each_rate_starts_from_the_nearest_trained_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "read_model_state", lambda path: path.name)
    codecs = [{"rate": 0.5, "lambda": 3.0, "file": "low.npz"}, {"rate": 2.0, "lambda": 9.0, "file": "high.npz"}]
    for rate, file, weight in ((0.25, "low.npz", 3 / 4**0.25), (1.5, "high.npz", 9 / 2), (3.0, "high.npz", 36.0)):
        assert training._begin_from(codecs, tmp_path, rate, 0.0) == (file, pytest.approx(weight))
    assert training._begin_from([], tmp_path, 1.0, 3.0) == (None, pytest.approx(5.0))


@pytest.mark.parametrize("afresh", [False, True])
def test_afresh_every_rate_starts_from_principal_components(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, afresh: bool
) -> None:
    started = []
    monkeypatch.setattr(training, "start_from_components", lambda network, images, rate: started.append(rate))
    train_codecs(config(rates=(1.0, 0.5), steps=1, afresh=afresh), tmp_path)
    assert started == ([1.0, 0.5] if afresh else [1.0])


def test_the_entropy_model_learns_no_slower_than_1e_3() -> None:
    network = build({"name": "hyperprior", "channels": 16, "latent": 8, "stages": 3})
    densities = set(network.entropy_bottleneck.parameters())
    for lr, densities_lr in ((1e-5, 1e-3), (1e-2, 1e-2)):
        transforms, model = training._groups(network, lr)
        assert (transforms["lr"], model["lr"]) == (lr, densities_lr)
        assert set(model["params"]) == densities
        assert {*transforms["params"], *model["params"]} == set(network.parameters())
    network.requires_grad_(False)
    network.g_a.requires_grad_(True)
    (encoder,) = training._groups(network, 1e-5)
    assert set(encoder["params"]) == set(network.g_a.parameters()), "an adapted codec's densities are frozen"
